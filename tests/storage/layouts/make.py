"""Made the files beside it: run once with the code of each layout, for tests that open them with today's.

    git archive COMMIT storage | tar -x -C OLD
    PYTHONPATH=OLD/storage python tests/storage/layouts/make.py FILE.duckdb && gzip -9 FILE.duckdb

Layout 1 is of fea31c9, 2 of 903f690, 3 of e71b869, 4 of 48242ce.
"""

from __future__ import annotations

import sys
from pathlib import Path

from techport_storage.model import Batch, Reading
from techport_storage.store import open_store

DELAYS = (0, 250_000, 999_000, 1_000_000, 31_000_000, 59_999_000, 60_000_000, 7_200_000_000, -5_000_000, -90_000_000)
"""µs between a reading and its arrival: on both sides of where a layout keeps it in another column."""


def readings() -> list[Reading]:
    """900 readings of three streams, before 1970 and after; every stream has a correction of its fifth."""
    rows = []
    for number, stream in enumerate((("luft", "a", "pm10"), ("luft", "b", "pm10"), ("vann", "ø'1", "level"))):
        for i in range(300):
            at = (i - 100) * 86_400_000_000 + 1_234_567 * number
            arrival = (at + DELAYS[(i + number) % len(DELAYS)]) // 1000 * 1000
            rows.append(Reading(*stream, at, i / 7 + number, arrival, i % 3 * 4))
    return rows


def corrections() -> list[Reading]:
    return [Reading(r.pilot, r.device, r.quantity, r.time, -1.5, r.received + 4000, 1) for r in readings()[4::300]]


if __name__ == "__main__":
    path = Path(sys.argv[1]).resolve()
    rows = readings()
    store = open_store(f"duckdb:///{path}")
    for begin in range(0, len(rows), 180):
        store.write(Batch.of(rows[begin : begin + 180]))
        if begin == 540 and hasattr(store, "_upkeep"):  # layout 1 had no maintenance
            store._upkeep.compact()
    store.write(Batch.of(corrections()))
    store.close()

"""What the rounds cost that flag new readings: CPU milliseconds of a first round, and of each one after it.

    python -m benchmarks.flags [--streams 1000] [--store URL]

Two days of minutes, then a minute at a time. Figures of a run are in INGEST.md.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from techport_pilots.model import DeviceDefinition, PilotDefinition, StreamDefinition, Text
from techport_pilots.quality.flagging import FlagPass
from techport_pilots.registry.registry import Registry
from techport_storage.microseconds import DAY, MINUTE
from techport_storage.model import Batch, Stream
from techport_storage.store import ReadingStore, open_store

MINUTES_A_DAY = DAY // MINUTE
START = 1_777_800_000_000_000
QUANTITIES = ("pm10", "pm25", "no2", "air_temperature", "relative_humidity")


def minutes(streams: list[Stream], first: int, count: int, chance: np.random.Generator) -> Batch:
    """`count` readings of each stream; one in a thousand is a spike."""
    n = count * len(streams)
    value = 20 + chance.normal(0, 1, n).round(2)
    value[chance.random(n) < 0.001] = 48.0
    time_ = START + MINUTE * np.repeat(np.arange(first, first + count, dtype=np.int64), len(streams))
    number = np.tile(np.arange(len(streams), dtype=np.int32), count)
    return Batch(streams, number, time_, value, time_ + 500_000, np.zeros(n, np.uint8))


def timed(rounds: FlagPass) -> tuple[float, float, int]:
    wall, cpu = time.perf_counter(), time.process_time()
    changed = rounds.round()
    return (time.perf_counter() - wall) * 1e3, (time.process_time() - cpu) * 1e3, changed


def run(folder: Path, store: ReadingStore, count: int) -> None:
    devices = [
        DeviceDefinition(f"d{i}", streams=[StreamDefinition(q) for q in QUANTITIES])
        for i in range(count // len(QUANTITIES))
    ]
    registry = Registry.open(f"sqlite:///{folder}/registry.sqlite")
    registry.import_pilot(PilotDefinition("p", Text(en="P"), Text(en="Q?"), devices), "", who="benchmark")
    streams = [Stream("p", device.id, quantity) for device in devices for quantity in QUANTITIES]
    chance = np.random.default_rng(1)
    for first in range(0, 2 * MINUTES_A_DAY, 60):
        store.write(minutes(streams, first, 60, chance))
    rounds = FlagPass(registry, store, "benchmark")
    print(f"{len(streams)} streams\n| round | wall ms | CPU ms | rows with other flags |\n|---|---:|---:|---:|")
    print("| first, two days | {:.0f} | {:.0f} | {} |".format(*timed(rounds)))
    later = []
    for minute in range(2 * MINUTES_A_DAY, 2 * MINUTES_A_DAY + 10):
        store.write(minutes(streams, minute, 1, chance))
        later.append(timed(rounds))
    print("| later, one minute (median of 10) | {:.0f} | {:.0f} | {:.0f} |".format(*np.median(later, axis=0)))
    registry.close()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--streams", type=int, default=1000)
    arguments.add_argument("--store", help="URL of an empty store (default: a DuckDB file)")
    chosen = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(chosen.store or f"duckdb:///{folder}/readings.duckdb")
        try:
            run(Path(folder), store, chosen.streams)
        finally:
            store.close()


if __name__ == "__main__":
    main()

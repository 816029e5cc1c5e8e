"""What the archive costs and gives: taking days in, reading them back, a late reading, an erasure.

    .venv/bin/python -m benchmarks.archive --streams 400 --days 90

Prints one line for each figure, beside the DuckDB store in the same run.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow as pa

from techport_storage.archive.rounds import Archiver
from techport_storage.archive.store import ArchivedStore
from techport_storage.archive.table import ArchiveTable
from techport_storage.clock import now
from techport_storage.microseconds import DAY, MINUTE
from techport_storage.model import Batch, BucketWidth, Query, Selection, Stream
from techport_storage.store import ReadingStore, open_store
from tests.cluster.archives import in_this_process


def batches(streams: int, days: int, step: int) -> Iterator[Batch]:
    """Days of readings with one decimal, as sensors send them, the oldest first."""
    names = [Stream(f"pilot-{number % 4}", f"device-{number:05d}", "pm10") for number in range(streams)]
    random = np.random.default_rng(1)
    first = (now() // DAY - days) * DAY
    times = np.arange(0, DAY, step)
    for day in range(days):
        time_of_day = np.tile(first + day * DAY + times, streams)
        yield Batch(
            streams=names,
            stream=np.repeat(np.arange(streams, dtype=np.int32), len(times)),
            time=time_of_day,
            value=np.round(random.normal(20, 5, len(time_of_day)), 1),
            received=time_of_day + 120_000,
            quality=np.zeros(len(time_of_day), np.uint8),
        )


def timed(name: str, work: Callable[[], object]) -> None:
    started, processor = time.perf_counter(), time.process_time()
    told = work()
    print(
        f"{name:58} {time.perf_counter() - started:8.2f} s {time.process_time() - processor:8.2f} CPU s  {told}",
        flush=True,
    )


def rows(store: ReadingStore, query: Query) -> int:
    with store.read(query) as reader:
        return sum(int(batch.num_rows) for batch in reader)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=400)
    parser.add_argument("--days", type=int, default=90)
    parser.add_argument("--minutes", type=int, default=5, help="between two readings of a stream")
    asked = parser.parse_args()
    pa.array([0])
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        with closing(open_store(f"duckdb:///{place}/readings.duckdb")) as recent:
            measure(recent, place, asked)


def measure(recent: ReadingStore, place: Path, asked: argparse.Namespace) -> None:
    store = ArchivedStore(recent, ArchiveTable.open(str(place / "archive")), in_this_process)
    written = sum(recent.write(batch).written for batch in batches(asked.streams, asked.days, asked.minutes * MINUTE))
    print(f"{written} readings of {asked.streams} streams and {asked.days} days")
    stream = Selection(streams=(Stream("pilot-1", "device-00001", "pm10"),))
    middle = (now() // DAY - asked.days // 2) * DAY
    questions = {
        "one stream, one day, raw": Query(select=stream, start=middle, end=middle + DAY),
        "one stream, all days, raw": Query(select=stream, end=middle + 10 * DAY),
        "one stream, all days, hourly mean": Query(select=stream, every=BucketWidth(1, "h")),
        "one pilot, ten days, hourly mean": Query(
            select=Selection(pilots=("pilot-1",)), start=middle, end=middle + 10 * DAY, every=BucketWidth(1, "h")
        ),
        "everything, daily mean": Query(every=BucketWidth(1, "d")),
    }
    for name, query in questions.items():
        timed(f"store: {name}", lambda query=query: rows(recent, query))  # type: ignore[misc]
    archiver = Archiver(store, keep_months=1, grace_s=0)
    timed("a round: all closed days in, old ones out of the store", archiver.round)
    files = store.table.snapshot().files
    count, size = sum(file.rows for file in files), sum(file.size for file in files)
    print(f"{count} readings in {len(files)} files, {size / 1e6:.1f} MB, {size / count:.2f} bytes each")
    for name, query in questions.items():
        timed(f"archive: {name}", lambda query=query: rows(store, query))  # type: ignore[misc]
    timed("opening it anew", lambda: len(ArchiveTable.open(str(place / "archive")).snapshot().files))
    late = next(batches(1, asked.days, 6 * 60 * MINUTE))
    timed("a late write of four readings", lambda: store.write(late).written)
    timed("the round that merges it", archiver.round)
    timed("erasing one device", lambda: store.erase(Selection(devices=("device-00001",))))


if __name__ == "__main__":
    main()

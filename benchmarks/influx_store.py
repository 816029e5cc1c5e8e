"""InfluxStore against a bare connection to the same server, in one run: writing, reading, and what a receipt costs.

    .venv/bin/python -m benchmarks.influx_store [--rows 500000]

Starts an influxd of its own on the loopback. Every figure is a median; the two sides of a ratio take turns, so that a
busy machine slows both. CPU seconds are of this process (client) and of influxd (server), from /proc.
"""

from __future__ import annotations

import argparse
import http.client
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.processes import cpu_seconds
from techport_storage.buckets import parse_width
from techport_storage.influxdb.line_protocol import Lines
from techport_storage.microseconds import SECOND
from techport_storage.model import Aggregate, Batch, Query, Selection, Stream
from techport_storage.store import ReadingStore, open_store
from tests.servers.influxd import ORG, Influxd, start_influxd

START = 1_700_000_000 * SECOND
BATCH = 5_000


@dataclass
class Cost:
    wall: float
    client: float
    server: float


def measured(server: Influxd, work: Callable[[], object]) -> Cost:
    begin = time.perf_counter(), time.process_time(), cpu_seconds(server.pid)
    work()
    return Cost(time.perf_counter() - begin[0], time.process_time() - begin[1], cpu_seconds(server.pid) - begin[2])


def live(rows: int, streams: int, offset: int = 0) -> Iterator[Batch]:
    """What an ingest worker writes: every stream in turn, in the order of time."""
    names = [Stream(f"pilot-{i % 10}", f"device-{i // 5:04}", f"quantity_{i % 5}") for i in range(streams)]
    rng = np.random.default_rng(1)
    for begin in range(0, rows, BATCH):
        number = np.arange(begin, begin + BATCH)
        when = START + offset + number // streams * 10 * SECOND + number % streams * 1000
        value = np.round(rng.normal(15, 8, BATCH), 2)
        stream = (number % streams).astype(np.int32)
        yield Batch(names, stream, when, value, when + 120_000, np.zeros(BATCH, np.uint8))


class Bare:
    """One kept-alive connection of Python's http.client, the body ready made: as little as a writer can do."""

    def __init__(self, server: Influxd, bucket: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port)
        self._path = f"/api/v2/write?org={ORG}&bucket={bucket}&precision=us"
        self._headers = {"Authorization": f"Token {server.token}"}

    def write(self, lines: bytes) -> None:
        self._connection.request("POST", self._path, lines, self._headers)
        answer = self._connection.getresponse()
        answer.read()
        assert answer.status == 204, answer.status


def writing(server: Influxd, rows: int, streams: int) -> None:
    """The same lines through both, turn by turn, each into a bucket of its own."""
    encoder = Lines()
    bare = Bare(server, server.new_bucket())
    one, several = (open_store(server.url(server.new_bucket(), writers=w)) for w in ("one", "several"))
    zipped = open_store(server.url(server.new_bucket(), gzip="on"))
    twice = open_store(server.url(server.new_bucket()))
    batches = list(live(rows, streams))
    for store in (one, several, zipped):
        store.write(batches[0])
    bare.write(encoder.encode(batches[0], np.arange(BATCH)))
    costs: dict[str, list[Cost]] = {"bare": [], "one": [], "several": [], "gzip": [], "again": []}
    for turn, batch in enumerate(batches[1:]):
        lines = encoder.encode(batch, np.arange(BATCH))
        work: dict[str, Callable[[], object]] = {
            "bare": lambda lines=lines: bare.write(lines),  # type: ignore[misc]
            "one": lambda batch=batch: one.write(batch),  # type: ignore[misc]
            "several": lambda batch=batch: several.write(batch),  # type: ignore[misc]
            "gzip": lambda batch=batch: zipped.write(batch),  # type: ignore[misc]
            "again": lambda batch=batch: twice.write(batch),  # type: ignore[misc]
        }
        twice.write(batch)
        names = ["bare", "one", "several", "gzip"]
        for name in (*(names if turn % 2 else names[::-1]), "again"):
            costs[name].append(measured(server, work[name]))
    print(f"\n## Writing {len(batches) - 1} batches of {BATCH} rows, {streams} streams\n")
    print("| | rows/s | of bare | rows per client CPU s | rows per server CPU s |\n|---|---|---|---|---|")
    base = statistics.median(c.wall for c in costs["bare"])
    for name, found in costs.items():
        wall = statistics.median(c.wall for c in found)
        sums = sum(c.client for c in found), sum(c.server for c in found)
        each = [f"{BATCH * len(found) / s / 1000:,.0f} k" for s in sums]
        print(f"| {name} | {BATCH / wall / 1000:,.0f} k | {base / wall:.0%} | {each[0]} | {each[1]} |")
    for store in (one, several, zipped, twice):
        store.close()


def timed(work: Callable[[], object], times: int = 7) -> float:
    found = []
    for _ in range(times):
        begin = time.perf_counter()
        work()
        found.append(time.perf_counter() - begin)
    return statistics.median(found) * 1000


def reading(server: Influxd) -> None:
    """100 streams of 5,000 points, a minute apart, in one pilot; 1,000 streams in another."""
    store = open_store(server.url(server.new_bucket()))
    for i in range(100):
        when = START + np.arange(5000, dtype=np.int64) * 60 * SECOND
        value = np.random.default_rng(i).normal(10, 5, 5000)
        stream = np.zeros(5000, np.int32)
        name = Stream("hundred", f"d{i:03}", "temperature")
        store.write(Batch([name], stream, when, value, when, np.zeros(5000, np.uint8)))
    for batch in live(100_000, 1000, offset=int(time.time() * SECOND) - START - 1100 * SECOND):
        store.write(batch)
    print("\n## Reading, ms\n\n| | ms |\n|---|---|")
    for shape, work in shapes(store).items():
        print(f"| {shape} | {timed(work):.1f} |")
    store.close()


def shapes(store: ReadingStore) -> dict[str, Callable[[], object]]:
    hundred, one = Selection(pilots=("hundred",)), Selection(devices=("d050",))
    live_ones = Selection(pilots=tuple(f"pilot-{i}" for i in range(10)))
    everything: tuple[Aggregate, ...] = ("mean", "min", "max", "sum", "count", "first", "last")
    end = START + 5000 * 60 * SECOND

    def query(select: Selection, every: str | None = None, **more: object) -> Callable[[], object]:
        width = parse_width(every) if every else None
        asked = Query(select=select, every=width, start=START, end=end, **more)  # type: ignore[arg-type]
        return lambda: store.read(asked).read_all()

    return {
        "one stream, 5,000 rows": query(one),
        "100 streams x 5,000 rows": query(hundred),
        "first page of 1,000 of those": query(hundred, limit=1000),
        "100 x 5,000, hourly mean (and count)": query(hundred, "1h"),
        "100 x 5,000, hourly, seven aggregates": query(hundred, "1h", aggregates=everything),
        "100 x 5,000, hourly mean of good readings": query(hundred, "1h", quality="good"),
        "100 x 5,000, hourly median": query(hundred, "1h", aggregates=("median",)),
        "100 x 5,000, mean of days in Oslo": query(hundred, "1d", zone="Europe/Oslo"),
        "one stream, hourly mean": query(one, "1h"),
        "one stream, hourly median and std": query(one, "1h", aggregates=("median", "std")),
        "latest of 1,000 streams": lambda: store.latest(live_ones),
        "streams (1,100)": lambda: store.streams(Selection()),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--streams", type=int, default=1000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server = start_influxd(Path(folder))
        try:
            writing(server, given.rows, given.streams)
            reading(server)
        finally:
            server.stop()


if __name__ == "__main__":
    main()

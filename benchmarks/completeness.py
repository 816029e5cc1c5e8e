"""Completeness of 1,000 streams over one year, on the embedded store or on an InfluxDB of our own.

nice .venv/bin/python -m benchmarks.completeness [--streams 1000] [--interval-minutes 60] [--influx]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from techport_pilots.quality.completeness import stream_completeness, together
from techport_storage.coverage import coverage_by_reading
from techport_storage.microseconds import DAY, MINUTE
from techport_storage.model import Batch, Stream
from techport_storage.store import open_store
from tests.servers.influxd import start_influxd

START, YEAR = 1_735_689_600_000_000, 365 * DAY


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--interval-minutes", type=int, default=60)
    parser.add_argument("--influx", action="store_true", help="with the figures of reading them all beside it")
    wanted = parser.parse_args()
    interval = wanted.interval_minutes * MINUTE
    streams = [Stream("p", f"d{i:04}", "pm10") for i in range(wanted.streams)]
    random = np.random.default_rng(1)
    with ExitStack() as closing:
        folder = Path(closing.enter_context(tempfile.TemporaryDirectory()))
        url = f"duckdb:///{folder}/readings.duckdb"
        if wanted.influx:
            server = start_influxd(folder)
            closing.callback(server.stop)
            url = server.url(server.new_bucket())
        store = open_store(url)
        closing.callback(store.close)
        for first in range(0, len(streams), 20):
            some = streams[first : first + 20]
            there = random.random((len(some), YEAR // interval)) < 0.97
            stream, slot = np.nonzero(there)
            times = START + interval * slot
            quality = (random.random(len(slot)) < 0.01).astype(np.uint8)
            store.write(Batch(some, stream.astype(np.int32), times, random.random(len(slot)), times, quality))
        asked = dict.fromkeys(streams, interval)
        for _ in range(3):
            wall, cpu = time.perf_counter(), time.process_time()
            found = stream_completeness(store, asked, START, START + YEAR)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            whole = together(found.values())
            print(f"{whole.readings:,} readings, {whole.share:.1%} complete: {wall:.2f} s, {cpu:.2f} CPU-seconds here")
        if wanted.influx:
            wall, cpu = time.perf_counter(), time.process_time()
            coverage_by_reading(store, asked, START, START + YEAR)
            print(f"by reading them all: {time.perf_counter() - wall:.2f} s, {time.process_time() - cpu:.2f} here")


if __name__ == "__main__":
    main()

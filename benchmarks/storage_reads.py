"""How the embedded store grows: write speed, size and read times from one to a hundred million readings.

    python -m benchmarks.storage_reads --rows 1e6,1e7,1e8 [--folder DIR]

190 streams over one year. The readings come in the order of their arrival through DuckStore.write, as the pipeline
sends them (but in larger batches), so that compaction runs as it does in the field. Reads are repeated with the file's
pages warm: the shortest time on the clock and the median of processor time are printed. Results: benchmarks/STORAGE.md.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from techport_storage.duckdb.store import DuckStore
from techport_storage.microseconds import DAY, HOUR, SECOND
from techport_storage.model import Batch, BucketWidth, Query, Selection, Stream

STREAMS = 190
YEAR = 365 * DAY
START = 1_704_067_200 * SECOND  # 2024-01-01


def names(count: int) -> list[Stream]:
    quantities = ("temperature", "humidity", "pm10", "pm2_5", "noise")
    return [Stream(f"pilot-{i % 7}", f"device-{i // 5:04d}", quantities[i % 5]) for i in range(count)]


def year_of_readings(rows: int, at_once: int) -> Iterator[Batch]:
    """Batches in order of arrival.

    Values are daily and yearly waves with noise and a random walk, with one or two decimals. Of five devices two send
    on the full interval, two some seconds beside it and one with milliseconds; delays are lognormal about 120 ms.
    One row in a thousand is flagged, one in five hundred is delivered twice, and each device is cut off for an hour in
    every fifty or so, and sends what it has when it is back.
    """
    streams = names(STREAMS)
    rng = np.random.default_rng(2024)
    ticks = rows // STREAMS
    interval = max(1, round(YEAR / SECOND / ticks)) * SECOND
    per_batch = max(1, at_once // STREAMS)
    number = np.arange(STREAMS, dtype=np.int32)
    phase = rng.integers(0, interval // SECOND + 1, STREAMS) * SECOND
    jitter = np.choose(number // 5 % 5, [0, 0, 2 * SECOND, 2 * SECOND, interval // 60])
    grain = np.choose(number // 5 % 5, [SECOND, SECOND, SECOND, SECOND, 1000])
    decimals = number % 2 + 1
    walk = np.zeros(STREAMS)
    for begin in range(0, ticks, per_batch):
        count = min(per_batch, ticks - begin)
        time = START + np.arange(begin, begin + count)[:, None] * interval + phase
        time += rng.integers(0, 1 << 31, time.shape) % (jitter + 1) // grain * grain
        steps = np.cumsum(rng.normal(0, 0.05, time.shape), axis=0) + walk
        walk = steps[-1] * 0.9
        daily, yearly = np.sin(time / DAY * 2 * np.pi + number), np.sin(time / YEAR * 2 * np.pi)
        waves = 6 * daily + 9 * yearly
        scale = 10.0 ** np.broadcast_to(decimals, time.shape)
        value = np.round((15 + waves + steps + rng.normal(0, 0.4, time.shape)) * scale) / scale
        delay = (rng.lognormal(np.log(120), 0.4, time.shape) * 1000).astype(np.int64)
        hour = time // HOUR
        back = (hour * 7919 + number // 5 * 104_729) % 50 == 0
        delay = np.where(back, (hour + 1) * HOUR - time + delay, delay)
        yield _arranged(rng, streams, np.broadcast_to(number, time.shape), time, value, time + delay)


def _arranged(
    rng: np.random.Generator,
    streams: list[Stream],
    stream: np.ndarray,
    time: np.ndarray,
    value: np.ndarray,
    received: np.ndarray,
) -> Batch:
    stream, time, value, received = (column.reshape(-1) for column in (stream, time, value, received))
    order = np.argsort(received, kind="stable")
    again = np.sort(rng.choice(len(order), len(order) // 500, replace=False))
    order = np.insert(order, again, order[again])
    quality = (rng.random(len(time)) < 0.001).astype(np.uint8)
    return Batch(streams, stream[order].astype(np.int32), time[order], value[order], received[order], quality[order])


def milliseconds(ask: Callable[[int], object], times: int = 15) -> tuple[float, float]:
    """What ask(i) takes: the shortest time on the clock, and the median of processor time (of all threads)."""
    ask(0)
    wall, cpu = [], []
    for i in range(times):
        begin, begin_cpu = time.perf_counter(), time.process_time()
        ask(i)
        wall.append((time.perf_counter() - begin) * 1000)
        cpu.append((time.process_time() - begin_cpu) * 1000)
    return min(wall), statistics.median(cpu)


def reads(store: DuckStore, devices: list[Stream]) -> dict[str, float | tuple[float, float]]:
    day = DAY

    def one(i: int) -> Selection:
        return Selection(streams=(devices[i * 37 % len(devices)],))

    def stream_day(i: int) -> object:
        start = START + (40 + 19 * i) * day
        return store.read(Query(select=one(i), start=start, end=start + day)).read_all()

    def stream_year(i: int) -> object:
        every = BucketWidth(YEAR // SECOND // 1000, "s")
        return store.read(Query(select=one(i), every=every, aggregates=("min", "max"))).read_all()

    def month_hourly(i: int) -> object:
        start = START + (30 + 20 * i) * day
        select = Selection(streams=tuple(devices[:100]))
        return store.read(Query(select=select, start=start, end=start + 30 * day, every=BucketWidth(1, "h"))).read_all()

    def year_daily(i: int) -> object:
        return store.read(Query(select=one(i), every=BucketWidth(1, "d"), zone="Europe/Oslo")).read_all()

    def page(i: int) -> object:
        return store.read(Query(start=START + (40 + 19 * i) * day, limit=1000)).read_all()

    return {
        "stream-day, raw": milliseconds(stream_day),
        "stream-year, 1,000 x min/max": milliseconds(stream_year),
        "stream-year, local days": milliseconds(year_daily),
        "100 streams x 30 days, hourly": milliseconds(month_hourly, 7),
        "page of 1,000 rows": milliseconds(page),
        "latest of all": milliseconds(lambda i: store.latest(Selection())),
    }


def grow(folder: Path, rows: int, at_once: int) -> dict[str, float | tuple[float, float]]:
    """Write so many rows, open again, read."""
    path = folder / f"{rows}.duckdb"
    path.unlink(missing_ok=True)
    store = DuckStore.open(f"duckdb:///{path}")
    written = duplicates = 0
    generating = 0.0
    wall, cpu = time.perf_counter(), time.process_time()
    source = year_of_readings(rows, at_once)
    while True:
        begin = time.thread_time()
        batch = next(source, None)
        generating += time.thread_time() - begin
        if batch is None:
            break
        receipt = store.write(batch)
        written += receipt.written
        duplicates += receipt.duplicates + receipt.corrections
    store.close()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu - generating
    begin = time.perf_counter()
    store = DuckStore.open(f"duckdb:///{path}")
    opened = time.perf_counter() - begin
    result = {
        "rows": written,
        "duplicates": duplicates,
        "k rows per CPU second": (written + duplicates) / cpu / 1000,
        "bytes a reading": path.stat().st_size / written,
        "open, ms": opened * 1000,
        **reads(store, names(STREAMS)),
        "latest of 1,000 streams": latest_of_thousand(),
    }
    print(f"  ({wall:.0f} s of writing and making readings)", flush=True)
    store.close()
    return result


def latest_of_thousand() -> tuple[float, float]:
    store = DuckStore.open("duckdb://")
    many = names(1000)
    stream = np.arange(1000, dtype=np.int32)
    time = np.full(1000, START)
    store.write(Batch(many, stream, time, stream / 10, time, np.zeros(1000, np.uint8)))
    taken = milliseconds(lambda i: store.latest(Selection()))
    store.close()
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="1e6,1e7", help="sizes, with commas between")
    parser.add_argument("--batch", type=int, default=50_000, help="rows a write")
    parser.add_argument("--folder", type=Path, help="where to write; a folder that is removed otherwise")
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="techport-bench-"))
    try:
        for rows in (int(float(text)) for text in arguments.rows.split(",")):
            for name, number in grow(folder, rows, arguments.batch).items():
                if isinstance(number, tuple):
                    print(f"{name:40} {number[0]:8.1f} ms  {number[1]:8.1f} CPU ms", flush=True)
                else:
                    print(f"{name:40} {number:10,.1f}", flush=True)
    finally:
        if not arguments.folder:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()

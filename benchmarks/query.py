"""How fast questions are answered as readings grow: both stores, asked directly and over HTTP, in one run.

    python -m benchmarks.query --rows 1e6,1e7,1e8 [--stores duckdb,influxdb] [--folder FOLDER]

190 streams over one year (storage_reads.py). Milliseconds, the median of fifteen answers, each about another stream or
another day; beside them the processor time of an answer, in the process that has the store open (of InfluxDB that is
not the server). It is what to compare where the machine is busy. Prints a table for each store and draws the growth in
docs/pictures/query.svg; results are in QUERY.md. What is filled for DuckDB stays in FOLDER, and is used again.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import numpy as np

from benchmarks import api_ground
from benchmarks.api_ground import Client, get
from benchmarks.processes import cpu_seconds
from benchmarks.storage_reads import START, STREAMS, YEAR, names, year_of_readings
from techport_dashboards import WebSettings, create_app
from techport_dashboards.web.server import WebServer
from techport_pilots.access.operator_token import OperatorToken, read_token
from techport_pilots.definition.load import parse_definition
from techport_pilots.registry.registry import Registry
from techport_storage.microseconds import DAY, SECOND
from techport_storage.model import BucketWidth, Query, Selection, Stream
from techport_storage.store import ReadingStore, open_store
from tests.servers.influxd import Influxd, start_influxd
from tests.servers.mosquitto import free_port

TIMES = 15
PICTURE = Path(__file__).parent.parent / "docs" / "pictures" / "query.svg"
QUESTIONS = ("stream-day, raw", "stream-year, 2,000 means", "stream-year, local days", "100 streams x 30 days, hourly")


def chosen_stream(i: int) -> Stream:
    return names(STREAMS)[i * 37 % STREAMS]


def of_store(store: ReadingStore) -> Mapping[str, Callable[[int], object]]:
    """Each question as the store is asked it."""

    def ask(select: Selection, first: int, days: int, every: BucketWidth | None = None) -> object:
        start = START + first * DAY
        query = Query(select=select, start=start, end=start + days * DAY, every=every, zone="Europe/Oslo")
        return store.read(query).read_all()

    def one(i: int) -> Selection:
        return Selection(streams=(chosen_stream(i),))

    hundred = Selection(streams=tuple(names(STREAMS)[:100]))
    points = BucketWidth(YEAR // SECOND // 2_000, "s")
    return {
        QUESTIONS[0]: lambda i: ask(one(i), 40 + 19 * i, 1),
        QUESTIONS[1]: lambda i: ask(one(i), 0, 365, points),
        QUESTIONS[2]: lambda i: ask(one(i), 0, 365, BucketWidth(1, "d")),
        QUESTIONS[3]: lambda i: ask(hundred, 10 + 20 * i, 30, BucketWidth(1, "h")),
    }


def of_http() -> Mapping[str, Callable[[int], object]]:
    """Each question as the API is asked it."""

    def ask(stream: Stream, devices: str, first: int, days: int, more: str) -> object:
        start, end = (
            time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(START / 1e6 + 86_400 * day))
            for day in (first, first + days)
        )
        path = f"/api/v1/readings?pilot={stream.pilot}&device={devices}&start={start}&end={end}&limit=20000{more}"
        status, size = asyncio.run(get(path))
        assert status == 200, (status, path)
        assert size > 100, path
        return size

    def one(i: int, first: int, days: int, more: str) -> object:
        stream = chosen_stream(i)
        return ask(stream, stream.device, first, days, f"&quantity={stream.quantity}{more}")

    # A pilot has a seventh of the streams: four answers of its thirty each.
    pilot = names(STREAMS)[0].pilot
    devices = ",".join(sorted({stream.device for stream in names(STREAMS) if stream.pilot == pilot}))
    return {
        QUESTIONS[0]: lambda i: one(i, 40 + 19 * i, 1, ""),
        QUESTIONS[1]: lambda i: one(i, 0, 365, f"&every=PT{YEAR // SECOND // 2_000}S"),
        QUESTIONS[2]: lambda i: one(i, 0, 365, f"&every=P1D&zone={quote('Europe/Oslo')}"),
        "one pilot's streams x 30 days, hourly": lambda i: ask(
            names(STREAMS)[0], devices, 10 + 20 * i, 30, "&every=PT1H&format=csv"
        ),
    }


class Taken(NamedTuple):
    """What an answer takes, in ms."""

    wall: float
    cpu: float


def milliseconds(asked: Mapping[str, Callable[[int], object]], pid: int) -> dict[str, Taken]:
    """Of each question, asked of the process `pid`."""
    taken: dict[str, Taken] = {}
    for name, ask in asked.items():
        ask(0)
        each = []
        before = cpu_seconds(pid)
        for i in range(1, TIMES + 1):
            begin = time.perf_counter()
            ask(i)
            each.append((time.perf_counter() - begin) * 1_000)
        taken[name] = Taken(statistics.median(each), (cpu_seconds(pid) - before) * 1_000 / TIMES)
    return taken


def measure(folder: Path, url: str, rows: int) -> dict[str, Taken]:
    """Fill the store, unless an earlier run has, and ask it, then the web process over it."""
    filled = folder / f"{rows}.filled"
    store = open_store(url)
    if not (url.startswith("duckdb:") and filled.exists()):
        for batch in year_of_readings(rows, 50_000):
            store.write(batch)
        if url.startswith("duckdb:"):
            filled.touch()
    taken = {f"{name} (store)": value for name, value in milliseconds(of_store(store), os.getpid()).items()}
    store.close()
    with web_process(folder, url) as pid:
        taken |= {f"{name} (HTTP)": value for name, value in milliseconds(of_http(), pid).items()}
    return taken


def register(folder: Path) -> None:
    """The pilots and devices of the readings."""
    registry = Registry.open(f"sqlite:///{folder}/registry.sqlite")
    streams = names(STREAMS)
    for pilot in sorted({stream.pilot for stream in streams}):
        devices = sorted({stream.device for stream in streams if stream.pilot == pilot})
        text = f'id: {pilot}\ntitle: {{en: P}}\nquestion: {{en: "P?"}}\ndevices:\n'
        text += "".join(f"  - {{id: {device}, interval: PT10M}}\n" for device in devices)
        registry.import_pilot(parse_definition(text), text, "benchmark")
    registry.close()


def serve(folder: Path, url: str, port: int) -> None:
    registry = Registry.open(f"sqlite:///{folder}/registry.sqlite")
    store = open_store(url)
    settings = WebSettings(rate_limit=0, token=OperatorToken.of(folder))
    WebServer(create_app(registry, store, settings=settings), "127.0.0.1", port).run()
    store.close()
    registry.close()


@contextmanager
def web_process(folder: Path, url: str) -> Iterator[int]:
    """Its process id."""
    OperatorToken.of(folder)
    Client.authorization = f"Bearer {read_token(folder)}"
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.query", "--serve", str(folder), url, str(api_ground.PORT)]
    )
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                asyncio.run(get("/healthz"))
                break
            except OSError:
                assert time.monotonic() < deadline, "the web process did not start"
                time.sleep(0.1)
        yield process.pid
    finally:
        process.terminate()
        process.wait(60)


def table(sizes: list[int], taken: list[dict[str, Taken]]) -> str:
    lines = ["| ms (of CPU) | " + " | ".join(f"{size:,}" for size in sizes) + " |", "| --- |" + " ---: |" * len(sizes)]
    lines += [
        "| " + " | ".join([name, *(f"{one[name].wall:.1f} ({one[name].cpu:.1f})" for one in taken)]) + " |"
        for name in taken[0]
    ]
    return "\n".join(lines)


WIDTH, HEIGHT = 560, 150
COLOURS = ("#1d4ed8", "#dc2626", "#15803d", "#a16207")


def picture(sizes: list[int], results: Mapping[str, list[dict[str, Taken]]]) -> str:
    """A row for each store: ms of processor time over readings, both logarithmic; of the store full, of HTTP dashed."""
    parts = []
    low, high = 0.0, 4.0  # decades of milliseconds
    for row, (store, taken) in enumerate(results.items()):
        top = 30 + row * (HEIGHT + 60)
        title = f"{store}: ms of processor time, the store asked directly (full) and over HTTP (dashed)"
        parts.append(f'<text x="60" y="{top - 8}">{escape(title)}</text>')
        parts += [
            f'<text x="52" y="{top + HEIGHT * (1 - decade / high) + 4:.0f}" text-anchor="end">{10**decade:,}</text>'
            f'<path d="M60 {top + HEIGHT * (1 - decade / high):.0f}h{WIDTH}" stroke="#e2e8f0"/>'
            for decade in range(5)
        ]
        xs = [60 + WIDTH * (place + 0.5) / len(sizes) for place in range(len(sizes))]
        parts += [
            f'<text x="{x:.0f}" y="{top + HEIGHT + 16}" text-anchor="middle">{size:,}</text>'
            for x, size in zip(xs, sizes, strict=True)
        ]
        for number, name in enumerate(taken[0]):
            decades = np.clip([np.log10(max(one[name].cpu, 1.0)) for one in taken], low, high)
            points = [(x, top + HEIGHT * (1 - decade / high)) for x, decade in zip(xs, decades, strict=True)]
            colour, dash = COLOURS[number % 4], ' stroke-dasharray="5 3"' if "HTTP" in name else ""
            line = " ".join(f"{x:.0f},{y:.0f}" for x, y in points)
            parts.append(f'<polyline points="{line}" stroke="{colour}" fill="none"{dash}/>')
            parts += [f'<circle cx="{x:.0f}" cy="{y:.0f}" r="3" fill="{colour}"/>' for x, y in points]
    bottom = 30 + len(results) * (HEIGHT + 60)
    for number, name in enumerate(QUESTIONS):
        x, y = 60 + number % 2 * 290, bottom + number // 2 * 18
        parts.append(f'<text x="{x}" y="{y}" fill="{COLOURS[number]}">{escape(name)}</text>')
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH + 80} {bottom + 40}"'
    head += ' font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>\n'
    return head + "\n".join(parts) + "\n</svg>\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="1e6,1e7", help="sizes, with commas between")
    parser.add_argument("--stores", default="duckdb,influxdb")
    parser.add_argument("--folder", type=Path, help="where DuckDB's files stay")
    parser.add_argument(
        "--serve", nargs=3, metavar=("FOLDER", "URL", "PORT"), help="be the web process over that store"
    )
    options = parser.parse_args()
    if options.serve:
        serve(Path(options.serve[0]), options.serve[1], int(options.serve[2]))
        return
    api_ground.PORT = free_port()
    sizes = [int(float(text)) for text in options.rows.split(",")]
    results: dict[str, list[dict[str, Taken]]] = {name: [] for name in options.stores.split(",")}
    with contextlib.ExitStack() as ends:
        folder = options.folder or Path(ends.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        register(folder)
        server: Influxd | None = start_influxd(folder / "influxd") if "influxdb" in results else None
        try:
            for size in sizes:
                for store, taken in results.items():
                    duckdb = f"duckdb:///{folder / f'{size}.duckdb'}"
                    url = server.url(server.new_bucket()) if store == "influxdb" and server is not None else duckdb
                    taken.append(measure(folder, url, size))
                    print(f"{store}, {size:,} readings: {taken[-1]}", flush=True)
        finally:
            if server is not None:
                server.stop()
    for store, taken in results.items():
        print(f"\n{store}\n\n{table(sizes, taken)}")
    PICTURE.write_text(picture(sizes, results))


if __name__ == "__main__":
    main()

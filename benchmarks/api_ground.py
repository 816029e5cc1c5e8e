"""What the benchmarks of the API stand on: a store full of readings, made once, a web process over it, and clients.

python -m benchmarks.api_ground [--cache FOLDER]    makes the store; the benchmarks do, too, where it is not there yet
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from benchmarks.processes import cpu_seconds
from techport_dashboards import WebSettings, create_app
from techport_dashboards.web.server import WebServer
from techport_pilots.access.operator_token import OperatorToken, read_token
from techport_pilots.definition.load import parse_definition
from techport_pilots.registry.registry import Registry
from techport_storage.microseconds import MINUTE
from techport_storage.model import Batch, Stream
from techport_storage.store import open_store

STEP = 10 * MINUTE
START = 1_735_689_600_000_000  # 2025-01-01T00:00:00Z, a whole hour and day
PORT = 18_473
DEFINITION = """
id: p
title: {en: P}
question: {en: "P?"}
data_class: open
licence: CC0-1.0
devices:
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument(
        "--rows", type=int, default=50_000, help="of each stream: ten minutes apart, so 50,000 are a year"
    )
    parser.add_argument(
        "--cache", type=Path, default=Path.home() / ".cache/techport/benchmark-api", help="where the store is kept"
    )


def ready(options: argparse.Namespace) -> Path:
    """The folder with a store of that size and its registry, made where it is missing."""
    folder: Path = options.cache / f"{options.streams}x{options.rows}"
    if folder.is_dir():
        return folder
    making = folder.with_suffix(".part")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(parents=True)
    begun = time.process_time()
    fill(making, options.streams, options.rows)
    making.replace(folder)
    print(f"made {options.streams * options.rows:,} readings in {time.process_time() - begun:.0f} s of processor time")
    return folder


def fill(folder: Path, streams: int, rows: int) -> None:
    """Every stream's readings come in the order of time, as they do from devices: the store sorts them as it will."""
    registry = Registry.open(f"sqlite:///{folder}/registry.sqlite")
    names = [f"d{i:04}" for i in range(streams)]
    text = DEFINITION + "".join(
        f"  - {{id: {name}, interval: PT10M, position: {{lat: 63.4, lon: 10.4}}, streams: [{{quantity: pm10}}]}}\n"
        for name in names
    )
    registry.import_pilot(parse_definition(text), text, "benchmark")
    registry.close()
    store = open_store(f"duckdb:///{folder}/readings.duckdb")
    rng = np.random.default_rng(1)
    several = tuple(Stream("p", name, "pm10") for name in names)
    at_once = max(1, 250_000 // streams)
    for begin in range(0, rows, at_once):
        count = min(at_once, rows - begin)
        index = np.tile(np.arange(streams, dtype=np.int32), count)
        at = START + np.repeat(np.arange(begin, begin + count), streams) * STEP
        values = np.round(rng.gamma(2, 8, len(at)), 1)
        store.write(Batch(several, index, at, values, at + 1_000_000, np.zeros(len(at), np.uint8)))
    store.close()


def serve(folder: Path) -> None:
    registry = Registry.open(f"sqlite:///{folder}/registry.sqlite")
    store = open_store(f"duckdb:///{folder}/readings.duckdb")
    WebServer(
        create_app(registry, store, settings=WebSettings(rate_limit=0, token=OperatorToken.of(folder))),
        "127.0.0.1",
        PORT,
    ).run()
    store.close()
    registry.close()


class Server:
    """A web process of its own, looked at from outside."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._folder = Path("/proc") / str(pid)

    def cpu(self) -> float:
        """Seconds of processor time so far."""
        return cpu_seconds(self._pid)

    def peak(self) -> float:
        """Most resident memory since `forget_peak`, MB."""
        return self._status("VmHWM")

    def resident(self) -> float:
        return self._status("VmRSS")

    def forget_peak(self) -> None:
        (self._folder / "clear_refs").write_text("5")

    def _status(self, name: str) -> float:
        lines = (self._folder / "status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


@contextmanager
def web_process(folder: Path) -> Iterator[Server]:
    OperatorToken.of(folder)  # makes the token where there is none
    Client.authorization = f"Bearer {read_token(folder)}"
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.api_ground", "--serve", str(folder)])
    try:
        for _ in range(600):
            try:
                asyncio.run(get("/healthz"))
                break
            except OSError:
                time.sleep(0.1)
        else:
            raise SystemExit("the server did not start within a minute")
        yield Server(process.pid)
    finally:
        process.terminate()
        process.wait(30)


class Client:
    """One connection that asks and reads whole answers: as little work as there can be, as it shares the machine."""

    port = PORT
    authorization = ""  # of the web process that runs

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def connected(cls) -> Client:
        return cls(*await asyncio.open_connection("127.0.0.1", PORT, limit=1 << 22))

    async def get(self, path: str, take: Callable[[bytes], object] = len) -> tuple[int, int]:
        """(status, bytes of the body); each piece of the body goes to `take`."""
        self._writer.write(request_for(path))
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        status = int(head[9:12])
        size = 0
        if b"transfer-encoding: chunked" in head:
            while length := int(await self._reader.readuntil(b"\r\n"), 16):
                take(await self._reader.readexactly(length + 2))
                size += length
            await self._reader.readexactly(2)
        elif b"content-length: " in head:
            size = int(head.partition(b"content-length: ")[2].partition(b"\r")[0])
            take(await self._reader.readexactly(size))
        return status, size

    def close(self) -> None:
        self._writer.close()


def request_for(path: str) -> bytes:
    """What a client sends to get the path, with its credential."""
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{PORT}\r\nAuthorization: {Client.authorization}\r\n\r\n".encode()


async def get(path: str) -> tuple[int, int]:
    client = await Client.connected()
    try:
        return await client.get(path)
    finally:
        client.close()


def iso(minutes: float) -> str:
    """So many minutes behind the first reading."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(START / 1e6 + minutes * 60))


def main() -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    parser.add_argument("--serve", type=Path, help="be the web process over that folder")
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
    else:
        print(ready(options))


if __name__ == "__main__":
    main()

"""What large answers take: time, processor time and the web process's memory, of clients that are fast and slow.

python -m benchmarks.api_streams [--formats parquet,arrow,csv,ndjson] [--slow 20]

Ten million readings (200 streams of a year) are asked for in one request, from a web process that has done nothing
before. The slow client takes a megabyte a second, for so many seconds, and then goes away.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from pathlib import Path

from benchmarks.api_ground import Client, Server, add_arguments, ready, request_for, web_process

SOME = ",".join(f"d0{tens:02}*" for tens in range(20))  # d0000 to d0199


def path_of(form: str) -> str:
    return f"/api/v1/readings?pilot=p&device={SOME}&format={form}"


async def fast(form: str) -> int:
    client = await Client.connected()
    status, size = await client.get(path_of(form))
    client.close()
    if status != 200:
        raise SystemExit(f"{status}: {path_of(form)}")
    return size


async def slow(form: str, seconds: float) -> int:
    """Bytes that were taken."""
    reader, writer = await asyncio.open_connection("127.0.0.1", Client.port, limit=1 << 16)
    writer.write(request_for(path_of(form)))
    begun, size = time.monotonic(), 0
    while (passed := time.monotonic() - begun) < seconds:
        size += len(await reader.read(100_000))
        await asyncio.sleep(max(0.0, size / 1e6 - passed))
    writer.transport.abort()
    return size


def measured(folder: Path, form: str, slow_for: float) -> str:
    with web_process(folder) as server:
        idle = server.resident()
        server.forget_peak()
        begun, cpu = time.perf_counter(), server.cpu()
        size = asyncio.run(slow(form, slow_for) if slow_for else fast(form))
        wall, cpu, peak = time.perf_counter() - begun, server.cpu() - cpu, server.peak()
        after = _cpu_when_left(server) if slow_for else 0.0
    left = f" {after:.2f} |" if slow_for else ""
    return f"| {form} | {size / 1e6:.0f} | {wall:.1f} | {cpu:.1f} | {idle:.0f} | {peak:.0f} |{left}"


def _cpu_when_left(server: Server) -> float:
    """Processor time of three seconds, from a second after the client has gone."""
    time.sleep(1)
    before = server.cpu()
    time.sleep(3)
    return server.cpu() - before


def main() -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    parser.add_argument("--formats", default="parquet,arrow,csv,ndjson")
    parser.add_argument("--slow", type=float, default=0, help="seconds that a slow client reads; 0: a fast one")
    options = parser.parse_args()
    folder = ready(options)
    print(
        "| format | MB | s | CPU s | memory idle, MB | at most, MB |"
        + (" CPU s after it left |" if options.slow else "")
    )
    for form in options.formats.split(","):
        print(measured(folder, form, options.slow), flush=True)


if __name__ == "__main__":
    main()

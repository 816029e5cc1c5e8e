"""How fast the API answers over the embedded store: one web process, some clients over loopback, percentiles.

python benchmarks/api_reads.py [--streams 1000] [--hours 5000] [--clients 8] [--seconds 4]
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import httpx
import numpy as np

from techport_dashboards import WebSettings, create_app
from techport_dashboards.server import WebServer
from techport_pilots.definition import parse_definition
from techport_pilots.registry import Registry
from techport_storage.model import Batch, Stream
from techport_storage.store import open_store

MINUTE = 60_000_000
START = 1_760_000_000_000_000 // MINUTE * MINUTE
PORT = 18_473
DEFINITION = """
id: p
title: {en: P}
question: {en: "P?"}
devices:
"""


def fill(folder: Path, streams: int, rows: int, step: int) -> None:
    registry = Registry.open(f"sqlite:///{folder}/registry.sqlite")
    names = [f"d{i:04}" for i in range(streams)]
    text = DEFINITION + "".join(
        f"  - {{id: {name}, interval: PT{step}M, position: {{lat: 63.4, lon: 10.4}}, streams: [{{quantity: pm10}}]}}\n"
        for name in names
    )
    registry.import_pilot(parse_definition(text), text, "benchmark")
    registry.close()
    store = open_store(f"duckdb:///{folder}/readings.duckdb")
    rng = np.random.default_rng(1)
    for begin in range(0, streams, 50):
        part = [Stream("p", name, "pm10") for name in names[begin : begin + 50]]
        index = np.repeat(np.arange(len(part), dtype=np.int32), rows)
        at = np.tile(START + np.arange(rows) * step * MINUTE, len(part))
        values = np.round(rng.gamma(2, 8, len(at)), 1)
        store.write(Batch(part, index, at, values, at + 1_000_000, np.zeros(len(at), np.uint8)))
    store.close()


def serve(folder: Path) -> None:
    registry = Registry.open(f"sqlite:///{folder}/registry.sqlite")
    store = open_store(f"duckdb:///{folder}/readings.duckdb")
    WebServer(create_app(registry, store, settings=WebSettings(rate_limit=0)), "127.0.0.1", PORT).run()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak resident memory of the server: {peak:.0f} MB")


def wait_until_alive() -> None:
    for _ in range(600):
        try:
            httpx.get(f"http://127.0.0.1:{PORT}/healthz", trust_env=False).raise_for_status()
            return
        except httpx.TransportError:
            time.sleep(0.1)
    raise SystemExit("the server did not start within a minute")


def measure(path: str, clients: int, seconds: float) -> tuple[int, float, float]:
    """(answers, median, 95th percentile) in ms."""
    taken: list[float] = []
    until = time.monotonic() + seconds

    def ask() -> None:
        with httpx.Client(base_url=f"http://127.0.0.1:{PORT}", timeout=60, trust_env=False) as client:
            while not taken or time.monotonic() < until:
                begun = time.perf_counter()
                client.get(path).raise_for_status()
                taken.append((time.perf_counter() - begun) * 1000)

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(taken), float(np.percentile(taken, 50)), float(np.percentile(taken, 95))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--rows", type=int, default=5000, help="of each stream")
    parser.add_argument("--step", type=int, default=10, help="minutes between readings")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--serve", type=Path)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return
    iso = lambda minutes: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(START / 1e6 + minutes * 60))  # noqa: E731
    readings = "/api/v1/readings?pilot=p"
    hundred = ",".join(f"d{i:04}" for i in range(100))
    month = f"start={iso(0)}&end={iso(30 * 24 * 60)}"
    latest = "$expand=Observations($top=1;$orderby=phenomenonTime desc;$select=result)&$select=id"
    questions = {
        "latest of all streams": "/api/v1/latest?limit=10000",
        "a stream-day, raw": f"{readings}&device=d0500&start={iso(1440)}&end={iso(2880)}",
        "a stream, hourly mean": f"{readings}&device=d0500&every=PT1H&limit=20000",
        "100 streams x 30 days, hourly mean": f"{readings}&device={hundred}&every=PT1H&{month}&format=parquet",
        "SensorThings: latest of all Datastreams": f"/sta/v1.1/Datastreams?$top=1000&{latest}",
    }
    with tempfile.TemporaryDirectory() as folder:
        fill(Path(folder), options.streams, options.rows, options.step)
        server = subprocess.Popen([sys.executable, __file__, "--serve", folder])
        try:
            wait_until_alive()
            for clients in (1, options.clients):
                for name, path in questions.items():
                    measure(path, 1, 0.1)
                    count, median, p95 = measure(path, clients, options.seconds)
                    print(
                        f"{clients} clients, {name}: {count} answers, median {median:.1f} ms, p95 {p95:.1f} ms",
                        flush=True,
                    )
            begun = time.perf_counter()
            with httpx.stream(
                "GET", f"http://127.0.0.1:{PORT}{readings}&format=parquet", timeout=120, trust_env=False
            ) as answer:
                size = sum(len(piece) for piece in answer.iter_bytes())
            taken = time.perf_counter() - begun
            print(f"{options.streams * options.rows:,} readings as Parquet: {taken:.1f} s, {size / 1e6:.0f} MB")
        finally:
            server.terminate()
            server.wait(30)


if __name__ == "__main__":
    main()

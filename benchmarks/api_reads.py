"""How fast the API answers over the embedded store: one web process, some clients over loopback, percentiles.

python -m benchmarks.api_reads [--clients 8] [--seconds 4] [--only WORD]

Every request asks of another stream, or another day, so that no answer can be one that was given before.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from collections.abc import Callable, Mapping
from urllib.parse import quote

import numpy as np

from benchmarks.api_ground import Client, Server, add_arguments, iso, ready, web_process

READINGS = "/api/v1/readings?pilot=p"
DAY = 24 * 60
Question = Callable[[random.Random], str]


def questions(streams: int, days: int) -> Mapping[str, tuple[Question, int]]:
    """Of each name the path to ask for, and the target in ms."""

    def stream_day(rng: random.Random) -> str:
        day = rng.randrange(days) * DAY
        return f"{READINGS}&device=d{rng.randrange(streams):04}&start={iso(day)}&end={iso(day + DAY)}"

    def stream_year(rng: random.Random) -> str:
        return f"{READINGS}&device=d{rng.randrange(streams):04}&every=PT1H&limit=20000"

    def hundred_months(form: str) -> Question:
        def ask(rng: random.Random) -> str:
            first, day = rng.randrange(max(1, streams - 100)), rng.randrange(max(1, days - 30)) * DAY
            several = ",".join(f"d{i:04}" for i in range(first, min(streams, first + 100)))
            return f"{READINGS}&device={several}&every=PT1H&start={iso(day)}&end={iso(day + 30 * DAY)}&format={form}"

        return ask

    expand = "Observations($top=1;$orderby=phenomenonTime desc)"
    things = f"/sta/v1.1/Datastreams?$top=1000&$expand={quote(expand, safe='$=;()')}"
    return {
        "latest of all streams": (lambda _: "/api/v1/latest?limit=10000", 50),
        "a stream-day, raw": (stream_day, 15),
        "a stream-year, hourly mean": (stream_year, 150),
        "100 streams x 30 days, hourly mean, Parquet": (hundred_months("parquet"), 300),
        "100 streams x 30 days, hourly mean, CSV": (hundred_months("csv"), 300),
        "SensorThings: latest of all Datastreams": (lambda _: things, 150),
    }


async def measure(question: Question, clients: int, seconds: float, pause: float) -> list[float]:
    """How long each answer took, ms."""
    taken: list[float] = []
    until = time.perf_counter() + seconds

    async def ask(seed: int) -> None:
        rng = random.Random(seed)
        client = await Client.connected()
        while True:
            path = question(rng)
            begun = time.perf_counter()
            status, size = await client.get(path)
            taken.append((time.perf_counter() - begun) * 1000)
            if status != 200 or not size:
                raise SystemExit(f"{status}, {size} bytes: {path}")
            if time.perf_counter() > until:
                break
            if pause:
                await asyncio.sleep(rng.expovariate(1 / pause))
        client.close()

    await asyncio.gather(*(ask(seed) for seed in range(clients)))
    return taken


def report(name: str, question: Question, clients: int, seconds: float, pause: float, server: Server) -> str:
    asyncio.run(measure(question, clients, 0.2, 0.0))
    before, own = server.cpu(), time.process_time()
    taken = asyncio.run(measure(question, clients, seconds, pause))
    cpu, own = (server.cpu() - before) / len(taken) * 1000, (time.process_time() - own) / len(taken) * 1000
    median, p95 = np.percentile(taken, 50), np.percentile(taken, 95)
    return f"| {name} | {clients} | {len(taken)} | {median:.1f} | {p95:.1f} | {cpu:.2f} | {own:.2f} |"


def main() -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--pause", type=float, default=0.0, help="seconds between a client's questions, in the mean")
    parser.add_argument("--only", default="", help="questions with that word in their name")
    options = parser.parse_args()
    asked = questions(options.streams, options.rows // (DAY // 10))
    with web_process(ready(options)) as server:
        print("| question | clients | answers | median ms | p95 ms | server CPU ms | client CPU ms | target p95 |")
        for clients in dict.fromkeys((1, options.clients)):
            for name, (question, target) in asked.items():
                if options.only in name:
                    print(
                        report(name, question, clients, options.seconds, options.pause, server),
                        f"{target} |",
                        flush=True,
                    )
        print(f"resident memory of the server: {server.resident():.0f} MB, at most {server.peak():.0f} MB")


if __name__ == "__main__":
    main()

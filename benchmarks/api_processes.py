"""One web process over the embedded store, and several that use the store of another process.

python -m benchmarks.api_processes [--web 2] [--rounds 10] [--answers 160] [--only WORD]

Both are there at the same time, each with a store of its own, and are asked in turn: what else the machine does
meanwhile hits both alike. Of each question it says what processor time an answer takes (the median of the rounds), in
the one process, in the one that holds the store, and in the web processes together. What two cores could answer that
nobody else uses follows from that: as much as they have time for, and as much as the busiest process, which is on one
core at a time.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import api_ground
from benchmarks.api_ground import Client, Server, add_arguments, ready, web_process
from benchmarks.api_reads import DAY, Question, questions
from techport_dashboards import WebSettings, create_app
from techport_dashboards.web.server import WebServer
from techport_pilots.access.operator_token import OperatorToken
from techport_pilots.registry.registry import Registry
from techport_storage.errors import StoreUnavailable
from techport_storage.shared.server import StoreServer
from techport_storage.store import open_store

STORE_PORT = api_ground.PORT + 100
CORES = 2


def serve(folder: Path, port: int) -> None:
    """Be a web process that uses another one's store."""
    registry = Registry.open(f"sqlite:///{folder}/registry.sqlite")
    store = open_store(f"shared://127.0.0.1:{STORE_PORT}?token_file={folder}/token")
    settings = WebSettings(rate_limit=0, token=OperatorToken.of(folder))
    WebServer(create_app(registry, store, settings=settings), "127.0.0.1", port).run()


def hold(folder: Path) -> None:
    """Be the process that holds the store."""
    store = open_store(f"duckdb:///{folder}/readings.duckdb")
    StoreServer(store, "127.0.0.1", STORE_PORT, OperatorToken.of(folder).matches).wait()


@contextmanager
def processes(folder: Path, number: int) -> Iterator[tuple[Server, list[Server]]]:
    """The process with the store, and so many web processes, at the ports after PORT."""
    with ExitStack() as closing:

        def start(*arguments: object) -> Server:
            process = subprocess.Popen([sys.executable, "-m", "benchmarks.api_processes", *map(str, arguments)])
            closing.callback(process.wait, 30)
            closing.callback(process.terminate)
            return Server(process.pid)

        holder = start("--hold", folder)
        _wait_for_store(folder)
        web = [start("--serve", folder, "--port", api_ground.PORT + 1 + i) for i in range(number)]
        for i in range(number):
            asyncio.run(_until_it_answers(api_ground.PORT + 1 + i))
        yield holder, web


def _wait_for_store(folder: Path) -> None:
    for _ in range(600):
        try:
            open_store(f"shared://127.0.0.1:{STORE_PORT}?token_file={folder}/token").close()
            return
        except StoreUnavailable:
            time.sleep(0.1)
    raise SystemExit("the process with the store did not start within a minute")


async def _until_it_answers(port: int) -> None:
    for _ in range(600):
        try:
            await _client(port)
            return
        except OSError:
            await asyncio.sleep(0.1)
    raise SystemExit("a web process did not start within a minute")


async def _client(port: int) -> Client:
    return Client(*await asyncio.open_connection("127.0.0.1", port, limit=1 << 22))


async def ask(question: Question, ports: Sequence[int], answers: int, clients: int) -> None:
    """Ask for so many answers, the clients side by side."""

    async def one(seed: int) -> None:
        rng, client = random.Random(seed), await _client(ports[seed % len(ports)])
        for _ in range(answers // clients):
            status, _ = await client.get(question(rng))
            if status != 200:
                raise SystemExit(f"{status}")
        client.close()

    await asyncio.gather(*(one(seed) for seed in range(clients)))


@dataclass
class Measured:
    """Processor time of an answer in each round, ms."""

    one: list[float] = field(default_factory=list)
    store: list[float] = field(default_factory=list)
    web: list[float] = field(default_factory=list)

    def row(self, name: str, web: int) -> str:
        one, store, both = median(self.one), median(self.store), median(self.web)
        answers = min(CORES / (store + both), 1 / store, web / both)
        return f"| {name} | {one:.1f} | {store:.1f} | {both:.1f} | {answers * one:.2f} |"


def burst(question: Question, ports: Sequence[int], servers: Sequence[Server], answers: int) -> list[float]:
    """Processor time of an answer in each of the servers, ms."""
    before = [server.cpu() for server in servers]
    asyncio.run(ask(question, ports, answers, 8))
    return [(server.cpu() - begun) / answers * 1000 for server, begun in zip(servers, before, strict=True)]


def measure(question: Question, one: Server, holder: Server, web: Sequence[Server], options: Any) -> Measured:
    ports = [api_ground.PORT + 1 + i for i in range(len(web))]
    measured = Measured()
    for _ in range(2):  # the first are not counted
        burst(question, [api_ground.PORT], [one], 80)
        burst(question, ports, web, 80)
    for number in range(options.rounds):
        for several in (number % 2 == 0, number % 2 == 1):
            if several:
                spent = burst(question, ports, [holder, *web], options.answers)
                measured.store.append(spent[0])
                measured.web.append(sum(spent[1:]))
            else:
                measured.one += burst(question, [api_ground.PORT], [one], options.answers)
    return measured


def main() -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    parser.add_argument("--web", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--answers", type=int, default=160)
    parser.add_argument("--only", default="")
    parser.add_argument("--hold", type=Path)
    parser.add_argument("--serve", type=Path)
    parser.add_argument("--port", type=int)
    options = parser.parse_args()
    if options.hold:
        hold(options.hold)
    elif options.serve:
        serve(options.serve, options.port)
    else:
        folder = ready(options)
        asked = {
            name: question
            for name, (question, _) in questions(options.streams, options.rows // (DAY // 10)).items()
            if options.only in name
        }
        print("| question | one process | store's process | web processes | two free cores against one process |")
        OperatorToken.of(folder)  # made before, so that both have the same
        with TemporaryDirectory(dir=options.cache) as copy:
            shutil.copytree(folder, copy, dirs_exist_ok=True)
            with web_process(folder) as one, processes(Path(copy), options.web) as (holder, web):
                for name, question in asked.items():
                    print(measure(question, one, holder, web, options).row(name, options.web), flush=True)


if __name__ == "__main__":
    main()

"""One web process over the embedded store, and several that use the store of another process.

python benchmarks/api_processes.py [--web 2] [--answers 400] [--only WORD]

Of each it says how many answers a second there are, and the processor time of an answer: in the process that holds the
store, and in the web process. On a machine that is busy only the second of these means something.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import api_ground
from api_ground import Client, Server, add_arguments, ready, web_process
from api_reads import DAY, Question, questions

from techport_dashboards import WebSettings, create_app
from techport_dashboards.web.server import WebServer
from techport_pilots.access.operator_token import OperatorToken, read_token
from techport_pilots.registry.registry import Registry
from techport_storage.shared.server import StoreServer
from techport_storage.store import open_store

STORE_PORT = api_ground.PORT + 100


def serve(folder: Path, port: int) -> None:
    """Be a web process that uses another one's store."""
    registry = Registry.open(f"sqlite:///{folder}/registry.sqlite")
    store = open_store(f"flight://127.0.0.1:{STORE_PORT}?token_file={folder}/token")
    settings = WebSettings(rate_limit=0, token=OperatorToken.of(folder))
    WebServer(create_app(registry, store, settings=settings), "127.0.0.1", port).run()


def hold(folder: Path) -> None:
    """Be the process that holds the store."""
    store = open_store(f"duckdb:///{folder}/readings.duckdb")
    StoreServer(store, "127.0.0.1", STORE_PORT, OperatorToken.of(folder).matches).serve()


@contextmanager
def processes(folder: Path, number: int) -> Iterator[tuple[Server, list[Server]]]:
    """The process with the store, and so many web processes, at the ports behind PORT."""
    with ExitStack() as closing:

        def start(*arguments: object) -> Server:
            process = subprocess.Popen([sys.executable, __file__, *map(str, arguments)])
            closing.callback(process.wait, 30)
            closing.callback(process.terminate)
            return Server(process.pid)

        holder = start("--hold", folder)
        time.sleep(10)
        web = [start("--serve", folder, "--port", api_ground.PORT + i) for i in range(number)]
        for i in range(number):
            asyncio.run(_until_it_answers(api_ground.PORT + i))
        yield holder, web


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


async def ask(question: Question, ports: Sequence[int], answers: int, clients: int) -> float:
    """How many seconds so many answers took."""

    async def one(seed: int) -> None:
        rng, client = random.Random(seed), await _client(ports[seed % len(ports)])
        for _ in range(answers // clients):
            status, _ = await client.get(question(rng))
            if status != 200:
                raise SystemExit(f"{status}")
        client.close()

    begun = time.perf_counter()
    await asyncio.gather(*(one(seed) for seed in range(clients)))
    return time.perf_counter() - begun


def report(name: str, question: Question, holder: Server | None, web: Sequence[Server], answers: int) -> str:
    ports = [api_ground.PORT + i for i in range(len(web))]
    asyncio.run(ask(question, ports, 40, 8))
    before = [server.cpu() for server in [*([holder] if holder else []), *web]]
    taken = asyncio.run(ask(question, ports, answers, 8))
    after = [server.cpu() for server in [*([holder] if holder else []), *web]]
    spent = [(end - begin) / answers * 1000 for begin, end in zip(before, after, strict=True)]
    store, own = (spent[0], sum(spent[1:])) if holder else (0.0, sum(spent))
    label = f"{len(web)} beside the store" if holder else "1, with the store"
    return f"| {name} | {label} | {answers / taken:.0f} | {store:.1f} | {own:.1f} |"


def main() -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    parser.add_argument("--web", type=int, default=2)
    parser.add_argument("--answers", type=int, default=400)
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
        print("| question | web processes | answers a second | CPU ms, store | CPU ms, web |")
        with web_process(folder) as server:
            for name, question in asked.items():
                print(report(name, question, None, [server], options.answers), flush=True)
        Client.authorization = f"Bearer {read_token(folder)}"
        with processes(folder, options.web) as (holder, web):
            for name, question in asked.items():
                print(report(name, question, holder, web, options.answers), flush=True)


if __name__ == "__main__":
    main()

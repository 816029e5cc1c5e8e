"""What it costs that several workers share one subscription and one bucket, beside one worker alone.

    python -m benchmarks.several_writers [--messages 100000] [--workers 1 2] [--look-up]

mosquitto, InfluxDB and PostgreSQL, each with its own process; every round has a broker, a bucket and a database of its
own. Messages (five values, QoS 1) wait in the sessions of the workers, which are started together and drain them. Cores
are few here, so what is compared is the processor time of all workers of a round, for each message: with as many cores
as workers they would take that much less time. `--look-up` adds the way without announcements: every row looked up.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import multiprocessing.connection
import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from prometheus_client import CollectorRegistry

from benchmarks.ingest import broker, pilot, publish
from techport_ingest.metrics import Metrics
from techport_ingest.pipeline import Pipeline, PipelineSettings
from techport_ingest.sources.connect import open_source
from techport_ingest.sources.settings import MqttSettings
from techport_pilots.accounting.announced_writes import AnnouncedWrites
from techport_pilots.accounting.audit import audit
from techport_pilots.accounting.ledger import Ledger
from techport_pilots.registry.registry import Registry
from techport_storage.store import open_store
from tests.servers.influxd import Influxd, start_influxd
from tests.servers.postgres import Postgres, find, running


class Task(NamedTuple):
    """What one worker does."""

    name: str
    port: int
    share: str | None
    registry_url: str
    store_url: str
    announces: bool


def source_settings(task: Task) -> MqttSettings:
    return MqttSettings(client_id=f"worker-{task.name}", port=task.port, share=task.share)


def work(task: Task, orders: multiprocessing.connection.Connection) -> None:
    """A worker process: ingests until it is told to stop, and answers with the CPU seconds that it took."""
    registry = Registry.open(task.registry_url)
    announced = AnnouncedWrites(registry.database) if task.announces else None
    store = open_store(task.store_url, announced)
    settings = PipelineSettings(worker=task.name)
    orders.send("ready")
    orders.recv()
    cpu = time.process_time()
    source = open_source(source_settings(task))
    pipeline = Pipeline(source, registry, Ledger(registry.database), store, Metrics(CollectorRegistry()), settings)
    thread = threading.Thread(target=pipeline.run)
    thread.start()
    orders.recv()
    orders.send(time.process_time() - cpu)
    pipeline.stop()
    thread.join()
    source.close()
    store.close()
    registry.close()


def round_of(workers: int, messages: int, url: str, postgres: Postgres, announces: bool) -> tuple[float, float]:
    """(CPU seconds of all workers, wall seconds) until the ledger has all messages."""
    registry_url = postgres.database()
    registry = Registry.open(registry_url)
    registry.import_pilot(pilot(), "", "benchmark")
    ledger = Ledger(registry.database)
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as ends:
        mosquitto = broker(Path(folder))
        ends.callback(mosquitto.stop)
        share = "bench" if workers > 1 else None
        tasks = [
            Task(f"w{number}", mosquitto.settings.port, share, registry_url, url, announces)
            for number in range(workers)
        ]
        sessions = [open_source(source_settings(task)) for task in tasks]
        for session in sessions:
            while not session.connected:
                time.sleep(0.01)
            session.close()
        publish(mosquitto.settings.port, messages)
        context = multiprocessing.get_context("spawn")
        pipes = []
        for task in tasks:
            ours, theirs = context.Pipe()
            process = context.Process(target=work, args=(task, theirs))
            process.start()
            ends.callback(process.join)
            pipes.append(ours)
        for pipe in pipes:
            pipe.recv()
        started = time.perf_counter()
        for pipe in pipes:
            pipe.send("go")
        while sum(tally.messages for tally in ledger.tallies().values()) < messages:
            time.sleep(0.05)
        wall = time.perf_counter() - started
        for pipe in pipes:
            pipe.send("stop")
        cpu = sum(pipe.recv() for pipe in pipes)
    store = open_store(url)
    report = audit(ledger, store)
    assert report.ok, report
    store.close()
    registry.close()
    return cpu, wall


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3, help="of each, in turn; medians are printed")
    parser.add_argument("--look-up", action="store_true", help="also without announcements")
    chosen = parser.parse_args()
    programs = find()
    if programs is None:
        raise SystemExit("PostgreSQL is not installed")
    forms = [(1, False)] + [(workers, True) for workers in chosen.workers]
    if chosen.look_up:
        forms += [(workers, False) for workers in chosen.workers if workers > 1]
    rates: dict[tuple[int, bool], list[float]] = {form: [] for form in forms}
    with tempfile.TemporaryDirectory() as folder, running(programs) as postgres:
        server = start_influxd(Path(folder))
        try:
            for _ in range(chosen.rounds):
                for form in forms:
                    rates[form].append(measure(form, chosen.messages, server, postgres))
        finally:
            server.stop()
    alone = float(np.median(rates[1, False]))
    for form in forms:
        rate = float(np.median(rates[form]))
        print(f"{name(form)}: {rate:,.0f} messages a CPU-second, {rate / alone:.0%} of one writer alone")


def name(form: tuple[int, bool]) -> str:
    workers, announces = form
    if form == (1, False):
        return "writers=one, one worker"
    return f"writers=several, {workers} worker(s), {'announced' if announces else 'every row looked up'}"


def measure(form: tuple[int, bool], messages: int, server: Influxd, postgres: Postgres) -> float:
    """Messages a CPU-second of all workers together."""
    workers, announces = form
    options = {} if form == (1, False) else {"writers": "several"}
    cpu, wall = round_of(workers, messages, server.url(server.new_bucket(), **options), postgres, announces)
    print(f"  {name(form)}: {messages / cpu:,.0f} a CPU-second, {messages / wall:,.0f} a second", flush=True)
    return messages / cpu


if __name__ == "__main__":
    main()

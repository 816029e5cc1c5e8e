"""What the ingest side costs: CPU for each message, and the time from publish to queryable. Beside it, Telegraf.

    python -m benchmarks.ingest [--messages 100000] [--source mqtt5] [--seconds 20] [--rate 1000] [--linger 0.02]

Five values a message throughout. Parts: decode and check alone; the whole ingest process behind a real mosquitto, from
each source into DuckDB; the same into InfluxDB, and Telegraf's mqtt_consumer behind the same broker into the same
InfluxDB, where a `telegraf` is on the PATH or at ~/.cache/techport/telegraf/telegraf (`benchmarks/build_telegraf.sh`);
latency at a steady rate. Messages for each second of the process's CPU, all threads. Results are in INGEST.md.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple, cast

import httpx
import numpy as np
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion
from prometheus_client import CollectorRegistry

from benchmarks.processes import cpu_seconds
from techport_ingest.brokers.mosquitto import Mosquitto, MosquittoSettings, find_mosquitto
from techport_ingest.checking.check import Columns
from techport_ingest.decoding.formats.native import decoder as native
from techport_ingest.message import Message
from techport_ingest.metrics import Metrics
from techport_ingest.pipeline import Pipeline, PipelineSettings
from techport_ingest.source import Source
from techport_ingest.sources.connect import open_source
from techport_ingest.sources.settings import MqttSettings
from techport_pilots.accounting.ledger import Ledger
from techport_pilots.model import DeviceDefinition, PilotDefinition, StreamDefinition, Text
from techport_pilots.registry.registry import Registry
from techport_pilots.registry.view import IngestView
from techport_storage.model import Batch, Receipt, Replacing
from techport_storage.store import ReadingStore, open_store
from tests.servers.influxd import ORG, Influxd, start_influxd

QUANTITIES = ("pm10", "pm25", "air_temperature", "relative_humidity", "air_pressure")
DEVICES = 100
START = 1_777_896_000
SOURCES: dict[str, Literal["5", "3.1.1"]] = {"paho": "3.1.1", "mqtt5": "5"}  # and what each speaks


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rate", type=int, default=1_000)
    parser.add_argument("--linger", type=float, default=PipelineSettings().linger)
    parser.add_argument("--source", choices=SOURCES, action="append", help="again for several, in one run (all)")
    chosen = parser.parse_args()
    decode_and_check(chosen.messages)
    for source in chosen.source or SOURCES:
        with tempfile.TemporaryDirectory() as folder:
            throughput(Path(folder), source, chosen.messages, chosen.linger)
    into_influxdb(chosen.messages, chosen.linger)
    with tempfile.TemporaryDirectory() as folder:
        latency(Path(folder), chosen.rate, chosen.seconds, chosen.linger)


def pilot() -> PilotDefinition:
    streams = [StreamDefinition(quantity=name) for name in QUANTITIES]
    devices = [DeviceDefinition(id=f"d{number}", streams=streams) for number in range(DEVICES)]
    return PilotDefinition(id="bench", title=Text(en="Bench"), question=Text(en="How fast?"), devices=devices)


def payload(number: int, time_text: str | None = None) -> tuple[str, bytes]:
    stamp = time_text or str(START + number // DEVICES)
    changing = f'"pm10":{number % 50}.5,"pm25":7.25,"air_temperature":{number % 30}'
    body = f'{{"time":{stamp},{changing},"relative_humidity":81.2,"air_pressure":1003.25}}'
    return f"pilots/bench/d{number % DEVICES}/readings", body.encode()


def decode_and_check(count: int) -> None:
    snapshot = IngestView.of(1, [pilot()], [])
    arrival = (START + 10**6) * 1_000_000
    for label, stamp in (("epoch seconds", None), ("ISO 8601", '"2026-05-04T12:30:00.123456Z"')):
        messages = [
            (Message(*payload(number, stamp), received=arrival, id=number), f"d{number % DEVICES}")
            for number in range(count)
        ]
        decode, check = [], []
        for first in range(0, count, 10_000):
            part = messages[first : first + 10_000]
            start = time.thread_time()
            found = [native.decode(message, device) for message, device in part]
            between = time.thread_time()
            columns = Columns(snapshot)
            for (message, _), observed in zip(part, found, strict=True):
                columns.add(message, "bench", "native", observed)
            columns.batch()
            decode.append((between - start) / len(part) * 1e6)
            check.append((time.thread_time() - between) / len(part) * 1e6)
        print(f"decode {min(decode):5.2f} µs, check {min(check):5.2f} µs of CPU a message (time as {label})")


def broker(folder: Path) -> Mosquitto:
    executable = find_mosquitto()
    if executable is None:
        raise SystemExit("mosquitto is not installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    running = Mosquitto(MosquittoSettings(folder=folder / "mosquitto", executable=executable, port=port))
    running.start()
    return running


def ledger_and_store(folder: Path, store_url: str | None = None) -> tuple[Registry, ReadingStore]:
    registry = Registry.open(f"sqlite:///{folder / 'registry.sqlite'}")
    registry.import_pilot(pilot(), "", "benchmark")
    return registry, open_store(store_url or f"duckdb:///{folder / 'readings.duckdb'}")


def collector(source: Source, registry: Registry, store: ReadingStore, linger: float) -> tuple[Pipeline, Ledger]:
    ledger = Ledger(registry.database)
    pipeline = Pipeline(source, registry, ledger, store, Metrics(CollectorRegistry()), PipelineSettings(linger=linger))
    return pipeline, ledger


class Task(NamedTuple):
    """What a collector process does."""

    folder: Path
    source: str
    port: int
    messages: int
    linger: float
    store_url: str | None


class Counted:
    """A source that says when so many messages are acknowledged, which they are after the commit."""

    def __init__(self, source: Source, messages: int) -> None:
        self._source = source
        self._left = messages
        self.all_acknowledged = threading.Event()

    def ack(self, messages: Sequence[Message]) -> None:
        self._source.ack(messages)
        self._left -= len(messages)
        if self._left <= 0:
            self.all_acknowledged.set()

    def __getattr__(self, name: str) -> object:
        return getattr(self._source, name)


def collect(task: Task, answer: multiprocessing.connection.Connection) -> None:
    """The collector process: ingests the messages and answers with (CPU seconds, wall seconds, peak MiB)."""
    registry, store = ledger_and_store(task.folder, task.store_url)
    cpu, wall = time.process_time(), time.perf_counter()
    source = open_source(MqttSettings(client_id="collector", port=task.port, protocol=SOURCES[task.source]))
    counted = Counted(source, task.messages)
    pipeline, ledger = collector(cast(Source, counted), registry, store, task.linger)
    threading.Thread(target=pipeline.run, daemon=True).start()
    counted.all_acknowledged.wait()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    answer.send((time.process_time() - cpu, time.perf_counter() - wall, peak))
    booked = sum(tally.messages for tally in ledger.tallies().values())
    assert booked == task.messages, f"the ledger has {booked:,} messages"
    pipeline.stop()
    source.close()


def throughput(folder: Path, kind: str, count: int, linger: float, store_url: str | None = None) -> float:
    """Messages a CPU-second of the collector process."""
    mosquitto = broker(folder)
    port = mosquitto.settings.port
    session = open_source(MqttSettings(client_id="collector", port=port, protocol=SOURCES[kind]))
    while not session.connected:
        time.sleep(0.01)
    session.close()
    publish(port, count)
    ours, theirs = multiprocessing.Pipe()
    task = Task(folder, kind, port, count, linger, store_url)
    process = multiprocessing.get_context("spawn").Process(target=collect, args=(task, theirs))
    process.start()
    cpu, wall, peak = cast(tuple[float, float, float], ours.recv())
    process.join()
    mosquitto.stop()
    rates = f"{count / cpu:,.0f} messages a CPU-second ({count / wall:,.0f} a second of wall time), peak {peak:.0f} MiB"
    print(f"{kind}: {rates}, mosquitto to {'InfluxDB' if store_url else 'DuckDB'}", flush=True)
    return count / cpu


def into_influxdb(count: int, linger: float) -> None:
    """The collector and Telegraf in turn, each behind a mosquitto of its own that holds the same messages."""
    executable = find_telegraf()
    with tempfile.TemporaryDirectory() as folder:
        server = start_influxd(Path(folder))
        try:
            with tempfile.TemporaryDirectory() as own:
                ours = throughput(Path(own), "mqtt5", count, linger, server.url(server.new_bucket()))
            if executable is None:
                print("no telegraf on the PATH: benchmarks/build_telegraf.sh builds one")
                return
            with tempfile.TemporaryDirectory() as own:
                theirs = telegraf(Path(own), executable, count, server)
        finally:
            server.stop()
    print(f"telegraf ratio: {ours / theirs:.2f}", flush=True)


def find_telegraf() -> str | None:
    cached = Path.home() / ".cache" / "techport" / "telegraf" / "telegraf"
    return shutil.which("telegraf") or (str(cached) if cached.is_file() else None)


_TELEGRAF = """
[agent]
  interval = "1s"
  flush_interval = "1s"
  metric_batch_size = 5000
  metric_buffer_limit = 200000
  omit_hostname = true
[[inputs.mqtt_consumer]]
  servers = ["tcp://127.0.0.1:{port}"]
  topics = ["pilots/#"]
  qos = 1
  persistent_session = true
  client_id = "telegraf"
  max_undelivered_messages = 10000
  data_format = "json"
  json_time_key = "time"
  json_time_format = "unix"
[[outputs.influxdb_v2]]
  urls = ["{address}"]
  token = "{token}"
  organization = "{org}"
  bucket = "{bucket}"
"""


def telegraf(folder: Path, executable: str, count: int, server: Influxd) -> float:
    """Messages a CPU-second of Telegraf, until InfluxDB holds all of them."""
    mosquitto = broker(folder)
    bucket = server.new_bucket()
    configuration = folder / "telegraf.conf"
    configuration.write_text(
        _TELEGRAF.format(
            port=mosquitto.settings.port, address=server.address, token=server.token, org=ORG, bucket=bucket
        )
    )
    command = [executable, "--config", str(configuration), "--quiet"]
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(5)  # it makes its session, which keeps what is published while it is away
    first.terminate()
    first.wait()
    publish(mosquitto.settings.port, count)
    wall = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while _rows(server, bucket) < count:
        time.sleep(0.5)
        if time.perf_counter() - wall > 300:
            raise SystemExit(f"Telegraf did not deliver: {_rows(server, bucket):,} of {count:,} after five minutes")
    seconds = time.perf_counter() - wall
    cpu = cpu_seconds(process.pid)
    process.terminate()
    process.wait()
    mosquitto.stop()
    print(
        f"telegraf: {count / cpu:,.0f} messages a CPU-second ({count / seconds:,.0f} a second of wall time)", flush=True
    )
    return count / cpu


def _rows(server: Influxd, bucket: str) -> int:
    """Rows of one field in the bucket."""
    select = f'from(bucket: "{bucket}") |> range(start: 0) |> filter(fn: (r) => r._field == "pm10")'
    query = f"{select} |> count() |> group() |> sum()"
    answer = httpx.post(
        f"{server.address}/api/v2/query",
        params={"org": ORG},
        json={"query": query, "dialect": {"header": True}},
        headers={"Authorization": f"Token {server.token}", "Accept": "application/csv"},
        timeout=60,
    )
    lines = answer.raise_for_status().text.split()
    return int(lines[-1].rpartition(",")[2]) if len(lines) > 1 else 0


def publish(port: int, count: int) -> None:
    client = Client(CallbackAPIVersion.VERSION2, "publisher")
    client.max_inflight_messages_set(1_000)
    client.connect("127.0.0.1", port)
    client.loop_start()
    waiting = deque(maxlen=1_000)  # type: ignore[var-annotated]  # paho slows down with the square of its own queue
    for number in range(count):
        if len(waiting) == waiting.maxlen:
            waiting[0].wait_for_publish()
        waiting.append(client.publish(*payload(number), qos=1))
    waiting[-1].wait_for_publish()
    client.disconnect()
    client.loop_stop()


def publish_steadily(port: int, rate: int, seconds: float) -> None:
    """A process that publishes `rate` messages a second, each with the time of its publication."""
    client = Client(CallbackAPIVersion.VERSION2, "steady")
    client.max_inflight_messages_set(5_000)
    client.connect("127.0.0.1", port)
    client.loop_start()
    start = time.time()
    for number in range(int(rate * seconds)):
        ahead = start + number / rate - time.time()
        if ahead > 0:
            time.sleep(ahead)
        client.publish(*payload(number, str(time.time_ns() // 1000)), qos=1)
    time.sleep(2)
    client.disconnect()
    client.loop_stop()


class Watched:
    """A store that notes, for each row, how long after its publication it could be read."""

    def __init__(self, store: ReadingStore) -> None:
        self._store = store
        self.seconds: list[np.ndarray] = []

    def write(self, batch: Batch, replacing: Replacing | None = None) -> Receipt:
        receipt = self._store.write(batch, replacing)
        self.seconds.append(time.time() - batch.time / 1e6)
        return receipt

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)


def latency(folder: Path, rate: int, seconds: float, linger: float) -> None:
    mosquitto = broker(folder)
    registry, readings = ledger_and_store(folder)
    store = Watched(readings)
    source = open_source(MqttSettings(client_id="collector", port=mosquitto.settings.port))
    pipeline, _ = collector(source, registry, store, linger)  # type: ignore[arg-type]
    while not source.connected:
        time.sleep(0.01)
    thread = threading.Thread(target=pipeline.run)
    thread.start()
    sender = multiprocessing.get_context("spawn").Process(
        target=publish_steadily, args=(mosquitto.settings.port, rate, seconds)
    )
    cpu = time.process_time()
    sender.start()
    sender.join()
    used = time.process_time() - cpu
    pipeline.stop()
    thread.join()
    source.close()
    mosquitto.stop()
    waited = np.concatenate(store.seconds)[:: len(QUANTITIES)]
    p50, p99, worst = (float(value) * 1000 for value in np.quantile(waited, [0.5, 0.99, 1.0]))
    print(
        f"{len(waited):,} messages at {rate:,} a second, linger {linger * 1000:.0f} ms: publish to queryable "
        f"p50 {p50:.0f} ms, p99 {p99:.0f} ms, worst {worst:.0f} ms; "
        f"{len(store.seconds):,} batches, {used / seconds:.0%} of a CPU"
    )


if __name__ == "__main__":
    print(f"{os.cpu_count()} CPUs")
    main()

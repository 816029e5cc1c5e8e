"""One round: a device publishes while faults happen to real processes, from a seed; then everything is counted.

    device ─► broker ─► worker processes ─► registry and store
                ▲    ▲         ▲       ▲        ▲
                └────┴─ faults: processes killed or paused, networks cut, disks full, clocks wrong, a crowd of devices

Three forms are tried: the embedded broker within the worker, which answers after the commit, and mosquitto, which
answers before, both over SQLite and DuckDB; and two workers that share a subscription over PostgreSQL and InfluxDB.
What devices believe to be kept has to be in the store, once, with the value that they sent, or in quarantine, and the
ledger has to agree. Only a mosquitto that is killed itself, or loses its file, may lose messages: those are counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec
from paho.mqtt.client import Client
from prometheus_client import CollectorRegistry

from techport_ingest.brokers.mosquitto import Mosquitto, MosquittoSettings, find_mosquitto
from techport_ingest.metrics import Metrics
from techport_ingest.pipeline import Pipeline, PipelineSettings
from techport_pilots.accounting.announced_writes import AnnouncedWrites
from techport_pilots.accounting.audit import audit
from techport_pilots.accounting.ledger import Ledger
from techport_pilots.accounting.quarantine import Quarantine
from techport_pilots.children import start_child
from techport_pilots.registry.registry import Registry
from techport_storage.model import Query
from techport_storage.store import ReadingStore, open_store
from tests.faults import worker
from tests.faults.preload import Disk, library
from tests.faults.proxy import Proxy
from tests.ingest.running import NOON, eventually, hang_up, mqtt_source, pilot, publisher, reading
from tests.registries import registry_in
from tests.servers.influxd import Influxd
from tests.servers.mosquitto import free_port
from tests.servers.postgres import Postgres

ROOT = Path(__file__).parent.parent.parent
MESSAGES = 400
SECONDS = 2.0
"""How long a device takes to publish them while nothing disturbs it."""

FLOOD = 1_000
"""Messages that one device sends at once that otherwise sends one a second."""

POISON = 60
"""Messages that nobody can read, among the others."""

CROWD = 200
"""Devices that connect, publish and are cut off all at once, twice."""

PATIENCE = 120.0

_LINES = 100
"""Of a worker's log, where a round does not come to its end."""

Form = Literal["embedded", "mosquitto", "servers"]
Fault = Literal[
    "worker killed",
    "worker killed while it starts",
    "worker paused",
    "two workers of one name",
    "worker loses power",
    "disk full",
    "disk read-only",
    "clock jumps by hours",
    "crowd of devices reconnects",
    "one device floods",
    "poison among good messages",
    "network cut",
    "network slow",
    "network deaf one way",
    "broker paused",
    "broker restarted",
    "broker restarted without its file",
    "broker killed",
    "store paused",
    "store killed",
    "registry paused",
    "registry killed",
]
_WORKER: tuple[Fault, ...] = ("worker killed", "worker killed while it starts", "worker paused")
_DISK: tuple[Fault, ...] = ("worker loses power", "disk full", "disk read-only")
_DEVICES: tuple[Fault, ...] = (
    "clock jumps by hours",
    "crowd of devices reconnects",
    "one device floods",
    "poison among good messages",
)
_NETWORK: tuple[Fault, ...] = ("network cut", "network slow", "network deaf one way")
FAULTS: dict[Form, tuple[Fault, ...]] = {
    "embedded": (*_WORKER, *_DISK, *_DEVICES),
    "mosquitto": (
        *(*_WORKER, *_DISK, *_DEVICES, *_NETWORK),
        *("broker paused", "broker restarted", "broker restarted without its file", "broker killed"),
    ),
    "servers": (
        *_WORKER,
        "two workers of one name",
        *_NETWORK,
        "store paused",
        "store killed",
        "registry paused",
        "registry killed",
    ),
}
LOSING: frozenset[Fault] = frozenset({"broker killed", "broker restarted without its file"})
"""Faults that may cost what mosquitto has acknowledged."""


class Round(msgspec.Struct, frozen=True):
    """What came of one round."""

    seed: int
    form: Form
    faults: list[Fault]
    acknowledged: int  # messages that the devices believe to be kept
    lost: int  # of those, neither in the store nor in quarantine
    duplicated: int  # rows beyond one for each message
    recovery: float  # seconds from the end of the last fault until everything was in the store
    agrees: bool  # the ledger, with itself and with the store

    @property
    def may_lose(self) -> bool:
        """Whether mosquitto itself was killed, or its file was lost: what it acknowledged since, or held, is gone."""
        return not LOSING.isdisjoint(self.faults)

    @property
    def holds(self) -> bool:
        """Whether everything is as docs/guarantees.md says."""
        return self.agrees and not self.duplicated and (not self.lost or self.may_lose)


class Servers(NamedTuple):
    """Servers that many rounds use, each with a bucket and a database of its own."""

    influxd: Influxd
    postgres: Postgres


def run(seed: int, folder: Path, servers: Servers | None = None) -> Round:
    """Run a round in an empty folder; of the third form only with servers."""
    dice = random.Random(seed)
    form = dice.choice(sorted(FAULTS))
    if form == "servers" and servers is None:
        form = "mosquitto"
    able = [fault for fault in FAULTS[form] if fault not in _DISK or library() is not None]
    faults = [dice.choice(able) for _ in range(dice.randint(1, 3))]
    return play(seed, form, faults, folder, servers)


def play(seed: int, form: Form, faults: list[Fault], folder: Path, servers: Servers | None = None) -> Round:
    """A round with these faults; the seed says when they happen and how long they last."""
    dice = random.Random(seed)
    with contextlib.ExitStack() as ends:
        site = _site(folder, servers if form == "servers" else None)
        with opened(site) as parts:
            parts.registry.import_pilot(pilot(), "", "test")
        system: _Embedded
        if form == "servers":
            assert servers is not None, "no servers"
            system = _BetweenServers(folder, site, servers)
        else:
            system = {"embedded": _Embedded, "mosquitto": _BehindMosquitto}[form](folder, site)
        ends.callback(system.end)
        system.start()
        device = _Device(system.port)
        ends.callback(device.end)
        device.start()
        sent = _Sent()
        try:
            for fault in faults:
                time.sleep(dice.uniform(0.1, SECONDS / len(faults)))
                system.strike(fault, dice, sent)
            recovering = time.monotonic()
            device.join()
        except AssertionError as error:
            error.add_note(system.described())
            raise
        sent.readings |= {("lamp-1", number) for number in device.acknowledged}
        system.drain(sent, may_lose=not LOSING.isdisjoint(faults))
        recovery = time.monotonic() - recovering
    with opened(site) as parts:
        rows = _rows(parts.store)
        agrees = audit(parts.ledger, parts.store).ok and not parts.ledger.open_intents()
        poison = _poison(parts)
    right = {(device_id, number) for device_id, number, value in rows if value == number + 0.5}
    lost = len(sent.readings - right) + len(sent.poison - poison)
    acknowledged = len(sent.readings) + len(sent.poison)
    return Round(seed, form, faults, acknowledged, lost, len(rows) - len(right), round(recovery, 2), agrees)


# -- What is written to, and what is found there.


class Site(NamedTuple):
    """Where a round's readings and sums go."""

    registry: str
    store: str


class Parts(NamedTuple):
    """A site, opened."""

    registry: Registry
    ledger: Ledger
    store: ReadingStore
    announced: AnnouncedWrites


def _site(folder: Path, servers: Servers | None) -> Site:
    if servers is None:
        data = folder / "data"
        return Site(registry_in(data), f"duckdb:///{data / 'readings.duckdb'}")
    influxd = servers.influxd
    return Site(servers.postgres.database(), influxd.url(influxd.new_bucket(), writers="several", timeout="3"))


@contextlib.contextmanager
def opened(site: Site) -> Iterator[Parts]:
    registry = Registry.open(site.registry)
    announced = AnnouncedWrites(registry.database)
    store = open_store(site.store, announced)
    try:
        yield Parts(registry, Ledger(registry.database), store, announced)
    finally:
        store.close()
        registry.close()


def _rows(store: ReadingStore) -> list[tuple[str, int, float]]:
    """Device, number and value of every reading."""
    table = store.read(Query()).read_all()
    columns = (table[name].to_pylist() for name in ("device", "time", "value"))
    return [(device, round(at.timestamp()) - NOON, value) for device, at, value in zip(*columns, strict=True)]


def _poison(parts: Parts) -> set[bytes]:
    entries = Quarantine(parts.registry.database).entries(limit=10_000).items
    return {entry.payload for entry in entries}


# -- Devices.


class _Sent:
    """What devices were told is kept."""

    def __init__(self) -> None:
        self.readings: set[tuple[str, int]] = set()  # device and number
        self.poison: set[bytes] = set()

    def is_there(self, parts: Parts) -> bool:
        """Whether everything has arrived, and every batch is booked."""
        there = {(device, number) for device, number, _ in _rows(parts.store)}
        return (
            there >= self.readings
            and (not self.poison or _poison(parts) >= self.poison)
            and not parts.ledger.open_intents()
        )


class _Device:
    """Publishes numbered readings and sends again what is not acknowledged."""

    def __init__(self, port: int) -> None:
        self.acknowledged: set[int] = set()
        self._client = _Publisher(port, "maker")
        self._thread = threading.Thread(target=self._publish)

    def start(self) -> None:
        self._thread.start()

    def join(self) -> None:
        """Wait until everything is published and acknowledged."""
        self._thread.join()
        self._client.join()
        self.acknowledged = set(range(MESSAGES))

    def end(self) -> None:
        self._thread.join()
        self._client.end()

    def _publish(self) -> None:
        for number in range(MESSAGES):
            self._client.publish("lamp-1", reading(number))
            time.sleep(SECONDS / MESSAGES)


class _Publisher:
    """An MQTT client that knows what was acknowledged."""

    def __init__(self, port: int, name: str) -> None:
        self._client: Client = _connect(port, name)
        self._client.on_publish = self._on_publish
        self._published = 0
        self._acknowledged: set[int] = set()

    def publish(self, device: str, payload: bytes) -> None:
        self._client.publish(f"pilots/air/{device}/readings", payload, qos=1)
        self._published += 1

    def join(self) -> None:
        """Wait until all of it is acknowledged."""
        eventually(lambda: len(self._acknowledged) == self._published, "all is acknowledged", PATIENCE)

    def end(self) -> None:
        hang_up(self._client)

    def _on_publish(self, _client: object, _data: object, mid: int, _reason: object, _properties: object) -> None:
        self._acknowledged.add(mid)


def _connect(port: int, name: str) -> Client:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return publisher(port, name)
        except (OSError, AssertionError):
            assert time.monotonic() < deadline, f"nobody listens on port {port}"
            time.sleep(0.05)


def _flood(port: int, sent: _Sent, _dice: random.Random) -> None:
    client = _Publisher(port, "flooding")
    for number in range(FLOOD):
        client.publish("lamp-2", reading(number))
    client.join()
    client.end()
    sent.readings |= {("lamp-2", number) for number in range(FLOOD)}


def _poisonous(port: int, sent: _Sent, dice: random.Random) -> None:
    client = _Publisher(port, "poisonous")
    payloads = [f'{{"time": "{number}", '.encode() + dice.randbytes(8) for number in range(POISON)]
    for payload in payloads:
        client.publish("lamp-2", payload)
    client.join()
    client.end()
    sent.poison |= set(payloads)


def _crowd(port: int, sent: _Sent, _dice: random.Random) -> None:
    numbers = asyncio.run(crowd(port, CROWD, first=10_000 + len(sent.readings)))
    sent.readings |= {("lamp-3", number) for number in numbers}


async def crowd(port: int, devices: int, first: int) -> list[int]:
    """So many devices connect at once, publish a reading each, are cut off and do it again; the readings' numbers.

    Each tries until its reading is acknowledged.
    """

    async def one(device: int) -> list[int]:
        numbers = [first + device, first + devices + device]
        for number in numbers:
            await _publish_once(port, f"crowd-{first}-{device}", reading(number))
        return numbers

    return [number for numbers in await asyncio.gather(*map(one, range(devices))) for number in numbers]


async def _publish_once(port: int, client_id: str, payload: bytes) -> None:
    topic = b"pilots/air/lamp-3/readings"
    deadline = time.monotonic() + PATIENCE
    while True:
        assert time.monotonic() < deadline, f"{client_id} was not answered"
        writer: asyncio.StreamWriter | None = None
        try:
            async with asyncio.timeout(20):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                name = client_id.encode()
                writer.write(_packet(0x10, b"\0\4MQTT\4\2\0\x3c" + len(name).to_bytes(2, "big") + name))
                await _answer(reader, 0x20)
                writer.write(_packet(0x32, len(topic).to_bytes(2, "big") + topic + b"\0\1" + payload))
                await _answer(reader, 0x40)
                return
        except (OSError, EOFError, TimeoutError, ValueError):
            await asyncio.sleep(0.2)
        finally:
            if writer is not None:  # without a goodbye
                writer.transport.abort()


def _packet(kind: int, content: bytes) -> bytes:
    assert len(content) < 16_384
    length = bytes([len(content)] if len(content) < 128 else [len(content) % 128 | 128, len(content) // 128])
    return bytes([kind]) + length + content


async def _answer(reader: asyncio.StreamReader, kind: int) -> None:
    head = await reader.readexactly(2)
    if head[0] != kind:
        raise ValueError(f"the broker answered {head[0]:#x}")
    await reader.readexactly(head[1])


_CROWDS: Mapping[Fault, Callable[[int, _Sent, random.Random], None]] = {
    "one device floods": _flood,
    "poison among good messages": _poisonous,
    "crowd of devices reconnects": _crowd,
}


# -- Processes.


class _Embedded:
    """A worker with its own broker."""

    source: Literal["embedded", "mosquitto"] = "embedded"
    names: tuple[str, ...] = ("ingest-1",)
    share: str | None = None

    def __init__(self, folder: Path, site: Site) -> None:
        self.folder = folder
        self.site = site
        self.port = free_port()  # where devices come in
        self.disk = Disk(folder / "data", folder)
        self._workers: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        for name in self.names:
            self.start_worker(name)
        eventually(lambda: all(map(self._is_ready, self.names)), "the workers take messages", PATIENCE)

    @property
    def broker_port(self) -> int:
        """Where workers find the broker, or are it."""
        return self.port

    def worker_site(self) -> Site:
        """As workers reach it."""
        return self.site

    def start_worker(self, name: str) -> None:
        self._ready(name).unlink(missing_ok=True)
        site = self.worker_site()
        settings = worker.Settings(
            name=name,
            port=self.broker_port,
            source=self.source,
            registry=site.registry,
            store=site.store,
            share=self.share,
            clock=str(self.folder / "clock"),
            ready=str(self._ready(name)),
        )
        file = self.folder / f"{name}.json"
        file.write_bytes(msgspec.json.encode(settings))
        environment = {**os.environ, **self.disk.environment}
        with (self.folder / f"{name}.log").open("ab") as log:  # the process ends with us
            command = [sys.executable, "-m", "tests.faults.worker", str(file)]
            self._workers[name] = start_child(command, stdout=log, stderr=log, env=environment, cwd=ROOT)

    def kill_worker(self, name: str) -> None:
        process = self._workers[name]
        process.kill()
        process.wait()

    def _ready(self, name: str) -> Path:
        return self.folder / f"{name}.ready"

    def _is_ready(self, name: str) -> bool:
        return self._ready(name).exists()

    def _has_ended(self, name: str) -> bool:
        return self._workers[name].poll() is not None

    def _start_again_if_it_ended(self, name: str) -> None:
        """As a service manager does with a worker that could not start. One that takes messages does not end any more;
        one that does neither yet may still be on its way out.
        """
        eventually(lambda: self._is_ready(name) or self._has_ended(name), "the worker has started or ended", PATIENCE)
        if self._has_ended(name):
            self.start_worker(name)

    def described(self) -> str:
        """What the workers do, for who wonders why nothing happens: whether they run, and the end of their logs."""
        codes = {name: process.poll() for name, process in self._workers.items()}
        for name, code in codes.items():
            if code is None:
                self._workers[name].send_signal(signal.SIGUSR1)  # what its threads are at, into its log
        time.sleep(0.5)
        lines: list[str] = []
        for name, code in codes.items():
            lines.append(f"{name} runs" if code is None else f"{name} has ended with {code}")
            lines += (self.folder / f"{name}.log").read_text(errors="replace").splitlines()[-_LINES:]
        return "\n".join(lines)

    def strike(self, fault: Fault, dice: random.Random, sent: _Sent) -> None:
        """Let the fault happen, and what follows it: paused processes go on, killed ones are started again."""
        name = dice.choice(self.names)
        if fault.startswith("worker killed"):
            self.kill_worker(name)
            self.start_worker(name)
            if fault == "worker killed while it starts":
                time.sleep(dice.uniform(0.0, 1.5))
                self.kill_worker(name)
                self.start_worker(name)
        elif fault == "two workers of one name":
            first = self._workers[name]
            self.start_worker(name)
            time.sleep(dice.uniform(1.0, 5.0))
            for process in dice.sample([first, self._workers[name]], 2):  # one of them, then the other
                process.kill()
                process.wait()
            self.start_worker(name)
        elif fault == "worker paused":
            _pause([self._workers[name].pid], dice)
        elif fault == "worker loses power":
            self.kill_worker(name)
            self.disk.lose_power(dice)
            self.start_worker(name)
        elif fault in ("disk full", "disk read-only"):
            self.disk.be("full" if fault == "disk full" else "read-only")
            time.sleep(dice.uniform(0.3, 1.5))
            self.disk.be("works")
            self._start_again_if_it_ended(name)
        elif fault == "clock jumps by hours":
            for hours in (dice.uniform(1, 30), -dice.uniform(1, 30), 0):
                (self.folder / "clock").write_text(str(hours * 3600))
                time.sleep(0.4)
        else:
            _CROWDS[fault](self.port, sent, dice)

    def drain(self, sent: _Sent, *, may_lose: bool) -> None:
        """End the workers without a chance to put anything in order, and take what the broker still holds."""
        for name in self.names:
            self.kill_worker(name)

    def end(self) -> None:
        for name, process in self._workers.items():
            if process.poll() is None:
                self.kill_worker(name)


class _BehindMosquitto(_Embedded):
    """A worker behind a mosquitto, which it reaches over a network."""

    source = "mosquitto"

    def __init__(self, folder: Path, site: Site) -> None:
        super().__init__(folder, site)
        executable = find_mosquitto()
        assert executable is not None, "mosquitto is not installed"
        self._broker = Mosquitto(MosquittoSettings(folder=folder / "mosquitto", executable=executable, port=self.port))
        self._networks = {"broker": Proxy(self.port)}

    @property
    def broker_port(self) -> int:
        return self._networks["broker"].port

    def start(self) -> None:
        self._broker.start()
        for name in self.names:
            mqtt_source(self.port, name, share=self.share).close()  # the session is there before the first message
        self._save()
        super().start()

    def strike(self, fault: Fault, dice: random.Random, sent: _Sent) -> None:
        if fault.startswith("network"):
            network = self._networks[dice.choice(sorted(self._networks))]
            network.be({"network cut": "cut", "network slow": "delayed", "network deaf one way": "one way"}[fault])  # type: ignore[arg-type]
            time.sleep(
                dice.uniform(0.5, 4.0)
            )  # a worker here gives up a broker that does not answer after three seconds
            network.be("open")
        elif fault == "broker paused":
            _pause([self._pid], dice)
        elif fault.startswith("broker restarted"):
            self._broker.stop()
            if fault == "broker restarted without its file":
                (self.folder / "mosquitto" / "mosquitto.db").unlink(missing_ok=True)
            time.sleep(dice.uniform(0.0, 0.5))
            self._broker.start()
        elif fault == "broker killed":
            killed = self._pid
            os.kill(killed, signal.SIGKILL)
            eventually(lambda: self._broker.pid not in (None, killed), "the broker is started again")
        else:
            super().strike(fault, dice, sent)

    def drain(self, sent: _Sent, *, may_lose: bool) -> None:
        super().drain(sent, may_lose=may_lose)
        drained = Draining(self.site, self.port, self.names, self.share)
        try:
            with contextlib.suppress(AssertionError):  # what is missing is counted
                eventually(lambda: sent.is_there(drained.parts), "all is there", 3 if may_lose else PATIENCE)
        finally:
            drained.close()

    def _save(self) -> None:
        """In the field, a worker's session is older than the last save."""
        os.kill(self._pid, signal.SIGUSR1)
        saved = self.folder / "mosquitto" / "mosquitto.db"
        eventually(lambda: saved.exists() and saved.stat().st_size > 0, "mosquitto has saved its sessions")

    @property
    def _pid(self) -> int:
        pid = self._broker.pid
        assert pid is not None, "mosquitto does not run"
        return pid

    def end(self) -> None:
        super().end()
        self._broker.stop()
        for network in self._networks.values():
            network.close()


class Draining:
    """Pipelines in this process that take what a broker still holds for workers that are gone."""

    def __init__(self, site: Site, port: int, names: tuple[str, ...], share: str | None) -> None:
        self._ends = contextlib.ExitStack()
        self.parts = self._ends.enter_context(opened(site))
        for name in names:
            self._ends.enter_context(_pipeline(self.parts, site, port, name, share))

    def close(self) -> None:
        self._ends.close()


@contextlib.contextmanager
def _pipeline(parts: Parts, site: Site, port: int, name: str, share: str | None) -> Iterator[None]:
    # A file of DuckDB has one store in a process; a bucket has one for each writer.
    store = parts.store if site.store.startswith("duckdb") else open_store(site.store, parts.announced)
    settings = PipelineSettings(worker=name, longest_wait=0.2)
    source = mqtt_source(port, name, share=share)
    pipeline = Pipeline(source, parts.registry, parts.ledger, store, Metrics(CollectorRegistry()), settings)
    thread = threading.Thread(target=pipeline.run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        pipeline.stop()
        thread.join(30)
        source.close()
        if store is not parts.store:
            store.close()


class _BetweenServers(_BehindMosquitto):
    """Two workers that share a subscription, between mosquitto, PostgreSQL and InfluxDB."""

    names = ("ingest-1", "ingest-2")
    share = "faults"

    def __init__(self, folder: Path, site: Site, servers: Servers) -> None:
        super().__init__(folder, site)
        self.servers = servers
        self._networks |= {"store": Proxy(self.servers.influxd.port), "registry": Proxy(self.servers.postgres.port)}

    def worker_site(self) -> Site:
        influxd, postgres = self.servers
        return Site(
            self.site.registry.replace(f":{postgres.port}/", f":{self._networks['registry'].port}/"),
            self.site.store.replace(f":{influxd.port}/", f":{self._networks['store'].port}/"),
        )

    def strike(self, fault: Fault, dice: random.Random, sent: _Sent) -> None:
        influxd, postgres = self.servers
        if fault == "store paused":
            _pause([influxd.pid], dice, longest=6.0)  # workers here give up after three seconds
        elif fault == "store killed":
            influxd.kill()
            time.sleep(dice.uniform(0.0, 1.0))
            influxd.start()
        elif fault == "registry paused":
            with postgres.paused():
                time.sleep(dice.uniform(0.2, 6.0))
        elif fault == "registry killed":
            postgres.stop()
            time.sleep(dice.uniform(0.0, 1.0))
            postgres.start()
        else:
            super().strike(fault, dice, sent)


def _pause(pids: list[int], dice: random.Random, longest: float = 1.5) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(dice.uniform(0.2, longest))
    for pid in pids:
        os.kill(pid, signal.SIGCONT)

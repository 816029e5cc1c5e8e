"""More than the endpoint takes, for minutes: does memory stay bounded, do quiet pilots wait, is all of it kept?

    python -m benchmarks.overload [--seconds 600] [--factor 2] [--devices 200] [--window 100]

One process is the ingest endpoint with its pipeline over DuckDB; this one is the devices, each with a connection of its
own. First the devices of a noisy pilot send as fast as they are acknowledged: what the endpoint takes. Then they
measure `--factor` times as much, while each of twenty devices of a quiet pilot sends one message a second. As a device
library with an offline buffer does, a device keeps what it measured until it is acknowledged, and has at most
`--window` messages on their way: together more than the endpoint's own window. Last, nothing new comes and the buffers
drain.

Prints, for each phase, seconds from a measurement to its PUBACK, which follows the commit, and the endpoint's memory;
then whether the ledger has what was acknowledged. The quiet pilot is judged by the phase before: both on the same
machine.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import selectors
import socket
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import psutil

from benchmarks import ingest
from techport_ingest.brokers.auth import Authenticator
from techport_ingest.sources.embedded import EmbeddedBroker, EmbeddedSettings
from techport_ingest.sources.endpoint.packets import Mqtt311, Outgoing
from techport_pilots.access.credentials import Credentials
from techport_pilots.accounting.audit import audit
from techport_pilots.registry.registry import Registry
from techport_storage.store import open_store
from tests.ingest.running import pilot
from tests.servers.mosquitto import free_port

QUIET_DEVICES = 20
PACKET_IDS = 65_535
PUBACK_BYTES = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600, help="of overload")
    parser.add_argument(
        "--factor", type=float, default=2, help="messages of the overload, as a multiple of what is taken"
    )
    parser.add_argument("--devices", type=int, default=200, help="of the noisy pilot")
    parser.add_argument("--window", type=int, default=100, help="messages that a device has on their way at most")
    chosen = parser.parse_args()
    port = free_port()
    ours, theirs = multiprocessing.Pipe()
    with tempfile.TemporaryDirectory() as folder:
        endpoint = multiprocessing.get_context("spawn").Process(
            target=serve, args=(Path(folder), port, chosen.devices, theirs)
        )
        endpoint.start()
        passwords: dict[str, str] = ours.recv()
        assert endpoint.pid is not None
        process = psutil.Process(endpoint.pid)
        noisy, quiet = (
            [Device(port, f"{name}/lamp-{number}", passwords, chosen.window) for number in range(1, count + 1)]
            for name, count in (("noisy", chosen.devices), ("quiet", QUIET_DEVICES))
        )
        devices = Devices([*noisy, *quiet])

        taken = measure_capacity(devices, noisy, seconds=20)
        print(f"taken: {taken:,.0f} messages a second, load {os.getloadavg()[0]:.0f}", flush=True)
        for device in quiet:
            device.rate = 1.0
        phases = {"half of it": taken / 2, f"{chosen.factor:g} times it": taken * chosen.factor}
        for title, rate in phases.items():
            for device in noisy:
                device.rate = rate / len(noisy)
            seconds = chosen.seconds if rate > taken else min(60.0, chosen.seconds)
            tell(title, devices.run(seconds, process), noisy, quiet)
        for device in devices.all:
            device.rate = 0.0
        began = time.monotonic()
        tell("after it", devices.run(3_600, process, until_drained=True), noisy, quiet)
        print(f"caught up {time.monotonic() - began:.0f} s after the last measurement")

        ours.send("stop")
        booked, agrees = ours.recv()
        endpoint.join()
    acknowledged = sum(device.acknowledged for device in devices.all)
    print(f"{acknowledged:,} acknowledged, {booked:,} in the ledger, which {'agrees' if agrees else 'DIFFERS'}")
    assert booked == acknowledged


def serve(folder: Path, port: int, noisy_devices: int, answer: Connection) -> None:
    """The process under load."""
    registry = Registry.open(f"sqlite:///{folder / 'registry.sqlite'}")
    registry.import_pilot(pilot("noisy", noisy_devices), "", "benchmark")
    registry.import_pilot(pilot("quiet", QUIET_DEVICES), "", "benchmark")
    store = open_store(f"duckdb:///{folder / 'readings.duckdb'}")
    credentials = Credentials(registry.database)
    issued = [
        login
        for name, count in (("noisy", noisy_devices), ("quiet", QUIET_DEVICES))
        for login in credentials.issue_all(name, [f"lamp-{number}" for number in range(1, count + 1)], "benchmark")
    ]
    broker = EmbeddedBroker(EmbeddedSettings(port=port), Authenticator(credentials, anonymous=False))
    pipeline, ledger = ingest.collector(broker, registry, store, linger=0.02)
    thread = threading.Thread(target=pipeline.run)
    thread.start()
    answer.send({login.username: login.password for login in issued})
    answer.recv()
    pipeline.stop()
    thread.join()
    broker.close()
    answer.send((sum(tally.messages for tally in ledger.tallies().values()), audit(ledger, store).ok))
    store.close()
    registry.close()


@dataclass
class Device:
    """A device with an offline buffer, over MQTT 3.1.1, where nobody tells it how much it may send."""

    port: int
    name: str  # "pilot/device"
    passwords: dict[str, str]
    window: int
    rate: float = 0.0  # measurements a second
    due: float = 0.0  # measurements so far
    sent: int = 0
    acknowledged: int = 0
    waits: list[float] = field(default_factory=list)  # seconds from a measurement to its PUBACK
    buffered: deque[float] = field(default_factory=deque)  # when it measured what is not acknowledged
    _wire: Mqtt311 = field(default_factory=Mqtt311)
    _partly: int = 0  # bytes of a PUBACK that has not come as a whole

    def __post_init__(self) -> None:
        self.topic = f"pilots/{self.name}/readings"
        self.connection = socket.create_connection(("127.0.0.1", self.port))
        body = b"\0\4MQTT\4\xc2\0\0"
        for text in (self.name.replace("/", "-"), self.name, self.passwords[self.name]):
            body += len(text).to_bytes(2, "big") + text.encode()
        self.connection.sendall(bytes((0x10, len(body))) + body)
        assert self.connection.recv(4)[3] == 0, "refused"

    def measure(self, seconds: float, now: float) -> None:
        """What `seconds` bring, into the buffer."""
        before, self.due = int(self.due), self.due + seconds * self.rate
        self.buffered.extend([now] * (int(self.due) - before))

    def send(self) -> None:
        """Fill the window from the buffer."""
        under_way = self.sent - self.acknowledged
        fresh = min(len(self.buffered), self.window) - under_way
        if fresh <= 0:
            return
        packets = []
        for number in range(self.sent, self.sent + fresh):
            stamp = time.time_ns() // 1000
            payload = b'{"time": %d, "pm10": %d.5, "pm25": %d}' % (stamp, number % 90, number % 50)
            packets.append(self._wire.publish(Outgoing(self.topic, payload, 1, False), number % PACKET_IDS + 1))
        self.sent += fresh
        self.connection.sendall(b"".join(packets))

    def hear(self) -> None:
        """Take off the buffer what is acknowledged: PUBACKs come in the order of what they answer."""
        data = self.connection.recv(65_536)
        assert data, "the endpoint hung up"
        count, self._partly = divmod(self._partly + len(data), PUBACK_BYTES)
        self.acknowledged += count
        now = time.monotonic()
        self.waits.extend(now - self.buffered.popleft() for _ in range(count))


class Devices:
    """All devices, served in turn by one thread."""

    def __init__(self, devices: list[Device]) -> None:
        self.all = devices
        self._selector = selectors.DefaultSelector()
        for device in devices:
            self._selector.register(device.connection, selectors.EVENT_READ, device)

    def run(self, seconds: float, process: psutil.Process, *, until_drained: bool = False) -> list[float]:
        """The endpoint's memory in MiB, once a second."""
        memory: list[float] = []
        for elapsed in self.turns(seconds):
            if elapsed >= len(memory):
                memory.append(process.memory_info().rss / 2**20)
            if until_drained and not any(device.buffered for device in self.all):
                break
        return memory

    def turns(self, seconds: float) -> Iterator[float]:
        """Let all devices measure, send and hear, again and again; yields the seconds so far."""
        began = last = time.monotonic()
        while (now := time.monotonic()) - began < seconds:
            for device in self.all:
                device.measure(now - last, now)
                device.send()
            last = now
            for key, _ in self._selector.select(0.01):
                key.data.hear()
            yield time.monotonic() - began


def measure_capacity(devices: Devices, noisy: list[Device], seconds: float) -> float:
    """Messages a second that are acknowledged while every window is full. Leaves the devices with empty buffers."""
    for device in noisy:
        device.rate = 1_000.0
    began = time.monotonic()
    for _ in devices.turns(seconds):
        for device in noisy:
            if len(device.buffered) >= 2 * device.window:  # a full window is enough
                device.rate = 0.0
            elif device.rate == 0.0:
                device.rate = 1_000.0
    taken = sum(device.acknowledged for device in noisy) / (time.monotonic() - began)
    for device in noisy:
        device.rate = 0.0
    for _ in devices.turns(600):
        if not any(device.buffered for device in noisy):
            break
    for device in noisy:
        device.waits.clear()
    return taken


def tell(phase: str, memory: list[float], noisy: list[Device], quiet: list[Device]) -> None:
    """One line of waits and memory; forgets the waits."""
    parts = []
    for name, devices in (("quiet", quiet), ("noisy", noisy)):
        waits = np.array([wait for device in devices for wait in device.waits])
        if len(waits):
            p50, p99 = np.percentile(waits, (50, 99))
            parts.append(f"{name} {len(waits):,} messages, p50 {p50:.2f} s, p99 {p99:.2f}, worst {waits.max():.2f}")
        for device in devices:
            device.waits.clear()
    buffered = sum(len(device.buffered) for device in noisy)
    half = memory[len(memory) // 2 :] or memory
    parts.append(f"endpoint {memory[0]:.0f} MiB at first, {min(half):.0f} to {max(half):.0f} in the second half")
    print(f"{phase}: {'; '.join(parts)}; {buffered:,} in the buffers of the noisy", flush=True)


if __name__ == "__main__":
    main()

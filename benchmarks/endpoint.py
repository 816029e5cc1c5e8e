"""What the ingest endpoint takes: devices that are connected at once, and messages from all of them into DuckDB.

    python -m benchmarks.endpoint [--devices 2000] [--messages 100000] [--at-once 5] [--version 5]

One process is the endpoint with its pipeline: registry, ledger and store, five values a message. Another one is the
devices, each with a connection of its own: it sends `--at-once` messages of QoS 1, waits for their PUBACKs and sends
the next. Printed are the messages for each CPU-second of the first process, all threads, and its memory. Results are in
INGEST.md.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import selectors
import socket
import tempfile
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Literal

from benchmarks import ingest
from techport_ingest.sources.embedded import EmbeddedBroker, EmbeddedSettings
from techport_ingest.sources.endpoint.packets import Mqtt5, Mqtt311, Outgoing
from techport_pilots.registry.registry import Registry
from techport_storage.store import open_store

Version = Literal["3.1.1", "5"]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--devices", type=int, default=2_000)
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--at-once", type=int, default=5)
    parser.add_argument("--version", choices=("3.1.1", "5"), default="5")
    chosen = parser.parse_args()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ours, theirs = multiprocessing.Pipe()
    with tempfile.TemporaryDirectory() as folder:
        process = multiprocessing.get_context("spawn").Process(target=_endpoint, args=(Path(folder), port, theirs))
        process.start()
        ours.recv()
        devices = Devices(port, chosen.devices, chosen.at_once, chosen.version)
        connecting = time.perf_counter()
        devices.connect()
        connected = time.perf_counter() - connecting
        ours.send("begin")
        idle_mib = ours.recv()
        begun, cpu = time.perf_counter(), time.process_time()
        sent = devices.publish(chosen.messages)
        wall, own_cpu = time.perf_counter() - begun, time.process_time() - cpu
        ours.send(sent)
        used, peak, booked = ours.recv()
        process.join()
    assert booked == sent, f"the ledger has {booked:,} of {sent:,}"
    print(
        f"MQTT {chosen.version}, {chosen.devices:,} devices connected in {connected:.1f} s ({idle_mib:.0f} MiB), "
        f"{chosen.at_once} messages at once: {sent / used:,.0f} messages a CPU-second, {sent / wall:,.0f} a second of "
        f"wall time (the devices took {own_cpu / wall:.0%} of a core), peak {peak:.0f} MiB, "
        f"load {os.getloadavg()[0]:.0f}"
    )


def _endpoint(folder: Path, port: int, answer: Connection) -> None:
    registry = Registry.open(f"sqlite:///{folder / 'registry.sqlite'}")
    registry.import_pilot(ingest.pilot(), "", "benchmark")
    store = open_store(f"duckdb:///{folder / 'readings.duckdb'}")
    broker = EmbeddedBroker(EmbeddedSettings(port=port))
    pipeline, ledger = ingest.collector(broker, registry, store, linger=0.02)
    thread = threading.Thread(target=pipeline.run, daemon=True)
    thread.start()
    answer.send("ready")
    answer.recv()
    answer.send(_resident())
    cpu = time.process_time()
    answer.recv()
    used, peak = time.process_time() - cpu, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    pipeline.stop()
    thread.join()
    answer.send((used, peak, sum(tally.messages for tally in ledger.tallies().values())))
    broker.close()


def _resident() -> float:
    """MiB of this process's memory that is in use."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


class Devices:
    """Connections that send as fast as they are acknowledged."""

    def __init__(self, port: int, count: int, at_once: int, version: Version) -> None:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self._port = port
        self._count = count
        self._at_once = at_once
        self._wire = Mqtt5() if version == "5" else Mqtt311()
        self._level = 5 if version == "5" else 4
        self._selector = selectors.DefaultSelector()
        self._connections: list[socket.socket] = []

    def connect(self) -> None:
        """All of them at once; then wait for every CONNACK."""
        for number in range(self._count):
            connection = socket.create_connection(("127.0.0.1", self._port))
            name = f"d{number}".encode()
            properties = b"\0" if self._level == 5 else b""
            body = b"\0\4MQTT" + bytes((self._level, 2, 0, 60)) + properties + len(name).to_bytes(2, "big") + name
            connection.sendall(bytes((0x10, len(body))) + body)
            self._connections.append(connection)
        for connection in self._connections:
            assert connection.recv(100)[0] == 0x20
            connection.setblocking(False)

    def publish(self, messages: int) -> int:
        """The number that was sent and acknowledged."""
        rounds = max(1, messages // (self._count * self._at_once))
        size = 4 * self._at_once
        done = 0
        number = 0
        left: dict[socket.socket, int] = {}
        missing: dict[socket.socket, int] = {}

        def send(connection: socket.socket) -> None:
            nonlocal number
            data = b""
            for packet_id in range(1, self._at_once + 1):
                topic, payload = ingest.payload(number)
                number += 1
                data += self._wire.publish(Outgoing(topic, payload, 1, False), packet_id)
            connection.sendall(data)
            missing[connection] = size

        for connection in self._connections:
            left[connection] = rounds
            self._selector.register(connection, selectors.EVENT_READ)
            send(connection)
        while done < len(self._connections):
            for key, _ in self._selector.select():
                connection = key.fileobj
                assert isinstance(connection, socket.socket)
                missing[connection] -= len(connection.recv(4_096))
                if not missing[connection]:
                    left[connection] -= 1
                    if left[connection]:
                        send(connection)
                    else:
                        done += 1
        return number


if __name__ == "__main__":
    main()

"""What the ingest endpoint takes: devices that are connected at once, and messages from all of them into DuckDB.

    python -m benchmarks.endpoint [--devices 2000] [--messages 100000] [--at-once 5] [--version 5] [--credentials]

One process is the endpoint with its pipeline: registry, ledger and store, five values a message. Another one is the
devices, each with a connection of its own: it sends `--at-once` messages of QoS 1, waits for their PUBACKs and sends
the next. With `--credentials` they only connect, each with a password of its own. Printed are the messages for each
CPU-second of the first process, all threads, and its memory. Results are in INGEST.md.
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
from techport_ingest.brokers.auth import Authenticator
from techport_ingest.sources.embedded import EmbeddedBroker, EmbeddedSettings
from techport_ingest.sources.endpoint.packets import Mqtt5, Mqtt311, Outgoing
from techport_pilots.access.credentials import Credentials
from techport_pilots.registry.registry import Registry
from techport_storage.store import open_store

Version = Literal["3.1.1", "5"]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--devices", type=int, default=2_000)
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--at-once", type=int, default=5)
    parser.add_argument("--version", choices=("3.1.1", "5"), default="5")
    parser.add_argument("--credentials", action="store_true", help="connect with a password each, and no more")
    chosen = parser.parse_args()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ours, theirs = multiprocessing.Pipe()
    with tempfile.TemporaryDirectory() as folder:
        known = chosen.devices if chosen.credentials else 0
        process = multiprocessing.get_context("spawn").Process(
            target=_endpoint, args=(Path(folder), port, theirs, known)
        )
        process.start()
        logins = ours.recv()
        devices = Devices(port, chosen.devices, chosen.at_once, chosen.version, logins)
        connecting = time.perf_counter()
        devices.connect()
        connected = time.perf_counter() - connecting
        ours.send("begin")
        idle_mib = ours.recv()
        if chosen.credentials:
            ours.send(0)
            used, _, _ = ours.recv()
            process.join()
            print(
                f"MQTT {chosen.version}, {chosen.devices:,} devices with passwords connected in {connected:.1f} s, "
                f"load {os.getloadavg()[0]:.0f}"
            )
            return
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


def _endpoint(folder: Path, port: int, answer: Connection, known: int) -> None:
    """`known` devices have a credential; none: everybody may come in."""
    registry = Registry.open(f"sqlite:///{folder / 'registry.sqlite'}")
    registry.import_pilot(ingest.pilot(), "", "benchmark")
    store = open_store(f"duckdb:///{folder / 'readings.duckdb'}")
    credentials = Credentials(registry.database)
    issued = credentials.issue_all("bench", [f"d{number}" for number in range(known)], "benchmark") if known else []
    gate = Authenticator(credentials, anonymous=not known)
    broker = EmbeddedBroker(EmbeddedSettings(port=port), gate)
    pipeline, ledger = ingest.collector(broker, registry, store, linger=0.02)
    thread = threading.Thread(target=pipeline.run, daemon=True)
    thread.start()
    answer.send([(login.username, login.password) for login in issued])
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

    def __init__(self, port: int, count: int, at_once: int, version: Version, logins: list[tuple[str, str]]) -> None:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self._port = port
        self._count = count
        self._at_once = at_once
        self._logins = logins  # user name and password of each; none where they need none
        self._wire = Mqtt5() if version == "5" else Mqtt311()
        self._level = 5 if version == "5" else 4
        self._selector = selectors.DefaultSelector()
        self._connections: list[socket.socket] = []

    def connect(self) -> None:
        """All of them at once; then wait for every CONNACK."""
        for number in range(self._count):
            connection = socket.create_connection(("127.0.0.1", self._port))
            properties = b"\0" if self._level == 5 else b""
            texts = (f"d{number}", *(self._logins[number] if self._logins else ()))
            body = b"\0\4MQTT" + bytes((self._level, 0xC2 if self._logins else 2, 0, 60)) + properties
            body += b"".join(len(text).to_bytes(2, "big") + text.encode() for text in texts)
            connection.sendall(bytes((0x10, len(body))) + body)
            self._connections.append(connection)
        for connection in self._connections:
            answer = connection.recv(100)
            assert answer[0] == 0x20
            assert answer[3] == 0, "refused"
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

"""A cluster of NATS servers for tests, on free ports of the loopback. Import the fixtures.

NATS is Apache-2.0 software of its authors; build_go.sh builds it once into a cache outside the work tree.
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.servers.go_programs import find_program
from tests.servers.mosquitto import free_port

ANYBODY = """
accounts { TECHPORT { jetstream: enabled, users: [ {user: anybody, password: anybody} ] } }
no_auth_user: anybody
"""
"""Users of a cluster without any: everybody may do everything."""


@dataclass
class Node:
    """One server. Its addresses are chosen once, so that it comes back where it was."""

    name: str
    folder: Path
    client: int
    mqtt: int
    route: int
    monitor: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.client}"

    @property
    def healthy(self) -> bool:
        """Whether it takes part: its streams and consumers have a leader and are up to date here."""
        try:
            return httpx.get(f"http://127.0.0.1:{self.monitor}/healthz", timeout=2).status_code == 200
        except httpx.TransportError:
            return False


class NatsCluster:
    """Three servers, one account, MQTT on each."""

    def __init__(self, folder: Path, users: str = ANYBODY, nodes: int = 3, more: str = "") -> None:
        self.folder = folder
        self.users = folder / "users.conf"
        ports: set[int] = set()
        while len(ports) < 4 * nodes:
            ports.add(free_port())
        self.nodes = [
            Node(f"n{number}", folder / f"n{number}", *(ports.pop() for _ in range(4)))
            for number in range(1, nodes + 1)
        ]
        self._executable = find_program("nats-server")
        self._more = more
        folder.mkdir(parents=True, exist_ok=True)
        if not self.users.exists():
            self.users.write_text(users)

    @property
    def servers(self) -> tuple[str, ...]:
        return tuple(node.address for node in self.nodes)

    def start(self) -> None:
        for node in self.nodes:
            self.start_node(node)
        self.wait()

    def wait(self, seconds: float = 60) -> None:
        """Until every node that runs takes part."""
        until = time.monotonic() + seconds
        for node in self.nodes:
            while node.process is not None and not node.healthy:
                ended = [other.name for other in self.nodes if other.process and other.process.poll() is not None]
                if ended or time.monotonic() > until:
                    logs = [(other.folder / "log").read_text()[-1000:] for other in self.nodes]
                    raise RuntimeError(f"{node.name} is not well, {ended} ended: {logs}")
                time.sleep(0.1)

    def start_node(self, node: Node) -> None:
        node.folder.mkdir(exist_ok=True)
        file = node.folder / "nats.conf"
        file.write_text(self._configuration(node))
        with (node.folder / "log").open("ab") as log:
            node.process = subprocess.Popen([self._executable, "-c", str(file)], stdout=log, stderr=log)

    def kill(self, node: Node) -> None:
        """SIGKILL."""
        assert node.process is not None
        node.process.kill()
        node.process.wait()
        node.process = None

    def reload(self) -> None:
        """Have every node read its users again."""
        for node in self.nodes:
            if node.process is not None:
                node.process.send_signal(signal.SIGHUP)

    def stop(self) -> None:
        for node in self.nodes:
            if node.process is not None:
                node.process.terminate()
        for node in self.nodes:
            if node.process is not None:
                try:
                    node.process.wait(20)
                except subprocess.TimeoutExpired:
                    node.process.kill()
                    node.process.wait()
                node.process = None

    def _configuration(self, node: Node) -> str:
        routes = ", ".join(f"nats://127.0.0.1:{other.route}" for other in self.nodes)
        cluster = f"""
            cluster {{ name: techport, listen: "127.0.0.1:{node.route}", routes: [{routes}], no_advertise: true }}
            """
        return f"""
            server_name: {node.name}
            listen: "{node.address}"
            http: "127.0.0.1:{node.monitor}"
            jetstream {{ store_dir: "{node.folder}/data", max_mem: 256M, max_file: 4G }}
            mqtt {{
              listen: "127.0.0.1:{node.mqtt}"
              stream_replicas: {min(3, len(self.nodes))}
              ack_wait: 5s
            }}
            {cluster if len(self.nodes) > 1 else ""}
            {self._more}
            include ../users.conf
            """


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[NatsCluster]:
    """Three servers that anybody may use."""
    cluster = NatsCluster(tmp_path / "nats")
    cluster.start()
    yield cluster
    cluster.stop()

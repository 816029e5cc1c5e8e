"""A real cluster of Apache IoTDB for tests: one ConfigNode and three DataNodes, on free ports of the loopback.

Apache-2.0 software, fetched once by build_iotdb.sh into a cache outside the work tree. On a machine where it is not,
tests that need it are skipped with the reason; never where CI=true. Java is started directly, without the scripts of
the distribution, so that every process is known by its id and ends with the test run.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from tests.servers.cache import find_cached
from tests.servers.mosquitto import free_port

VERSION = "iotdb-2.0.10"
RATIS = "org.apache.iotdb.consensus.ratis.RatisConsensus"
_OPENED = [f"java.base/java.{name}" for name in ("util.concurrent", "lang", "util", "nio", "io", "net")]
_MEMORY = {
    "confignode": ("-Xms96M", "-Xmx256M", "-XX:MaxDirectMemorySize=64M"),
    "datanode": ("-Xms256M", "-Xmx768M", "-XX:MaxDirectMemorySize=192M"),
}
_MAIN = {
    "confignode": "org.apache.iotdb.confignode.service.ConfigNode",
    "datanode": "org.apache.iotdb.db.service.DataNode",
}
SPARING = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
"""The least work of all collectors and compilers, on a machine that several nodes share for a minute or two."""
_START = 300  # s; as a rule it takes a tenth
_PR_SET_PDEATHSIG = 1


def find_iotdb() -> Path:
    """The folder with both kinds of node. Skips where there is none; where CI=true it is fetched, else the test
    fails."""
    return find_cached(VERSION, "build_iotdb.sh", usable=shutil.which("java") is not None)


@dataclass
class Node:
    """A process of the cluster, which may be killed, frozen and started again over the same data."""

    kind: str  # confignode or datanode
    folder: Path
    home: Path
    settings: dict[str, object]
    java: tuple[str, ...]
    process: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> int:
        """Where clients connect; of a ConfigNode, where nodes do."""
        return int(str(self.settings["dn_rpc_port" if self.kind == "datanode" else "cn_internal_port"]))

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        """Start; it is not ready when this returns."""
        conf = self.folder / "conf"
        conf.mkdir(parents=True, exist_ok=True)
        lines = [f"{name}={value}\n" for name, value in self.settings.items()]
        (conf / "iotdb-system.properties").write_text("".join(lines))
        (conf / "logback.xml").write_text(_LOGBACK)
        capital = "CONFIGNODE" if self.kind == "confignode" else "IOTDB"
        command = [
            "java",
            *(f"--add-opens={name}=ALL-UNNAMED" for name in _OPENED),
            *_MEMORY[self.kind],
            *self.java,
            "-Xss512k",
            f"-Dlogback.configurationFile={conf / 'logback.xml'}",
            f"-D{capital}_HOME={self.folder}",
            f"-D{capital}_DATA_HOME={self.folder}",
            f"-DTSFILE_HOME={self.folder}",
            f"-D{capital}_CONF={conf}",
            f"-DTSFILE_CONF={conf}",
            f"-Djava.io.tmpdir={self.folder}",
            "-cp",
            f"{self.home / self.kind / 'lib'}/*",
            _MAIN[self.kind],
            "-s",
        ]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder, preexec_fn=_end_with_parent
            )

    def wait(self) -> None:
        """Until it takes connections."""
        deadline = time.monotonic() + _START
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=5):
                return
            if self.process is None or self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"IoTDB's {self.kind} does not start: {(self.folder / 'log').read_text()[-3000:]}")
            time.sleep(0.1)

    def freeze(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def stop(self) -> None:
        """As an operator would, with SIGTERM."""
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None

    def kill(self) -> None:
        """SIGKILL, as a power cut would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@dataclass
class Cluster:
    """One ConfigNode and DataNodes, with as many copies of all data as there are DataNodes, three at most."""

    folder: Path
    size: int = 3
    java: tuple[str, ...] = SPARING
    settings: dict[str, object] = field(default_factory=dict)
    home: Path = field(default_factory=find_iotdb)
    confignode: Node = field(init=False)
    datanodes: list[Node] = field(init=False)

    def __post_init__(self) -> None:
        seed = free_port()
        copies = min(self.size, 3)
        common = {
            "cluster_name": "techport",
            "schema_replication_factor": copies,
            "data_replication_factor": copies,
            "data_region_consensus_protocol_class": RATIS,
            "timestamp_precision": "us",
            "wal_buffer_size_in_byte": 4194304,
            "cn_connection_timeout_ms": 10000,
            "dn_connection_timeout_ms": 10000,
            **self.settings,
        }
        own = {
            "cn_internal_address": "127.0.0.1",
            "cn_internal_port": seed,
            "cn_consensus_port": free_port(),
            "cn_seed_config_node": f"127.0.0.1:{seed}",
        }
        self.confignode = Node("confignode", self.folder / "confignode", self.home, common | own, self.java)
        self.datanodes = [
            Node("datanode", self.folder / f"datanode-{number}", self.home, common | self._datanode(seed), self.java)
            for number in range(1, self.size + 1)
        ]

    @staticmethod
    def _datanode(seed: int) -> dict[str, object]:
        return {
            "dn_seed_config_node": f"127.0.0.1:{seed}",
            "dn_rpc_address": "127.0.0.1",
            "dn_internal_address": "127.0.0.1",
            **{
                f"dn_{name}_port": free_port()
                for name in (
                    "rpc",
                    "internal",
                    "mpp_data_exchange",
                    "schema_region_consensus",
                    "data_region_consensus",
                )
            },
        }

    @property
    def nodes(self) -> list[Node]:
        return [self.confignode, *self.datanodes]

    def start(self) -> None:
        """Start all nodes, and wait until each takes connections."""
        self.confignode.start()
        self.confignode.wait()
        for node in self.datanodes:
            node.start()
        for node in self.datanodes:
            node.wait()

    def stop(self) -> None:
        for node in reversed(self.nodes):
            node.kill()  # nobody needs the data any more

    @property
    def tables(self) -> Tables:
        """Where stores can be opened."""
        file = self.folder / "password"
        file.write_text("root\n")  # of a new cluster
        return Tables(",".join(f"127.0.0.1:{node.port}" for node in self.datanodes), str(file))


class Tables(msgspec.Struct, frozen=True):
    """Where a cluster is that stores can be opened in, each in a table of its own."""

    hosts: str
    password_file: str

    def url(self, table: str | None = None, **options: str) -> str:
        """What open_store() takes: of a new table where none is named."""
        given = {"table": table or f"reading_{uuid.uuid4().hex[:8]}", "password_file": self.password_file}
        query = "&".join(f"{key}={value}" for key, value in (given | options).items())
        return f"iotdb://{self.hosts}/techport?{query}"


class _Shared(msgspec.Struct):
    """What the workers of one run know of their cluster."""

    tables: Tables
    users: int


@pytest.fixture(scope="session")
def iotdb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tables]:
    """One cluster for the whole run, also where several workers run it: the first one starts it, and goes last."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "iotdb"
    folder.mkdir(exist_ok=True)
    cluster = None
    with _note(folder) as note:
        if note.exists():
            shared = msgspec.json.decode(note.read_bytes(), type=_Shared)
            shared.users += 1
        else:
            cluster = start_cluster(folder)
            shared = _Shared(cluster.tables, 1)
        note.write_bytes(msgspec.json.encode(shared))
    yield shared.tables
    with _note(folder) as note:
        shared = msgspec.json.decode(note.read_bytes(), type=_Shared)
        shared.users -= 1
        note.write_bytes(msgspec.json.encode(shared))
    if cluster is not None:
        while msgspec.json.decode((folder / "cluster.json").read_bytes(), type=_Shared).users:
            time.sleep(0.5)
        cluster.stop()


def start_cluster(folder: Path, size: int = 3, java: tuple[str, ...] = SPARING, **settings: object) -> Cluster:
    """A running cluster. The caller stops it."""
    for attempt in range(3):
        cluster = Cluster(folder / str(attempt), size, java, settings)
        try:
            cluster.start()
        except BaseException as problem:
            cluster.stop()
            # Another server may take one of its seventeen ports before it does.
            if not isinstance(problem, RuntimeError) or attempt == 2:
                raise
        else:
            return cluster
    raise AssertionError


@contextlib.contextmanager
def _note(folder: Path) -> Iterator[Path]:
    """The file in which the workers keep what they know; nobody else reads or writes it meanwhile."""
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder / "cluster.json"


def _end_with_parent() -> None:
    """The kernel kills this process when the one that started it is gone, however that ended."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


_LOGBACK = """<configuration>
  <appender name="stdout" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%d{HH:mm:ss.SSS} [%t] %-5level %logger{20} - %msg%n</pattern></encoder>
  </appender>
  <root level="warn"><appender-ref ref="stdout"/></root>
</configuration>
"""

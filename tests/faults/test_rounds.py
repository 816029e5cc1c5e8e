"""Rounds of faults, a few of the thousand of `make soak`; what is made of them; and that the faults are real."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import resource
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from techport_ingest.brokers.mosquitto import Mosquitto, MosquittoSettings, find_mosquitto
from techport_pilots.accounting.audit import audit
from tests.conftest import unavailable
from tests.faults import rounds, soak
from tests.faults.preload import Disk, library
from tests.faults.proxy import Proxy
from tests.ingest.running import NOON, Ingest, eventually, mqtt_source
from tests.servers import postgres
from tests.servers.influxd import start_influxd
from tests.servers.mosquitto import free_port

SEEDS = 30
DEVICES = int(os.environ.get("TECHPORT_CROWD", "2000"))
"""That come back at once; each takes a descriptor here and one of mosquitto."""


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[rounds.Servers]:
    if find_mosquitto() is None:
        unavailable("mosquitto is not installed: apt-get install mosquitto")
    programs = postgres.find()
    if programs is None:
        unavailable("PostgreSQL is not installed: apt-get install postgresql")
    if library() is None:
        unavailable("there is no C compiler: apt-get install gcc")
    store = start_influxd(tmp_path_factory.mktemp("influxd"))  # of this file alone, as rounds kill it
    try:
        with postgres.running(programs) as registry:
            yield rounds.Servers(store, registry)
    finally:
        store.stop()


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.parametrize("seed", range(SEEDS))
def test_what_was_acknowledged_is_kept_once(seed: int, tmp_path: Path, servers: rounds.Servers) -> None:
    outcome = rounds.run(seed, tmp_path, servers)
    assert outcome.holds, outcome


@pytest.mark.faults
@pytest.mark.slow
def test_thousands_of_devices_that_come_back_at_once_lose_nothing(tmp_path: Path) -> None:
    """Behind mosquitto, each connects twice: at once, and at once again after all were cut off."""
    executable = find_mosquitto()
    if executable is None:
        unavailable("mosquitto is not installed: apt-get install mosquitto")
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    broker = Mosquitto(MosquittoSettings(folder=tmp_path / "mosquitto", executable=executable, port=free_port()))
    broker.start()
    ingest = Ingest(tmp_path)
    try:
        ingest.start(mqtt_source(broker.settings.port))
        numbers = set(asyncio.run(rounds.crowd(broker.settings.port, DEVICES, first=10_000)))
        assert len(numbers) == 2 * DEVICES
        eventually(lambda: ingest.total().stored >= len(numbers), "all is booked", rounds.PATIENCE)
        assert {round(row[2]) - NOON for row in ingest.rows()} == numbers
        assert audit(ingest.ledger, ingest.store).ok
    finally:
        ingest.close()
        broker.stop()


@pytest.mark.faults
@pytest.mark.slow
def test_of_two_processes_of_one_name_the_earlier_ends_though_nothing_arrives(
    tmp_path: Path, servers: rounds.Servers
) -> None:
    executable = find_mosquitto()
    if executable is None:
        unavailable("mosquitto is not installed: apt-get install mosquitto")
    broker = Mosquitto(MosquittoSettings(folder=tmp_path / "mosquitto", executable=executable, port=free_port()))
    broker.start()
    environment = {
        **os.environ,
        "TECHPORT_REGISTRY": servers.postgres.database(),
        "TECHPORT_STORE": servers.influxd.url(servers.influxd.new_bucket(), writers="several"),
        "TECHPORT_MQTT": f"127.0.0.1:{broker.settings.port}",
        "TECHPORT_WORKER": "ingest-1",
    }
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for name in ("earlier", "later"):
            command = [sys.executable, "-m", "techport", "ingest", "--insecure", "--data", str(tmp_path / name)]
            log = tmp_path / f"{name}.log"
            with log.open("wb") as output:
                processes.append(subprocess.Popen(command, stdout=output, stderr=output, env=environment))
            eventually(lambda log=log: "ingesting" in log.read_text(), "it ingests", rounds.PATIENCE)  # type: ignore[misc]
        eventually(lambda: processes[0].poll() is not None, "the earlier ends", rounds.PATIENCE)
        assert processes[0].returncode == 2
        assert "another process has begun as the worker ingest-1" in " ".join(
            (tmp_path / "earlier.log").read_text().split()
        )
        assert processes[1].poll() is None
    finally:
        for process in processes:
            process.kill()
            process.wait()
        broker.stop()


_WRITER = """
import os, sys
log = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
os.write(log, b"a" * 10_000)
os.fsync(log)
os.pwrite(log, b"b" * 5_000, 2_000)
os.write(log, b"c" * 9_000)
print("written", flush=True)
for line in sys.stdin:
    try:
        os.write(log, b"d")
        print("works", flush=True)
    except OSError as error:
        print(error.errno, flush=True)
"""


@pytest.mark.faults
def test_the_disk_loses_what_was_not_synced_and_fails_when_told(tmp_path: Path) -> None:
    if library() is None:
        unavailable("there is no C compiler: apt-get install gcc")
    data = tmp_path / "data"
    data.mkdir()
    file = data / "log"
    disk = Disk(data, tmp_path)
    command = [sys.executable, "-c", _WRITER, str(file)]
    environment = {**os.environ, **disk.environment}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def write() -> str:
            process.stdin.write("\n")  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]
            return process.stdout.readline().strip()  # type: ignore[union-attr]

        assert process.stdout.readline() == "written\n"
        assert write() == "works"
        disk.be("full")
        assert write() == str(errno.ENOSPC)
        disk.be("read-only")
        assert write() == str(errno.EROFS)
        disk.be("works")
        assert write() == "works"
        process.kill()
    new = b"a" * 2_000 + b"b" * 5_000 + b"a" * 3_000 + b"c" * 9_000 + b"dd"
    assert file.read_bytes() == new
    assert disk.lose_power(random.Random(0)) > 0  # its first number is 0.84: nothing survives
    assert file.read_bytes() == b"a" * 10_000
    assert disk.lose_power(random.Random(0)) == 0


@pytest.mark.fast
def test_pages_may_survive_a_loss_of_power(tmp_path: Path) -> None:
    """What is left of each page is the old one or the new one, and never a mixture."""
    old, new = b"a" * 20_000, b"b" * 40_000
    left = set()
    for seed in range(20):
        file = tmp_path / f"file-{seed}"
        file.write_bytes(new)
        log = b"W" + struct.pack("<IQQI", len(str(file)), 0, len(old), len(old)) + str(file).encode() + old
        (tmp_path / "writes.log").write_bytes(log)
        Disk(tmp_path, tmp_path).lose_power(random.Random(seed))
        content = file.read_bytes()
        assert len(old) <= len(content) <= len(new)
        pages = [content[at : at + 4096] for at in range(0, 16_384, 4096)]
        assert all(len(set(page)) == 1 for page in pages)
        left.add(content)
    assert len(left) > 5


class _Ending(subprocess.Popen[bytes]):
    """A process that could not write, and is still on its way out when it is looked at first."""

    def __init__(self) -> None:
        super().__init__(["true"])
        self._looked = 0

    def poll(self) -> int | None:
        self._looked += 1
        return None if self._looked < 3 else 1


@pytest.mark.fast
def test_a_worker_that_a_full_disk_ends_is_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when it has not ended yet as the disk works again: nobody would take what its devices send."""
    system = rounds._Embedded(tmp_path, rounds.Site("", ""))
    started: list[str] = []
    with _Ending() as process:
        system._workers["ingest-1"] = process
        monkeypatch.setattr(rounds._Embedded, "start_worker", lambda _, name: started.append(name))
        monkeypatch.setattr("tests.faults.rounds.time.sleep", lambda _: None)
        system.strike("disk full", random.Random(0), rounds._Sent())
        assert started == ["ingest-1"]


@pytest.mark.fast
def test_a_network_is_cut_slow_or_deaf() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        network = Proxy(server.getsockname()[1])
        with socket.create_connection(("127.0.0.1", network.port), 5) as near:
            far, _ = server.accept()
            near.sendall(b"there")
            assert far.recv(100) == b"there"
            network.be("one way")
            near.sendall(b"heard")
            assert far.recv(100) == b"heard"
            far.sendall(b"and back")
            near.settimeout(0.3)
            with pytest.raises(TimeoutError):
                near.recv(100)
            network.be("open")
            near.settimeout(5)
            assert near.recv(100) == b"and back"
            network.be("cut")
            assert near.recv(100) == b""
            assert far.recv(100) == b""
            far.close()
        network.close()


def outcome(**more: object) -> rounds.Round:
    usual = rounds.Round(1, "mosquitto", ["worker killed"], 400, 0, 0, 2.5, agrees=True)
    return msgspec.structs.replace(usual, **more)


@pytest.mark.fast
def test_only_a_killed_mosquitto_may_lose_messages() -> None:
    assert outcome().holds
    assert not outcome(lost=1).holds
    assert outcome(lost=1, faults=["worker paused", "broker killed"]).holds
    assert outcome(lost=1, faults=["broker restarted without its file"]).holds
    assert not outcome(lost=1, faults=["broker restarted"]).holds
    assert not outcome(duplicated=1, faults=["broker killed"]).holds
    assert not outcome(agrees=False).holds


@pytest.mark.fast
def test_the_table_is_made_from_results_that_a_kill_may_have_cut_off(tmp_path: Path) -> None:
    file = tmp_path / "soak.jsonl"
    lines = [soak.Result("abc", outcome()), soak.Result("abd", outcome(seed=2, recovery=3.5))]
    lines.append(soak.Result("abd", outcome(seed=3, lost=7, faults=["worker killed", "broker killed"])))
    file.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines) + b'{"commit": "abd", "rou')
    results = soak.read(file)
    assert results == lines
    page = soak.with_table(f"before\n{soak.BEGIN}\nold\n{soak.END}\nafter\n", results)
    assert "| mosquitto | worker killed | 2 | 800 | 0 | 0 | 0 | 3.0 / 3.5 |" in page
    assert "| mosquitto | broker killed | 1 | 400 | 7 | 0 | 0 | 2.5 / 2.5 |" in page
    assert "old" not in page
    assert page.startswith("before\n")
    assert page.endswith("after\n")
    assert soak.with_table(page, results) == page

"""One round: a device publishes while faults happen to real processes, from a seed; then everything is counted.

    device ─► broker ─► worker process ─► SQLite and DuckDB
                ▲          ▲
                └─ faults ─┘   killed, paused for a while, restarted, killed again while they start

Both forms are tried: the embedded broker within the worker, which answers after the commit, and mosquitto, which
answers before. What the device believes to be kept has to be in the store, once, with the value that it sent, and the
ledger has to agree. Only a mosquitto that is killed itself may lose messages: those are counted.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Literal

import msgspec
from paho.mqtt.client import Client

from techport_ingest.brokers.mosquitto import Mosquitto, MosquittoSettings, find_mosquitto
from techport_pilots.accounting.audit import audit
from techport_pilots.children import start_child
from tests.ingest.running import NOON, Ingest, eventually, hang_up, mqtt_source, publisher, reading
from tests.servers.mosquitto import free_port

WORKER = Path(__file__).parent.parent / "ingest" / "worker.py"
TOPIC = "pilots/air/lamp-1/readings"
MESSAGES = 400
SECONDS = 2.0
"""How long a device takes to publish them while nothing disturbs it."""

PATIENCE = 120.0

Form = Literal["embedded", "mosquitto"]
Fault = Literal[
    "worker killed",
    "worker killed while it starts",
    "worker paused",
    "broker paused",
    "broker restarted",
    "broker killed",
]
FAULTS: dict[Form, tuple[Fault, ...]] = {
    "embedded": ("worker killed", "worker killed while it starts", "worker paused"),
    "mosquitto": (
        "worker killed",
        "worker killed while it starts",
        "worker paused",
        "broker paused",
        "broker restarted",
        "broker killed",
    ),
}


class Round(msgspec.Struct, frozen=True):
    """What came of one round."""

    seed: int
    form: Form
    faults: list[Fault]
    acknowledged: int  # messages that the device believes to be kept
    lost: int  # of those, not in the store
    duplicated: int  # rows beyond one for each message
    recovery: float  # seconds from the end of the last fault until everything was in the store
    agrees: bool  # the ledger, with itself and with the store

    @property
    def may_lose(self) -> bool:
        """Whether mosquitto itself was killed: what it acknowledged since its last save is gone."""
        return "broker killed" in self.faults

    @property
    def holds(self) -> bool:
        """Whether everything is as docs/guarantees.md says."""
        return self.agrees and not self.duplicated and (not self.lost or self.may_lose)


def run(seed: int, folder: Path) -> Round:
    """Run a round in an empty folder."""
    dice = random.Random(seed)
    form: Form = dice.choice(("embedded", "mosquitto"))
    faults = [dice.choice(FAULTS[form]) for _ in range(dice.randint(1, 3))]
    Ingest(folder).close()
    with contextlib.ExitStack() as ends:
        processes: _Embedded = _Mosquitto(folder) if form == "mosquitto" else _Embedded(folder)
        ends.callback(processes.end)
        processes.start()
        device = _Device(processes.port)
        ends.callback(device.end)
        device.start()
        for fault in faults:
            time.sleep(dice.uniform(0.1, SECONDS / len(faults)))
            processes.strike(fault, dice)
        recovering = time.monotonic()
        device.join()
        recovery = time.monotonic() - recovering
        acknowledged = set(device.acknowledged)
        processes.stop()
        recovery += processes.drain(len(acknowledged), may_lose="broker killed" in faults)
    ingest = Ingest(folder)
    try:
        rows = [(round(row[2]) - NOON, row[3]) for row in ingest.rows()]
        right = {number for number, value in rows if value == number + 0.5}
        agrees = audit(ingest.ledger, ingest.store).ok and not ingest.ledger.open_intents()
    finally:
        ingest.close()
    lost = len(acknowledged - right)
    return Round(seed, form, faults, len(acknowledged), lost, len(rows) - len(right), round(recovery, 2), agrees)


class _Device:
    """Publishes numbered readings and sends again what is not acknowledged."""

    def __init__(self, port: int) -> None:
        self.acknowledged: set[int] = set()
        self._numbers: dict[int, int] = {}
        self._client: Client = _connect(port)
        self._client.on_publish = self._on_publish
        self._thread = threading.Thread(target=self._publish)

    def start(self) -> None:
        self._thread.start()

    def join(self) -> None:
        """Wait until everything is published and acknowledged."""
        self._thread.join()
        eventually(lambda: len(self.acknowledged) == MESSAGES, "all messages are acknowledged", PATIENCE)

    def end(self) -> None:
        self._thread.join()
        hang_up(self._client)

    def _publish(self) -> None:
        for number in range(MESSAGES):
            self._numbers[self._client.publish(TOPIC, reading(number), qos=1).mid] = number
            time.sleep(SECONDS / MESSAGES)

    def _on_publish(self, _client: object, _data: object, mid: int, _reason: object, _properties: object) -> None:
        # Called before `publish` has returned, where the answer is quicker than that.
        deadline = time.monotonic() + 1
        while mid not in self._numbers and time.monotonic() < deadline:
            time.sleep(0.001)
        self.acknowledged.add(self._numbers[mid])


def _connect(port: int) -> Client:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return publisher(port)
        except OSError:
            assert time.monotonic() < deadline, f"nobody listens on port {port}"
            time.sleep(0.05)


class _Embedded:
    """A worker with its own broker."""

    kind = "embedded"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._worker: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.start_worker()

    def start_worker(self) -> None:
        command = [sys.executable, str(WORKER), str(self.folder), str(self.port), self.kind]
        with (self.folder / "worker.log").open("ab") as log:
            self._worker = start_child(command, stdout=log, stderr=log)  # ends with us

    def kill_worker(self) -> None:
        assert self._worker is not None
        self._worker.kill()
        self._worker.wait()

    def strike(self, fault: Fault, dice: random.Random) -> None:
        """Let the fault happen, and what follows it: paused processes go on, killed ones are started again."""
        if fault.startswith("worker killed"):
            self.kill_worker()
            self.start_worker()
            if fault == "worker killed while it starts":
                time.sleep(dice.uniform(0.0, 1.5))
                self.kill_worker()
                self.start_worker()
        elif fault == "worker paused":
            assert self._worker is not None
            _pause(self._worker.pid, dice)

    def stop(self) -> None:
        """End the worker without a chance to put anything in order."""
        self.kill_worker()

    def drain(self, acknowledged: int, may_lose: bool) -> float:
        """Take what the broker still holds; the seconds that it took."""
        return 0.0

    def end(self) -> None:
        if self._worker is not None and self._worker.poll() is None:
            self.kill_worker()


class _Mosquitto(_Embedded):
    """A worker behind a mosquitto."""

    kind = "mosquitto"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        executable = find_mosquitto()
        assert executable is not None, "mosquitto is not installed"
        self._broker = Mosquitto(MosquittoSettings(folder=folder / "mosquitto", executable=executable, port=self.port))

    def start(self) -> None:
        self._broker.start()
        mqtt_source(self.port).close()  # the session is there before the first message
        os.kill(self._pid, signal.SIGUSR1)  # saved: in the field, a worker's session is older than the last save
        saved = self.folder / "mosquitto" / "mosquitto.db"
        eventually(lambda: saved.exists() and saved.stat().st_size > 0, "mosquitto has saved its sessions")
        self.start_worker()

    def strike(self, fault: Fault, dice: random.Random) -> None:
        if fault == "broker paused":
            _pause(self._pid, dice)
        elif fault == "broker restarted":
            self._broker.stop()
            time.sleep(dice.uniform(0.0, 0.5))
            self._broker.start()
        elif fault == "broker killed":
            killed = self._pid
            os.kill(killed, signal.SIGKILL)
            eventually(lambda: self._broker.pid not in (None, killed), "the broker is started again")
        else:
            super().strike(fault, dice)

    def drain(self, acknowledged: int, may_lose: bool) -> float:
        started = time.monotonic()
        ingest = Ingest(self.folder)

        def is_complete() -> bool:
            return len(ingest.rows()) >= acknowledged and not ingest.ledger.open_intents()

        try:
            ingest.start(mqtt_source(self.port))
            with contextlib.suppress(AssertionError):  # what is missing is counted
                eventually(is_complete, "all is there", 3 if may_lose else PATIENCE)
        finally:
            ingest.close()
        return time.monotonic() - started

    @property
    def _pid(self) -> int:
        pid = self._broker.pid
        assert pid is not None, "mosquitto does not run"
        return pid

    def end(self) -> None:
        super().end()
        self._broker.stop()


def _pause(pid: int, dice: random.Random) -> None:
    os.kill(pid, signal.SIGSTOP)
    time.sleep(dice.uniform(0.2, 1.5))
    os.kill(pid, signal.SIGCONT)

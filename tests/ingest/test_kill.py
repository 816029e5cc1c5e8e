"""SIGKILL at random moments: what was acknowledged is stored, once, and the ledger agrees."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from paho.mqtt.client import Client

from techport_ingest.brokers.mosquitto import Mosquitto
from techport_pilots.accounting.audit import audit
from tests.ingest.running import NOON, Ingest, eventually, hang_up, mqtt_source, publisher, reading
from tests.servers.mosquitto import free_port

pytestmark = pytest.mark.faults

WORKER = Path(__file__).with_name("worker.py")


class Process:
    """The ingest process over a folder. Not ours while it runs: the store belongs to one process at a time."""

    def __init__(self, folder: Path, port: int, kind: str) -> None:
        self._command = [sys.executable, str(WORKER), str(folder), str(port), kind]
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._child = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)

    def kill(self) -> None:
        assert self._child is not None
        assert self._child.poll() is None, "the worker ended by itself"
        self._child.kill()
        self._child.wait()


def prepare(folder: Path) -> None:
    Ingest(folder).close()


def publish_for_a_while(device: Client, messages: int, seconds: float) -> threading.Thread:
    """Readings in a steady stream; of a hundred one is broken, and one corrects an earlier one of its device."""

    def work() -> None:
        for number in range(messages):
            payload = (
                b"broken %d" % number
                if number % 100 == 99
                else reading(number - 3, pm10=CORRECTED, pm25=CORRECTED)
                if number % 100 == 98
                else reading(number, pm10=number % 97, pm25=number % 97 / 2)
            )
            device.publish(f"pilots/air/lamp-{number % 3 + 1}/readings", payload, qos=1)
            time.sleep(seconds / messages)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def expected_rows(messages: int) -> list[tuple[str, str, float, float, int]]:
    good = [number for number in range(messages) if number % 100 < 98]
    return sorted(
        (f"lamp-{n % 3 + 1}", key, float(NOON + n), CORRECTED if n % 100 == 95 else n % 97 * factor, 0)
        for n in good
        for key, factor in COLUMNS
    )


CORRECTED = 0.25
COLUMNS = (("pm10", 1.0), ("pm25", 0.5))


@pytest.mark.slow
def test_killed_six_times_behind_mosquitto(mosquitto: Mosquitto, device: Client, tmp_path: Path) -> None:
    """The broker keeps what the killed process had not acknowledged. Nothing is lost, nothing is there twice."""
    messages = 6_000
    prepare(tmp_path)
    mqtt_source(mosquitto.settings.port, "ingest-1").close()  # the session exists before the first message
    worker = Process(tmp_path, mosquitto.settings.port, "mosquitto")
    worker.start()
    sending = publish_for_a_while(device, messages, seconds=12)
    dice = random.Random(7)
    for _ in range(6):
        time.sleep(dice.uniform(1.0, 2.0))
        worker.kill()
        worker.start()
    sending.join()
    time.sleep(1)
    worker.kill()

    ingest = Ingest(tmp_path)
    ingest.start(mqtt_source(mosquitto.settings.port, "ingest-1"))
    broken = messages // 100
    eventually(lambda: ingest.rows() == expected_rows(messages) and len(ingest.entries()) >= broken, "all is there")
    eventually(lambda: ingest.ledger.open_intents() == {}, "every interrupted batch is reconciled")
    ingest.stop()
    total = ingest.total()
    assert total.stored == 2 * (messages - 2 * broken)
    assert total.corrections > 0
    report = audit(ingest.ledger, ingest.store)
    assert report.ok, report.off
    assert report.total.corrections == total.corrections
    assert {entry.payload for entry in ingest.entries()} == {b"broken %d" % n for n in range(99, messages, 100)}
    ingest.close()


@pytest.mark.slow
def test_what_the_embedded_broker_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    messages = 1_500
    prepare(tmp_path)
    port = free_port()
    worker = Process(tmp_path, port, "embedded")
    worker.start()
    device = connect_when_it_listens(port)
    acknowledged: set[int] = set()
    device.on_publish = lambda _client, _data, mid, _reason, _properties: acknowledged.add(mid)
    sent: dict[int, int] = {}

    def work() -> None:
        for number in range(messages):
            sent[device.publish("pilots/air/lamp-1/readings", reading(number), qos=1).mid] = number
            time.sleep(0.004)

    sending = threading.Thread(target=work)
    sending.start()
    dice = random.Random(3)
    for _ in range(3):
        time.sleep(dice.uniform(0.5, 1.5))
        worker.kill()
        seen = {sent[mid] for mid in acknowledged if mid in sent}  # what the device believes to be kept
        ingest = Ingest(tmp_path)
        stored = {int(row[2]) - NOON for row in ingest.rows()}
        ingest.close()
        assert seen <= stored
        worker.start()
    sending.join()
    eventually(lambda: len(acknowledged) == messages, "everything is acknowledged in the end")
    worker.kill()
    ingest = Ingest(tmp_path)
    assert [row[3] for row in ingest.rows()] == [number + 0.5 for number in range(messages)]
    ingest.close()
    hang_up(device)


def connect_when_it_listens(port: int) -> Client:
    deadline = time.monotonic() + 300
    while True:
        try:
            return publisher(port)
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.1)


@pytest.mark.slow
def test_a_broker_that_restarts_loses_nothing(mosquitto: Mosquitto, device: Client, ingest: Ingest) -> None:
    """Messages that wait for an ingestor that is away survive an orderly restart, and both sides connect again."""
    source = mqtt_source(mosquitto.settings.port)
    source.close()
    for number in range(500):
        device.publish("pilots/air/lamp-1/readings", reading(number), qos=1)
    device.publish("pilots/air/lamp-1/readings", reading(500), qos=1).wait_for_publish(20)
    mosquitto.stop()
    mosquitto.start()
    ingest.start(mqtt_source(mosquitto.settings.port))
    eventually(lambda: ingest.total().stored == 501, "the waiting ones are stored")
    mosquitto.stop()
    mosquitto.start()
    eventually(device.is_connected, "the device is back")
    device.publish("pilots/air/lamp-1/readings", reading(501), qos=1)
    eventually(lambda: ingest.total().stored == 502, "the next one is stored")
    assert len(ingest.rows()) == 502

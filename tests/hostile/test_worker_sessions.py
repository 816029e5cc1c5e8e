"""A device that wants the messages of others: it would have to know the client id of a worker, and be noticed."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from prometheus_client import CollectorRegistry

from techport_ingest.brokers.auth import AccessFiles
from techport_ingest.brokers.mosquitto import Mosquitto, MosquittoSettings, find_mosquitto
from techport_ingest.sources.connect import open_source
from techport_ingest.sources.session_watch import SessionWatch
from techport_ingest.sources.settings import MqttSettings
from techport_ingest.sources.succession import SucceedingSource
from techport_pilots.access.credentials import Credentials
from techport_pilots.accounting.audit import audit
from techport_pilots.accounting.worker_sessions import WorkerSessions
from tests.conftest import unavailable
from tests.end_to_end.platforms import PILOT, Device, Platform
from tests.ingest.conftest import OWN
from tests.ingest.running import NOON, Ingest, eventually, mqtt_source, publisher, reading
from tests.servers.mosquitto import free_port, mosquitto

__all__ = ["mosquitto"]

WORKER = "ingest-1"


@pytest.fixture
def ingest(tmp_path: Path) -> Iterator[Ingest]:
    side = Ingest(tmp_path)
    yield side
    side.close()


class Watched:
    """The worker as the platform runs it: its session is recorded."""

    def __init__(self, ingest: Ingest, port: int) -> None:
        self.metrics = CollectorRegistry()
        self.sessions = WorkerSessions(ingest.registry.database)
        self.client_id = self.sessions.of(WORKER).client_id
        watch = SessionWatch(self.sessions, WORKER, f"127.0.0.1:{port}", self.metrics)
        self.source = open_source(MqttSettings(client_id=self.client_id, port=port, longest_wait=0.5), watch)
        eventually(lambda: self.source.connected, "the source is subscribed")

    def losses(self) -> list[str]:
        return [loss.kind for loss in self.sessions.losses()]


def _thief(client_id: str, port: int) -> tuple[Client, list[bytes]]:
    """A client that takes over a session and acknowledges everything in it."""
    taken: list[bytes] = []
    client = Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=MQTTProtocolVersion.MQTTv5)
    client.on_message = lambda _, __, message: taken.append(message.payload)
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = 600
    connected = threading.Event()
    client.on_connect = lambda *_: connected.set()
    client.connect("127.0.0.1", port, clean_start=False, properties=properties)
    client.loop_start()
    assert connected.wait(30)
    return client, taken


def test_client_ids_of_workers_cannot_be_guessed_and_stay(ingest: Ingest) -> None:
    sessions = WorkerSessions(ingest.registry.database)
    first, second = sessions.of("ingest-1"), sessions.of("ingest-2")
    assert sessions.of("ingest-1") == first
    guessable = len("techport-ingest-1-")
    assert len(first.client_id) >= guessable + 24  # 96 bits in hexadecimal
    assert first.client_id[guessable:] != second.client_id[guessable:]
    assert first.client_id not in repr(MqttSettings(client_id=first.client_id))


@pytest.mark.slow
def test_the_documented_name_takes_nothing_from_others(tmp_path: Path) -> None:
    file = tmp_path / "pilot.yaml"
    file.write_text(PILOT)
    with Platform(tmp_path, "up", "--pilot", str(file), "--broker", "mosquitto") as platform:
        thief, taken = _thief(f"techport-{WORKER}", platform.mqtt_port)
        device = Device(platform.mqtt_port)
        for number in range(300):
            device.publish("pilots/test-street/lamp-1/readings", {"time": 1_760_000_000 + number, "pm10": number})
        window = "start=2025-10-09T00:00:00Z&end=2025-10-10T00:00:00Z"
        path = f"/api/v1/readings?pilot=test-street&quantity=pm10&{window}&limit=5000"
        eventually(lambda: len(platform.get(path)["items"]) == 300, "every reading is stored")
        assert taken == []
        thief.disconnect()
        thief.loop_stop()
        device.close()
        assert "the sums agree" in platform.run("audit")


def test_a_takeover_that_the_broker_tells_is_counted_and_fails_the_audit(ingest: Ingest) -> None:
    """mosquitto 2.0 closes the connection without a word; brokers that keep to MQTT 5, section 4.13.1, say why."""
    with TakingOver() as broker:
        worker = Watched(ingest, broker.port)
        ingest.start(worker.source)
        eventually(lambda: "taken-over" in worker.losses(), "the takeover is recorded")
        ingest.stop()
    assert (worker.metrics.get_sample_value("techport_ingest_session_losses_total", {"kind": "taken-over"}) or 0) >= 1
    report = audit(ingest.ledger, ingest.store)
    assert not report.ok
    assert report.off == []
    assert worker.sessions.accept("operator", "a test") == len(report.lost)
    report = audit(ingest.ledger, ingest.store)
    assert report.ok
    assert report.session_losses[0].accepted_by == "operator"


class TakingOver:
    """A broker that accepts a subscription and then tells the client that another one took its session over."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> TakingOver:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            with connection:
                connection.recv(4096)  # CONNECT
                connection.sendall(bytes([0x20, 3, 1, 0, 0]))  # CONNACK: session present
                subscribe = connection.recv(4096)
                connection.sendall(bytes([0x90, 4, subscribe[2], subscribe[3], 0, 1]))  # SUBACK, QoS 1
                time.sleep(0.3)
                connection.sendall(bytes([0xE0, 2, 0x8E, 0]))  # DISCONNECT: session taken over
                time.sleep(0.3)


def test_a_session_that_the_broker_no_longer_knows_is_noticed(ingest: Ingest, mosquitto: Mosquitto) -> None:
    port = mosquitto.settings.port
    worker = Watched(ingest, port)
    ingest.start(worker.source)
    eventually(lambda: worker.sessions.of(WORKER).broker is not None, "the session is known to stand")
    assert worker.losses() == []
    ingest.stop()
    # Somebody ends the session while the worker is away.
    client = Client(CallbackAPIVersion.VERSION2, client_id=worker.client_id, protocol=MQTTProtocolVersion.MQTTv5)
    client.connect("127.0.0.1", port, clean_start=True)
    client.loop_start()
    eventually(client.is_connected, "the session was replaced")
    client.disconnect()
    client.loop_stop()
    again = Watched(ingest, port)
    ingest.start(again.source)
    eventually(lambda: again.losses() == ["lost"], "the loss is recorded")


def test_a_worker_that_comes_back_has_lost_nothing(ingest: Ingest, mosquitto: Mosquitto) -> None:
    sessions = WorkerSessions(ingest.registry.database)
    for _ in range(2):
        ingest.start(Watched(ingest, mosquitto.settings.port).source)
        eventually(lambda: sessions.of(WORKER).broker is not None, "the session is known to stand")
        ingest.stop()
    assert sessions.losses() == []


def test_what_waits_under_the_old_name_is_taken_and_its_session_removed(ingest: Ingest, mosquitto: Mosquitto) -> None:
    """Versions before used the worker's name as client id; their sessions may hold messages when this one starts."""
    port = mosquitto.settings.port
    mqtt_source(port, client_id=f"techport-{WORKER}").close()  # the old session
    device = publisher(port)
    for number in range(200):
        device.publish("pilots/air/lamp-1/readings", reading(number), qos=1).wait_for_publish(30)
    emptied = threading.Event()
    new = mqtt_source(port, client_id="a-new-one")
    old = open_source(MqttSettings(client_id=f"techport-{WORKER}", port=port, retire=True))
    ingest.start(SucceedingSource(new, old, emptied.set, quiet_s=1.0))
    for number in range(200, 250):
        device.publish("pilots/air/lamp-1/readings", reading(number), qos=1).wait_for_publish(30)
    assert emptied.wait(60)
    eventually(lambda: len(ingest.rows()) == 250, "old and new messages are stored")
    assert audit(ingest.ledger, ingest.store).ok
    client, taken = _thief(f"techport-{WORKER}", port)
    device.publish("pilots/air/lamp-1/readings", reading(300), qos=1).wait_for_publish(30)
    eventually(lambda: len(ingest.rows()) == 251, "the new session goes on")
    assert taken == [], "the broker keeps nothing under the old name"
    client.disconnect()
    client.loop_stop()


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_nobody_is_dealt_messages_of_a_group_of_workers(
    tmp_path: Path, ingest: Ingest, protocol: Literal["5", "3.1.1"]
) -> None:
    """mosquitto deals a share of the messages to whoever subscribes to the group, and drops what they may not read."""
    executable = find_mosquitto()
    if executable is None:
        unavailable("mosquitto is not installed: apt-get install mosquitto")
    credentials = Credentials(ingest.registry.database)
    thief, sender = (credentials.issue("air", device, "test") for device in ("lamp-1", "lamp-2"))
    access = AccessFiles(tmp_path / "broker", credentials.all, anonymous=False, users=lambda: [OWN])
    access.write()
    broker = Mosquitto(
        MosquittoSettings(
            folder=tmp_path / "broker",
            executable=executable,
            port=free_port(),
            extra=(*access.configuration, "allow_anonymous false"),
        )
    )
    broker.start()
    group = WorkerSessions(ingest.registry.database).group("ingest")
    assert group == WorkerSessions(ingest.registry.database).group("ingest")
    assert len(group) >= len("ingest-") + 24
    assert WorkerSessions(ingest.registry.database).names() == []
    reach = MqttSettings(
        client_id="worker-of-a-group",
        port=broker.settings.port,
        username=OWN.username,
        password=OWN.password,
        share=group,
        former_share="ingest",
        protocol=protocol,
    )
    source = open_source(reach)
    clients = []
    for issued in (thief, sender):
        client = Client(CallbackAPIVersion.VERSION2, issued.username.replace("/", "-"))
        client.username_pw_set(issued.username, issued.password)
        client.connect("127.0.0.1", broker.settings.port)
        client.loop_start()
        clients.append(client)
    subscribed: list[bool] = []
    clients[0].on_subscribe = lambda *_: subscribed.append(True)
    eventually(lambda: clients[0].is_connected() and clients[1].is_connected(), "both are connected")
    clients[0].subscribe([("$share/ingest/pilots/#", 1), ("$share/ingest-/pilots/#", 1)])
    eventually(lambda: bool(subscribed), "the broker grants it")
    ingest.start(source)
    eventually(lambda: source.connected, "the worker is subscribed")
    for number in range(40):
        payload = f'{{"time": {NOON + number}, "pm10": {number}}}'
        clients[1].publish(sender.topic, payload, qos=1).wait_for_publish(20)
    eventually(lambda: len(ingest.rows()) == 40, "nothing is lost")
    for client in clients:
        client.disconnect()
        client.loop_stop()
    ingest.stop()
    broker.stop()

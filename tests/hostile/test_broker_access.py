"""A device that uses its credential for more than to send: other topics of its own, endless names, endless sessions."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from techport_ingest.brokers.auth import Authenticator, device_access
from techport_ingest.sources.embedded import MOST_RETAINED_BYTES, MOST_SESSIONS, EmbeddedBroker, EmbeddedSettings
from techport_pilots.access.credentials import Credential, Credentials, Issued
from techport_pilots.devices.onboarding import topic_of
from techport_pilots.formats import Format, formats
from tests.ingest.conftest import OWN, ingest, platform
from tests.ingest.running import NOON, Ingest, eventually
from tests.ingest.test_admission import connects, publishing
from tests.servers.mosquitto import free_port

__all__ = ["ingest", "platform"]


class Listener:
    """Notes what comes to a client."""

    def __init__(self, port: int, username: str, password: str, topic: str) -> None:
        self.topics: list[str] = []
        self.client = Client(CallbackAPIVersion.VERSION2, f"listener of {username.replace('/', ' ')}")
        self.client.username_pw_set(username, password)
        subscribed: list[bool] = []
        self.client.on_message = lambda _, __, message: self.topics.append(message.topic)
        self.client.on_connect = lambda client, *_: client.subscribe(topic, 1)
        self.client.on_subscribe = lambda *_: subscribed.append(True)
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        eventually(lambda: bool(subscribed), "it is subscribed")

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def lamp(platform: int, ingest: Ingest) -> Issued:
    issued = Credentials(ingest.registry.database).issue("air", "lamp-1", "test")
    eventually(lambda: connects(platform, issued.username, issued.password), "the broker knows it")
    return issued


@pytest.mark.parametrize("end", ["problems", "elsewhere", "readings/more", "config", "status/x"])
def test_a_device_writes_what_it_measures_and_nothing_else(
    platform: int, ingest: Ingest, lamp: Issued, end: str
) -> None:
    watcher = Listener(platform, OWN.username, OWN.password, "pilots/air/lamp-1/#")
    device = publishing(platform, lamp.username, lamp.password)
    device.publish(f"pilots/air/lamp-1/{end}", b"x", qos=0)
    allowed = ["readings", "status", "push/native"]
    for topic in allowed:
        device.publish(f"pilots/air/lamp-1/{topic}", f'{{"time": {NOON}, "pm10": 1}}', qos=1)
    own = {f"pilots/air/lamp-1/{topic}" for topic in allowed}
    eventually(lambda: own <= set(watcher.topics), "what it may send arrives")
    assert f"pilots/air/lamp-1/{end}" not in set(watcher.topics)
    device.disconnect()
    device.loop_stop()
    watcher.close()


def test_a_device_reads_its_problems_and_nothing_else(platform: int, ingest: Ingest, lamp: Issued) -> None:
    device = Listener(platform, lamp.username, lamp.password, "pilots/air/lamp-1/#")
    everybody = Listener(platform, OWN.username, OWN.password, "nothing")
    for topic in ("readings", "status", "push/native", "problems"):
        everybody.client.publish(f"pilots/air/lamp-1/{topic}", b"x", qos=1)
    eventually(lambda: "pilots/air/lamp-1/problems" in device.topics, "it is told its problems")
    assert set(device.topics) == {"pilots/air/lamp-1/problems"}
    device.close()
    everybody.close()


@pytest.fixture
def embedded(ingest: Ingest) -> Iterator[int]:
    port = free_port()
    known = Credentials(ingest.registry.database)
    ingest.start(EmbeddedBroker(EmbeddedSettings(port=port), Authenticator(known, anonymous=False, own=OWN)))
    yield port
    ingest.stop()


def test_the_embedded_broker_keeps_short_retained_messages_of_a_device(embedded: int, ingest: Ingest) -> None:
    credentials = Credentials(ingest.registry.database)
    first, second = credentials.issue("air", "lamp-1", "test"), credentials.issue("air", "lamp-2", "test")
    device = publishing(embedded, first.username, first.password)
    too_long = b"x" * (MOST_RETAINED_BYTES + 1)
    device.publish("pilots/air/lamp-1/status", too_long, qos=1, retain=True).wait_for_publish(60)
    for payload in (b"online", too_long):  # what takes the place of another is not longer either
        device.publish("pilots/air/lamp-1/push/native", payload, qos=1, retain=True).wait_for_publish(60)
    device.disconnect()
    device.loop_stop()
    other = publishing(embedded, second.username, second.password)
    other.publish("pilots/air/lamp-2/status", b"online", qos=1, retain=True).wait_for_publish(60)
    other.disconnect()
    other.loop_stop()
    watcher = Listener(embedded, OWN.username, OWN.password, "pilots/#")
    eventually(lambda: len(watcher.topics) >= 2, "what is short is kept")
    assert sorted(watcher.topics) == ["pilots/air/lamp-1/push/native", "pilots/air/lamp-2/status"]
    watcher.close()


def test_a_device_has_a_countable_number_of_topics(platform: int, ingest: Ingest, lamp: Issued) -> None:
    watcher = Listener(platform, OWN.username, OWN.password, "pilots/#")
    for number in range(20):
        device = publishing(platform, lamp.username, lamp.password)  # the embedded broker may have hung up
        device.publish(f"pilots/air/lamp-1/push/native/{number}", b"{}", qos=1, retain=True)
        device.publish(f"pilots/air/lamp-1/push/{number}", b"{}", qos=1, retain=True)
        device.disconnect()
        device.loop_stop()
    device = publishing(platform, lamp.username, lamp.password)
    device.publish("pilots/air/lamp-1/readings", f'{{"time": {NOON}, "pm10": 1}}', qos=1)
    eventually(lambda: "pilots/air/lamp-1/readings" in watcher.topics, "what it may send arrives")
    assert set(watcher.topics) == {"pilots/air/lamp-1/readings"}
    device.disconnect()
    device.loop_stop()
    watcher.close()


@pytest.mark.parametrize("form", [form for form in formats().values() if form.own_topic], ids=lambda form: form.name)
def test_a_device_may_send_to_the_topic_that_it_is_told(form: Format) -> None:
    credential = Credential(username="air/lamp-1", pilot="air", device="lamp-1", password="hash", who="test", at=0)
    assert device_access(credential).may_publish(topic_of("air", "lamp-1", form.name))


@pytest.mark.parametrize("clean", [True, False])
def test_nobody_takes_the_session_of_another(embedded: int, ingest: Ingest, clean: bool) -> None:
    credentials = Credentials(ingest.registry.database)
    first, second = credentials.issue("air", "lamp-1", "test"), credentials.issue("air", "lamp-2", "test")
    ended: list[object] = []
    device = Client(CallbackAPIVersion.VERSION2, "box", clean_session=False)
    device.on_disconnect = lambda *_: ended.append(True)
    device.username_pw_set(first.username, first.password)
    heard: list[str] = []
    subscribed: list[bool] = []
    device.on_message = lambda _, __, message: heard.append(message.topic)
    device.on_connect = lambda client, *_: client.subscribe("pilots/air/lamp-1/problems", 1)
    device.on_subscribe = lambda *_: subscribed.append(True)
    device.connect("127.0.0.1", embedded)
    device.loop_start()
    eventually(lambda: bool(subscribed), "it is subscribed")
    for user, password in (
        (first.username, "guessed"),
        (second.username, second.password),
        (OWN.username, OWN.password),
    ):
        client = Client(CallbackAPIVersion.VERSION2, "box", clean_session=clean)
        client.username_pw_set(user, password)
        answers: list[bool] = []
        client.on_connect = lambda c, u, f, reason, p, answers=answers: answers.append(f.session_present)
        client.connect("127.0.0.1", embedded)
        client.loop_start()
        eventually(lambda answers=answers: bool(answers), "the broker answers")  # type: ignore[misc]
        assert answers[0] is False
        client.disconnect()
        client.loop_stop()
    own = publishing(embedded, OWN.username, OWN.password)
    own.publish("pilots/air/lamp-1/problems", b"x", qos=1)
    eventually(lambda: heard == ["pilots/air/lamp-1/problems"], "the session is as it was")
    assert not ended
    for client in (own, device):
        client.disconnect()
        client.loop_stop()


def test_a_will_is_for_a_topic_of_the_device(embedded: int, ingest: Ingest) -> None:
    issued = Credentials(ingest.registry.database).issue("air", "lamp-1", "test")
    admitted: dict[str, bool] = {}
    for topic in ("pilots/air/lamp-2/problems", "pilots/air/lamp-2/readings", "pilots/air/lamp-1/status"):
        client = Client(CallbackAPIVersion.VERSION2, "box")
        client.username_pw_set(issued.username, issued.password)
        client.will_set(topic, b"x", 1, retain=True)
        answers: list[bool] = []
        client.on_connect = lambda c, u, f, reason, p, answers=answers: answers.append(not reason.is_failure)
        client.connect("127.0.0.1", embedded)
        client.loop_start()
        eventually(lambda answers=answers: bool(answers), "the broker answers")  # type: ignore[misc]
        admitted[topic] = answers[0]
        client.disconnect()
        client.loop_stop()
    assert [topic for topic, taken in admitted.items() if taken] == ["pilots/air/lamp-1/status"]


def test_a_connection_whose_session_another_took_is_revoked_too(embedded: int, ingest: Ingest) -> None:
    credentials = Credentials(ingest.registry.database)
    issued = credentials.issue("air", "lamp-1", "test")
    open_connections: list[socket.socket] = []
    connect = b"\x00\x04MQTT\x04\xc2\x00\x00\x00\x03box" + b"".join(
        len(text).to_bytes(2, "big") + text for text in (issued.username.encode(), issued.password.encode())
    )
    for _ in range(3):
        connection = socket.create_connection(("127.0.0.1", embedded), timeout=20)
        connection.sendall(b"\x10" + bytes([len(connect)]) + connect)
        assert connection.recv(4) == b"\x20\x02\x00\x00"
        open_connections.append(connection)
    for connection in open_connections[:2]:
        assert connection.recv(1) == b"", "another connected under its id"
    credentials.revoke("air", "lamp-1")
    assert open_connections[2].recv(1) == b""
    for connection in open_connections:
        connection.close()


def test_the_embedded_broker_keeps_few_sessions_of_a_device(embedded: int, ingest: Ingest) -> None:
    issued = Credentials(ingest.registry.database).issue("air", "lamp-1", "test")
    admitted = 0
    for number in range(MOST_SESSIONS + 4):
        client = Client(CallbackAPIVersion.VERSION2, f"session-{number}", clean_session=False)
        client.username_pw_set(issued.username, issued.password)
        answers: list[bool] = []
        client.on_connect = lambda c, u, f, reason, p, answers=answers: answers.append(not reason.is_failure)
        client.connect("127.0.0.1", embedded)
        client.loop_start()
        eventually(lambda answers=answers: bool(answers), "the broker answers")  # type: ignore[misc]
        admitted += answers[0]
        client.disconnect()
        client.loop_stop()
    assert admitted == MOST_SESSIONS

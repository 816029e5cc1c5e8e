"""A device that uses its credential for more than to send: other topics of its own, endless names, endless sessions."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from techport_ingest.brokers.auth import Authenticator
from techport_ingest.sources.embedded import MOST_RETAINED, MOST_SESSIONS, EmbeddedBroker, EmbeddedSettings
from techport_pilots.access.credentials import Credentials, Issued
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
    known = Credentials(ingest.registry.database).all
    ingest.start(EmbeddedBroker(EmbeddedSettings(port=port), Authenticator(known, anonymous=False, own=OWN)))
    yield port
    ingest.stop()


def test_the_embedded_broker_keeps_few_retained_messages_of_a_device(embedded: int, ingest: Ingest) -> None:
    credentials = Credentials(ingest.registry.database)
    first, second = credentials.issue("air", "lamp-1", "test"), credentials.issue("air", "lamp-2", "test")
    device = publishing(embedded, first.username, first.password)
    for number in range(MOST_RETAINED + 50):
        sent = device.publish(f"pilots/air/lamp-1/push/native/{number}", b"{}", qos=1, retain=True)
    sent.wait_for_publish(60)
    device.publish("pilots/air/lamp-1/status", b"x" * 100_000, qos=1, retain=True).wait_for_publish(60)
    device.disconnect()
    device.loop_stop()
    other = publishing(embedded, second.username, second.password)
    other.publish("pilots/air/lamp-2/status", b"online", qos=1, retain=True).wait_for_publish(60)
    other.disconnect()
    other.loop_stop()
    watcher = Listener(embedded, OWN.username, OWN.password, "pilots/#")
    eventually(lambda: "pilots/air/lamp-2/status" in watcher.topics, "another device's message is kept")
    eventually(lambda: len(watcher.topics) == MOST_RETAINED + 1, "and so many of the first one's")
    watcher.close()


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

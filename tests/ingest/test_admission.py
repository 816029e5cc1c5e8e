"""A device's credential: works within a second, for its own topics only. At mosquitto and the embedded broker."""

from __future__ import annotations

import threading

import msgspec
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from techport_pilots.access.credentials import Credentials, hashed, verify
from techport_pilots.accounting.message_tap import MessageTap
from tests.ingest.running import NOON, Ingest, eventually, mqtt_source


def connects(port: int, username: str | None, password: str | None) -> bool:
    """Whether the broker lets this client in."""
    answered: list[bool] = []
    done = threading.Event()
    client = Client(CallbackAPIVersion.VERSION2, "probe")
    client.on_connect = lambda c, u, f, reason, p: (answered.append(not reason.is_failure), done.set())
    client.on_disconnect = lambda *_: done.set()
    client.username_pw_set(username, password)
    client.connect("127.0.0.1", port)
    client.loop_start()
    done.wait(10)
    client.disconnect()
    client.loop_stop()
    return answered == [True]


def publishing(port: int, username: str, password: str) -> Client:
    client = Client(CallbackAPIVersion.VERSION2, "box")
    client.username_pw_set(username, password)
    client.connect("127.0.0.1", port)
    client.loop_start()
    eventually(client.is_connected, "the device is connected")
    return client


def test_a_credential_works_at_once_and_for_its_own_topics_only(platform: int, ingest: Ingest) -> None:
    assert not connects(platform, None, None)
    assert not connects(platform, "air/lamp-1", "guess")
    issued = Credentials(ingest.registry.database).issue("air", "lamp-1", "test")
    eventually(lambda: connects(platform, issued.username, issued.password), "the broker knows it", timeout=5)
    assert not connects(platform, issued.username, issued.password + "x")

    device = publishing(platform, issued.username, issued.password)
    device.publish("pilots/air/lamp-2/readings", f'{{"time": {NOON}, "pm10": 666}}', qos=0)  # not again
    device.publish("pilots/air/lamp-1/readings", f'{{"time": {NOON}, "pm10": 1}}', qos=1)
    eventually(lambda: len(ingest.rows()) == 1, "its own reading is stored")
    device.disconnect()
    device.loop_stop()
    assert [(row[0], row[3]) for row in ingest.rows()] == [("lamp-1", 1.0)]
    assert ingest.total().received == 1, "the other one did not get in"


def test_a_revoked_credential_lets_nobody_in(platform: int, ingest: Ingest) -> None:
    credentials = Credentials(ingest.registry.database)
    issued = credentials.issue("air", "lamp-1", "test")
    eventually(lambda: connects(platform, issued.username, issued.password), "the broker knows it")
    assert credentials.revoke("air", "lamp-1")
    assert not credentials.revoke("air", "lamp-1")
    eventually(lambda: not connects(platform, issued.username, issued.password), "it is known no more")


def test_a_password_is_not_kept_and_a_new_one_replaces_it(ingest: Ingest) -> None:
    credentials = Credentials(ingest.registry.database)
    first, second = (credentials.issue("air", "lamp-1", "test") for _ in range(2))
    [kept] = credentials.all("air")
    assert second.password not in msgspec.json.encode(kept).decode()
    assert verify(second.password, kept.password)
    assert not verify(first.password, kept.password)
    assert hashed("x") != hashed("x"), "salted"


def test_what_a_watched_device_sends_is_shown(port: int, device: Client, ingest: Ingest) -> None:
    watching = MessageTap(ingest.registry.database)
    watching.watch("air", "lamp-1")
    ingest.start(mqtt_source(port))
    payload = f'{{"time": {NOON}, "pm10": 1, "temp": "21,5"}}'.encode()
    device.publish("pilots/air/lamp-1/readings", payload, qos=1)
    device.publish("pilots/air/lamp-2/readings", payload, qos=1)
    eventually(lambda: len(watching.messages("air", "lamp-1")) == 1, "it is shown")
    [message] = watching.messages("air", "lamp-1")
    assert (message.payload, message.worker) == (payload, "ingest")
    assert [(v.quantity, v.value, v.outcome) for v in message.outcome.values] == [("pm10", 1.0, "stored")]
    assert [part.rejection.reason for part in message.outcome.rejected] == ["not-a-number"]
    assert watching.messages("air", "lamp-1", after=message.id) == []
    eventually(lambda: ingest.total().messages == 2, "the other one is stored")
    assert watching.messages("air", "lamp-2") == [], "nobody watches it"

"""Devices with names much alike, and one that goes on after its credential is revoked or has ended."""

from __future__ import annotations

import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from techport_pilots.access import credentials as module
from techport_pilots.access.credentials import Credentials, hashed
from techport_storage.clock import now
from techport_storage.microseconds import DAY
from tests.ingest.conftest import ingest, platform
from tests.ingest.running import NOON, Ingest, eventually
from tests.ingest.test_admission import connects, publishing

__all__ = ["ingest", "platform"]

IDS = st.text(alphabet="ab1:_.-%~/ é", min_size=1, max_size=4)


def test_x_colon_1_and_x_underscore_1_have_credentials_of_their_own(platform: int, ingest: Ingest) -> None:
    credentials = Credentials(ingest.registry.database)
    first, second = credentials.issue("air", "x:1", "test"), credentials.issue("air", "x_1", "test")
    assert first.username != second.username
    for issued in (first, second):
        eventually(lambda: connects(platform, issued.username, issued.password), "the broker knows it")  # noqa: B023
    assert credentials.revoke("air", "x_1")
    eventually(lambda: not connects(platform, second.username, second.password), "it is known no more")
    assert connects(platform, first.username, first.password)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(devices=st.lists(st.tuples(IDS, IDS), min_size=2, max_size=8, unique=True))
def test_no_two_devices_share_a_name(ingest: Ingest, devices: list[tuple[str, str]]) -> None:
    credentials = Credentials(ingest.registry.database)
    issued = [credentials.issue(pilot, device, "test") for pilot, device in devices]
    assert len({one.username for one in issued}) == len(devices)
    for one, (pilot, device) in zip(issued, devices, strict=True):
        assert ":" not in one.username
        assert not set(one.username) & set(" \n\t")
        credential = credentials.check(one.username, one.password)
        assert credential is not None
        assert (credential.pilot, credential.device) == (pilot, device)
    for pilot, device in devices:
        assert credentials.revoke(pilot, device)
    assert credentials.all() == []


def test_a_credential_of_an_earlier_version_keeps_its_name(ingest: Ingest) -> None:
    credentials = Credentials(ingest.registry.database)
    with ingest.registry.database.writing() as transaction:
        transaction.execute(
            "INSERT INTO credentials (username, pilot, device, password, who, at)"
            " VALUES ('air/x_1', 'air', 'x:1', :password, 'test', 1)",
            {"password": hashed("old")},
        )
    issued = credentials.issue("air", "x_1", "test")
    old = credentials.check("air/x_1", "old")
    assert old is not None
    assert old.device == "x:1"
    new = credentials.check(issued.username, issued.password)
    assert new is not None
    assert new.device == "x_1"
    assert credentials.issue("air", "x:1", "test").username == "air/x%3A1"
    assert credentials.check("air/x_1", "old") is None, "replaced"


def test_revoking_ends_the_connection(platform: int, ingest: Ingest) -> None:
    credentials = Credentials(ingest.registry.database)
    issued, other = credentials.issue("air", "lamp-1", "test"), credentials.issue("air", "lamp-2", "test")
    eventually(lambda: connects(platform, other.username, other.password), "the broker knows it")
    device = publishing(platform, issued.username, issued.password)
    device.reconnect_delay_set(60, 60)
    stays = Client(CallbackAPIVersion.VERSION2, "stays")
    stays.username_pw_set(other.username, other.password)
    stays_lost, lost = threading.Event(), threading.Event()
    stays.on_disconnect = lambda *_: stays_lost.set()
    device.on_disconnect = lambda *_: lost.set()
    stays.connect("127.0.0.1", platform)
    stays.loop_start()
    eventually(stays.is_connected, "the other device is connected")
    device.publish("pilots/air/lamp-1/readings", f'{{"time": {NOON}, "pm10": 1}}', qos=1).wait_for_publish(30)
    assert credentials.revoke("air", "lamp-1")
    assert lost.wait(30), "the connection is ended"
    stays.publish("pilots/air/lamp-2/readings", f'{{"time": {NOON}, "pm10": 2}}', qos=1).wait_for_publish(30)
    assert not stays_lost.is_set()
    eventually(lambda: len(ingest.rows()) == 2, "both readings are stored")
    for client in (device, stays):
        client.disconnect()
        client.loop_stop()


def test_a_rotated_password_ends_by_itself_and_its_connection_with_it(
    platform: int, ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials = Credentials(ingest.registry.database)
    old = credentials.issue("air", "lamp-1", "test")
    new = credentials.rotate("air", "lamp-1", "test", overlap=DAY)
    eventually(lambda: connects(platform, new.username, new.password), "the broker knows the new one")
    device, updated = (Client(CallbackAPIVersion.VERSION2, name) for name in ("box", "updated box"))
    lost, updated_lost = threading.Event(), threading.Event()
    for client, value, issued, gone in ((device, 1, old, lost), (updated, 2, new, updated_lost)):
        client.username_pw_set(issued.username, issued.password)
        client.reconnect_delay_set(60, 60)
        client.connect("127.0.0.1", platform)
        client.loop_start()
        eventually(client.is_connected, "both work")
        client.on_disconnect = lambda *_, gone=gone: gone.set()
        message = f'{{"time": {NOON + value}, "pm10": {value}}}'
        client.publish("pilots/air/lamp-1/readings", message, qos=1).wait_for_publish(30)
    eventually(lambda: len(ingest.rows()) == 2, "what was sent with either is stored")
    monkeypatch.setattr(module, "now", lambda: now() + DAY)
    assert lost.wait(60), "the old one ends"
    assert not connects(platform, old.username, old.password)
    assert connects(platform, new.username, new.password)
    assert not updated_lost.is_set()
    for client in (device, updated):
        client.disconnect()
        client.loop_stop()

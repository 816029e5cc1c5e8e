"""Who may do what at NATS servers: written from the registry as a part of their configuration, tried against one."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from techport_ingest.brokers.auth import AccessFiles, PlatformUser
from techport_ingest.sources.nats.connection import NatsSettings
from techport_ingest.sources.nats.relay import NatsRelay, erase_retained
from techport_ingest.sources.nats.source import NatsSource
from techport_pilots.access.credentials import Credentials, Issued
from techport_pilots.registry.registry import Registry
from tests.ingest.running import eventually, hang_up, pilot, reading
from tests.ingest.source_contract import receive
from tests.registries import registry_in
from tests.servers.nats import NatsCluster

pytestmark = pytest.mark.cluster

PARTS = ("ingest", "web", "simulator", "erasure")


@pytest.fixture
def credentials(tmp_path: Path) -> Iterator[Credentials]:
    registry = Registry.open(registry_in(tmp_path))
    registry.import_pilot(pilot(), "", "test")
    yield Credentials(registry.database)
    registry.close()


@pytest.fixture
def access(credentials: Credentials, tmp_path: Path) -> AccessFiles:
    users = [PlatformUser(name, f"secret of {name}") for name in PARTS]
    files = AccessFiles(tmp_path / "nats", credentials.all, False, lambda: users, broker="nats")
    files.write()
    return files


@pytest.fixture
def server(access: AccessFiles, tmp_path: Path) -> Iterator[NatsCluster]:
    cluster = NatsCluster(tmp_path / "nats", nodes=1)
    cluster.start()
    yield cluster
    cluster.stop()


def as_part(server: NatsCluster, name: str) -> NatsSettings:
    return NatsSettings(servers=server.servers, username=name, password=f"secret of {name}")


def let_in(server: NatsCluster, username: str, password: str) -> Client | None:
    """A client of MQTT, where it is let in."""
    client = Client(CallbackAPIVersion.VERSION2)
    client.username_pw_set(username, password)
    answered, accepted = threading.Event(), []
    client.on_connect = lambda *args: (accepted.append(not args[3].is_failure), answered.set())
    client.connect("127.0.0.1", server.nodes[0].mqtt)
    client.loop_start()
    assert answered.wait(10)
    if accepted[0]:
        return client
    hang_up(client)
    return None


def device_of(server: NatsCluster, issued: Issued) -> Client:
    client = let_in(server, issued.username, issued.password)
    assert client is not None
    return client


@pytest.fixture
def issued(credentials: Credentials, access: AccessFiles, server: NatsCluster) -> dict[str, Issued]:
    """Credentials of two devices, which the server has read."""
    by_device = {device: credentials.issue("air", device, "test") for device in ("lamp-1", "lamp-2")}
    assert access.write()
    server.reload()

    def known() -> bool:
        client = let_in(server, by_device["lamp-2"].username, by_device["lamp-2"].password)
        if client is not None:
            hang_up(client)
        return client is not None

    eventually(known, "the server knows them")
    return by_device


@pytest.fixture
def source(server: NatsCluster) -> Iterator[NatsSource]:
    """As the user of workers, with the rights of one."""
    opened = NatsSource(as_part(server, "ingest"))
    eventually(lambda: opened.connected, "the source pulls")
    yield opened
    opened.close()


def test_a_device_publishes_as_itself_and_as_nobody_else(
    server: NatsCluster, source: NatsSource, issued: dict[str, Issued]
) -> None:
    """What it may not publish is dropped, and acknowledged all the same: docs/guarantees.md says so."""
    device = device_of(server, issued["lamp-1"])
    for topic in ("pilots/air/lamp-2/readings", "pilots/air/lamp-1/problems", "elsewhere"):
        device.publish(topic, b"forged", qos=1).wait_for_publish(10)
    device.publish("pilots/air/lamp-1/readings", reading(1), qos=1).wait_for_publish(10)
    device.publish("pilots/air/lamp-1/push/tasmota", b"pushed", qos=0)
    messages = receive(source, 2)
    source.ack(messages)
    # The one comes from the stream and the other past it: which is first is nobody's promise.
    assert {message.payload for message in messages} == {reading(1), b"pushed"}
    assert source.receive(0.5) == []
    hang_up(device)


def test_a_device_hears_its_own_problems_alone(
    server: NatsCluster, source: NatsSource, issued: dict[str, Issued]
) -> None:
    device = device_of(server, issued["lamp-1"])
    granted: list[list[int]] = []
    device.on_subscribe = lambda _client, _data, _mid, reasons, _properties: granted.append(
        [reason.value for reason in reasons]
    )
    for topic in ("pilots/air/lamp-1/problems", "pilots/air/lamp-2/problems", "pilots/#", "#", "$MQTT/msgs/#"):
        device.subscribe(topic, qos=1)
    eventually(lambda: len(granted) == 5, "all are answered")
    assert granted == [[1], [0x80], [0x80], [0x80], [0x80]]
    hang_up(device)


def test_without_its_password_or_by_another_way_nobody_comes_in(server: NatsCluster, issued: dict[str, Issued]) -> None:
    assert let_in(server, issued["lamp-1"].username, issued["lamp-2"].password) is None
    assert let_in(server, "somebody", "") is None
    device = NatsSettings(
        servers=server.servers, username=issued["lamp-1"].username, password=issued["lamp-1"].password
    )
    direct = NatsRelay(device)
    time.sleep(1)
    assert not direct.connected, "a device speaks MQTT and nothing else"
    direct.close()


def test_a_revoked_device_is_disconnected_and_others_stay(
    server: NatsCluster, access: AccessFiles, credentials: Credentials, issued: dict[str, Issued]
) -> None:
    devices = {name: device_of(server, issued[name]) for name in issued}
    gone = {name: threading.Event() for name in devices}
    for name, device in devices.items():
        device.on_disconnect = lambda *_, name=name: gone[name].set()
    credentials.revoke("air", "lamp-1")
    assert access.write()
    server.reload()
    assert gone["lamp-1"].wait(10)
    time.sleep(0.3)
    assert not gone["lamp-2"].is_set()
    for device in devices.values():
        hang_up(device)


def test_the_pages_pass_on_what_devices_push_and_nothing_else(server: NatsCluster, source: NatsSource) -> None:
    relay = NatsRelay(as_part(server, "web"))
    eventually(lambda: relay.connected, "the relay is connected")
    relay.send("pilots/air/lamp-1/push/native", b"{}").result(10)
    refused = relay.send("pilots/air/lamp-1/readings", b"forged")
    with pytest.raises(Exception, match="not stored"):
        refused.result(10)
    messages = receive(source, 1)
    source.ack(messages)
    assert [message.topic for message in messages] == ["pilots/air/lamp-1/push/native"]
    assert source.receive(0.5) == []
    relay.close()


def test_the_user_that_erases_may_do_just_that(server: NatsCluster, issued: dict[str, Issued]) -> None:
    device = device_of(server, issued["lamp-1"])
    device.publish("pilots/air/lamp-1/status", b"on", qos=1, retain=True).wait_for_publish(10)
    assert erase_retained(as_part(server, "erasure"), ("pilots/air/#",), lambda *_: True) == 1
    assert erase_retained(as_part(server, "erasure"), ("pilots/air/#",), lambda *_: True) == 0
    hang_up(device)


def test_a_credential_from_before_nats_is_left_out(
    credentials: Credentials, access: AccessFiles, tmp_path: Path
) -> None:
    credentials.issue("air", "lamp-3", "test")
    with credentials._database.writing() as transaction:
        transaction.execute("UPDATE credentials SET bcrypt = NULL")
    access.write()
    assert "lamp-3" not in (tmp_path / "nats" / "users.conf").read_text()

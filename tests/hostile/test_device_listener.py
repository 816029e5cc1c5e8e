"""mosquitto of `up`, where devices need a credential: what one of them can make it hold."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from techport_ingest.brokers.auth import AccessFiles
from techport_ingest.brokers.mosquitto import MAX_PACKET_BYTES, Mosquitto, MosquittoSettings, find_mosquitto
from techport_ingest.sources.connect import open_source
from techport_ingest.sources.relay import Relay
from techport_ingest.sources.settings import MqttSettings
from techport_pilots.access.credentials import Credentials, Issued
from tests.conftest import unavailable
from tests.ingest.conftest import OWN, ingest
from tests.ingest.running import NOON, Ingest, eventually
from tests.servers.mosquitto import free_port

__all__ = ["ingest"]


class Answers:
    """A client that has connected, or was refused, and whether it is connected still."""

    def __init__(self, port: int, who: Issued, client_id: str, clean: bool = True) -> None:
        self.admitted: list[bool] = []
        self.ended = False
        self.client = Client(CallbackAPIVersion.VERSION2, client_id, clean, protocol=MQTTProtocolVersion.MQTTv311)
        self.client.username_pw_set(who.username, who.password)
        self.client.on_connect = lambda c, u, f, reason, p: self.admitted.append(not reason.is_failure)
        self.client.on_disconnect = lambda *_: setattr(self, "ended", True)
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        eventually(lambda: bool(self.admitted), "the broker answers")

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def lamp(ingest: Ingest) -> Issued:
    return Credentials(ingest.registry.database).issue("air", "lamp-1", "test")


@pytest.fixture
def broker(tmp_path: Path, ingest: Ingest, lamp: Issued) -> Iterator[Mosquitto]:
    """As `up --mqtt 0.0.0.0` runs it, with a worker that comes in through its socket."""
    executable = find_mosquitto()
    if executable is None:
        unavailable("mosquitto is not installed: apt-get install mosquitto")
    folder = tmp_path / "mosquitto"
    with ExitStack() as closing:
        access = AccessFiles(folder, Credentials(ingest.registry.database).all, anonymous=False, users=lambda: [OWN])
        access.write()
        settings = MosquittoSettings(
            folder=folder, executable=executable, host="0.0.0.0", port=free_port(), extra=access.configuration
        )
        broker = Mosquitto(settings)
        broker.start()
        closing.callback(broker.stop)
        reach = MqttSettings(
            client_id="worker-1", socket_path=str(settings.socket), username=OWN.username, password=OWN.password
        )
        source, relay = open_source(reach), Relay(reach)
        closing.callback(relay.close)
        closing.callback(ingest.stop)
        ingest.start(source, publish=relay.publish)
        eventually(lambda: source.connected and relay.connected, "the platform is connected")
        yield broker


def test_there_is_one_session_for_a_credential_whatever_it_calls_itself(broker: Mosquitto, lamp: Issued) -> None:
    port = broker.settings.port
    first = Answers(port, lamp, "one", clean=False)
    second = Answers(port, lamp, "two", clean=False)
    eventually(lambda: first.ended, "the first connection is ended")
    second.client.publish(lamp.topic, b"{}", qos=1).wait_for_publish(20)
    first.close()
    second.close()


def test_nobody_connects_under_the_workers_client_id(broker: Mosquitto, ingest: Ingest, lamp: Issued) -> None:
    """Even when the id has become known: a device's id is its user name, on the only listener that it reaches."""
    thief = Answers(broker.settings.port, lamp, "worker-1", clean=False)
    assert thief.admitted == [True]
    thief.client.publish(lamp.topic, f'{{"time": {NOON}, "pm10": 7}}', qos=1).wait_for_publish(20)
    eventually(lambda: len(ingest.rows()) == 1, "the worker goes on")
    thief.close()


@pytest.mark.parametrize(
    ("qos", "size"), [(2, 10), (1, MAX_PACKET_BYTES + 1)], ids=["held until released", "too large"]
)
def test_what_the_broker_would_have_to_hold_ends_the_connection(
    broker: Mosquitto, lamp: Issued, qos: int, size: int
) -> None:
    device = Answers(broker.settings.port, lamp, "box")
    device.client.publish(lamp.topic, b"x" * size, qos=qos)
    eventually(lambda: device.ended, "its connection is ended")
    device.close()


def test_the_platform_gets_in_when_devices_have_taken_every_connection(
    broker: Mosquitto, ingest: Ingest, lamp: Issued, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker.stop()
    settings = broker.settings
    few = Mosquitto(
        MosquittoSettings(
            folder=settings.folder,
            executable=settings.executable,
            host=settings.host,
            port=settings.port,
            extra=settings.extra,
            max_connections=5,
        )
    )
    few.start()
    idle = [socket.create_connection(("127.0.0.1", settings.port)) for _ in range(5)]
    relay = Relay(
        MqttSettings(client_id="late", socket_path=str(settings.socket), username=OWN.username, password=OWN.password)
    )
    eventually(lambda: relay.connected, "the platform is connected")
    relay.close()
    for connection in idle:
        connection.close()
    few.stop()


def test_a_long_path_of_the_data_folder_is_no_obstacle(tmp_path: Path) -> None:
    settings = MosquittoSettings(folder=tmp_path / ("x" * 100) / "mosquitto", executable=Path("x"), host="0.0.0.0")
    assert len(str(settings.socket)) < 108
    assert (
        settings.socket.parent != MosquittoSettings(folder=tmp_path / ("y" * 100), executable=Path("x")).socket.parent
    )

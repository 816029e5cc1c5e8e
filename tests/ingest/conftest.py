from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from paho.mqtt.client import Client

from techport_ingest.after.observations import PublishObservations
from techport_ingest.brokers.auth import AccessFiles, Authenticator, PlatformUser
from techport_ingest.brokers.mosquitto import Mosquitto, MosquittoSettings, find_mosquitto
from techport_ingest.source import Source
from techport_ingest.sources.embedded import EmbeddedBroker, EmbeddedSettings
from techport_ingest.sources.relay import Relay
from techport_ingest.sources.settings import MqttSettings
from techport_pilots.access.credentials import Credentials
from techport_pilots.devices.observation_topics import ObservationTopics
from tests.ingest.running import Ingest, eventually, hang_up, mqtt_source, publisher
from tests.servers.mosquitto import free_port, mosquitto

__all__ = ["mosquitto"]


@pytest.fixture
def port(mosquitto: Mosquitto) -> int:
    return mosquitto.settings.port


@pytest.fixture
def device(port: int) -> Iterator[Client]:
    client = publisher(port)
    yield client
    hang_up(client)


@pytest.fixture
def ingest(tmp_path: Path) -> Iterator[Ingest]:
    running = Ingest(tmp_path)
    yield running
    running.close()


OWN = PlatformUser("techport", "very secret")


@pytest.fixture(params=["mosquitto", "embedded"])
def platform(request: pytest.FixtureRequest, tmp_path: Path, ingest: Ingest) -> Iterator[int]:
    """A running ingest, which tells devices their problems and publishes Observations, at a broker without anonymous
    clients; its port."""
    known, port = Credentials(ingest.registry.database), free_port()
    topics = ObservationTopics(ingest.registry)
    with ExitStack() as closing:
        if request.param == "mosquitto":
            executable = find_mosquitto()
            assert executable is not None
            access = AccessFiles(
                tmp_path / "broker", known.all, anonymous=False, users=lambda: [OWN], observed=topics.of_device
            )
            access.write()
            extra = (*access.configuration, "allow_anonymous false")
            settings = MosquittoSettings(folder=tmp_path / "broker", executable=executable, port=port, extra=extra)
            broker = Mosquitto(settings)
            broker.start()
            closing.callback(broker.stop)
            access.follow(broker.reload)
            closing.callback(access.stop)
            source: Source = mqtt_source(port, username=OWN.username, password=OWN.password)
        else:
            gate = Authenticator(known, anonymous=False, own=OWN, observed=topics.of_device)
            source = EmbeddedBroker(EmbeddedSettings(port=port), gate)
        closing.callback(ingest.stop)
        reach = MqttSettings(client_id="test", port=port, username=OWN.username, password=OWN.password)
        relay = Relay(reach)
        closing.callback(relay.close)
        eventually(lambda: relay.connected, "the relay is connected")
        ingest.start(source, publish=relay.publish).follow_with(PublishObservations(topics, relay.tell))
        yield port

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from paho.mqtt.client import Client

from techport_ingest.broker import Mosquitto
from tests.ingest.running import Ingest, hang_up, publisher
from tests.servers.mosquitto import mosquitto

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

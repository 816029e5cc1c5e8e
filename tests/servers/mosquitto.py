"""A real mosquitto for tests, run by the same code that runs it for users. Import the fixture to use it."""

from __future__ import annotations

import contextlib
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from techport_ingest.brokers.mosquitto import Mosquitto, MosquittoSettings, find_mosquitto
from tests.conftest import unavailable


def free_port() -> int:
    """A port that nobody listens on now. None of those that the system gives to outgoing connections, which could take
    it before it is listened on, or between two servers that shall have the same.
    """
    while True:
        port = 20_000 + secrets.randbelow(12_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def start_mosquitto(folder: Path) -> Mosquitto:
    """A running mosquitto on a free port of the loopback. Skips the test (fails it in CI) where there is none."""
    executable = find_mosquitto()
    if executable is None:
        unavailable("mosquitto is not installed: apt-get install mosquitto")
    broker = Mosquitto(MosquittoSettings(folder=folder, executable=executable, port=free_port()))
    broker.start()
    return broker


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    broker = start_mosquitto(tmp_path / "mosquitto")
    yield broker
    broker.stop()

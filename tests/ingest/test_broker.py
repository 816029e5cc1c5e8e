"""mosquitto as a supervised child."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from techport_ingest.brokers.mosquitto import BrokerError, Mosquitto, MosquittoSettings, configuration
from tests.ingest.running import eventually, hang_up, publisher
from tests.servers.mosquitto import free_port


def test_it_is_started_again_when_it_dies(mosquitto: Mosquitto) -> None:
    first = mosquitto.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    eventually(lambda: mosquitto.restarts == 1, "it was started again")
    assert mosquitto.pid not in (None, first)
    hang_up(publisher(mosquitto.settings.port))


def test_stop_ends_it(mosquitto: Mosquitto) -> None:
    pid = mosquitto.pid
    mosquitto.stop()
    assert mosquitto.pid is None
    with pytest.raises(ProcessLookupError):
        os.kill(pid or 0, 0)


def test_a_taken_port_is_an_error_that_says_so(mosquitto: Mosquitto, tmp_path: Path) -> None:
    settings = MosquittoSettings(
        folder=tmp_path / "second", executable=mosquitto.settings.executable, port=mosquitto.settings.port
    )
    with pytest.raises(BrokerError, match=str(mosquitto.settings.port)):
        Mosquitto(settings).start()


def test_one_left_behind_by_a_killed_parent_is_replaced(mosquitto: Mosquitto, tmp_path: Path) -> None:
    port = free_port()
    folder = tmp_path / "orphan"
    code = (
        "import os, pathlib, signal\n"
        "from techport_ingest.brokers.mosquitto import Mosquitto, MosquittoSettings\n"
        f"broker = Mosquitto(MosquittoSettings(folder=pathlib.Path({str(folder)!r}), port={port},"
        f" executable=pathlib.Path({str(mosquitto.settings.executable)!r})))\n"
        "broker.start()\n"
        "print(broker.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    orphan = int(killed.stdout)
    os.kill(orphan, 0)  # it lives
    successor = Mosquitto(MosquittoSettings(folder=folder, executable=mosquitto.settings.executable, port=port))
    successor.start()
    assert not Path(f"/proc/{orphan}").exists()
    assert successor.pid not in (None, orphan)
    successor.stop()


def test_anonymous_only_on_the_loopback(tmp_path: Path) -> None:
    open_to_all = MosquittoSettings(folder=tmp_path, executable=Path("mosquitto"), host="0.0.0.0")
    assert "allow_anonymous false" in configuration(open_to_all)
    assert "allow_anonymous true" in configuration(MosquittoSettings(folder=tmp_path, executable=Path("mosquitto")))

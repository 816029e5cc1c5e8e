"""mosquitto as a supervised child."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from techport_ingest.brokers.mosquitto import (
    BrokerError,
    Mosquitto,
    MosquittoSettings,
    configuration,
    configuration_file,
    left_behind,
)
from tests.ingest.running import eventually, hang_up, publisher
from tests.servers.mosquitto import free_port


@pytest.mark.faults
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


@pytest.mark.faults
def test_a_killed_parent_takes_its_mosquitto_along_which_saves_its_queue(mosquitto: Mosquitto, tmp_path: Path) -> None:
    port, folder = free_port(), tmp_path / "orphan"
    code = f"""
        import os, pathlib, signal, sys, threading
        from techport_ingest.brokers.mosquitto import Mosquitto, MosquittoSettings
        folder, executable = pathlib.Path({str(folder)!r}), pathlib.Path({str(mosquitto.settings.executable)!r})
        broker = Mosquitto(MosquittoSettings(folder=folder, port={port}, executable=executable))
        starter = threading.Thread(target=broker.start)  # whose end must not be taken for the end of the process
        starter.start()
        starter.join()
        print(broker.pid, flush=True)
        sys.stdin.readline()
        os.kill(os.getpid(), signal.SIGKILL)
    """
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdin is not None
    assert parent.stdout is not None
    orphan = int(parent.stdout.readline())
    keep_messages_for("away", port, count=50)
    assert left_behind(folder) == [orphan]
    parent.communicate("now\n", timeout=60)
    eventually(lambda: left_behind(folder) == [], "the kernel ended it with its parent")
    successor = Mosquitto(MosquittoSettings(folder=folder, executable=mosquitto.settings.executable, port=port))
    successor.start()
    assert len(take_messages_of("away", port, count=50)) == 50
    successor.stop()


@pytest.mark.parametrize("stopped", [False, True], ids=["running", "stopped"])
@pytest.mark.faults
def test_one_left_behind_is_ended_before_its_port_is_needed(
    mosquitto: Mosquitto, tmp_path: Path, stopped: bool
) -> None:
    """As where the kernel has no such signal, or where it was stopped by SIGSTOP when its parent died."""
    settings = MosquittoSettings(folder=tmp_path / "d", executable=mosquitto.settings.executable, port=free_port())
    settings.folder.mkdir()
    configuration_file(settings.folder).write_text(configuration(settings))
    orphan = subprocess.Popen([settings.executable, "-c", configuration_file(settings.folder)], start_new_session=True)
    keep_messages_for("away", settings.port, count=50)
    if stopped:
        orphan.send_signal(signal.SIGSTOP)
    reaper = threading.Thread(target=orphan.wait)
    reaper.start()
    successor = Mosquitto(settings)
    successor.start()
    reaper.join(60)
    assert orphan.returncode == 0, "it ended in good order"
    assert left_behind(settings.folder) == [successor.pid]
    assert len(take_messages_of("away", settings.port, count=50)) == 50
    successor.stop()


def keep_messages_for(client_id: str, port: int, count: int) -> None:
    """A session that is away, with `count` acknowledged messages waiting for it."""
    eventually(lambda: _listens(port), "the broker listens")
    session = Client(CallbackAPIVersion.VERSION2, client_id=client_id, clean_session=False)
    subscribed = threading.Event()
    session.on_subscribe = lambda *_: subscribed.set()
    session.on_connect = lambda client, *_: client.subscribe("pilots/#", qos=1)
    session.connect("127.0.0.1", port)
    session.loop_start()
    assert subscribed.wait(30)
    hang_up(session)
    sender = publisher(port)
    for number in range(count):
        sender.publish("pilots/p/d/data", str(number), qos=1).wait_for_publish(30)
    hang_up(sender)


def take_messages_of(client_id: str, port: int, count: int) -> list[bytes]:
    taken: list[bytes] = []
    session = Client(CallbackAPIVersion.VERSION2, client_id=client_id, clean_session=False)
    session.on_message = lambda _, __, message: taken.append(message.payload)
    session.connect("127.0.0.1", port)
    session.loop_start()
    eventually(lambda: len(taken) >= count, f"{count} messages came")
    hang_up(session)
    return taken


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def test_anonymous_only_on_the_loopback(tmp_path: Path) -> None:
    open_to_all = MosquittoSettings(folder=tmp_path, executable=Path("mosquitto"), host="0.0.0.0")
    assert "allow_anonymous false" in configuration(open_to_all)
    assert "allow_anonymous true" in configuration(MosquittoSettings(folder=tmp_path, executable=Path("mosquitto")))

"""The broker of the compose form: devices with a credential of the registry, parts of the platform with no more rights
than they need, and nobody else. Real mosquitto, run by deploy/mosquitto/run, and the real `techport broker-access`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from techport_ingest.brokers.mosquitto import find_mosquitto
from techport_pilots.access.credentials import Credentials
from techport_pilots.handover.broker_messages import RetainedRequests, of_devices, topic_filters
from techport_pilots.handover.references import Reference
from techport_pilots.registry.registry import Registry
from tests.conftest import ROOT, unavailable
from tests.ingest.running import eventually
from tests.pilots import trial
from tests.servers.mosquitto import free_port

pytestmark = pytest.mark.heavy

EVERYBODY = ("ingest", "web", "simulator")


class Broker:
    """mosquitto and the process that writes its users, as two services of the compose file."""

    def __init__(self, folder: Path) -> None:
        mosquitto = find_mosquitto()
        if mosquitto is None:
            unavailable("mosquitto is not installed: apt-get install mosquitto")
        self.folder = folder
        self.port = free_port()
        self.users = folder / "users"
        for name in EVERYBODY[:2]:
            (folder / name).write_text(f"password of {name}\n")
        registry = f"sqlite:///{folder / 'registry.sqlite'}"
        self.registry = Registry.open(registry)
        self.credentials = Credentials(self.registry.database)
        configuration = folder / "mosquitto.conf"
        configuration.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous false\nuser root\n"
            f"password_file {self.users / 'passwords'}\nacl_file {self.users / 'access'}\n"
        )
        environment = {**os.environ, "TECHPORT_BROKER_FOLDER": str(self.users)}
        environment["PATH"] = f"{mosquitto.parent}:{environment['PATH']}"
        # The broker first, as after a restart of the machine: it waits for its users.
        run = [str(ROOT / "deploy/mosquitto/run"), str(configuration)]
        self.mosquitto = subprocess.Popen(run, env=environment)
        words = [word for name in EVERYBODY for word in ("--user", f"{name}={folder / name}")]
        command = [sys.executable, "-m", "techport", "broker-access", *words, "--registry", registry, str(self.users)]
        command += ["--retained", "--mqtt", f"127.0.0.1:{self.port}"]
        self.writer = subprocess.Popen(command, env=environment, cwd=folder)

    def close(self) -> None:
        for process in (self.writer, self.mosquitto):
            process.send_signal(signal.SIGTERM)
        assert self.writer.wait(30) == 0
        assert self.mosquitto.wait(30) == 0, "mosquitto was ended in good order through its script"
        self.registry.close()

    def connect(self, user: str | None, password: str | None) -> Client | None:
        """A connected client, or None where the broker refuses it."""
        client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        answers: list[bool] = []
        client.on_connect = lambda _, __, ___, reason, ____: answers.append(not reason.is_failure)
        if user is not None:
            client.username_pw_set(user, password)
        try:
            client.connect("127.0.0.1", self.port)
        except ConnectionRefusedError:  # it does not listen yet
            return None
        client.loop_start()
        until = time.monotonic() + 20
        while not answers and time.monotonic() < until:
            time.sleep(0.02)
        if answers[:1] == [True]:
            return client
        _leave(client)
        return None

    def lets_in(self, user: str | None, password: str | None) -> bool:
        client = self.connect(user, password)
        _leave(client)
        return client is not None

    def retained(self) -> set[str]:
        """Topics with a retained message, as the worker sees them."""
        client = self.connect("ingest", "password of ingest")
        assert client is not None
        topics: set[str] = set()
        client.on_message = lambda _, __, message: topics.add(message.topic) if message.retain else None
        _subscribe(client, "#")
        time.sleep(1.5)
        _leave(client)
        return topics


def _leave(client: Client | None) -> None:
    if client is not None:
        client.disconnect()
        client.loop_stop()


def _subscribe(client: Client, topic_filter: str) -> None:
    """Back when the broker knows it."""
    answered: list[bool] = []
    client.on_subscribe = lambda *_: answered.append(True)
    client.subscribe(topic_filter, qos=1)
    eventually(lambda: bool(answered), "the broker knows the subscription")


def _may_write(client: Client, topic: str) -> bool:
    """Whether the broker takes it; with MQTT 5 it says so."""
    reasons: list[bool] = []
    client.on_publish = lambda _, __, ___, reason, ____: reasons.append(not reason.is_failure)
    client.publish(topic, b"{}", qos=1).wait_for_publish(20)
    eventually(lambda: bool(reasons), f"the broker answers about {topic}")
    return reasons[0]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    running = Broker(tmp_path)
    eventually(lambda: running.lets_in("ingest", "password of ingest"), "the broker runs")
    yield running
    running.close()


@pytest.mark.slow
def test_devices_come_and_go_while_the_broker_runs(broker: Broker) -> None:
    issued = broker.credentials.issue("air", "lamp-1", "test")
    eventually(lambda: broker.lets_in(issued.username, issued.password), "the device is let in")
    device = broker.connect(issued.username, issued.password)
    assert device is not None
    assert _may_write(device, issued.topic)
    assert not _may_write(device, "pilots/air/lamp-2/readings")
    assert not _may_write(device, "pilots/noise/lamp-1/readings")
    assert not broker.lets_in(issued.username, "guessed")
    assert not broker.lets_in(None, None)
    disconnected: list[bool] = []
    device.on_disconnect = lambda *_: disconnected.append(True)
    broker.credentials.revoke("air", "lamp-1")
    eventually(lambda: bool(disconnected), "its connection ends")
    assert not broker.lets_in(issued.username, issued.password)
    _leave(device)


@pytest.mark.slow
def test_parts_of_the_platform_have_the_rights_they_need(broker: Broker) -> None:
    web, ingest = (broker.connect(name, f"password of {name}") for name in ("web", "ingest"))
    assert web is not None
    assert ingest is not None
    heard: list[str] = []
    web.on_message = lambda _, __, message: heard.append(message.topic)
    _subscribe(web, "#")
    worker_heard: list[str] = []
    ingest.on_message = lambda _, __, message: worker_heard.append(message.topic)
    _subscribe(ingest, "#")
    assert _may_write(web, "pilots/air/lamp-1/push/native")
    assert not _may_write(web, "pilots/air/lamp-1/readings")
    assert _may_write(ingest, "pilots/air/lamp-1/problems")
    assert not _may_write(ingest, "pilots/air/lamp-1/readings")
    eventually(lambda: "pilots/air/lamp-1/push/native" in worker_heard, "the worker hears what the pages pass on")
    assert heard == []
    _leave(web)
    _leave(ingest)


@pytest.mark.slow
def test_the_simulator_has_an_account_while_its_password_is_there(broker: Broker) -> None:
    file = broker.folder / "simulator"
    assert not broker.lets_in("simulator", "")
    file.write_text("")
    time.sleep(2)
    assert not broker.lets_in("simulator", ""), "an empty password is none"
    file.write_text("of the demo")
    eventually(lambda: broker.lets_in("simulator", "of the demo"), "the simulator is let in")
    file.unlink()
    eventually(lambda: not broker.lets_in("simulator", "of the demo"), "and no longer")


@pytest.mark.slow
def test_only_the_brokers_user_reads_the_files(broker: Broker) -> None:
    assert {file.name: file.stat().st_mode & 0o777 for file in broker.users.iterdir()} == {
        "passwords": 0o600,
        "access": 0o600,
    }


@pytest.mark.slow
def test_retained_messages_are_erased_where_no_part_of_the_platform_may(broker: Broker, tmp_path: Path) -> None:
    """By a user of the broker that exists for as long as it takes."""
    definition = trial.definition()
    broker.registry.import_pilot(definition, trial.YAML, "test")
    for device in ("kirka", "bakken"):
        issued = broker.credentials.issue(definition.id, device, "test")
        eventually(lambda: broker.lets_in(issued.username, issued.password), "the device is let in")  # noqa: B023
        client = broker.connect(issued.username, issued.password)
        assert client is not None
        client.publish(issued.topic, b'{"seen": "AC:23:3F:A4:C1:38"}', qos=1, retain=True).wait_for_publish(20)
        _leave(client)
    topics = {device: f"pilots/{definition.id}/{device}/readings" for device in ("kirka", "bakken")}
    assert broker.retained() == set(topics.values())
    requests, filters = RetainedRequests(broker.registry.database), topic_filters(definition)
    eventually(lambda: requests.ask(filters, of_devices(definition, {"nobody"}, None)), "somebody does it")
    assert broker.retained() == set(topics.values())
    assert requests.ask(filters, of_devices(definition, {"kirka"}, None))
    assert broker.retained() == {topics["bakken"]}
    assert requests.ask(filters, of_devices(definition, None, Reference("ac233fa4c138")))
    assert broker.retained() == set()
    assert requests.waiting() == {}
    eventually(lambda: "erasure" not in (broker.users / "passwords").read_text(), "the user is gone")
    for file in tmp_path.glob("registry.sqlite*"):
        assert b"ac233fa4c138" not in file.read_bytes()


def test_without_anybody_who_may_no_request_is_left(tmp_path: Path) -> None:
    with closing(Registry.open(f"sqlite:///{tmp_path / 'registry.sqlite'}")) as registry:
        requests = RetainedRequests(registry.database)
        belongs = of_devices(trial.definition(), None, None)
        assert not requests.ask(["pilots/#"], belongs, 0)
        assert requests.waiting() == {}
        assert requests.serve("one")
        assert not requests.serve("another"), "one does it"
        assert not requests.ask(["pilots/#"], belongs, 0)
        [(number, request)] = requests.waiting().items()
        assert (request.filters, request.belongs) == (["pilots/#"], belongs), "it is done later"
        requests.done(number)
        assert requests.waiting() == {}

"""A cluster of NATS servers between devices and workers: the contract of sources, and servers that are killed."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from techport_ingest.brokers.nats_subjects import consumer_filters, subject_of, subjects_of, topic_of
from techport_ingest.source import Source
from techport_ingest.sources.nats.connection import NatsSettings
from techport_ingest.sources.nats.probe import probe_nats
from techport_ingest.sources.nats.relay import NatsRelay
from techport_ingest.sources.nats.source import ACK_WAIT, NatsSource
from techport_ingest.sources.session_watch import SessionEvent
from techport_pilots.accounting.audit import audit
from tests.ingest.running import NOON, Ingest, eventually, hang_up, publisher, reading
from tests.ingest.source_contract import (
    TOPIC,
    Connect,
    receive,
    test_the_window_bounds_what_is_held,
    test_two_devices_with_quality_of_service_0,
    test_what_was_not_acknowledged_comes_again,
    test_workers_that_share_divide_the_topics_among_them,
)
from tests.ingest.test_kill import Process
from tests.servers.nats import NatsCluster, Node, nats

__all__ = [
    "nats",
    "test_the_window_bounds_what_is_held",
    "test_two_devices_with_quality_of_service_0",
    "test_what_was_not_acknowledged_comes_again",
    "test_workers_that_share_divide_the_topics_among_them",
]

pytestmark = pytest.mark.cluster


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsCluster]:
    """One server, for what needs no more."""
    cluster = NatsCluster(tmp_path / "nats", nodes=1)
    cluster.start()
    yield cluster
    cluster.stop()


@pytest.fixture
def port(server: NatsCluster) -> int:
    connected(server).close()  # the consumer is there before the first message
    return server.nodes[0].mqtt


@pytest.fixture
def device(port: int) -> Iterator[Client]:
    client = publisher(port)
    yield client
    hang_up(client)


@pytest.fixture
def connect(server: NatsCluster) -> Connect:
    def opened(_port: int, _client_id: str = "", share: str | None = None, **settings: int) -> Source:
        return connected(server, **settings)  # workers always share

    return opened


def connected(cluster: NatsCluster, events: list[SessionEvent] | None = None, **settings: int) -> NatsSource:
    """A source that pulls."""

    def note(event: SessionEvent) -> bool:
        if events is not None:
            events.append(event)
        return True

    source = NatsSource(NatsSettings(servers=cluster.servers, **settings), note)  # type: ignore[arg-type]
    eventually(lambda: source.connected, "the source pulls")
    return source


@pytest.mark.parametrize(
    ("topic", "subject"),
    [
        ("pilots/air/lamp-1/readings", "pilots.air.lamp-1.readings"),
        ("v1.1/Datastreams(3)/Observations", "v1//1.Datastreams(3).Observations"),
        ("a//b", "a./.b"),
        ("/a", "/.a"),
        ("a/", "a./"),
        ("/", "/./"),
        ("//", "/././"),
        (".a/b.", "//a.b//"),
        ("./a", "//.a"),
        ("æ/ø", "æ.ø"),
    ],
)
def test_topics_are_the_subjects_of_the_gateway(topic: str, subject: str) -> None:
    assert (subject_of(topic), topic_of(subject)) == (subject, topic)


@pytest.mark.parametrize(
    ("topics", "filters"),
    [
        (["pilots/#"], ["pilots", "pilots.>"]),
        (["pilots/#", "pilots/air/+/readings", "tele/+/SENSOR"], ["pilots", "pilots.>", "tele.*.SENSOR"]),
        (["a/+/c", "a/b/+"], ["a.*.*"]),  # filters of a consumer may not overlap
        (["a/+/c/#", "a/b/+"], ["a.*.*", "a.*.*.>"]),
        (["a/+", "+/b", "c/d"], ["*.*"]),
        (["#", "a"], [">"]),
    ],
)
def test_filters_of_the_consumer_take_all_topics_and_do_not_overlap(topics: list[str], filters: list[str]) -> None:
    assert consumer_filters(topics) == [f"$MQTT.msgs.{subject}" for subject in filters]


def test_a_filter_takes_the_level_above_its_hash() -> None:
    assert subjects_of("a/b/#") == ("a.b", "a.b.>")


@pytest.mark.parametrize("topic", ["a//b", "/a", "a/", "/", "v1.1/b", "../x", "æ/+ø".replace("+", "")])
def test_odd_topics_come_through_the_gateway(server: NatsCluster, topic: str) -> None:
    """The conversion is the server's, not what we believe of it."""
    source = connected(server)
    source.subscribe(("#",))
    client = publisher(server.nodes[0].mqtt)

    def arrived() -> bool:
        client.publish(topic, b"{}", qos=1).wait_for_publish(10)
        messages = source.receive(0.3)
        source.ack(messages)
        return topic in [message.topic for message in messages]

    eventually(arrived, "the message has come under its topic")
    hang_up(client)
    source.close()


def test_arrival_is_when_the_cluster_took_the_message(server: NatsCluster, device: Client) -> None:
    device.publish(TOPIC, reading(1), qos=1).wait_for_publish(10)
    taken = time.time()
    time.sleep(1.5)
    source = connected(server)
    [message] = receive(source, 1)
    assert abs(message.received / 1e6 - taken) < 1
    assert not message.delayed
    source.close()


def test_what_is_held_for_long_is_given_to_nobody_else(server: NatsCluster, device: Client) -> None:
    """A store that is away for longer than the consumer waits costs no second delivery."""
    first = connected(server)
    device.publish(TOPIC, reading(1), qos=1)
    messages = receive(first, 1)
    second = connected(server)
    assert second.receive(2.5 * ACK_WAIT) == []
    first.ack(messages)
    first.close()
    assert second.receive(1) == []
    second.close()


def test_a_consumer_that_was_removed_is_made_again_and_noticed(server: NatsCluster, device: Client) -> None:
    events: list[SessionEvent] = []
    source = connected(server, events)
    source.receive(0)
    assert events == ["resumed"]
    jetstream = source._connection.client.jetstream()
    source._connection.run(jetstream.delete_consumer("$MQTT_msgs", "techport")).result(10)

    def made_again() -> bool:
        device.publish(TOPIC, reading(1), qos=1)
        messages = source.receive(0.1)
        source.ack(messages)
        return bool(messages)

    eventually(made_again, "messages come again")
    source.receive(0)
    assert events == ["resumed", "new"], "so that the audit fails: what was acknowledged between is lost"
    source.close()


def test_what_the_platform_publishes_is_stored_and_heard(server: NatsCluster, device: Client) -> None:
    """A message that came over HTTP goes to workers; a notice to a device, whichever quality it subscribed with."""
    source = connected(server)
    relay = NatsRelay(NatsSettings(servers=server.servers))
    eventually(lambda: relay.connected, "the relay is connected")
    relay.send("pilots/air/lamp-1/push/native", b"pushed").result(10)
    [message] = receive(source, 1)
    source.ack([message])
    assert (message.topic, message.payload) == ("pilots/air/lamp-1/push/native", b"pushed")
    for quality in (0, 1):
        heard: list[bytes] = []
        listener = publisher(server.nodes[0].mqtt, f"listener-{quality}")
        listener.on_message = lambda _client, _data, notice, heard=heard: heard.append(notice.payload)
        granted = threading.Event()
        listener.on_subscribe = lambda *_, granted=granted: granted.set()
        listener.subscribe("pilots/air/lamp-1/problems", qos=quality)
        assert granted.wait(10)
        relay.publish("pilots/air/lamp-1/problems", b"wrong")
        eventually(lambda heard=heard: bool(heard), "the notice is heard")  # type: ignore[misc]
        assert heard == [b"wrong"], "once"
        hang_up(listener)
    relay.close()
    source.close()


def test_retained_messages_are_erased_in_the_files_too(server: NatsCluster, device: Client) -> None:
    secret = b"kanarifugl-4711"
    for topic, payload in (("pilots/air/lamp-1/status", secret), ("pilots/air/lamp-2/status", b"stays")):
        device.publish(topic, payload, qos=1, retain=True).wait_for_publish(10)
    relay = NatsRelay(NatsSettings(servers=server.servers))
    eventually(lambda: relay.connected, "the relay is connected")
    filters = ("pilots/air/#",)
    assert relay.forget_retained(filters, lambda topic, _: topic == "pilots/air/lamp-1/status") == 1
    assert relay.forget_retained(filters, lambda topic, _: topic == "pilots/air/lamp-1/status") == 0
    heard: list[str] = []
    listener = publisher(server.nodes[0].mqtt, "listener")
    listener.on_message = lambda _client, _data, message: heard.append(message.topic)
    listener.subscribe("pilots/air/#", qos=1)
    eventually(lambda: bool(heard), "the one that stays is heard")
    time.sleep(0.3)
    assert heard == ["pilots/air/lamp-2/status"]
    hang_up(listener)
    relay.close()
    server.stop()
    files = [file for file in server.folder.rglob("*.blk") if "rmsgs" in str(file)]
    assert files
    assert not any(secret in file.read_bytes() for file in files)


class Devices:
    """Publish numbered readings, each to whichever server is there, and remember which were acknowledged."""

    def __init__(self, nodes: list[Node]) -> None:
        self.acknowledged: set[int] = set()
        self._nodes = nodes
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number,), daemon=True) for number in range(3)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Publish no more, once everything is acknowledged."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(120)
            assert not thread.is_alive(), "a device has not got rid of its messages"

    def _run(self, device: int) -> None:
        """As a device with a list of servers does: the next one where one is away, and again what was not answered."""
        numbers = itertools.count(device * EACH)
        waiting: list[int] = []
        for turn in itertools.count(device):
            waiting = self._publish_at(self._nodes[turn % len(self._nodes)], device, waiting, numbers)
            if self._stopping.is_set() and not waiting:
                return

    def _publish_at(self, node: Node, device: int, waiting: list[int], numbers: Iterator[int]) -> list[int]:
        """Until the server goes, or the end; what was not acknowledged by then."""
        client = Client(CallbackAPIVersion.VERSION2, f"device-{device}")
        client.max_inflight_messages_set(1_000)
        gone, answered, sent = threading.Event(), set[int](), dict[int, int]()
        client.on_publish = lambda _client, _data, mid, _reason, _properties: answered.add(mid)
        client.on_disconnect = lambda *_: gone.set()
        try:
            client.connect("127.0.0.1", node.mqtt, keepalive=5)
        except OSError:
            time.sleep(0.2)
            return waiting
        client.loop_start()
        queue = list(waiting)
        until = float("inf")
        while not gone.is_set() and time.monotonic() < until:
            number = queue.pop(0) if queue else None if self._stopping.is_set() else next(numbers)
            if number is not None:
                topic = f"pilots/air/lamp-{device + 1}/readings"
                sent[client.publish(topic, reading(number, pm10=number % 97), qos=1).mid] = number
                time.sleep(0.005)
            elif len(answered) == len(sent):
                break
            else:
                until = min(until, time.monotonic() + 20)
                time.sleep(0.05)
        client.on_disconnect = None
        hang_up(client)
        kept = {sent[mid] for mid in answered}
        self.acknowledged |= kept
        return sorted({*queue, *waiting, *sent.values()} - kept)


EACH = 100_000
"""Readings of a device, more than it sends."""


def expected_rows(devices: Devices) -> list[tuple[str, str, float, float, int]]:
    """What has to be in the store: everything that was acknowledged."""
    return sorted(
        (f"lamp-{number // EACH + 1}", "pm10", float(NOON + number), float(number % 97), 0)
        for number in devices.acknowledged
    )


def test_three_killed_servers_lose_nothing(nats: NatsCluster, tmp_path: Path) -> None:
    """One after the other is killed under load and comes back. All that was acknowledged is stored, once."""
    ingest = Ingest(tmp_path / "side")
    ingest.start(connected(nats))
    devices = Devices(nats.nodes)
    devices.start()
    pauses = []
    for node in nats.nodes:
        time.sleep(1.5)
        nats.kill(node)
        killed, stored = time.monotonic(), ingest.total().stored
        eventually(lambda stored=stored: ingest.total().stored > stored + 100, "readings are stored again")  # type: ignore[misc]
        pauses.append(round(time.monotonic() - killed, 1))
        nats.start_node(node)
        nats.wait()
    devices.stop()
    expected = expected_rows(devices)
    eventually(lambda: len(ingest.rows()) >= len(expected), "everything is stored")
    ingest.stop()
    assert ingest.rows() == expected
    report = audit(ingest.ledger, ingest.store)
    assert report.ok, report.off
    print(f"{len(expected)} acknowledged; seconds until 100 more were stored, after each kill: {pauses}")  # noqa: T201
    ingest.close()


def test_killed_workers_lose_nothing(server: NatsCluster, tmp_path: Path) -> None:
    """What a killed worker had comes again, to whoever pulls. Nothing is there twice, and the ledger agrees."""
    side = tmp_path / "side"
    Ingest(side).close()
    connected(server).close()
    worker = Process(side, server.nodes[0].client, "nats")
    worker.start()
    devices = Devices(server.nodes)
    devices.start()
    for _ in range(3):
        time.sleep(4)
        worker.kill()
        worker.start()
    time.sleep(2)
    worker.kill()
    time.sleep(0.5)  # messages that no worker is there for
    devices.stop()
    expected = expected_rows(devices)
    ingest = Ingest(side)
    before = len(ingest.rows())
    assert 0 < before < len(expected), "a worker has stored some, and was killed before the rest"
    ingest.start(connected(server))
    eventually(lambda: len(ingest.rows()) >= len(expected), "everything is stored", 60)
    eventually(lambda: ingest.ledger.open_intents() == {}, "every interrupted batch is reconciled")
    ingest.stop()
    assert ingest.rows() == expected
    report = audit(ingest.ledger, ingest.store)
    assert report.ok, report.off
    ingest.close()


def test_the_doctor_sees_what_waits(server: NatsCluster) -> None:
    settings = NatsSettings(servers=server.servers)
    assert probe_nats(settings).problem is not None, "no worker has been there"
    connected(server).close()
    device = publisher(server.nodes[0].mqtt)
    device.publish(TOPIC, reading(1), qos=1).wait_for_publish(10)
    assert probe_nats(settings) == (None, 1, 1)
    hang_up(device)

"""What MQTT sources do behind a real mosquitto; and, for what mosquitto never does, behind a few bytes of our own."""

from __future__ import annotations

import contextlib
import socket
import threading
from functools import partial
from pathlib import Path
from typing import Literal

import pytest
import structlog
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from techport_ingest.message import Message
from techport_ingest.sources.backlog import MARK_AFTER
from techport_ingest.sources.connect import open_source, spoken_protocol
from techport_ingest.sources.session import LASTING, SEND_ALWAYS, SEND_IF_NEW, Backoff, Subscriptions
from techport_ingest.sources.settings import MqttSettings
from tests.ingest.running import eventually, mqtt_source, reading
from tests.ingest.source_contract import (
    TOPIC,
    Connect,
    receive,
    test_the_window_bounds_what_is_held,
    test_two_devices_with_quality_of_service_0,
    test_what_was_not_acknowledged_comes_again,
    test_workers_that_share_divide_the_topics_among_them,
)

__all__ = [
    "test_the_window_bounds_what_is_held",
    "test_two_devices_with_quality_of_service_0",
    "test_what_was_not_acknowledged_comes_again",
    "test_workers_that_share_divide_the_topics_among_them",
]


@pytest.fixture(params=["5", "3.1.1"])
def connect(request: pytest.FixtureRequest) -> Connect:
    """Opens a subscribed source of each protocol."""
    return partial(mqtt_source, protocol=request.param)


def test_retained_messages_come_once_and_are_marked(port: int, device: Client) -> None:
    device.publish(TOPIC, reading(1), qos=1, retain=True).wait_for_publish(10)
    source = mqtt_source(port)
    messages = receive(source, 1)
    assert messages[0].retained
    source.ack(messages)
    source.close()
    again = mqtt_source(port)
    assert again.receive(0.5) == []
    again.close()


@pytest.mark.parametrize("at_once", [False, True])
def test_descriptions_come_again_to_a_process_that_just_started(port: int, device: Client, at_once: bool) -> None:
    """Also where the pipeline asks for them before the connection stands."""
    device.publish("homie/pump/node/flow/$unit", b"l/h", qos=1, retain=True).wait_for_publish(10)
    device.publish("tele/plug/LWT", b"Online", qos=1, retain=True).wait_for_publish(10)
    filters, described = ("pilots/#", "tele/#", "homie/#"), ("homie/#",)
    source = mqtt_source(port)
    source.subscribe(filters, described)
    first = receive(source, 2)
    source.ack(first)
    source.close()
    again = open_source(MqttSettings(client_id="ingest-1", port=port)) if at_once else mqtt_source(port)
    again.subscribe(filters, described)
    [message] = receive(again, 1)
    assert message.topic == "homie/pump/node/flow/$unit"
    assert message.retained
    again.ack([message])
    again.subscribe(filters, described)
    assert again.receive(0.5) == [], "once a process"
    again.close()


def test_a_password_is_not_shown() -> None:
    assert "secret" not in repr(MqttSettings(client_id="a", username="u", password="secret"))


class ScriptedBroker:
    """Speaks just enough MQTT 3.1.1 to say CONNACK and SUBACK, then sends the given packets; one script a
    connection.
    """

    def __init__(self, *scripts: list[bytes]) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.heard = [bytearray() for _ in scripts]
        self.hang_up = threading.Event()
        threading.Thread(target=self._serve, args=(scripts,), daemon=True).start()

    def _serve(self, scripts: tuple[list[bytes], ...]) -> None:
        for heard, script in zip(self.heard, scripts, strict=True):
            connection, _ = self._listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"\x20\x02\x01\x00")  # CONNACK, session present
                subscribe = connection.recv(1000)
                connection.sendall(b"\x90\x03" + subscribe[2:4] + b"\x01")  # SUBACK, QoS 1
                connection.sendall(b"".join(script))
                connection.settimeout(0.05)
                while not self.hang_up.is_set():
                    try:
                        heard += connection.recv(1000)
                    except TimeoutError:
                        continue
                self.hang_up.clear()


def publish_packet(topic: bytes, number: int, payload: bytes) -> bytes:
    body = len(topic).to_bytes(2, "big") + topic + number.to_bytes(2, "big") + payload
    return bytes([0x32, len(body)]) + body


def test_a_topic_that_is_not_utf8_arrives_escaped() -> None:
    broker = ScriptedBroker([publish_packet(b"pilots/air/lamp\xff/readings", 1, b"{}")])
    source = mqtt_source(broker.port, protocol="3.1.1")
    messages = receive(source, 1)
    assert (messages[0].topic, messages[0].payload) == ("pilots/air/lamp\\xff/readings", b"{}")
    source.ack(messages)
    eventually(lambda: bytes(broker.heard[0]) == b"\x40\x02\x00\x01", "it is acknowledged")
    source.close()
    broker.hang_up.set()


def test_a_packet_number_of_an_earlier_connection_is_not_acknowledged() -> None:
    """A broker that lost its session gives the number 1 to another message: settling the old one must not settle
    that.
    """
    broker = ScriptedBroker([publish_packet(b"pilots/a", 1, b"old")], [publish_packet(b"pilots/a", 1, b"new")])
    source = mqtt_source(broker.port, protocol="3.1.1")
    old = receive(source, 1)
    broker.hang_up.set()
    new = receive(source, 1)
    assert new[0].payload == b"new"
    source.ack(old)
    source.ack([Message("pilots/a", b"", 0, new[0].id ^ 3)])  # the number 2, so that silence has an end
    eventually(lambda: len(broker.heard[1]) >= 4, "something is acknowledged")
    assert bytes(broker.heard[1]) == b"\x40\x02\x00\x02"
    source.close()
    broker.hang_up.set()


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_it_waits_for_a_broker_that_is_not_there_yet(protocol: Literal["5", "3.1.1"]) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    source = open_source(MqttSettings(client_id="early", port=port, longest_wait=0.3, protocol=protocol))
    assert source.receive(0.5) == []
    assert not source.connected
    source.close()


class ScriptedBroker5:
    """Answers CONNECT and SUBSCRIBE of MQTT 5, then sends its script and keeps what it hears; then the next client."""

    def __init__(self, connack: bytes, script: bytes = b"", path: Path | None = None) -> None:
        """At `path`, or where that is None at `port`."""
        if path is None:
            self._listener = socket.create_server(("127.0.0.1", 0))
            self.port = self._listener.getsockname()[1]
        else:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(str(path))
            self._listener.listen()
        self.heard = bytearray()
        self.connections = 0
        self.hang_up = threading.Event()
        threading.Thread(target=self._serve, args=(connack, script), daemon=True).start()

    def _serve(self, connack: bytes, script: bytes) -> None:
        while not self.hang_up.is_set():
            connection, _ = self._listener.accept()
            self.connections += 1
            with connection:
                self._answer(connection, connack, script)

    def _answer(self, connection: socket.socket, connack: bytes, script: bytes) -> None:
        connection.recv(1000)
        connection.sendall(connack)
        subscribe = connection.recv(1000)
        if subscribe[:1] == b"\x82":
            connection.sendall(b"\x90\x04" + subscribe[2:4] + b"\x00\x01" + script)
        connection.settimeout(0.05)
        while not self.hang_up.is_set():
            with contextlib.suppress(TimeoutError):
                part = connection.recv(1000)
                if not part:
                    return
                self.heard += part


WELCOME = b"\x20\x03\x01\x00\x00"  # session present, success, no properties


def publish_5(topic: bytes, number: int, payload: bytes, properties: bytes = b"") -> bytes:
    body = len(topic).to_bytes(2, "big") + topic + number.to_bytes(2, "big")
    body += bytes([len(properties)]) + properties + payload
    return bytes([0x32, len(body)]) + body


def test_a_topic_alias_stands_for_the_topic_before_it() -> None:
    alias = b"\x23\x00\x07"
    script = publish_5(b"pilots/a", 1, b"first", alias) + publish_5(b"", 2, b"second", alias)
    broker = ScriptedBroker5(WELCOME, script)
    source = mqtt_source(broker.port)
    assert [(message.topic, message.payload) for message in receive(source, 2)] == [
        ("pilots/a", b"first"),
        ("pilots/a", b"second"),
    ]
    broker.hang_up.set()
    source.close()


@pytest.mark.parametrize(
    ("topic", "properties", "expected"),
    [
        (b"pilots/air/lamp\xff/readings", b"", "pilots/air/lamp\\xff/readings"),
        (b"pilots/air", b"\x26\x00\x01\xff\x00\x01a", "pilots/air"),  # a user property that is not UTF-8
    ],
)
def test_text_that_is_not_utf8_costs_no_message(topic: bytes, properties: bytes, expected: str) -> None:
    broker = ScriptedBroker5(WELCOME, publish_5(topic, 1, b"{}", properties) + publish_5(b"pilots/b", 2, b"[]"))
    source = mqtt_source(broker.port)
    messages = receive(source, 2)
    assert [(message.topic, message.payload) for message in messages] == [(expected, b"{}"), ("pilots/b", b"[]")]
    source.ack(messages)
    eventually(lambda: bytes(broker.heard) == b"\x40\x02\x00\x01\x40\x02\x00\x02", "both are acknowledged")
    broker.hang_up.set()
    source.close()


def test_a_message_longer_than_the_buffer_arrives_whole(port: int, device: Client) -> None:
    source = mqtt_source(port)
    payload = bytes(range(256)) * 1_500  # one and a half times as long
    device.publish(TOPIC, payload, qos=1)
    device.publish(TOPIC, b"{}", qos=1)
    assert [message.payload for message in receive(source, 2)] == [payload, b"{}"]
    source.close()


def test_it_connects_again_after_bytes_that_are_not_mqtt() -> None:
    broker = ScriptedBroker5(WELCOME, b"\x00\x00\x00")
    source = open_source(MqttSettings(client_id="ingest-1", port=broker.port, longest_wait=0.3))
    eventually(lambda: broker.connections >= 2, "it tries again")
    broker.hang_up.set()
    source.close()


@pytest.mark.parametrize(
    ("connack", "protocol"),
    [
        (b"\x20\x02\x00\x01", "3.1.1"),  # MQTT 3.1.1: unacceptable protocol version
        (b"\x20\x03\x00\x84\x00", "3.1.1"),
        (WELCOME, "5"),
        (b"\x20\x00", "5"),  # broken
        (b"\x20\x03\x00\x87\x00", "5"),  # not authorised: it speaks MQTT 5 all the same
    ],
)
def test_the_broker_is_asked_for_its_protocol(connack: bytes, protocol: str) -> None:
    broker = ScriptedBroker5(connack)
    assert spoken_protocol(MqttSettings(client_id="ingest-1", port=broker.port)) == protocol
    broker.hang_up.set()


def test_a_broker_that_is_away_is_taken_for_a_new_one() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        assert spoken_protocol(MqttSettings(client_id="ingest-1", port=probe.getsockname()[1])) == "5"


def _session(port: int, client_id: str) -> Client:
    """A client that has taken over a session, and leaves it with the socket that it closes."""
    client = Client(CallbackAPIVersion.VERSION2, client_id=client_id, clean_session=False)
    client.connect("127.0.0.1", port)
    return client


def test_a_retired_session_is_gone(port: int, connect: Connect) -> None:
    connect(port).close()
    connect(port, retire=True).close()
    resumed: list[bool] = []
    client = _session(port, "ingest-1")
    client.on_connect = lambda _, __, flags, *more: resumed.append(flags.session_present)

    def answered() -> bool:
        client.loop(0.1)
        return bool(resumed)

    eventually(answered, "the broker answers")
    assert resumed == [False]
    client.disconnect()


def test_a_filter_that_is_dropped_while_the_broker_is_away_is_left_with_the_next_connection(
    port: int, device: Client, connect: Connect
) -> None:
    source = connect(port)
    source.subscribe(("pilots/#", "tele/#"))

    def first_one() -> bool:  # the broker may take the message before it knows the subscription
        device.publish("tele/plug/STATE", b"{}", qos=1).wait_for_publish(10)
        messages = source.receive(0.1)
        source.ack(messages)
        return bool(messages)

    eventually(first_one, "the filter counts")
    other = _session(port, "ingest-1")
    # Or had it: the source may be back, and the other one turned away, before anybody looks.
    eventually(lambda: other.loop(0.1) != 0 or not source.connected, "the other one has the session")
    source.subscribe(("pilots/#",))
    eventually(lambda: source.connected, "the source has it again")
    device.publish("tele/plug/STATE", b"later", qos=1).wait_for_publish(10)
    device.publish(TOPIC, b"later", qos=1).wait_for_publish(10)
    arrived: list[str] = []  # the first message may come again: its acknowledgement was under way

    def last_one() -> bool:
        arrived.extend(message.topic for message in source.receive(0.1) if message.payload == b"later")
        return TOPIC in arrived

    eventually(last_one, "the last message has arrived")
    assert arrived == [TOPIC]
    source.close()


def test_filters_to_leave_are_asked_for_until_somebody_wants_them_again() -> None:
    subscriptions = Subscriptions(MqttSettings(client_id="a", topics=("pilots/#",), share="group"))
    assert subscriptions.change(("pilots/#", "tele/#"), ()) == (["tele/#"], [])
    assert subscriptions.change(("pilots/#",), ()) == ([], ["tele/#"])
    assert subscriptions.filters_left() == ["$share/group/tele/#"]
    subscriptions.change(("pilots/#", "tele/#"), ())
    assert subscriptions.filters_left() == []


def test_descriptions_are_asked_for_until_the_broker_has_answered() -> None:
    subscriptions = Subscriptions(MqttSettings(client_id="a"))
    subscriptions.change(("pilots/#", "homie/#"), ("homie/#",))
    assert subscriptions.retain_handling("pilots/#") == SEND_IF_NEW
    assert subscriptions.retain_handling("homie/#") == SEND_ALWAYS
    subscriptions.connected()  # the answer never came
    assert subscriptions.retain_handling("homie/#") == SEND_ALWAYS
    assert not subscriptions.granted([(1, "granted"), (0x87, "not authorised")])
    assert subscriptions.retain_handling("homie/#") == SEND_ALWAYS
    with structlog.testing.capture_logs() as logs:
        assert subscriptions.granted([(1, "granted"), (0, "granted")])
    assert [entry["log_level"] for entry in logs] == ["warning"], "quality of service 0 keeps nothing"
    assert subscriptions.retain_handling("homie/#") == SEND_IF_NEW


def test_a_connection_that_does_not_last_is_waited_for_ever_longer() -> None:
    clock = [1000.0]
    backoff = Backoff(30.0, lambda: clock[0])
    for _ in range(6):  # granted, and ended at once: two workers under one name, or a message that ends connections
        backoff.subscribed()
        clock[0] += LASTING / 2
        backoff.ended()
    assert max(backoff.wait() for _ in range(100)) > 10
    backoff.subscribed()
    clock[0] += LASTING
    backoff.ended()
    assert max(backoff.wait() for _ in range(100)) <= 0.5


def test_a_broker_that_hangs_up_while_the_pipeline_is_slow_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    broker = ScriptedBroker5(WELCOME, publish_5(b"pilots/a", 1, b"1") + publish_5(b"pilots/a", 2, b"2"), path)
    source = open_source(MqttSettings(client_id="ingest-1", socket_path=str(path), window=1))
    eventually(lambda: source.connected, "the source is subscribed")
    broker.hang_up.set()
    eventually(lambda: not source.connected, "it knows that the broker is gone", timeout=10)
    source.close()


def test_the_mark_of_a_backlog_is_published_as_the_broker_allows() -> None:
    """To one that takes quality of service 0 only, anything else would end the connection."""
    connack = b"\x20\x05\x01\x00\x02\x24\x00"
    message = b"\x30\x0c\x00\x08pilots/a\x001"
    broker = ScriptedBroker5(connack, message * (MARK_AFTER + 1))
    source = mqtt_source(broker.port)
    assert len(receive(source, MARK_AFTER + 1)) == MARK_AFTER + 1
    eventually(lambda: b"/problems" in broker.heard, "the mark is published")
    assert broker.heard[0] == 0x30
    broker.hang_up.set()
    source.close()

"""The source behind a real mosquitto; and, for what mosquitto never does, behind a few bytes of our own."""

from __future__ import annotations

import socket
import threading

import pytest
from paho.mqtt.client import Client

from techport_ingest.message import Message
from techport_ingest.sources.paho import PahoSource
from techport_ingest.sources.settings import MqttSettings
from tests.ingest.running import eventually, hang_up, paho_source, publisher, reading

TOPIC = "pilots/air/lamp-1/readings"


def receive(source: PahoSource, count: int) -> list[Message]:
    messages: list[Message] = []

    def enough() -> bool:
        messages.extend(source.receive(0.1))
        return len(messages) >= count

    eventually(enough, f"{count} messages have arrived")
    return messages


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_what_was_not_settled_comes_again(port: int, device: Client, protocol: str) -> None:
    first = paho_source(port, protocol=protocol)
    for number in range(10):
        device.publish(TOPIC, reading(number), qos=1)
    messages = receive(first, 10)
    first.ack(messages[:4])
    first.close()
    second = paho_source(port, protocol=protocol)
    again = receive(second, 6)
    assert [message.payload for message in again] == [reading(number) for number in range(4, 10)]
    assert all(message.redelivered for message in again)
    second.ack(again)
    second.close()
    third = paho_source(port, protocol=protocol)
    assert third.receive(0.5) == []
    third.close()


def test_the_window_bounds_what_is_held(port: int, device: Client) -> None:
    """Also where the broker sends more than it was told, as mosquitto 2.0.11 does."""
    source = paho_source(port, window=20)
    for number in range(500):
        device.publish(TOPIC, reading(number), qos=1)
    held = receive(source, 20)
    assert source.receive(0.5) == []  # nothing more before some are settled
    seen = []
    while len(seen) < 500:
        assert len(held) <= 20
        seen += [message.payload for message in held]
        source.ack(held)
        held = source.receive(5)
    assert seen == [reading(number) for number in range(500)]
    source.close()


def test_workers_that_share_divide_the_topics_among_them(port: int, device: Client) -> None:
    workers = [paho_source(port, f"ingest-{number}", share="ingest") for number in (1, 2)]
    for number in range(100):
        device.publish(TOPIC, reading(number), qos=1)
    shares: list[list[Message]] = [[], []]

    def complete() -> bool:
        for share, worker in zip(shares, workers, strict=True):
            messages = worker.receive(0.1)
            worker.ack(messages)
            share.extend(messages)
        return sum(map(len, shares)) == 100

    eventually(complete, "all have arrived")
    assert all(len(share) >= 20 for share in shares)
    assert {message.payload for share in shares for message in share} == {reading(number) for number in range(100)}
    for worker in workers:
        worker.close()


def test_retained_messages_come_once_and_are_marked(port: int, device: Client) -> None:
    device.publish(TOPIC, reading(1), qos=1, retain=True).wait_for_publish(10)
    source = paho_source(port)
    messages = receive(source, 1)
    assert messages[0].retained
    source.ack(messages)
    source.close()
    again = paho_source(port)
    assert again.receive(0.5) == []
    again.close()


def test_descriptions_come_again_to_a_process_that_has_just_started(port: int, device: Client) -> None:
    device.publish("homie/pump/node/flow/$unit", b"l/h", qos=1, retain=True).wait_for_publish(10)
    device.publish("tele/plug/LWT", b"Online", qos=1, retain=True).wait_for_publish(10)
    filters, described = ("pilots/#", "tele/#", "homie/#"), ("homie/#",)
    source = paho_source(port)
    source.subscribe(filters, described)
    first = receive(source, 2)
    source.ack(first)
    source.close()
    again = paho_source(port)
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
    source = paho_source(broker.port, protocol="3.1.1")
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
    source = paho_source(broker.port, protocol="3.1.1")
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


def test_it_waits_for_a_broker_that_is_not_there_yet() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    source = PahoSource(MqttSettings(client_id="early", port=port, longest_wait=0.3))
    assert source.receive(0.5) == []
    assert not source.connected
    source.close()


def test_two_devices_with_quality_of_service_0(port: int) -> None:
    source = paho_source(port)
    device = publisher(port)
    device.publish(TOPIC, b"1", qos=0)
    messages = receive(source, 1)
    source.ack(messages)  # nothing to acknowledge, and no harm
    hang_up(device)
    source.close()

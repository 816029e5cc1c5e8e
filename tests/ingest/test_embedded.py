"""The broker inside our process: an acknowledgement means stored, and it is a broker for everybody else as well."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from paho.mqtt.client import Client

from techport_ingest.brokers.mosquitto import BrokerError
from techport_ingest.message import Message
from techport_ingest.sources.embedded import EmbeddedBroker, EmbeddedSettings
from tests.ingest.running import Ingest, eventually, hang_up, publisher, reading
from tests.servers.mosquitto import free_port

TOPIC = "pilots/air/lamp-1/readings"


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def broker(port: int) -> Iterator[EmbeddedBroker]:
    running = EmbeddedBroker(EmbeddedSettings(port=port, window=100, max_packet_bytes=100_000))
    yield running
    running.close()


@pytest.fixture
def device(broker: EmbeddedBroker, port: int) -> Iterator[Client]:
    client = publisher(port)
    yield client
    hang_up(client)


def acknowledgements(client: Client) -> list[int]:
    numbers: list[int] = []
    client.on_publish = lambda _client, _data, mid, _reason, _properties: numbers.append(mid)
    return numbers


def receive(broker: EmbeddedBroker, count: int) -> list[Message]:
    messages: list[Message] = []

    def enough() -> bool:
        messages.extend(broker.receive(0.1))
        return len(messages) >= count

    eventually(enough, f"{count} messages have arrived")
    return messages


def test_the_acknowledgement_waits_for_settle(broker: EmbeddedBroker, device: Client) -> None:
    acknowledged = acknowledgements(device)
    for number in range(20):
        device.publish(TOPIC, reading(number), qos=1)
    messages = receive(broker, 20)
    assert [message.payload for message in messages] == [reading(number) for number in range(20)]
    # A ping goes to the broker and back behind the twenty: had it acknowledged them, we would know by now.
    assert round_trip(broker)
    assert acknowledged == []

    broker.ack(messages[:5])
    eventually(lambda: len(acknowledged) == 5, "five are acknowledged")
    assert round_trip(broker)
    assert len(acknowledged) == 5
    broker.ack(messages[5:])
    eventually(lambda: len(acknowledged) == 20, "all are acknowledged")


def round_trip(broker: EmbeddedBroker) -> bool:
    """Whether another client gets its own message back: the broker has then worked through what came before."""
    client = publisher(broker.port, "prober")
    heard: list[str] = []
    client.on_message = lambda _client, _data, message: heard.append(message.topic)
    client.subscribe("probe", 1)
    client.publish("probe", b"1", qos=1)
    eventually(lambda: heard == ["probe"], "the probe came back")
    hang_up(client)
    return True


def test_ordinary_subscribers_get_everything_at_once(broker: EmbeddedBroker, device: Client, port: int) -> None:
    heard: list[tuple[str, bytes]] = []
    display = publisher(port, "display")
    display.on_message = lambda _client, _data, message: heard.append((message.topic, message.payload))
    subscribed: list[int] = []
    display.on_subscribe = lambda _client, _data, mid, _reasons, _properties: subscribed.append(mid)
    display.subscribe("#", 1)
    eventually(lambda: bool(subscribed), "the display is subscribed")
    device.publish(TOPIC, b"1", qos=1)
    device.publish("another/topic", b"2", qos=1)
    eventually(lambda: heard == [(TOPIC, b"1"), ("another/topic", b"2")], "the display has both")
    assert [message.topic for message in receive(broker, 1)] == [TOPIC]
    hang_up(display)


def test_quality_of_service_0_is_received_too(broker: EmbeddedBroker, device: Client) -> None:
    device.publish(TOPIC, b"1", qos=0)
    broker.ack(receive(broker, 1))


def test_the_window_is_bounded(broker: EmbeddedBroker, device: Client) -> None:
    """Fifty unsettled ones are held, half of the window; no more is read from a client that publishes beyond."""
    acknowledged = acknowledgements(device)
    for number in range(500):
        device.publish(TOPIC, reading(number), qos=1)
    messages = receive(broker, 50)
    assert round_trip(broker)
    assert broker.receive(0) == []
    seen = len(messages)
    while len(acknowledged) < 500:
        broker.ack(messages)
        messages = broker.receive(0.5)
        assert len(messages) <= 50
        seen += len(messages)
    assert seen == 500


def test_a_client_that_hangs_up_sends_again(broker: EmbeddedBroker, port: int) -> None:
    client = publisher(port, "flaky")
    client.publish(TOPIC, reading(1), qos=1)
    first = receive(broker, 1)
    connection = client.socket()
    assert isinstance(connection, socket.socket)
    connection.shutdown(socket.SHUT_RDWR)
    second = receive(broker, 1)
    assert first[0].payload == second[0].payload
    assert second[0].redelivered
    acknowledged = acknowledgements(client)
    broker.ack(first)  # its client is gone: harmless
    broker.ack(second)
    eventually(lambda: len(acknowledged) == 1, "the second one is acknowledged")
    hang_up(client)


def test_a_packet_beyond_the_limit_ends_its_senders_connection_only(
    broker: EmbeddedBroker, device: Client, port: int
) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as rude:
        rude.sendall(b"\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04rude")
        assert rude.recv(4)[0] == 0x20
        rude.sendall(b"\x30\xff\xff\xff\x7f\x00\x01a")
        assert rude.recv(16) == b""
    device.publish(TOPIC, b"1", qos=1)
    broker.ack(receive(broker, 1))


@pytest.mark.parametrize("topic", [b"pilots/air/lamp\xff/readings", b"$SYS/uptime", b""])
@pytest.mark.parametrize("qos", [0, 1])
def test_an_impossible_topic_ends_its_senders_connection_only(
    broker: EmbeddedBroker, device: Client, port: int, topic: bytes, qos: int
) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as rude:
        rude.sendall(b"\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04rude")
        assert rude.recv(4)[0] == 0x20
        body = bytes([0, len(topic)]) + topic + b"\x00\x01" * qos + b"{}"
        rude.sendall(bytes([0x30 | qos << 1, len(body)]) + body)
        assert rude.recv(16) == b""  # above all no PUBACK
    device.publish(TOPIC, b"1", qos=1)
    messages = receive(broker, 1)
    assert [message.payload for message in messages] == [b"1"]
    broker.ack(messages)


def test_acknowledged_is_stored_when_the_pipeline_runs(broker: EmbeddedBroker, device: Client, ingest: Ingest) -> None:
    acknowledged = acknowledgements(device)
    ingest.start(broker)
    for number in range(100):
        device.publish(TOPIC, reading(number), qos=1)
    eventually(lambda: len(acknowledged) == 100, "all are acknowledged")
    assert len(ingest.rows()) == 100
    assert ingest.total().stored == 100


def test_a_taken_port_is_reported(broker: EmbeddedBroker, port: int) -> None:
    with pytest.raises(BrokerError, match=str(port)):
        EmbeddedBroker(EmbeddedSettings(port=port))

"""What every source between devices and workers does, whichever broker it has. To be imported, with the fixtures `port`
(where devices speak MQTT), `device` (one that is connected there) and `connect` (opens a source, with settings).
"""

from __future__ import annotations

from collections.abc import Callable

from paho.mqtt.client import Client

from techport_ingest.message import Message
from techport_ingest.source import Source
from tests.ingest.running import eventually, hang_up, publisher, reading

TOPIC = "pilots/air/lamp-1/readings"

Connect = Callable[..., Source]


def receive(source: Source, count: int) -> list[Message]:
    messages: list[Message] = []

    def enough() -> bool:
        messages.extend(source.receive(0.1))
        return len(messages) >= count

    eventually(enough, f"{count} messages have arrived")
    return messages


def test_what_was_not_acknowledged_comes_again(port: int, device: Client, connect: Connect) -> None:
    first = connect(port)
    for number in range(10):
        device.publish(TOPIC, reading(number), qos=1)
    messages = receive(first, 10)
    first.ack(messages[:4])
    first.close()
    second = connect(port)
    again = receive(second, 6)
    assert [message.payload for message in again] == [reading(number) for number in range(4, 10)]
    assert all(message.redelivered for message in again)
    second.ack(again)
    second.close()
    third = connect(port)
    assert third.receive(0.5) == []
    third.close()


def test_the_window_bounds_what_is_held(port: int, device: Client, connect: Connect) -> None:
    """Also where the broker sends more than it was told, as mosquitto 2.0.11 does."""
    source = connect(port, window=20)
    for number in range(500):
        device.publish(TOPIC, reading(number), qos=1)
    held = receive(source, 20)
    assert source.receive(0.5) == []  # nothing more before some are acknowledged
    seen: list[bytes] = []
    while len(seen) < 500:
        assert len(held) <= 20
        seen += [message.payload for message in held]
        source.ack(held)
        held = source.receive(5)
    assert seen == [reading(number) for number in range(500)]
    source.close()


def test_workers_that_share_divide_the_topics_among_them(port: int, device: Client, connect: Connect) -> None:
    workers = [connect(port, f"ingest-{number}", share="ingest") for number in (1, 2)]
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


def test_two_devices_with_quality_of_service_0(port: int, connect: Connect) -> None:
    source = connect(port)
    device = publisher(port)
    device.publish(TOPIC, b"1", qos=0)
    messages = receive(source, 1)
    source.ack(messages)  # nothing to acknowledge, and no harm
    hang_up(device)
    source.close()

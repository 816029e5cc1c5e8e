"""What waited in a queue while the platform, or a device's connection, was away: doubtful until all of it has come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

import pytest
from paho.mqtt.client import Client

from techport_ingest.message import Message
from techport_ingest.source import Source
from techport_ingest.sources.backlog import LONGEST, MARK_AFTER, PAUSE, TOLERATED, Backlog, ClientBacklog, Clients
from techport_ingest.sources.embedded import EmbeddedBroker, EmbeddedSettings
from tests.ingest.running import eventually, hang_up, mqtt_source, publisher
from tests.servers.mosquitto import free_port

TOPIC = "pilots/air/lamp-1/readings"
OTHER = "pilots/air/lamp-2/readings"
HOUR = 3600.0


class Clock:
    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


def collect(source: Source, count: int) -> list[Message]:
    messages: list[Message] = []

    def enough() -> bool:
        messages.extend(source.receive(0.1))
        return len(messages) >= count

    eventually(enough, f"{count} messages have arrived")
    source.ack(messages)
    return messages


# -- The rule, on a clock of our own: an outage of an hour.


def test_a_resumed_session_is_doubtful_until_its_mark_comes_back() -> None:
    clock = Clock()
    backlog = Backlog("ingest-1", clock)
    backlog.connected(resumed=True)
    backlog.lost()
    clock.time += HOUR
    backlog.connected(resumed=True)
    marks = 0
    for _ in range(MARK_AFTER + 30):  # a busy broker never pauses
        clock.time += 0.01
        assert backlog.delayed()
        marks += backlog.take_mark()
    assert marks == 1
    assert not backlog.is_mark(backlog.topic, b"of an earlier connection")
    assert backlog.is_mark(backlog.topic, backlog.token)
    assert not backlog.delayed()
    assert not backlog.watching


def test_without_a_mark_a_pause_ends_the_doubt_and_so_does_time() -> None:
    clock = Clock()
    backlog = Backlog("ingest-1", clock)
    backlog.lost()
    clock.time += HOUR
    backlog.connected(resumed=True)
    clock.time += PAUSE / 2
    assert backlog.delayed()
    clock.time += PAUSE
    assert not backlog.delayed()
    backlog.lost()
    clock.time += HOUR
    backlog.connected(resumed=True)
    seconds = 0.0
    while backlog.delayed():
        clock.time += 1.0
        seconds += 1.0
    assert seconds == LONGEST


def test_a_new_session_and_a_short_absence_leave_no_doubt() -> None:
    clock = Clock()
    backlog = Backlog("ingest-1", clock)
    backlog.connected(resumed=False)
    assert not backlog.delayed()
    backlog.lost()
    clock.time += TOLERATED
    backlog.connected(resumed=True)
    assert not backlog.delayed()
    assert not backlog.take_mark()


def ask(backlog: ClientBacklog, *topics: str) -> list[bool]:
    async def all_at_once() -> list[bool]:
        return list(await asyncio.gather(*(backlog.delayed(topic) for topic in topics)))

    return asyncio.run(all_at_once())


def test_at_the_embedded_broker_a_lost_client_brings_doubtful_messages_until_it_pauses() -> None:
    clock = Clock()
    clients = Clients(restarted=False, monotonic=clock)
    assert ask(clients.connected("plug"), TOPIC) == [False]
    clients.lost("plug")
    clock.time += HOUR
    backlog = clients.connected("plug")
    assert ask(backlog, TOPIC, TOPIC, OTHER) == [True, True, True]
    clock.time += 1.5
    assert ask(backlog, TOPIC) == [False]
    clients.lost("plug")
    clock.time += TOLERATED
    assert ask(clients.connected("plug"), TOPIC) == [False]


def test_after_a_restart_one_message_is_live_and_several_of_a_topic_have_waited() -> None:
    clock = Clock()
    clients = Clients(restarted=True, monotonic=clock)
    assert ask(clients.connected("a"), TOPIC) == [False]
    assert ask(clients.connected("b"), TOPIC, TOPIC, OTHER) == [True, True, False]
    assert ask(clients.connected("b"), TOPIC, TOPIC) == [False, False]  # it was here before, and left in good order
    clock.time += HOUR
    assert ask(clients.connected("c"), TOPIC, TOPIC) == [False, False]


# -- An outage at real brokers.


@pytest.mark.parametrize("connect", [mqtt_source, partial(mqtt_source, protocol="3.1.1")], ids=["5", "3.1.1"])
def test_an_outage_of_a_worker_behind_mosquitto(port: int, device: Client, connect: Callable[..., Source]) -> None:
    source = connect(port)
    device.publish(TOPIC, b'{"pm10": 1}', qos=1).wait_for_publish(10)
    assert [message.delayed for message in collect(source, 1)] == [False]
    source.close()
    for number in range(MARK_AFTER + 10):
        device.publish(TOPIC, b'{"pm10": %d}' % number, qos=1).wait_for_publish(10)
    source = connect(port)
    late = collect(source, MARK_AFTER + 10)
    assert [message.delayed for message in late] == [True] * (MARK_AFTER + 10)
    assert source.receive(0.5) == [], "the mark is nobody's message"
    device.publish(TOPIC, b'{"pm10": 9}', qos=1).wait_for_publish(10)
    (live,) = collect(source, 1)
    assert (live.topic, live.delayed) == (TOPIC, False)
    source.close()


def test_an_outage_of_the_embedded_broker() -> None:
    port = free_port()
    broker = EmbeddedBroker(EmbeddedSettings(port=port))
    device = publisher(port)
    try:
        device.reconnect_delay_set(1, 1)
        device.publish(TOPIC, b'{"pm10": 1}', qos=1)
        assert [message.delayed for message in collect(broker, 1)] == [False]
        broker.close()
        eventually(lambda: not device.is_connected(), "the device has noticed")
        for number in range(3):
            device.publish(TOPIC, b'{"pm10": %d}' % number, qos=1)
        broker = EmbeddedBroker(EmbeddedSettings(port=port, restarted=True))
        late = collect(broker, 3)
        assert all(message.arrival_is_doubtful for message in late)
        waiting = 1.5
        asyncio.run(asyncio.sleep(waiting))
        device.publish(TOPIC, b'{"pm10": 9}', qos=1)
        assert [message.arrival_is_doubtful for message in collect(broker, 1)] == [False]
    finally:
        hang_up(device)
        broker.close()

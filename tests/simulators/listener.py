"""Somebody who hears everything that a broker is told."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import paho.mqtt.client as mqtt

from techport_ingest.brokers.mosquitto import Mosquitto


@contextmanager
def listening(broker: Mosquitto) -> Iterator[queue.Queue[tuple[str, bytes]]]:
    arrived: queue.Queue[tuple[str, bytes]] = queue.Queue()
    ready = threading.Event()
    # A session of its own, so that nothing is missed while the broker is restarted.
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="listener", clean_session=False)
    client.reconnect_delay_set(1, 1)
    client.on_message = lambda _c, _u, message: arrived.put((message.topic, message.payload))
    client.on_subscribe = lambda *_: ready.set()
    client.connect("127.0.0.1", broker.settings.port)
    client.subscribe("#", qos=1)
    client.loop_start()
    assert ready.wait(10)
    yield arrived
    client.disconnect()
    client.loop_stop()


def take(arrived: queue.Queue[tuple[str, bytes]], messages: int) -> list[tuple[str, dict[str, object]]]:
    """The objects of the next messages, one by one."""
    result = []
    for _ in range(messages):
        topic, payload = arrived.get(timeout=10)
        document = json.loads(payload)
        result += [(topic, one) for one in (document if isinstance(document, list) else [document])]
    return result

"""Asks an MQTT broker whether it lets us in, and what it holds for clients that are away."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

AWAY = "$SYS/broker/clients/disconnected"
HELD = "$SYS/broker/store/messages/count"


@dataclass(frozen=True, slots=True)
class BrokerState:
    """`problem` is None when the broker accepts us. The counts are None where it does not tell; mosquitto does."""

    problem: str | None
    away: int | None = None  # sessions whose client is not connected
    held: int | None = None  # messages that the broker keeps, its own figures (some fifty) and retained ones included


def probe_broker(
    host: str,
    port: int,
    identify: Callable[[mqtt.Client], None],
    patience: float = 5.0,
) -> BrokerState:
    """What the broker says to a connection; `identify` gives it credentials and certificates."""
    answered, delivered = threading.Event(), threading.Event()
    answer: list[str] = []
    figures: dict[str, int] = {}

    def connected(client: mqtt.Client, __: Any, ___: Any, reason: Any, ____: Any) -> None:
        if reason.is_failure:
            answer.append(f"refuses us: {reason}")
        else:
            client.subscribe([(AWAY, 0), (HELD, 0)])
        answered.set()

    def message(_: mqtt.Client, __: Any, message: mqtt.MQTTMessage) -> None:
        figures[message.topic] = int(message.payload)
        if len(figures) == 2:
            delivered.set()

    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.on_connect = connected
    client.on_message = message
    identify(client)
    try:
        client.connect(host, port)
    except OSError as error:
        return BrokerState(f"no connection: {error}")
    client.loop_start()
    heard = answered.wait(patience)
    if heard and not answer:
        delivered.wait(1.0)
    client.disconnect()
    client.loop_stop()
    if not heard:
        return BrokerState(f"no answer to CONNECT within {patience:g} s: is it an MQTT broker?")
    return BrokerState(answer[0] if answer else None, figures.get(AWAY), figures.get(HELD))

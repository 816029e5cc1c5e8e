"""Asks an MQTT broker whether it lets us in."""

from __future__ import annotations

import threading
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion


def probe_broker(host: str, port: int, username: str | None, password: str | None, patience: float = 5.0) -> str | None:
    """None when the broker accepts a connection with these credentials, otherwise what is wrong."""
    answered = threading.Event()
    answer: list[str] = []

    def connected(_: mqtt.Client, __: Any, ___: Any, reason: Any, ____: Any) -> None:
        if reason.is_failure:
            answer.append(f"refuses us: {reason}")
        answered.set()

    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.on_connect = connected
    if username is not None:
        client.username_pw_set(username, password)
    try:
        client.connect(host, port)
    except OSError as error:
        return f"no connection: {error}"
    client.loop_start()
    heard = answered.wait(patience)
    client.disconnect()
    client.loop_stop()
    if not heard:
        return f"no answer to CONNECT within {patience:g} s: is it an MQTT broker?"
    return answer[0] if answer else None

"""The connection of a pilot's gateway to the broker: QoS 1, persistent session, bounded, reconnecting."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.reasoncodes import ReasonCode


@dataclass(frozen=True, slots=True)
class Broker:
    """Where and as whom to connect."""

    host: str = "127.0.0.1"
    port: int = 1883
    username: str | None = None
    password: str | None = None
    ca: str | None = None  # certificate authority (PEM file); switches TLS on


LOCAL_BROKER = Broker()


class Gateway:
    """Publishes at QoS 1 with at most `window` messages that the broker has not acknowledged.

    A lost connection is taken up again by itself, and what was not acknowledged is sent again: at least once, in order.
    The broker keeps the session under `client_id`, so two gateways must not share one.
    """

    def __init__(self, broker: Broker, client_id: str, window: int = 1000) -> None:
        self._window = window
        self._outstanding = 0
        self._begun = False
        self._early: list[tuple[str, bytes]] = []
        self._changed = threading.Condition()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=client_id, clean_session=False)
        self._client.max_inflight_messages_set(min(window, 200))
        self._client.max_queued_messages_set(0)  # the window is ours; paho's own limit would drop
        self._client.reconnect_delay_set(min_delay=1, max_delay=10)
        self._client.on_connect = self._connected
        self._client.on_publish = self._acknowledged
        if broker.username is not None:
            self._client.username_pw_set(broker.username, broker.password)
        if broker.ca is not None:
            self._client.tls_set(ca_certs=broker.ca)
        self._client.connect_async(broker.host, broker.port, keepalive=30)
        self._client.loop_start()

    @property
    def connected(self) -> bool:
        return self._client.is_connected()

    @property
    def outstanding(self) -> int:
        """Messages that the broker has not acknowledged yet."""
        return self._outstanding

    def publish(self, topic: str, payload: bytes, stop: threading.Event | None = None) -> bool:
        """Hand a message over; waits while the window is full. False: `stop` was set before there was room."""
        with self._changed:
            while self._outstanding >= self._window:
                if stop is not None and stop.is_set():
                    return False
                self._changed.wait(0.2)
            self._outstanding += 1
            if not self._begun:
                self._early.append((topic, payload))
                return True
        self._hand_over(topic, payload)
        return True

    def drain(self, timeout: float, stop: threading.Event | None = None) -> bool:
        """Wait until everything is acknowledged; False when `timeout` seconds were not enough or `stop` was set."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while self._outstanding and time.monotonic() < deadline and not (stop is not None and stop.is_set()):
                self._changed.wait(0.2)
            return self._outstanding == 0

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _hand_over(self, topic: str, payload: bytes) -> None:
        info = self._client.publish(topic, payload, qos=1)
        if info.rc not in (MQTTErrorCode.MQTT_ERR_SUCCESS, MQTTErrorCode.MQTT_ERR_NO_CONN):
            raise ConnectionError(f"cannot publish to {topic}: {mqtt.error_string(info.rc)}")

    def _connected(self, client: mqtt.Client, userdata: Any, flags: Any, reason: ReasonCode, properties: Any) -> None:
        """Paho sends what it was given before the first answer of the broker after what it is given meanwhile: the
        messages until then are kept here, and handed over in their order."""
        if reason.is_failure:
            return
        with self._changed:
            for topic, payload in self._early:
                self._hand_over(topic, payload)
            self._early.clear()
            self._begun = True

    def _acknowledged(self, client: mqtt.Client, userdata: Any, mid: int, reason: Any, properties: Any) -> None:
        with self._changed:
            self._outstanding -= 1
            self._changed.notify_all()

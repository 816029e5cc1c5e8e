"""Publishes for the platform itself: what came over HTTP on its way in, and notices to devices on their way out.

A client of its own, beside the one that receives: it works against every broker in the same way, and the receiving
client's window and acknowledgements stay out of it. What it sends to a topic of readings comes back through the source
like any device's message.
"""

from __future__ import annotations

import secrets
import threading
from concurrent.futures import Future
from typing import Any

import structlog
from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from techport_ingest.sources.settings import MqttSettings

log = structlog.get_logger(__name__)

_UNDER_WAY = 1_000  # messages that wait for their PUBACK; the next one is refused


class BrokerAway(Exception):
    """The broker has not taken the message. It may have all the same, if the connection ended before it said so."""


class Relay:
    """Connects in the background at once and for ever. Safe to use from several threads."""

    def __init__(self, settings: MqttSettings) -> None:
        self._where = str(settings)
        self._lock = threading.Lock()
        self._waiting: dict[int, Future[None]] = {}
        self._connected = False
        self._client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"{settings.client_id}-{secrets.token_hex(4)}",  # no session to come back to: no name to keep
            protocol=MQTTProtocolVersion.MQTTv5 if settings.protocol == "5" else MQTTProtocolVersion.MQTTv311,
            transport=settings.transport,
        )
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_publish = self._on_publish
        self._client.max_inflight_messages_set(_UNDER_WAY)
        self._client.max_queued_messages_set(_UNDER_WAY)
        self._client.reconnect_delay_set(1, 30)
        settings.identify(self._client)
        self._client.connect_async(*settings.address, settings.keepalive)
        self._client.loop_start()

    @property
    def connected(self) -> bool:
        return self._connected

    def send(self, topic: str, payload: bytes) -> Future[None]:
        """Publish at QoS 1. The result is there with the broker's PUBACK, a BrokerAway when there will be none."""
        answer: Future[None] = Future()
        with self._lock:
            if not self._connected or len(self._waiting) >= _UNDER_WAY:
                answer.set_exception(BrokerAway("the broker takes no messages from here now"))
                return answer
            sent = self._client.publish(topic, payload, qos=1)
            if sent.rc == MQTTErrorCode.MQTT_ERR_SUCCESS:
                self._waiting[sent.mid] = answer
            else:
                answer.set_exception(BrokerAway(f"the broker was not reached ({sent.rc.name})"))
        return answer

    def publish(self, topic: str, payload: bytes) -> None:
        """Publish what may get lost."""
        if self._connected:
            self._client.publish(topic, payload, qos=1)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()
        self._give_up()

    # -- paho's thread ---------------------------------------------------------------------------------------------

    def _on_connect(
        self, client: Client, userdata: Any, flags: ConnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if reason.is_failure:
            log.error("the broker refused the connection", broker=self._where, reason=str(reason))
        self._connected = not reason.is_failure

    def _on_disconnect(
        self, client: Client, userdata: Any, flags: DisconnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        self._connected = False
        self._give_up()

    def _on_publish(
        self, client: Client, userdata: Any, mid: int, reason: ReasonCode, properties: Properties | None
    ) -> None:
        with self._lock:
            answer = self._waiting.pop(mid, None)
        if reason.is_failure:  # MQTT 5 says it; with 3.1.1 a broker acknowledges what it throws away
            log.error("the broker refused a message of ours", broker=self._where, reason=str(reason))
        if answer is not None and answer.set_running_or_notify_cancel():
            if reason.is_failure:
                answer.set_exception(BrokerAway(f"the broker refused the message: {reason}"))
            else:
                answer.set_result(None)

    def _give_up(self) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, {}
        for answer in waiting.values():
            if answer.set_running_or_notify_cancel():
                answer.set_exception(BrokerAway("the connection to the broker ended"))

"""Publishes for the platform itself: what came over HTTP on its way in, and notices to devices on their way out.

A client of its own, beside the one that receives: it works against every broker in the same way, and the receiving
client's window and acknowledgements stay out of it. What it sends to a topic of readings comes back through the source
like any device's message.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Protocol

import structlog
from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from techport_ingest.sources.settings import MqttSettings

log = structlog.get_logger(__name__)

MOST_UNDER_WAY = 1_000  # messages of ours that the broker has not acknowledged; the next one is rejected


class BrokerAway(Exception):
    """The broker has not taken the message. It may have all the same, if the connection ended before it said so."""


class Publisher(Protocol):
    """What the platform publishes with, whichever broker it has."""

    @property
    def connected(self) -> bool: ...

    def send(self, topic: str, payload: bytes) -> Future[None]:
        """Publish at QoS 1. The result is there when the broker has the message, a BrokerAway when it has not."""

    def publish(self, topic: str, payload: bytes) -> None:
        """Publish at QoS 1 what may get lost."""

    def tell(self, topic: str, payload: bytes) -> None:
        """Publish at QoS 0, to whoever listens."""

    def forget_retained(self, filters: Sequence[str], belongs: Callable[[str, bytes], bool]) -> int:
        """Erase retained messages at the broker: those of the topic filters that `belongs` says; how many."""

    def close(self) -> None: ...


class Relay:
    """A Publisher for brokers of MQTT. Connects in the background at once and for ever. Safe for several threads."""

    def __init__(self, settings: MqttSettings) -> None:
        self._settings = settings
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
        self._client.max_inflight_messages_set(MOST_UNDER_WAY)
        self._client.max_queued_messages_set(MOST_UNDER_WAY)
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
            if not self._connected or len(self._waiting) >= MOST_UNDER_WAY:
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

    def tell(self, topic: str, payload: bytes) -> None:
        """Publish at QoS 0, to whoever listens."""
        if self._connected:
            self._client.publish(topic, payload, qos=0)

    def forget_retained(self, filters: Sequence[str], belongs: Callable[[str, bytes], bool]) -> int:
        """Erase retained messages at the broker: those of the topic filters that `belongs` says.

        Parameters
        ----------
        filters : sequence of str
            MQTT topic filters.
        belongs : callable
            `belongs(topic, payload)` says whether a retained message is one to erase.

        Returns
        -------
        int
            How many were erased: 0 where the broker does not answer, which the log says, or does not show them to us.
        """
        try:
            return erase_retained(self._settings, filters, belongs)
        except (OSError, ValueError, BrokerAway) as error:
            log.warning("retained messages at the broker stay", broker=self._where, problem=str(error))
            return 0

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


_QUIET = 1.0  # seconds without a further retained message after which there are no more
_LONGEST = 30.0  # seconds for all of it
_HEARD = 2.0  # seconds in which ingest has surely booked that they are gone


def erase_retained(settings: MqttSettings, filters: Sequence[str], belongs: Callable[[str, bytes], bool]) -> int:
    """As Relay.forget_retained, with a client of its own. Raises OSError, ValueError or BrokerAway."""
    retained = RetainedMessages(settings, belongs)
    try:
        return retained.erase(filters)
    finally:
        retained.close()


class RetainedMessages:
    """The retained messages of a broker, seen by a client of its own: only a new subscription is sent them."""

    def __init__(self, settings: MqttSettings, belongs: Callable[[str, bytes], bool]) -> None:
        self._belongs = belongs
        self._topics: list[str] = []
        self._last = time.monotonic()
        self._answered = threading.Event()
        self._refused: str | None = None
        self._client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"{settings.client_id}-{secrets.token_hex(4)}",
            protocol=MQTTProtocolVersion.MQTTv5 if settings.protocol == "5" else MQTTProtocolVersion.MQTTv311,
            transport=settings.transport,
        )
        self._settings = settings
        self._client.on_connect = self._on_connect
        self._client.on_message = self._on_message
        settings.identify(self._client)

    def erase(self, filters: Sequence[str]) -> int:
        """As erase_retained."""
        self._client.connect(*self._settings.address, self._settings.keepalive)
        self._client.loop_start()
        if not self._answered.wait(_LONGEST) or self._refused is not None:
            raise BrokerAway(self._refused or "the broker does not answer")
        self._last = time.monotonic()
        self._client.subscribe([(topic_filter, 0) for topic_filter in filters])
        until = time.monotonic() + _LONGEST
        while time.monotonic() < min(until, self._last + _QUIET):
            time.sleep(0.05)
        topics = list(self._topics)
        for topic in topics:
            self._client.publish(topic, b"", qos=1, retain=True).wait_for_publish(_LONGEST)
        if topics:
            time.sleep(_HEARD)
        return len(topics)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(
        self, client: Client, userdata: Any, flags: ConnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        self._refused = str(reason) if reason.is_failure else None
        self._answered.set()

    def _on_message(self, client: Client, userdata: Any, message: MQTTMessage) -> None:
        if message.retain:
            self._last = time.monotonic()
            if self._belongs(message.topic, bytes(message.payload)):
                self._topics.append(message.topic)

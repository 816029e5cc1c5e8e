"""Messages from an MQTT broker: persistent session, QoS 1, acknowledged one by one after the commit.

paho's network thread calls back; callbacks do nothing but append to a queue, because an exception in one of them
would end that thread. What keeps the promise "acknowledged means kept":

- The session outlives the connection and the process (fixed client id, no clean start): the broker holds what we have
  not acknowledged and gives it again.
- PUBACKs are sent by `ack` alone.
- A PUBACK names a packet by a 16-bit number that belongs to one connection. After a reconnect the same number may mean
  another message, so a message remembers its connection and is never acknowledged on a later one: it comes again
  anyway.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from typing import Any

import structlog
from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from techport_ingest.message import Message
from techport_ingest.sources.backlog import Backlog
from techport_ingest.sources.session_watch import SessionEvent
from techport_ingest.sources.settings import MqttSettings
from techport_storage.clock import now

log = structlog.get_logger(__name__)

_SESSION_TAKEN_OVER = 0x8E  # MQTT 5, section 3.14.2.1
_MID_BITS = 16
_QOS_BITS = 2


class PahoSource:
    """A Source. Connects in the background at once and for ever; `connected` says whether the subscription stands."""

    def __init__(self, settings: MqttSettings, on_session: Callable[[SessionEvent], bool] | None = None) -> None:
        """`on_session` is called by `receive`, in its thread, and again with the same event when it gives False."""
        self._settings = settings
        self._on_session = on_session
        self._session_events: deque[SessionEvent] = deque()
        self._topics = settings.topics
        self._undescribed: set[str] = set()  # filters whose retained messages this process has still to get
        self._arrived: deque[Message] = deque()
        self._something_arrived = threading.Event()
        self._connection = 0  # counts connections: the generation that a packet number belongs to
        self._connection_lock = threading.Lock()
        self._subscribed = False
        self._failures = 0
        self._closing = False
        self._flushed = threading.Event()
        self.discarded = 0  # QoS 0 messages beyond the window: nobody promised to keep them
        self._backlog = Backlog(settings.client_id)
        self._client = self._build_client()
        if settings.protocol == "5":
            self._client.connect_async(
                *settings.address,
                settings.keepalive,
                clean_start=False,
                properties=self._connect_properties(),
            )
        else:
            self._client.connect_async(*settings.address, settings.keepalive)
        self._schedule_next_attempt()
        self._client.loop_start()

    # -- Source ----------------------------------------------------------------------------------------------------

    def receive(self, timeout: float) -> list[Message]:
        while self._session_events and (self._on_session is None or self._on_session(self._session_events[0])):
            self._session_events.popleft()
        if not self._arrived:
            self._something_arrived.wait(timeout)
        # Cleared before the queue is emptied: a message that comes in between is either seen now or wakes us.
        self._something_arrived.clear()
        if not self._subscribed and not self._closing:
            self._revive()
        taken: list[Message] = []
        take = self._arrived.popleft
        try:
            while len(taken) < self._settings.window:
                taken.append(take())
        except IndexError:
            pass
        return taken

    def ack(self, messages: Sequence[Message]) -> None:
        acknowledge = self._client.ack
        with self._connection_lock:
            current = self._connection
            for message in messages:
                handle = message.id
                if handle >> (_MID_BITS + _QOS_BITS) == current and (handle >> _MID_BITS) & 3:
                    acknowledge(handle & 0xFFFF, (handle >> _MID_BITS) & 3)

    def subscribe(self, topics: Sequence[str], described: Collection[str] = ()) -> None:
        before, self._topics = self._topics, tuple(topics)
        self._undescribed |= set(described) - set(before)
        fresh = [topic for topic in topics if topic not in before]
        stale = [topic for topic in before if topic not in topics]
        # Not connected: the next connection asks for all of them. What an earlier run subscribed to and nobody wants
        # any more goes on coming into the persistent session; the pipeline sets it aside.
        if self._client.is_connected():
            if fresh:
                self._ask_for(fresh)
            if stale:
                self._client.unsubscribe(self._shared(stale))

    @property
    def connected(self) -> bool:
        return self._subscribed

    def close(self) -> None:
        """Leave the broker, which keeps the session. What `ack` was called for is acknowledged by then, if the broker
        answers.
        """
        self._closing = True
        if self._subscribed:
            self._flushed.clear()
            self._client.unsubscribe("techport/nothing")  # its answer comes when the broker has read all before it
            self._flushed.wait(2)
        if self._settings.retire:
            goodbye = Properties(PacketTypes.DISCONNECT)  # type: ignore[no-untyped-call]
            goodbye.SessionExpiryInterval = 0
            self._client.disconnect(properties=goodbye)
        else:
            self._client.disconnect()
        self._client.loop_stop()
        self._something_arrived.set()

    # -- paho's thread ---------------------------------------------------------------------------------------------

    def _on_message(self, client: Client, userdata: Any, message: MQTTMessage) -> None:
        if len(self._arrived) >= self._settings.window and not self._hold_back(message.qos):
            return
        try:
            topic = message.topic
        except UnicodeDecodeError as error:
            topic = bytes(error.object).decode(errors="backslashreplace")
        handle = (self._connection << _QOS_BITS | message.qos) << _MID_BITS | message.mid
        payload, delayed = bytes(message.payload), self._settings.retire
        if self._backlog.watching:
            if self._backlog.is_mark(topic, payload):
                client.ack(message.mid, message.qos)
                return
            delayed = self._backlog.delayed() or delayed
            if self._backlog.take_mark():
                client.publish(self._backlog.topic, self._backlog.token, qos=1)
        self._arrived.append(Message(topic, payload, now(), handle, message.dup, message.retain, delayed))
        if not self._something_arrived.is_set():
            self._something_arrived.set()

    def _hold_back(self, qos: int) -> bool:
        """Make room for a message beyond the window; whether it may come in.

        A broker that counts well sends none of QoS 1. mosquitto 2.0.11 was seen to send seven windows at once: then
        this thread stops reading until the pipeline has taken some, and TCP holds the broker up.
        """
        if qos == 0:
            self.discarded += 1
            return False
        while len(self._arrived) >= self._settings.window and not self._closing:
            time.sleep(0.005)
        return True

    def _on_unsubscribe(
        self, client: Client, userdata: Any, mid: int, reasons: list[ReasonCode], properties: Properties | None
    ) -> None:
        self._flushed.set()
        if self._settings.retire:
            self._subscribed = True

    def _on_connect(
        self, client: Client, userdata: Any, flags: ConnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if reason.is_failure:
            log.error("the broker refused the connection", broker=str(self._settings), reason=str(reason))
            return
        log.info("connected to the broker", broker=str(self._settings), session_resumed=flags.session_present)
        self._session_events.append("resumed" if flags.session_present else "new")
        if flags.session_present:
            self._forget_unread()
        self._ask_for(self._topics)
        self._backlog.connected(flags.session_present)

    def _ask_for(self, topics: Sequence[str]) -> None:
        names = self._shared(topics)
        former = self._settings.former_names(topics)
        if self._settings.retire:
            self._client.unsubscribe([*names, *former])
            return
        if former:
            self._client.unsubscribe(former)
        if self._settings.protocol == "5":
            options = [SubscribeOptions(qos=1, retainHandling=self._retained(topic)) for topic in topics]
            self._client.subscribe(list(zip(names, options, strict=True)))
        else:
            self._client.subscribe([(name, 1) for name in names])

    def _retained(self, topic: str) -> int:
        """Retained values are asked for with a new subscription only, not again at every reconnect; descriptions once
        by every process.
        """
        if self._settings.share is not None:
            return int(SubscribeOptions.RETAIN_DO_NOT_SEND)
        if topic in self._undescribed:
            self._undescribed.discard(topic)
            return int(SubscribeOptions.RETAIN_SEND_ON_SUBSCRIBE)
        return int(SubscribeOptions.RETAIN_SEND_IF_NEW_SUB)

    def _shared(self, topics: Sequence[str]) -> list[str]:
        """The filters, divided among the workers of the group where there is one."""
        prefix = f"$share/{self._settings.share}/" if self._settings.share else ""
        return [prefix + topic for topic in topics]

    def _on_subscribe(
        self, client: Client, userdata: Any, mid: int, reasons: list[ReasonCode], properties: Properties | None
    ) -> None:
        refused = [str(reason) for reason in reasons if reason.is_failure]
        if refused:
            log.error("the broker refused the subscription", topics=self._topics, reasons=refused)
            return
        self._failures = 0
        self._subscribed = True

    def _on_disconnect(
        self, client: Client, userdata: Any, flags: DisconnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        with self._connection_lock:
            self._connection += 1
        self._backlog.lost()
        if not self._subscribed:
            self._failures += 1
        self._subscribed = False
        if reason.value == _SESSION_TAKEN_OVER:
            self._session_events.append("taken-over")
        if not self._closing:
            log.warning("lost the broker", broker=str(self._settings), reason=str(reason))
            self._schedule_next_attempt()

    def _forget_unread(self) -> None:
        """Drop what nobody has received yet: it comes again, and would otherwise be held twice, once a connection.

        Not when the broker has lost the session: then what we hold is all that is left of it.
        """
        for _ in range(len(self._arrived)):
            try:
                message = self._arrived.popleft()
            except IndexError:  # the pipeline took the last ones meanwhile
                return
            if not message.id >> _MID_BITS & 3:
                self._arrived.append(message)  # of QoS 0, which does not come again

    def _on_connect_fail(self, client: Client, userdata: Any) -> None:
        if self._failures == 0:
            log.warning("cannot reach the broker; trying on", broker=str(self._settings))
        self._failures += 1
        self._schedule_next_attempt()

    # -- connection ------------------------------------------------------------------------------------------------

    def _build_client(self) -> Client:
        settings = self._settings
        five = settings.protocol == "5"
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=settings.client_id,
            protocol=MQTTProtocolVersion.MQTTv5 if five else MQTTProtocolVersion.MQTTv311,
            transport=settings.transport,
            manual_ack=True,
            clean_session=None if five else False,  # MQTT 5 says it in the CONNECT: clean_start
        )
        client.on_message = self._on_message
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_unsubscribe = self._on_unsubscribe
        settings.identify(client)
        return client

    def _connect_properties(self) -> Properties:
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = self._settings.session_expiry
        properties.ReceiveMaximum = self._settings.window
        return properties

    def _schedule_next_attempt(self) -> None:
        """Exponential back-off with jitter, so that a hundred clients do not come back in the same instant."""
        ceiling = min(self._settings.longest_wait, 0.5 * 2 ** min(self._failures, 16))
        wait = random.uniform(0.1, ceiling)
        self._client.reconnect_delay_set(wait, wait)  # type: ignore[arg-type]  # paho takes fractions of a second

    def _revive(self) -> None:
        """paho's thread ends on an error that it does not expect, a TLS file gone missing for instance. Start it
        again.
        """
        if self._client.loop_start() == MQTTErrorCode.MQTT_ERR_SUCCESS:
            log.warning("the connection's thread had ended and was started again", broker=str(self._settings))

"""Messages from an MQTT 3.1.1 broker: persistent session, QoS 1, acknowledged one by one after the commit.

paho's network thread calls back; callbacks do nothing but append to a queue, because an exception in one of them
would end that thread. What keeps the promise "acknowledged means kept":

- The session outlives the connection and the process (fixed client id, no clean session): the broker holds what we
  have not acknowledged and gives it again.
- PUBACKs are sent by `ack` alone.
- A packet number is never acknowledged on a later connection: session.py.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any

import structlog
from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from techport_ingest.message import Message
from techport_ingest.sources.backlog import Backlog
from techport_ingest.sources.session import Backoff, Inbox, SessionEvents, Subscriptions
from techport_ingest.sources.session_watch import SessionEvent
from techport_ingest.sources.settings import MqttSettings
from techport_storage.clock import now

log = structlog.get_logger(__name__)

_CONNECT_TIMEOUT = 10.0  # seconds


class PahoSource:
    """A Source. Connects in the background at once and for ever; `connected` says whether the subscription stands."""

    def __init__(self, settings: MqttSettings, on_session: Callable[[SessionEvent], bool] | None = None) -> None:
        """`on_session` is called by `receive`, in its thread, and again with the same event when it gives False."""
        self._settings = settings
        self._events = SessionEvents(on_session)
        self._subscriptions = Subscriptions(settings)
        self._inbox = Inbox(settings.window)
        self._unacknowledged: set[int] = set()  # packet numbers of QoS 1 on the current connection
        self._connection_lock = threading.Lock()
        self._subscribed = False
        self._backoff = Backoff(settings.longest_wait)
        self._closing = False
        self._flushed = threading.Event()
        self._backlog = Backlog(settings.client_id)
        self._client = self._build_client()
        self._client.connect_async(*settings.address, settings.keepalive)
        self._schedule_next_attempt()
        self._client.loop_start()

    # -- Source ----------------------------------------------------------------------------------------------------

    def receive(self, timeout: float) -> list[Message]:
        self._events.pass_on()
        taken = self._inbox.take(timeout)
        if not self._subscribed and not self._closing:
            self._revive()
        return taken

    def ack(self, messages: Sequence[Message]) -> None:
        acknowledge = self._client.ack
        with self._connection_lock:
            for packet_id in self._inbox.packet_ids(messages):
                acknowledge(packet_id, 1)
                self._unacknowledged.discard(packet_id)

    def subscribe(self, topics: Sequence[str], described: Collection[str] = ()) -> None:
        with self._subscriptions.lock:
            fresh, stale = self._subscriptions.change(topics, described)
            if not self._client.is_connected():
                return  # the next connection asks for all of them
            self._ask_for(fresh)
            if stale:
                self._client.unsubscribe(self._subscriptions.filters(stale))

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
        self._client.disconnect()
        self._client.loop_stop()
        if self._settings.retire:
            self._remove_session()
        self._inbox.wake()

    # -- paho's thread ---------------------------------------------------------------------------------------------

    def _on_message(self, client: Client, userdata: Any, message: MQTTMessage) -> None:
        inbox = self._inbox
        if message.qos:
            self._hold_back()
        elif len(inbox.messages) >= inbox.window:  # nobody promised to keep it
            return
        try:
            topic = message.topic
        except UnicodeDecodeError as error:
            topic = bytes(error.object).decode(errors="backslashreplace")
        number = inbox.number(message.qos, message.mid)
        payload, delayed = bytes(message.payload), self._settings.retire
        if self._backlog.watching:
            if self._backlog.is_mark(topic, payload):
                client.ack(message.mid, message.qos)
                return
            delayed = self._backlog.delayed() or delayed
            if self._backlog.take_mark():
                client.publish(self._backlog.topic, self._backlog.token, qos=1)
        if message.qos:
            self._unacknowledged.add(message.mid)
        inbox.messages.append(Message(topic, payload, now(), number, message.dup, message.retain, delayed))
        inbox.wake()

    def _hold_back(self) -> None:
        """Wait while as many messages as the window has places are not acknowledged.

        A broker that counts well sends no more. mosquitto 2.0.11 was seen to send seven windows at once: then this
        thread stops reading until the pipeline has acknowledged some, and TCP holds the broker up.
        """
        while len(self._unacknowledged) >= self._inbox.window and not self._closing:
            time.sleep(0.005)

    def _on_unsubscribe(
        self, client: Client, userdata: Any, mid: int, reasons: list[ReasonCode], properties: Properties | None
    ) -> None:
        self._flushed.set()
        if self._settings.retire:
            self._backoff.subscribed()
            self._subscribed = True

    def _on_connect(
        self, client: Client, userdata: Any, flags: ConnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if reason.is_failure:
            log.error("the broker refused the connection", broker=str(self._settings), reason=str(reason))
            return
        log.info("connected to the broker", broker=str(self._settings), session_resumed=flags.session_present)
        self._events.add("resumed" if flags.session_present else "new")
        if flags.session_present:
            self._inbox.forget_unread()
        with self._subscriptions.lock:
            self._subscriptions.connected()
            if left := self._subscriptions.filters_left():
                client.unsubscribe(left)
            self._ask_for(self._subscriptions.topics)
        self._backlog.connected(flags.session_present)

    def _ask_for(self, topics: Sequence[str]) -> None:
        """Subscribe, or where the session is to end take leave. Called with the lock of the subscriptions.

        MQTT 3.1.1 gives retained values with every subscription, also again.
        """
        if not topics:
            return
        names = self._subscriptions.filters(topics)
        former = self._subscriptions.former_filters(topics)
        if self._settings.retire:
            self._client.unsubscribe([*names, *former])
            return
        if former:
            self._client.unsubscribe(former)
        self._client.subscribe([(name, 1) for name in names])

    def _on_subscribe(
        self, client: Client, userdata: Any, mid: int, reasons: list[ReasonCode], properties: Properties | None
    ) -> None:
        if self._subscriptions.granted([(reason.value, str(reason)) for reason in reasons]):
            self._backoff.subscribed()
            self._subscribed = True

    def _on_disconnect(
        self, client: Client, userdata: Any, flags: DisconnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        with self._connection_lock:
            self._inbox.connection += 1
            self._unacknowledged.clear()
        self._backlog.lost()
        self._backoff.ended()
        self._subscribed = False
        if not self._closing:
            log.warning("lost the broker", broker=str(self._settings), reason=str(reason))
            self._schedule_next_attempt()

    def _on_connect_fail(self, client: Client, userdata: Any) -> None:
        if self._backoff.failures == 0:
            log.warning("cannot reach the broker; trying on", broker=str(self._settings))
        self._backoff.ended()
        self._schedule_next_attempt()

    # -- connection ------------------------------------------------------------------------------------------------

    def _build_client(self) -> Client:
        settings = self._settings
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=settings.client_id,
            protocol=MQTTProtocolVersion.MQTTv311,
            transport=settings.transport,
            manual_ack=True,
            clean_session=False,
        )
        client.on_message = self._on_message
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_unsubscribe = self._on_unsubscribe
        settings.identify(client)
        return client

    def _remove_session(self) -> None:
        """Connect once more, for a clean session, which ends the one that was (MQTT 3.1.1, section 3.1.2.4)."""
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._settings.client_id,
            protocol=MQTTProtocolVersion.MQTTv311,
            transport=self._settings.transport,
            clean_session=True,
        )
        self._settings.identify(client)
        answered = threading.Event()
        client.on_connect = lambda *_: answered.set()
        client.connect_timeout = _CONNECT_TIMEOUT
        try:
            client.connect(*self._settings.address, self._settings.keepalive)
        except (OSError, ValueError) as error:
            log.warning("the session stays at the broker", broker=str(self._settings), reason=str(error))
            return
        client.loop_start()
        if not answered.wait(_CONNECT_TIMEOUT):
            log.warning("the session stays at the broker", broker=str(self._settings), reason="no answer")
        client.disconnect()
        client.loop_stop()

    def _schedule_next_attempt(self) -> None:
        wait = self._backoff.wait()
        self._client.reconnect_delay_set(wait, wait)  # type: ignore[arg-type]  # paho takes fractions of a second

    def _revive(self) -> None:
        """paho's thread ends on an error that it does not expect, a TLS file gone missing for instance. Start it
        again.
        """
        if self._client.loop_start() == MQTTErrorCode.MQTT_ERR_SUCCESS:
            log.warning("the connection's thread had ended and was started again", broker=str(self._settings))

"""Messages from a cluster of NATS servers: devices speak MQTT to it, workers pull from one durable JetStream consumer.

    device ── PUBLISH ──► a server's MQTT gateway ──► stream $MQTT_msgs, on most of the servers ── PUBACK ──► device
                                                          │
                              consumer `techport` ◄───────┘  pulled by all workers, each message by one of them

- A message stays in the stream until it is acknowledged here, which `ack` does. One that a killed worker had comes to
  another after ACK_WAIT seconds; while it is held here, the consumer is told so.
- The stream keeps what some consumer has still to get, and nothing else: where there is no consumer, a message is
  acknowledged to its device and gone. So the consumer is made before devices are let in, and its loss is recorded.
- Messages of QoS 0 are in no stream. They are taken as they pass, by one worker each, without a guarantee.
- Arrival is when the cluster took the message, however long it waited there.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any

import msgspec
import structlog
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.js.api import AckPolicy, ConsumerConfig, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import NotFoundError

from techport_ingest.brokers.nats_subjects import CONSUMER, STORED, STREAM, consumer_filters, topic_of
from techport_ingest.message import Message
from techport_ingest.sources.nats.connection import NatsConnection, NatsSettings
from techport_ingest.sources.session import Inbox, SessionEvents
from techport_ingest.sources.session_watch import SessionEvent
from techport_storage.clock import now

log = structlog.get_logger(__name__)

ACK_WAIT = 5.0
"""Seconds after which a message that nobody acknowledged, and of which nobody says that it is at it, comes again."""

MOST_PENDING = 100_000
"""Messages that all workers together may hold."""

_PULL_S = 20.0  # seconds that a request for messages lasts
_HEARTBEAT_S = 1.0  # so often the consumer says that it still has the request; after three without, it has not
_PULL_BYTES = 64 * 1024 * 1024  # of one request
_LOOK = 0.25  # seconds
_ANSWER_S = 2.0  # that a server has for what is asked about stream and consumer; while leaders are elected it has none
_NANO = 1_000_000_000
_QUALITY = "Nmqtt-Pub"  # header of the gateway: the quality of service, and behind it flags


class _Held(msgspec.Struct):
    """A message that is here and not acknowledged."""

    reply: str  # where to acknowledge it
    until: float  # when the consumer has to hear of it again


class _Pull(msgspec.Struct):
    """A request for messages that the consumer is answering."""

    number: int
    left: int  # messages that it may still send
    heard: float  # when it last gave a sign


class NatsSource:
    """A Source. Connects in the background at once and for ever; `connected` says whether messages are pulled."""

    def __init__(self, settings: NatsSettings, on_session: Callable[[SessionEvent], bool] | None = None) -> None:
        """`on_session` is called by `receive`, in its thread: `resumed` where the consumer was there, `new` where it
        had to be made. It is called again with the same event when it gives False.
        """
        self._settings = settings
        self._events = SessionEvents(on_session)
        self._topics = settings.topics
        self._inbox = Inbox(settings.window)
        self._ready = False
        self._held: dict[int, _Held] = {}  # by the message's number in the stream; the loop's thread alone
        self._pull: _Pull | None = None
        self._pulls = 0
        self._listened: tuple[str, ...] = ()  # topics of QoS 0 that are subscribed to
        self._quality_0: list[Subscription] = []
        self._changed = asyncio.Event()  # the topics, or the connection
        self._look = asyncio.Event()
        self._answers = ""
        self._next_api = f"$JS.API.CONSUMER.MSG.NEXT.{STREAM}.{CONSUMER}"
        self._connection = NatsConnection(settings, self._on_connected)
        self._work = self._connection.run(self._supervise())
        self._connection.start()

    # -- Source ----------------------------------------------------------------------------------------------------

    def receive(self, timeout: float) -> list[Message]:
        self._events.pass_on()
        return self._inbox.take(timeout)

    def ack(self, messages: Sequence[Message]) -> None:
        numbers = [message.id for message in messages if message.id > 0]
        if numbers:
            self._connection.soon(lambda: asyncio.ensure_future(self._acknowledge(numbers)))

    def subscribe(self, topics: Sequence[str], described: Collection[str] = ()) -> None:
        """Retained messages are not given: the gateway gives them to clients of MQTT."""
        if self._topics != tuple(topics):
            self._topics = tuple(topics)
            self._connection.soon(self._changed.set)
            self._connection.soon(self._look.set)

    @property
    def connected(self) -> bool:
        return self._ready and self._connection.up

    def close(self) -> None:
        """What `ack` was called for is acknowledged by then, if a server answers. The rest goes to other workers."""
        if self._connection.closed:
            return
        self._work.cancel()
        with contextlib.suppress(Exception):  # it comes again by itself, after ACK_WAIT
            self._connection.run(self._give_back()).result(2)
        self._connection.close()
        self._inbox.wake()

    # -- the loop's thread -----------------------------------------------------------------------------------------

    async def _on_connected(self, fresh: bool) -> None:
        if fresh:
            self._listened, self._quality_0 = (), []
            self._answers = self._connection.client.new_inbox()
            await self._connection.client.subscribe(f"{self._answers}.*", cb=self._on_answer)
            self._changed.set()
        self._pull = None
        self._look.set()

    async def _supervise(self) -> None:
        """Have the consumer as it should be, pull from it, and tell it what is still held, until cancelled."""
        while True:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._look.wait(), _LOOK)
            self._look.clear()
            if not self._connection.up or not self._answers:
                continue
            try:
                if self._ready:
                    await self._ask()
                    await self._keep()
                if self._changed.is_set():
                    self._changed.clear()
                    await self._prepare()
            except (TimeoutError, NatsError, OSError) as error:
                self._changed.set()
                log.warning("the broker's consumer is not ready; trying on", reason=f"{type(error).__name__}: {error}")
                await asyncio.sleep(1)
            except Exception:  # supervises the loop: it is tried again
                self._changed.set()
                log.exception("taking messages from the broker failed; it is tried again")
                await asyncio.sleep(1)

    async def _prepare(self) -> None:
        """Make stream and consumer where they are not there; have the consumer's filters those of the topics."""
        topics = self._topics
        jetstream = self._connection.client.jetstream(timeout=_ANSWER_S)
        try:
            info = await jetstream.stream_info(STREAM)
        except NotFoundError:  # no client of MQTT has been here yet: as the gateway would make it
            info = await jetstream.add_stream(
                StreamConfig(
                    name=STREAM,
                    subjects=[f"{STORED}>"],
                    retention=RetentionPolicy.INTEREST,
                    storage=StorageType.FILE,
                    num_replicas=self._settings.replicas,
                )
            )
        if (info.config.num_replicas or 1) < self._settings.replicas:
            log.error(
                "the broker keeps fewer copies of messages than it has servers: one that is lost takes some along",
                copies=info.config.num_replicas,
                remedy="stream_replicas: 3 in the servers' mqtt block before any client connects; see docs/nats.md",
            )
        filters = consumer_filters(topics)
        try:
            consumer = await jetstream.consumer_info(STREAM, CONSUMER)
            existed = True
        except NotFoundError:
            existed = False
        if not existed or sorted(consumer.config.filter_subjects or [consumer.config.filter_subject or ""]) != filters:
            await jetstream.add_consumer(STREAM, _consumer(filters))
        if not self._ready or not existed:
            self._events.add("resumed" if existed else "new")
        await self._listen(topics)
        self._ready = True
        self._look.set()

    async def _listen(self, topics: tuple[str, ...]) -> None:
        """Subscribe to messages of QoS 0, which the stream does not store."""
        if not self._settings.quality_0 or topics == self._listened:
            return
        before = self._quality_0
        self._quality_0 = [
            await self._connection.client.subscribe(subject, queue=CONSUMER, cb=self._on_quality_0)
            for subject in (name.removeprefix(STORED) for name in consumer_filters(topics))
        ]
        for subscription in before:
            await subscription.unsubscribe()
        self._listened = topics

    async def _ask(self) -> None:
        """Ask for as many messages as there is room for, unless a request is being answered."""
        pull = self._pull
        if pull is not None and time.monotonic() - pull.heard > 3 * _HEARTBEAT_S:
            pull = self._pull = None  # the server that had the request is gone
            self._changed.set()  # or the consumer is
        room = self._settings.window - len(self._held)
        if pull is not None or room <= 0 or (room < self._settings.window // 8 and self._held):
            return
        self._pulls += 1
        self._pull = _Pull(self._pulls, room, time.monotonic())
        request = {
            "batch": room,
            "max_bytes": _PULL_BYTES,
            "expires": int(_PULL_S * _NANO),
            "idle_heartbeat": int(_HEARTBEAT_S * _NANO),
        }
        await self._connection.client.publish(
            self._next_api, msgspec.json.encode(request), reply=f"{self._answers}.{self._pulls}"
        )

    async def _on_answer(self, message: Msg) -> None:
        pull = self._pull
        if not message.reply.startswith("$JS.ACK."):  # it says something of the request
            self._on_status(message.headers or {}, message.subject)
            return
        if pull is not None:
            pull.heard = time.monotonic()
            pull.left -= 1
            if pull.left <= 0:
                self._pull = None
                self._look.set()
        number, deliveries, arrived = _metadata(message.reply)
        until = time.monotonic() + ACK_WAIT / 2
        held = self._held.get(number)
        if held is not None:  # it came again while we have it
            held.reply, held.until = message.reply, until
            return
        self._held[number] = _Held(message.reply, until)
        topic = topic_of(message.subject.removeprefix(STORED))
        self._inbox.messages.append(Message(topic, message.data, min(arrived, now()), number, deliveries > 1))
        self._inbox.wake()

    def _on_status(self, headers: dict[str, Any], subject: str) -> None:
        pull = self._pull
        if pull is None or not subject.endswith(f".{pull.number}"):
            return  # of an earlier request
        if headers.get("Status") == "100":
            pull.heard = time.monotonic()
            return
        if headers.get("Status") not in ("404", "408") and "Batch Completed" not in str(headers.get("Description")):
            self._changed.set()  # the consumer has gone, or has another leader
        self._pull = None
        self._look.set()

    async def _on_quality_0(self, message: Msg) -> None:
        """A message of QoS 0. Those of QoS 1 come here too, and are left to the consumer."""
        quality = (message.headers or {}).get(_QUALITY, "0")
        if quality[0] != "0" or len(self._inbox.messages) >= self._settings.window:  # nobody promised to keep it
            return
        self._inbox.messages.append(Message(topic_of(message.subject), message.data, now(), 0))
        self._inbox.wake()

    async def _acknowledge(self, numbers: Sequence[int]) -> None:
        """A message that was given again meanwhile is acknowledged where it was given last."""
        publish, held = self._connection.client.publish, self._held
        for number in numbers:
            message = held.pop(number, None)
            if message is not None:
                with contextlib.suppress(NatsError):  # it comes again
                    await publish(message.reply, b"+ACK")
        if self._pull is None:
            self._look.set()

    async def _give_back(self) -> None:
        for message in self._held.values():
            await self._connection.client.publish(message.reply, b"-NAK")

    async def _keep(self) -> None:
        """Tell the consumer of what is held for long that it need not give it to another worker."""
        at = time.monotonic()
        for message in [message for message in self._held.values() if message.until < at]:
            message.until = at + ACK_WAIT / 2
            await self._connection.client.publish(message.reply, b"+WPI")


def _consumer(filters: list[str]) -> ConsumerConfig:
    return ConsumerConfig(
        durable_name=CONSUMER,
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=ACK_WAIT,
        max_ack_pending=MOST_PENDING,
        max_deliver=-1,
        filter_subjects=filters,
    )


def _metadata(reply: str) -> tuple[int, int, int]:
    """Of a message: its number in the stream, how often it was given, and when it was stored (µs since the epoch).

    `$JS.ACK.<stream>.<consumer>.<deliveries>.<number>.<number in the consumer>.<time in ns>.<pending>`, with the domain
    and a hash of the account in front of the stream where there are more than nine parts (NATS ADR-15).
    """
    parts = reply.split(".")
    first = 4 if len(parts) == 9 else 6
    return int(parts[first + 1]), int(parts[first]), int(parts[first + 3]) // 1000

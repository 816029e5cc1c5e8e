"""A broker for a laptop, inside our process, that acknowledges a reading when it is stored and not before.

amqtt answers an incoming QoS 1 message as soon as the `put` of the session's queue returns. Each session gets a queue
whose `put` hands the message to the pipeline, passes it on to ordinary subscribers, and then waits until the pipeline
acknowledges it:

    device ── PUBLISH ──► amqtt ──► HoldingQueue.put ──► receive() ... write ... ack()
       ▲                                 │  waits                                  │
       └────────────── PUBACK ◄──────────┴─────────────────────────────────────────┘

amqtt handles each packet in a task of its own, so that waiting ones do not stop the next. When the device hangs up,
the wait is cancelled and the message, unacknowledged, is stored and comes again: a duplicate, which the store
recognises.

Memory is bounded twice: beyond `window` unacknowledged messages no more bytes are read from publishing clients, and a
packet above `max_packet_bytes` ends its sender's connection. Sessions live in memory: use mosquitto for a city.
See docs/decisions/0004-embedded-broker-holds-the-puback.md.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import msgspec
import structlog
from amqtt.adapters import ReaderAdapter, WriterAdapter
from amqtt.broker import Broker
from amqtt.contexts import Action, BrokerConfig, ListenerConfig
from amqtt.errors import BrokerError as AmqttBrokerError
from amqtt.errors import MQTTError
from amqtt.mqtt.constants import QOS_0
from amqtt.mqtt.protocol.broker_handler import BrokerProtocolHandler
from amqtt.session import IncomingApplicationMessage, Session
from amqtt.utils import gen_client_id

from techport_ingest.brokers.auth import EVERYTHING, LOOK, NOTHING, Access, AllowAll, CredentialAuthenticator
from techport_ingest.brokers.mosquitto import MAX_PACKET_BYTES, BrokerError
from techport_ingest.message import Message
from techport_ingest.sources.backlog import ClientBacklog, Clients
from techport_pilots.topics import topic_matches
from techport_storage.clock import now

log = structlog.get_logger(__name__)

MOST_RETAINED_BYTES = 64_000
"""Of a device's retained message; it may leave one in each of its topics (brokers/auth.py)."""

MOST_WAITING = 1_000
"""Messages that wait for one device that is away."""

MOST_SESSIONS = 8
"""Sessions of one device, under different client ids."""

CONNECT_WITHIN = 10.0
"""Seconds that a client has for its first packet."""


class EmbeddedSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Without a CredentialAuthenticator everybody on `host` may publish: keep it to loopback then."""

    host: str = "127.0.0.1"
    port: int = 1883
    topics: tuple[str, ...] = ("pilots/#",)  # what the pipeline gets; subscribers may use any other topic beside it
    window: int = 10_000
    max_packet_bytes: int = MAX_PACKET_BYTES
    certificate: Path | None = None  # with its key: clients connect with TLS
    key: Path | None = None
    restarted: bool = False  # an earlier run had clients, which may have kept messages meanwhile


class EmbeddedBroker:
    """A Source that is a broker. Listens once the constructor returns; raises BrokerError where it cannot."""

    def __init__(self, settings: EmbeddedSettings, gate: CredentialAuthenticator | None = None) -> None:
        self._settings = settings
        self._gate = gate or AllowAll()
        self._arrived: deque[Message] = deque()
        self._something_arrived = threading.Event()
        self._numbers = itertools.count(1)
        self._unacknowledged: dict[int, asyncio.Future[None] | None] = {}  # touched by the broker's thread only
        self.subscribe(settings.topics)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="embedded-broker", daemon=True)
        self._started: Future[None] = Future()
        self._stop = asyncio.Event()
        self.room = asyncio.Event()  # set while fewer than `window` messages are unacknowledged
        self.room.set()
        self._thread.start()
        self._started.result()

    # -- Source ----------------------------------------------------------------------------------------------------

    def receive(self, timeout: float) -> list[Message]:
        if not self._arrived:
            self._something_arrived.wait(timeout)
        self._something_arrived.clear()
        take = self._arrived.popleft
        return [take() for _ in range(len(self._arrived))]

    def ack(self, messages: Sequence[Message]) -> None:
        self._call_broker(self._release, [message.id for message in messages])

    def subscribe(self, topics: Sequence[str], described: Collection[str] = ()) -> None:
        self._topics = tuple(topics)  # at once: the broker's thread sees the old ones or the new ones, whole

    @property
    def connected(self) -> bool:
        return self._thread.is_alive()

    @property
    def port(self) -> int:
        return self._settings.port

    def close(self) -> None:
        self._call_broker(self._stop.set)
        self._thread.join()
        self._something_arrived.set()

    # -- the broker's thread ---------------------------------------------------------------------------------------

    def _call_broker(self, function: Any, *arguments: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:  # the loop is closed: its clients are gone, and what they sent was not acknowledged
            log.debug("the embedded broker is closed already")

    def _run(self) -> None:
        for name in ("amqtt", "transitions"):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # it reports each hang-up of a client as an error
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        broker = _HoldingBroker(self._settings, self, self._gate)
        try:
            await broker.start()
        except AmqttBrokerError as error:
            where = f"{self._settings.host}:{self._settings.port}"
            self._started.set_exception(BrokerError(f"cannot listen on {where}: {error.__cause__ or error}"))
            return
        self._started.set_result(None)
        revoking = asyncio.create_task(self._end_revoked(broker))
        await self._stop.wait()
        revoking.cancel()
        try:
            await asyncio.wait_for(broker.shutdown(), timeout=5)
        except (TimeoutError, AmqttBrokerError) as error:
            log.debug("the embedded broker did not close in good order", problem=str(error))

    async def _end_revoked(self, broker: _HoldingBroker) -> None:
        """Hang up on devices whose credential was revoked, or replaced by a new password."""
        while True:
            await asyncio.sleep(LOOK)
            devices = broker.devices()
            if not devices:
                continue
            holders = await asyncio.to_thread(self._gate.holders)
            if holders is None:
                continue
            for username, queue in devices:
                proof = holders.get(username)
                if proof is None or proof != queue.proof:
                    log.info("a device's credential was revoked or replaced; its connection is ended", user=username)
                    queue.access = NOTHING
                    await queue.hang_up()

    def _release(self, numbers: list[int]) -> None:
        for number in numbers:
            stored = self._unacknowledged.pop(number, None)
            if stored is not None and not stored.done():  # done: its client hung up
                stored.set_result(None)
        if len(self._unacknowledged) < self._settings.window:
            self.room.set()

    def accept(self, packet: IncomingApplicationMessage, delayed: bool = False) -> asyncio.Future[None] | None:
        """Take a message into the pipeline. Returns what its acknowledgement has to wait for, if anything."""
        if not any(topic_matches(topic, packet.topic) for topic in self._topics):
            return None
        number = next(self._numbers)
        stored = None if packet.qos == QOS_0 else self._loop.create_future()
        self._unacknowledged[number] = stored
        if len(self._unacknowledged) >= self._settings.window:
            self.room.clear()
        publish = packet.publish_packet
        again = bool(publish is not None and publish.dup_flag)
        # A message that its device asks to be retained is live; the pipeline is never given old ones again.
        self._arrived.append(Message(packet.topic, bytes(packet.data), now(), number, again, delayed=delayed))
        self._something_arrived.set()
        return stored


def _well_formed(topic: str) -> bool:
    """Whether a client may publish to this topic. amqtt gives one that is not UTF-8 as the text of a bytes literal."""
    return bool(topic) and not topic.startswith(("$", "b'", 'b"'))


class HoldingQueue(asyncio.Queue[Any]):
    """The queue of what one client published. See the picture above."""

    def __init__(self, source: EmbeddedBroker) -> None:
        super().__init__()
        self._source = source
        self.publishes = False
        self.access: Access = EVERYTHING  # what its client may do
        self.user: str | None = None  # that was let in
        self.proof: str | None = None  # the hash that its client's password had; None for those that have none
        self.hang_up: Callable[[], Awaitable[None]] = _nobody
        self._hanging_up: asyncio.Future[None] | None = None
        self.waiting = ClientBacklog(None)  # what its client may have kept while it could not reach the broker

    async def put(self, item: IncomingApplicationMessage) -> None:
        self.publishes = True
        if not self.may_publish(item.topic):
            await self._refuse(item.topic)
            return
        delayed = await self.waiting.delayed(item.topic)
        stored = self._source.accept(item, delayed)
        await super().put(item)
        if stored is not None:
            await stored

    def put_nowait(self, item: IncomingApplicationMessage) -> None:
        if item.qos == QOS_0:  # the others come from `put`
            self.publishes = True
            if not self.may_publish(item.topic):
                if not (_well_formed(item.topic) and self.access.is_own(item.topic)):
                    self._hanging_up = asyncio.ensure_future(self._refuse(item.topic))
                return
            self._source.accept(item)
        super().put_nowait(item)

    def may_publish(self, topic: str) -> bool:
        return _well_formed(topic) and self.access.may_publish(topic)

    async def _refuse(self, topic: str) -> None:
        """Hang up, as MQTT 3.1.1 asks: it has no other way to say that a topic cannot be, or is not this client's."""
        log.warning("a client published to a topic that is not its own and was disconnected", topic=topic[:200])
        await self.hang_up()


async def _nobody() -> None:
    """The connection of a queue that has none yet."""


class _HoldingBroker(Broker):
    """amqtt with our queue in each session. This seam is private to amqtt 0.12: pyproject.toml pins it."""

    def __init__(self, settings: EmbeddedSettings, source: EmbeddedBroker, gate: CredentialAuthenticator) -> None:
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        listener = ListenerConfig(
            bind=f"{host}:{settings.port}",
            ssl=settings.certificate is not None,
            certfile=settings.certificate,
            keyfile=settings.key,
        )
        super().__init__(
            BrokerConfig(
                listeners={"default": listener},
                plugins={"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
            )
        )
        self._source = source
        self._gate = gate
        self._clients = Clients(settings.restarted)
        self._max_packet_bytes = settings.max_packet_bytes

    async def _initialize_client_session(
        self, reader: ReaderAdapter, writer: WriterAdapter, remote_address: str, remote_port: int
    ) -> tuple[BrokerProtocolHandler, Session]:
        """Read CONNECT, and decide before anything is done for it.

        amqtt would look for the session first, by the client id that anybody can say, and end or change it before it
        looks at the password. Sessions are kept by user name and client id, so that nobody reaches another's.
        """
        try:
            connecting = BrokerProtocolHandler.init_from_connect(reader, writer, self.plugins_manager)
            handler, session = await asyncio.wait_for(connecting, CONNECT_WITHIN)
        except (MQTTError, TimeoutError) as error:
            await writer.close()
            raise MQTTError(f"no connection: {error}") from error
        user = session.username or ""
        session.client_id = f"{user} {session.client_id or gen_client_id()}"  # no device's user name has a space in it
        # Read first: a password that is replaced meanwhile differs at the next look.
        holders = await asyncio.to_thread(self._gate.holders) or {}
        access = await asyncio.to_thread(self._gate.admit, session.username, session.password)
        if access is None or not self._takes(session, access):
            handler.attach(session, reader, writer)
            await handler.mqtt_connack_authorize(False)
            await writer.close()
            raise MQTTError("the client was sent away")
        earlier = self._sessions.get(session.client_id, (None, None))[0]
        if earlier is not None and session.clean_session:
            # amqtt leaves its connection open, where nobody would find it to revoke its credential.
            if isinstance(earlier.delivered_message_queue, HoldingQueue):
                await earlier.delivered_message_queue.hang_up()
            await self._delete_session(session.client_id)
        session.parent = int(earlier is not None and not session.clean_session)
        if earlier is not None and session.parent:
            for field in (
                "will_flag",
                "will_retain",
                "will_qos",
                "will_topic",
                "will_message",
                "keep_alive",
                "password",
            ):
                setattr(earlier, field, getattr(session, field))
            earlier.parent, session = 1, earlier
        if not isinstance(session.delivered_message_queue, HoldingQueue):
            session.delivered_message_queue = HoldingQueue(self._source)
        queue = session.delivered_message_queue
        queue.user, queue.access, queue.proof = session.username, access, holders.get(user)
        return handler, session

    def _takes(self, session: Session, access: Access) -> bool:
        """Whether a client that has proved who it is may have this session."""
        if access is EVERYTHING:
            return True
        will = session.will_topic or ""
        if session.will_flag and not (_well_formed(will) and access.may_publish(will)):
            log.warning("a device's will is for a topic that is not its own; it was sent away", user=session.username)
            return False
        if self._sessions_beside(session) >= MOST_SESSIONS:
            log.warning("a device has too many sessions and was sent away", user=session.username, most=MOST_SESSIONS)
            return False
        return True

    async def _authenticate(self, session: Session, _: ListenerConfig) -> bool:
        return True  # _initialize_client_session has done so

    def devices(self) -> list[tuple[str, HoldingQueue]]:
        """Those that are connected with a credential of their own: user name and queue."""
        sessions = [session for session, _ in self._sessions.values() if session.transitions.state == "connected"]
        return [
            (session.username or "", queue)
            for session in sessions
            if isinstance(queue := session.delivered_message_queue, HoldingQueue) and queue.access is not EVERYTHING
        ]

    async def _topic_filtering(self, session: Session, topic: str, action: Action) -> bool:
        queue = session.delivered_message_queue
        if not isinstance(queue, HoldingQueue) or queue.access is EVERYTHING:
            return True
        if action is Action.SUBSCRIBE:
            return queue.access.may_subscribe(topic)
        return queue.access.may_publish(topic) if action is Action.PUBLISH else queue.access.may_receive(topic)

    async def retain_message(
        self,
        source_session: Session | None,
        topic_name: str | None,
        data: bytes | bytearray | None,
        qos: int | None = None,
    ) -> None:
        """Keep it, within what one device may have here; empty data takes it away."""
        if data and not self._may_retain(source_session, topic_name or "", data):
            log.warning("a device has too many or too large retained messages; one is not kept", topic=topic_name)
            return
        await super().retain_message(source_session, topic_name, data, qos)

    async def _retain_broadcast_message(self, broadcast: dict[str, Any], qos: int, target_session: Session) -> None:
        """Keep a message for a client that is away; for a device, the newest only so many."""
        queue = target_session.delivered_message_queue
        waiting = target_session.retained_messages
        if isinstance(queue, HoldingQueue) and queue.access is not EVERYTHING:
            while waiting.qsize() >= MOST_WAITING:
                waiting.get_nowait()
        await super()._retain_broadcast_message(broadcast, qos, target_session)

    def _may_retain(self, session: Session | None, topic: str, data: bytes | bytearray) -> bool:
        queue = None if session is None else session.delivered_message_queue
        if session is None or not isinstance(queue, HoldingQueue) or queue.access is EVERYTHING:
            return True
        # Of each topic there is one, and a device has few topics.
        return queue.may_publish(topic) and len(data) <= MOST_RETAINED_BYTES

    def _sessions_beside(self, session: Session) -> int:
        others = [other for other, _ in self._sessions.values() if other.client_id != session.client_id]
        queues = [other.delivered_message_queue for other in others]
        return sum(isinstance(queue, HoldingQueue) and queue.user == session.username for queue in queues)

    async def _handle_client_session(
        self, reader: ReaderAdapter, writer: Any, client_session: Session, *rest: Any
    ) -> None:
        queue = client_session.delivered_message_queue
        assert isinstance(queue, HoldingQueue)
        queue.hang_up = writer.close
        gate = _Gate(reader, self._source, queue, self._max_packet_bytes)
        queue.waiting = self._clients.connected(client_session.client_id or "")
        try:
            await super()._handle_client_session(gate, writer, client_session, *rest)
        finally:
            if not gate.said_goodbye:
                self._clients.lost(client_session.client_id or "")


_DISCONNECT = b"\xe0\x00"


class _Gate(ReaderAdapter):
    """Reads nothing from a publishing client while the window is full: TCP then slows it down."""

    def __init__(self, reader: ReaderAdapter, source: EmbeddedBroker, queue: HoldingQueue, max_bytes: int) -> None:
        self._reader = reader
        self._source = source
        self._queue = queue
        self._max_bytes = max_bytes
        self._last = b""

    @property
    def said_goodbye(self) -> bool:
        """Whether the last packet was a DISCONNECT (MQTT 3.1.1, section 3.14.1)."""
        return self._last == _DISCONNECT

    async def read(self, n: int = -1) -> bytes:
        if n > self._max_bytes:
            raise OverflowError(f"a packet of more than {self._max_bytes} bytes")  # amqtt closes the connection on it
        if self._queue.publishes:
            await self._source.room.wait()
        data = await self._reader.read(n)
        if data:
            self._last = (self._last + data)[-2:]
        return data

    def feed_eof(self) -> None:
        self._reader.feed_eof()

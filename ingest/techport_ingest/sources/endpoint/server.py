"""The endpoint's event loop: who may connect, what becomes of what they publish, and when it is acknowledged.

    accept ─► greet ─► admit ─► Connection ─► publish ─► Inbox ─► pipeline
                                    ▲                                │ ack
                                    └──────────── release ◄──────────┘

Bounded are: connections that have not proved who they are, and their time (MOST_UNGREETED, CONNECT_WITHIN); all
connections (MOST_CONNECTIONS); messages that the pipeline has not kept (window.py); long packets on their way
(MOST_PARTIAL); and what the modules beside this one say.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import secrets
import socket
import ssl
from collections.abc import Awaitable, Callable, Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import structlog

from techport_ingest.brokers.auth import EVERYTHING, LOOK, NOTHING, Access, Admission, CredentialAuthenticator
from techport_ingest.message import Message
from techport_ingest.source import Answer
from techport_ingest.sources.backlog import Clients
from techport_ingest.sources.endpoint import packets
from techport_ingest.sources.endpoint.connection import (
    CLOSING,
    MOST_CONTROL,
    STUCK,
    Connection,
    Route,
)
from techport_ingest.sources.endpoint.delivery import (
    MOST_SESSIONS,
    Exchange,
    Key,
    Receivers,
    Session,
    well_formed_topic,
)
from techport_ingest.sources.endpoint.packets import Granted, Hello, Outgoing, Published, Wanted
from techport_ingest.sources.endpoint.window import MOST_HELD, Share, Window
from techport_ingest.sources.session import Inbox
from techport_pilots.errors import RegistryUnavailable
from techport_pilots.topics import topic_matches
from techport_storage.clock import now

log = structlog.get_logger(__name__)

CONNECT_WITHIN = 10.0
"""Seconds that a client has for TLS and its first packet."""

MOST_UNGREETED = 2_000
"""Connections that have not sent their first packet; the oldest makes room for a new one."""

MOST_CONNECTIONS = 20_000
"""Clients that are connected."""

MOST_PARTIAL = 64_000_000
"""Bytes of packets that have arrived in part, over all connections."""

LONGEST_CLIENT_ID = 1_000
"""Characters. What is remembered of clients is remembered by their names."""

LONGEST_KEEP_ALIVE = 3_600
"""Seconds; said to clients of MQTT 5 that want none."""

GRACE = 1.5
"""Keep-alives without a packet after which a client is gone (MQTT 5.0, section 3.1.2.10)."""

_BUFFER_BYTES = 65_536
_PUBACK_HEADER = b"\x40\x02"


class Waiting(NamedTuple):
    """Who waits for the acknowledgement of a message: a client, somebody in this process, or for a will nobody."""

    connection: Connection | None
    packet_id: int
    qos: int
    size: int  # bytes
    kept: Future[None] | None = None


class Server:
    """Used in the event loop only, but for `inbox`, `answers` and `waits_for_words`."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        inbox: Inbox,
        gate: CredentialAuthenticator,
        longest_packet: int,
        restarted: bool,
    ) -> None:
        self.loop = loop
        self.inbox = inbox
        self.buffer = memoryview(bytearray(_BUFFER_BYTES))  # that every connection reads into
        self.connections: set[Connection] = set()
        self.partial = 0  # bytes that connections hold of packets that are not worked through
        self.room_for_one = _BUFFER_BYTES
        self.answers: dict[int, Answer] = {}  # what is said with acknowledgements to come, by message
        self.exchange = Exchange()
        self._topics: tuple[str, ...] = ()
        self._gate = gate
        self._longest_packet = longest_packet
        self._numbers = itertools.count(1)
        self._waiting: dict[int, Waiting] = {}  # by message
        self._window = Window(inbox.window)
        self._shares: dict[str, Share] = {}  # by pilot
        self._blocked: dict[Connection, None] = {}  # have a message for which there is no room
        self._ungreeted: dict[asyncio.Task[None], None] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._delaying: set[asyncio.Task[None]] = set()
        self._clients = Clients(restarted)
        self._threads = ThreadPoolExecutor(2, "credentials")

    @property
    def is_crowded(self) -> bool:
        return self.partial > MOST_PARTIAL

    def set_topics(self, topics: Sequence[str]) -> None:
        """What the pipeline gets."""
        self._topics = tuple(topics)
        self.exchange.version += 1

    # -- the life of the server ------------------------------------------------------------------------------------

    async def serve(
        self, listeners: Sequence[socket.socket], context: ssl.SSLContext | None, stop: asyncio.Event
    ) -> None:
        """Serve until `stop`; then say goodbye."""
        self._tasks |= {asyncio.create_task(self._accept(listener, context)) for listener in listeners}
        self._tasks |= {
            asyncio.create_task(_repeat(1.0, self._sweep)),
            asyncio.create_task(_repeat(LOOK, self._end_revoked)),
        }
        await stop.wait()
        for task in (*self._tasks, *self._ungreeted):
            task.cancel()
        for listener in listeners:
            listener.close()
        for connection in list(self.connections):
            connection.refuse(packets.SHUTTING_DOWN, "techport is stopping")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSING):
                while self.connections:
                    await asyncio.sleep(0.02)
        for connection in list(self.connections):
            connection.abort()
        for waiting in self._waiting.values():
            if waiting.kept is not None and waiting.kept.set_running_or_notify_cancel():
                waiting.kept.set_exception(ConnectionError("techport is stopping"))
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _accept(self, listener: socket.socket, context: ssl.SSLContext | None) -> None:
        while True:
            try:
                raw, _ = await self.loop.sock_accept(listener)
            except OSError as error:  # no file descriptor is left, or the client has gone again
                log.warning("a connection could not be accepted", problem=str(error))
                await asyncio.sleep(0.1)
                continue
            if len(self._ungreeted) >= MOST_UNGREETED:
                oldest = next(iter(self._ungreeted))
                del self._ungreeted[oldest]
                oldest.cancel()
            connection = Connection(self)
            task = asyncio.create_task(self._greet(connection, raw, context))
            self._ungreeted[task] = None
            task.add_done_callback(partial(self._greeted, connection, raw))

    async def _greet(self, connection: Connection, raw: socket.socket, context: ssl.SSLContext | None) -> None:
        """TLS and CONNECT, which have to be there in time; then it is decided whether the client may stay."""
        raw.setblocking(False)
        _enable_keepalive(raw)
        handshake = None if context is None else CONNECT_WITHIN
        async with asyncio.timeout(CONNECT_WITHIN):
            await self.loop.connect_accepted_socket(
                lambda: connection, raw, ssl=context, ssl_handshake_timeout=handshake
            )
            hello = await connection.hello
        admitting = asyncio.create_task(self._admit(connection, hello))
        self._tasks.add(admitting)
        admitting.add_done_callback(partial(self._admitted, connection))

    def _greeted(self, connection: Connection, raw: socket.socket, task: asyncio.Task[None]) -> None:
        """It has said CONNECT, or was too slow, or has gone."""
        self._ungreeted.pop(task, None)
        error = None if task.cancelled() else task.exception()
        if not task.cancelled() and error is None:
            return
        if error is not None and not isinstance(error, OSError):  # TimeoutError and ssl.SSLError are OSErrors
            log.error("a connection could not be greeted", problem=repr(error))
        connection.abort()
        if connection not in self.connections:
            raw.close()

    def _admitted(self, connection: Connection, task: asyncio.Task[None]) -> None:
        """It was let in or sent away, or there is a bug: then nobody else would end its connection."""
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is None:
            return
        log.error("a client could not be let in; its connection is ended", exc_info=error)
        if connection.state == "admitting":
            connection.refuse(packets.SERVER_UNAVAILABLE, "this does not work now: try again")
        else:
            connection.abort()

    async def _admit(self, connection: Connection, hello: Hello) -> None:
        """Decide before anything is done for a client, and before another one's session is touched."""
        if hello.unsupported_authentication:
            connection.refuse(packets.BAD_AUTHENTICATION_METHOD, "there are user names and passwords here")
            return
        if len(hello.client_id) > LONGEST_CLIENT_ID:
            connection.refuse(packets.CLIENT_ID_NOT_VALID, f"a client id has at most {LONGEST_CLIENT_ID} characters")
            return
        if not hello.client_id and not hello.clean and not connection.wire.five:
            connection.refuse(packets.CLIENT_ID_NOT_VALID, "a session without a client id")  # section 3.1.3.1
            return
        try:
            admission = await self.loop.run_in_executor(self._threads, self._gate.admit, hello.username, hello.password)
        except RegistryUnavailable as error:
            log.warning("a client was sent away: the credentials cannot be read now", problem=str(error))
            connection.refuse(packets.SERVER_UNAVAILABLE, "credentials cannot be read now: try again")
            return
        if connection.state != "admitting":
            return
        if admission is None:
            connection.refuse(packets.NOT_AUTHORIZED, "user name or password are not right")
        elif len(self.connections) > MOST_CONNECTIONS:
            connection.refuse(packets.SERVER_BUSY, "too many clients are connected")
        else:
            self._open(connection, hello, admission)

    def _open(self, connection: Connection, hello: Hello, admission: Admission) -> None:
        access, user = admission.access, hello.username or ""
        client_id = hello.client_id or secrets.token_hex(8)
        key = (user, client_id)
        will = hello.will
        if will is not None and not (well_formed_topic(will.topic) and access.may_publish(will.topic)):
            log.warning("a client's will is for a topic that is not its own; it was sent away", user=user)
            connection.refuse(packets.NOT_AUTHORIZED, "the will is for a topic that is not this client's")
            return
        if access is not EVERYTHING and self.exchange.sessions_beside(key) >= MOST_SESSIONS:
            log.warning("a device has too many sessions and was sent away", user=user, most=MOST_SESSIONS)
            connection.refuse(packets.QUOTA_EXCEEDED, f"a device has at most {MOST_SESSIONS} sessions")
            return
        session, present = self._session(key, access, hello.clean)
        session.expire_after(hello.session_expiry)
        session.will = will
        connection.proof = admission.proof
        connection.backlog = self._clients.connected(f"{user} {client_id}")
        if admission.pilot is not None:
            connection.share = self._shares.setdefault(admission.pilot, Share())
        connection.keep_alive = hello.keep_alive
        if connection.wire.five:
            connection.keep_alive = min(hello.keep_alive or LONGEST_KEEP_ALIVE, LONGEST_KEEP_ALIVE)
        most_control = self._longest_packet if access is EVERYTHING else min(MOST_CONTROL, self._longest_packet)
        connection.opened(session, hello, most_control, self._longest_packet)
        session.link = connection
        granted = Granted(
            receive_maximum=min(self.inbox.window // 2, MOST_HELD),
            longest_packet=self._longest_packet,
            session_expiry=session.expiry if session.expiry != hello.session_expiry else None,
            assigned_client_id=None if hello.client_id else client_id,
            keep_alive=connection.keep_alive if connection.keep_alive != hello.keep_alive else None,
        )
        connection.send(connection.wire.connack(packets.SUCCESS, present, granted))
        session.resumed()
        connection.proceed()

    def _session(self, key: Key, access: Access, clean: bool) -> tuple[Session, bool]:
        """The client's session, taken over from an earlier connection, and whether it was there before."""
        session = self.exchange.sessions.get(key)
        if session is not None:
            if isinstance(session.link, Connection):
                earlier = session.link
                self._detach(earlier)
                earlier.refuse(packets.TAKEN_OVER, "another client has connected under this client id")
            if not clean and key in self.exchange.sessions:
                if session.access != access:
                    session.access = access
                    self.exchange.version += 1
                return session, True
            self.exchange.remove(session)
        session = Session(key, access)
        self.exchange.add(session)
        return session, False

    def lost(self, connection: Connection) -> None:
        """A connection has ended."""
        self.connections.discard(connection)
        self._blocked.pop(connection, None)
        self._detach(connection)

    def _detach(self, connection: Connection) -> None:
        """Take a connection from its session, which may go on without it."""
        session, connection.session = connection.session, None
        if session is None or session.link is not connection:
            return
        session.link = None
        session.ended = self.loop.time()
        if not connection.said_goodbye:
            self._clients.lost(" ".join(session.key))
        if session.will is not None and not (session.will.delay and session.expiry):
            self._publish_will(session)
        if not session.expiry:
            self.exchange.remove(session)

    async def _sweep(self) -> None:
        """End connections of clients that are gone, and sessions that nobody has come back to."""
        time = self.loop.time()
        for connection in list(self.connections):
            if connection.closed_at is not None:
                if time - connection.closed_at > CLOSING:
                    connection.abort()
            elif connection.stuck_since is not None:
                if time - connection.stuck_since > STUCK:
                    log.info("a client does not read what it is sent; its connection is ended")
                    connection.abort()
            elif (
                connection.keep_alive
                and connection.state == "open"
                and connection.is_read
                and time - connection.last_arrival > GRACE * connection.keep_alive
            ):
                connection.refuse(packets.KEEP_ALIVE_TIMEOUT, "nothing was heard within the keep-alive")
        for session in [session for session in self.exchange.sessions.values() if session.link is None]:
            away = time - (session.ended or time)
            if session.will is not None and away >= min(session.will.delay, session.expiry):  # section 3.1.3.2.2
                self._publish_will(session)
            if away >= session.expiry:
                self.exchange.remove(session)

    async def _end_revoked(self) -> None:
        """Hang up on devices whose credential was revoked, or replaced by a new password."""
        devices = [connection for connection in self.connections if connection.proof is not None]
        proofs = await self.loop.run_in_executor(self._threads, self._gate.proofs) if devices else None
        if proofs is None:
            return
        for connection in devices:
            session = connection.session
            if session is not None and proofs.get(session.key[0]) != connection.proof:
                log.info("a device's credential was revoked or replaced; its connection is ended", user=session.key[0])
                session.access = NOTHING
                self.exchange.version += 1
                connection.refuse(packets.NOT_AUTHORIZED, "the credential was revoked or replaced")

    # -- messages --------------------------------------------------------------------------------------------------

    def route(self, access: Access, topic: str) -> Route:
        """What becomes of a client's messages to a topic, until `version` changes."""
        may = access.may_publish(topic)
        taken = may and any(topic_matches(topic_filter, topic) for topic_filter in self._topics)
        receivers = self.exchange.receivers(topic) if may else Receivers({}, [])
        return Route(topic, may, access.is_own(topic), taken, receivers, self.exchange.version)

    def has_room(self, connection: Connection) -> bool:
        """Whether one more message of this client fits into the window."""
        return self._window.has_room(connection)

    def _wait_for(self, waiting: Waiting) -> int:
        """The number of a message that the pipeline is to keep."""
        number = next(self._numbers)
        self._waiting[number] = waiting
        self._window.add(waiting.connection, waiting.size)
        return number

    def block(self, connection: Connection) -> None:
        """Remember that the connection waits for room."""
        self._blocked[connection] = None

    def publish(self, connection: Connection, route: Route, packet: Published) -> None:
        """Give a message to the pipeline and to whoever has subscribed to it; acknowledge it if it is not for the
        pipeline."""
        if packet.retain:
            of_device = connection.session is not None and connection.session.of_device
            self.exchange.retain(Outgoing(route.topic, packet.payload, packet.qos, True), of_device)
        if route.receivers:
            self._deliver(route, packet.payload, packet.qos, packet.retain, connection.session)
        if not route.taken:
            if packet.qos:
                connection.send(connection.acknowledge(packet.packet_id, packet.qos, None))
            return
        size = len(packet.topic) + len(packet.payload)
        number = self._wait_for(Waiting(connection, packet.packet_id, packet.qos, size))
        delayed: bool | None = False
        if packet.qos and connection.backlog.watching:
            delayed = connection.backlog.delayed_at_once(route.topic)
        if delayed is None:
            task = asyncio.create_task(self._take_later(connection, route.topic, packet, number))
            self._delaying.add(task)
            task.add_done_callback(self._delaying.discard)
        else:
            # A message that its device asks to be retained is live; the pipeline is never given old ones again.
            self.inbox.messages.append(
                Message(route.topic, packet.payload, now(), number, packet.duplicate, delayed=delayed)
            )

    def publish_own(self, topic: str, payload: bytes, qos: int, kept: Future[None]) -> None:
        """The same for the platform itself. `kept` is done when the message is; without waiting for the window."""
        route = self.route(EVERYTHING, topic)
        if route.receivers:
            self._deliver(route, payload, qos, False, None)
        if not route.taken:
            if kept.set_running_or_notify_cancel():
                kept.set_result(None)
            return
        number = self._wait_for(Waiting(None, 0, qos, len(payload), kept))
        self.inbox.messages.append(Message(topic, payload, now(), number))
        self.inbox.wake()

    def forget_retained(
        self, filters: Sequence[str], belongs: Callable[[str, bytes], bool], erased: Future[int]
    ) -> None:
        """Take retained messages away, and tell subscribers as if their senders had."""
        topics = [
            message.topic for message in self.exchange.retained(filters) if belongs(message.topic, message.payload)
        ]
        for topic in topics:
            self.exchange.retain(Outgoing(topic, b"", 1, True), of_device=False)
        erased.set_result(len(topics))

    async def _take_later(self, connection: Connection, topic: str, packet: Published, number: int) -> None:
        """Give a message to the pipeline that may have waited at its device, when that is known."""
        delayed = await connection.backlog.followed(topic)
        self.inbox.messages.append(Message(topic, packet.payload, now(), number, packet.duplicate, delayed=delayed))
        self.inbox.wake()

    def _publish_will(self, session: Session) -> None:
        will, session.will = session.will, None
        if will is None or not session.access.may_publish(will.topic):
            return
        route = self.route(session.access, will.topic)
        if will.retain:
            self.exchange.retain(Outgoing(will.topic, will.payload, will.qos, True), session.of_device)
        self._deliver(route, will.payload, will.qos, will.retain, session)
        if route.taken and not self._window.is_full:
            number = self._wait_for(Waiting(None, 0, will.qos, len(will.payload)))
            self.inbox.messages.append(Message(will.topic, will.payload, now(), number))
            self.inbox.wake()

    def _deliver(self, route: Route, payload: bytes, qos: int, retain: bool, sender: Session | None) -> None:
        for session, wanted in route.receivers:
            if not (wanted.no_local and session is sender):
                keep_retain = retain and wanted.keep_retain
                session.deliver(Outgoing(route.topic, payload, min(qos, wanted.qos), keep_retain))

    def waits_for_words(self, number: int) -> bool:
        """Whether the sender of a message waits for its acknowledgement and takes reasons with it."""
        waiting = self._waiting.get(number)
        return (
            waiting is not None
            and waiting.qos > 0
            and waiting.connection is not None
            and waiting.connection.state == "open"
            and waiting.connection.wire.five
        )

    def release(self, numbers: Sequence[int]) -> None:
        """These messages are kept: acknowledge them, and go on reading where there is room now."""
        outgoing: dict[Connection, list[bytes]] = {}
        pop, answers = self._waiting.pop, self.answers
        for number in numbers:
            waiting = pop(number, None)
            if waiting is None:
                continue
            connection, packet_id, qos, size, kept = waiting
            self._window.remove(connection, size)
            if connection is None:
                if kept is not None and kept.set_running_or_notify_cancel():
                    kept.set_result(None)
                continue
            if not qos:
                continue
            answer = answers.pop(number, None) if answers else None
            if answer is None and qos == 1:
                acknowledgement = _PUBACK_HEADER + packet_id.to_bytes(2, "big")
            else:
                acknowledgement = connection.acknowledge(packet_id, qos, answer)
            packets_of_connection = outgoing.get(connection)
            if packets_of_connection is None:
                outgoing[connection] = [acknowledgement]
            else:
                packets_of_connection.append(acknowledgement)
        for connection, acknowledgements in outgoing.items():
            if connection.state == "open":
                connection.send(b"".join(acknowledgements))
        for connection in list(self._blocked):
            if self._window.is_full:
                break
            if self.has_room(connection):
                del self._blocked[connection]
                connection.proceed()

    # -- subscriptions ---------------------------------------------------------------------------------------------

    def subscribe(self, connection: Connection, wanted: Sequence[Wanted]) -> tuple[list[int], list[Outgoing]]:
        codes: list[int] = []
        retained: list[Outgoing] = []
        if connection.session is not None:
            for topic_filter in wanted:
                code, messages = self.exchange.subscribe(connection.session, topic_filter)
                codes.append(code)
                retained += messages
        return codes, retained

    def unsubscribe(self, connection: Connection, filters: Collection[str]) -> list[int]:
        session = connection.session
        if session is None:
            return []
        return [
            packets.SUCCESS if self.exchange.unsubscribe(session, topic_filter) else _NO_SUBSCRIPTION
            for topic_filter in filters
        ]

    def own_topics(self, connection: Connection) -> str:
        """Where a client may publish, for one that did elsewhere."""
        access = NOTHING if connection.session is None else connection.session.access
        shown = ", ".join(access.publish[:3])
        return f"Not a topic of this device. It publishes to {shown}" + (" ..." if len(access.publish) > 3 else "")


_NO_SUBSCRIPTION = 0x11


async def _repeat(every: float, step: Callable[[], Awaitable[None]]) -> None:
    """Take the step every so many seconds."""
    while True:
        await asyncio.sleep(every)
        try:
            await step()
        except Exception:  # supervises the loop: a round that fails ends no other
            log.exception("a round of the embedded broker failed and is tried again")


def _enable_keepalive(raw: socket.socket) -> None:
    """Have the system end a connection whose other end has gone without a word, also where there is no keep-alive."""
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, seconds in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 20), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, option):
            raw.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), seconds)

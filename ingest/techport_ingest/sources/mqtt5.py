"""Messages from an MQTT 5 broker, with a codec in place of a client: what paho.py promises, for a fraction of its CPU.

One thread owns the socket. It reads what has arrived, decodes it packet by packet (the sans-I/O codec `mqtt5`) and
appends to a queue; `ack` makes the PUBACKs of a whole batch with NumPy and leaves them to that thread in one piece.
What keeps the promise "acknowledged means kept" is what keeps it in paho.py: the session outlives connection and
process, PUBACKs are sent by `ack` alone, and a packet number is never acknowledged on a later connection.

The broker holds the queue: it is told how many unacknowledged messages we take (receive maximum, section 3.1.2.11.3 of
MQTT 5.0), and where it sends more all the same, nothing is read until the pipeline has taken some.
"""

from __future__ import annotations

import contextlib
import math
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence

import mqtt5
import numpy as np
import structlog

from techport_ingest.message import Message
from techport_ingest.sources.backlog import Backlog
from techport_ingest.sources.session import (
    SEND_ALWAYS,
    SEND_IF_NEW,
    SEND_NEVER,
    Backoff,
    Inbox,
    SessionEvents,
    Subscriptions,
)
from techport_ingest.sources.session_watch import SessionEvent
from techport_ingest.sources.settings import MqttSettings
from techport_storage.clock import now

log = structlog.get_logger(__name__)

_BUFFER_BYTES = 1 << 18
_LONGEST_PACKET = 1 << 29  # more than MQTT can express: 256 MB and a header (section 1.5.5)
_TOPIC_ALIASES = 1_000  # that the broker may use in place of topics on one connection
_PUBACK = np.dtype([("header", ">u2"), ("packet_id", ">u2")])
_PUBACK_HEADER = 0x4002  # success without properties: two more bytes, the packet number (section 3.4)
_PUBLISH = 3  # the type of a packet, in the upper half of its first byte (section 2.1.2)
_PING = mqtt5.PingReqPacket().write()
_UNANSWERED_PINGS = 2  # sent at half the keep-alive each
_CONNECT_TIMEOUT = 10.0  # seconds to a connection, and from CONNECT to CONNACK
_RETAIN_HANDLING = {
    SEND_ALWAYS: mqtt5.RetainHandling.SEND_ALWAYS,
    SEND_IF_NEW: mqtt5.RetainHandling.SEND_IF_SUBSCRIPTION_NOT_EXISTS,
    SEND_NEVER: mqtt5.RetainHandling.SEND_NEVER,
}


class _ConnectionEnded(Exception):
    """The connection cannot go on; says why."""

    def __init__(self, why: str, *, taken_over: bool = False) -> None:
        super().__init__(why)
        self.taken_over = taken_over


class Mqtt5Source:
    """A Source. Connects in the background at once and for ever; `connected` says whether the subscription stands."""

    def __init__(self, settings: MqttSettings, on_session: Callable[[SessionEvent], bool] | None = None) -> None:
        """`on_session` is called by `receive`, in its thread, and again with the same event when it gives False."""
        self._settings = settings
        self._events = SessionEvents(on_session)
        self._subscriptions = Subscriptions(settings)
        self._inbox = Inbox(settings.window)
        self._lock = threading.Lock()  # over _inbox.connection, _outgoing and _packet_id
        self._outgoing: list[bytes] | None = None  # what waits to be sent; None while there is no connection
        self._packet_id = 0
        self._aliases: dict[int, str] = {}
        self._backlog = Backlog(settings.client_id)
        self._mark_qos = mqtt5.QoS.AT_LEAST_ONCE
        self._subscribed = False
        self._backoff = Backoff(settings.longest_wait)
        self._full = False  # as many messages wait as the window has places, and one more is there: nothing is read
        self._closing = threading.Event()
        self._flushed = threading.Event()
        self._waker, self._wakened = socket.socketpair()
        self._waker.setblocking(False)
        self._wakened.setblocking(False)
        self._thread = threading.Thread(target=self._run, name="mqtt5", daemon=True)
        self._thread.start()

    # -- Source ----------------------------------------------------------------------------------------------------

    def receive(self, timeout: float) -> list[Message]:
        self._events.pass_on()
        taken = self._inbox.take(timeout)
        if taken and self._full:
            self._full = False
            self._wake()
        return taken

    def ack(self, messages: Sequence[Message]) -> None:
        with self._lock:
            current = self._inbox.connection
            packet_ids = self._inbox.packet_ids(messages)
        if packet_ids:
            packets = np.empty(len(packet_ids), _PUBACK)
            packets["header"] = _PUBACK_HEADER
            packets["packet_id"] = packet_ids
            self._send(packets.tobytes(), current)

    def subscribe(self, topics: Sequence[str], described: Collection[str] = ()) -> None:
        with self._subscriptions.lock:
            fresh, stale = self._subscriptions.change(topics, described)
            if self._outgoing is None:
                return  # the next connection asks for all of them
            self._ask_for(fresh)
            if stale:
                self._unsubscribe(self._subscriptions.filters(stale))

    @property
    def connected(self) -> bool:
        return self._subscribed

    def close(self) -> None:
        """Leave the broker, which keeps the session. What `ack` was called for is acknowledged by then, if the broker
        answers.
        """
        if self._subscribed:
            self._flushed.clear()
            if self._unsubscribe(["techport/nothing"]):  # its answer comes when the broker has read all before it
                self._flushed.wait(2)
        # In this order: the connection ends when there is nothing more to send.
        self._send(mqtt5.DisconnectPacket(session_expiry_interval=0 if self._settings.retire else None).write())
        self._closing.set()
        self._wake()
        self._thread.join(5)
        self._waker.close()
        self._inbox.wake()

    # -- sending ---------------------------------------------------------------------------------------------------

    def _send(self, packet: bytes, connection: int | None = None) -> bool:
        """Leave a packet to the thread of the connection; False where there is none, or no longer `connection`."""
        with self._lock:
            if self._outgoing is None or connection not in (None, self._inbox.connection):
                return False
            self._outgoing.append(packet)
        self._wake()
        return True

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # full: it will wake; closed: it has ended
            self._waker.send(b"\0")

    def _next_packet_id(self) -> int:
        with self._lock:
            self._packet_id = self._packet_id % 0xFFFF + 1
            return self._packet_id

    def _unsubscribe(self, filters: list[str]) -> bool:
        return self._send(mqtt5.UnsubscribePacket(self._next_packet_id(), filters).write())

    def _ask_for(self, topics: Sequence[str]) -> None:
        """Subscribe, or where the session is to end take leave. Called with the lock of the subscriptions."""
        if not topics:
            return
        subscriptions = self._subscriptions
        names = subscriptions.filters(topics)
        former = subscriptions.former_filters(topics)
        if self._settings.retire:
            self._unsubscribe([*names, *former])
            return
        if former:
            self._unsubscribe(former)
        filters = [
            mqtt5.TopicFilter(
                name,
                max_qos=mqtt5.QoS.AT_LEAST_ONCE,
                retain_as_published=False,
                retain_handling=_RETAIN_HANDLING[subscriptions.retain_handling(topic)],
            )
            for name, topic in zip(names, topics, strict=True)
        ]
        self._send(mqtt5.SubscribePacket(self._next_packet_id(), filters).write())

    # -- the connection's thread -----------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                self._serve_connection()
            except _ConnectionEnded as error:
                self._connection_ended(str(error), taken_over=error.taken_over)
            except (OSError, ValueError) as error:  # ssl.SSLError is an OSError; a TLS file gone missing is one too
                self._connection_ended(str(error) or type(error).__name__)
            except Exception:  # a thread that ends would leave the platform deaf
                log.exception("the connection's thread failed and starts again", broker=str(self._settings))
                self._connection_ended("error")
            self._closing.wait(self._backoff.wait())
        self._wakened.close()
        self._inbox.wake()

    def _connection_ended(self, why: str, *, taken_over: bool = False) -> None:
        with self._lock:
            self._inbox.connection += 1
            was_connected, self._outgoing = self._outgoing is not None, None
        self._backlog.lost()
        if taken_over:
            self._events.add("taken-over")
        if self._closing.is_set():
            return
        if was_connected:
            log.warning("lost the broker", broker=str(self._settings), reason=why)
        elif self._backoff.failures == 0:
            log.warning("cannot reach the broker; trying on", broker=str(self._settings), reason=why)
        self._backoff.ended()
        self._subscribed = False

    def _serve_connection(self) -> None:
        with contextlib.closing(self._settings.open_connection(_CONNECT_TIMEOUT)) as connection:
            self._aliases = {}
            incoming = _Incoming(connection)
            keepalive = self._greet(connection, incoming)
            self._converse(connection, incoming, keepalive)

    def _greet(self, connection: socket.socket, incoming: _Incoming) -> int:
        """CONNECT, CONNACK and the subscription; gives the seconds of the keep-alive."""
        settings = self._settings
        hello = mqtt5.ConnectPacket(
            settings.client_id,
            username=settings.username,
            password=settings.password.encode() if settings.password is not None else None,
            clean_start=False,
            keep_alive=settings.keepalive,
            session_expiry_interval=settings.session_expiry,
            receive_max=settings.window,
            topic_alias_max=_TOPIC_ALIASES,
        )
        connection.sendall(hello.write())
        answer = incoming.connack()
        if answer.reason_code != mqtt5.ConnAckReasonCode.SUCCESS:
            reason = answer.reason_str or answer.reason_code.name
            log.error("the broker refused the connection", broker=str(settings), reason=reason)
            raise _ConnectionEnded(reason)
        log.info("connected to the broker", broker=str(settings), session_resumed=answer.session_present)
        self._events.add("resumed" if answer.session_present else "new")
        if answer.session_present:
            self._inbox.forget_unread()
        connection.setblocking(False)
        with self._subscriptions.lock:
            with self._lock:
                self._outgoing = []
            self._subscriptions.connected()
            if left := self._subscriptions.filters_left():
                self._unsubscribe(left)
            self._ask_for(self._subscriptions.topics)
        # The mark of a broker that takes QoS 0 only would end the connection (section 3.2.2.3.4).
        no_more = answer.max_qos == mqtt5.QoS.AT_MOST_ONCE
        self._mark_qos = mqtt5.QoS.AT_MOST_ONCE if no_more else mqtt5.QoS.AT_LEAST_ONCE
        self._backlog.connected(answer.session_present)
        # 0: the broker wants no pings, but we want to know whether it is there.
        return answer.server_keep_alive or settings.keepalive

    def _converse(self, connection: socket.socket, incoming: _Incoming, keepalive: int) -> None:
        """Read and send until the connection ends. Raises _ConnectionEnded or OSError."""
        ping_after = keepalive / 2 or math.inf
        unsent = memoryview(b"")
        last_sent = time.monotonic()
        unanswered = 0  # pings since anything was read, while we were reading
        poll = select.poll()
        poll.register(self._wakened, select.POLLIN)
        poll.register(connection, select.POLLIN)
        while True:
            closing = self._closing.is_set()  # asked first: the goodbye is among what is sent then
            if not unsent:
                unsent = self._take_outgoing()
            if closing and not unsent:
                raise _ConnectionEnded("closed")
            self._full = incoming.held_back  # said first: `receive` wakes us if it is so
            if self._full and len(self._inbox.messages) < self._inbox.window:
                self._full = incoming.held_back = False
            reading = not self._full
            poll.modify(connection, select.POLLIN * reading | select.POLLOUT * bool(unsent))
            wait = 0.0 if reading and incoming.more else min(60.0, max(0.0, last_sent + ping_after - time.monotonic()))
            events = dict(poll.poll(wait * 1000))
            if self._wakened.fileno() in events:
                self._wakened.recv(4096)
            if not reading and events.get(connection.fileno(), 0) & (select.POLLHUP | select.POLLERR):
                # Reported until it is read, which waits for the pipeline. What has not been read comes again.
                raise _ConnectionEnded("the broker closed the connection")
            if unsent:
                with contextlib.suppress(BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                    unsent = unsent[connection.send(unsent) :]
                    last_sent = time.monotonic()
            if reading and (connection.fileno() in events or incoming.more):
                if incoming.fill():
                    unanswered = 0
                self._take(incoming)
            if time.monotonic() - last_sent >= ping_after:
                if unanswered >= _UNANSWERED_PINGS:
                    raise _ConnectionEnded("the broker no longer answers")
                self._send(_PING)
                last_sent = time.monotonic()
                unanswered += reading

    def _take_outgoing(self) -> memoryview:
        with self._lock:
            if not self._outgoing:
                return memoryview(b"")
            packets, self._outgoing = self._outgoing, []
            return memoryview(b"".join(packets))

    def _take(self, incoming: _Incoming) -> None:
        """Decode what has been read: messages go to the queue while it has room, everything else is acted on."""
        received, inbox = now(), self._inbox
        unnumbered = inbox.number(0, 0)
        numbered = inbox.number(1, 0)  # of QoS 1: we subscribe to no more
        arrived, window = inbox.messages, inbox.window
        append, held = arrived.append, len(arrived)
        backlog, retire = self._backlog, self._settings.retire
        incoming.hold_back = held >= window
        for packet in incoming:
            if type(packet) is not mqtt5.PublishPacket:
                self._handle(packet)
                continue
            topic, packet_id = packet.topic, packet.packet_id
            if packet.topic_alias is not None:
                topic = self._resolve(topic, packet.topic_alias)
            handle = unnumbered if packet_id is None else numbered | packet_id
            delayed = retire
            if backlog.watching:
                if backlog.is_mark(topic, packet.payload):
                    if packet_id is not None:
                        self._send(mqtt5.PubAckPacket(packet_id).write())
                    continue
                delayed = backlog.delayed() or delayed
                if backlog.take_mark():
                    self._publish_mark()
            append(Message(topic, packet.payload, received, handle, packet.duplicate, packet.retain, delayed))
            held += 1  # no less than the queue is long: the pipeline takes from it meanwhile
            if held >= window:
                incoming.hold_back = True
        if arrived:
            inbox.wake()

    def _publish_mark(self) -> None:
        """See Backlog: it comes back behind everything that waits for this session."""
        qos = self._mark_qos
        packet_id = None if qos == mqtt5.QoS.AT_MOST_ONCE else self._next_packet_id()
        self._send(mqtt5.PublishPacket(self._backlog.topic, self._backlog.token, qos=qos, packet_id=packet_id).write())

    def _resolve(self, topic: str, alias: int) -> str:
        """The topic that an alias stands for on this connection (section 3.3.2.3.4); a topic beside it redefines it."""
        if topic:
            self._aliases[alias] = topic
        elif alias not in self._aliases:
            raise _ConnectionEnded(f"the broker uses the topic alias {alias}, which it has not defined")
        return self._aliases[alias]

    def _handle(self, packet: mqtt5.Packet) -> None:
        if isinstance(packet, mqtt5.SubAckPacket):
            # The codec's codes are not integers, whatever its stub says.
            if self._subscriptions.granted([(int(code), code.name) for code in packet.reason_codes]):
                self._backoff.subscribed()
                self._subscribed = True
        elif isinstance(packet, mqtt5.UnsubAckPacket):
            self._flushed.set()
            if self._settings.retire:
                self._backoff.subscribed()
                self._subscribed = True
        elif isinstance(packet, mqtt5.DisconnectPacket):
            taken_over = packet.reason_code == mqtt5.DisconnectReasonCode.SESSION_TAKEN_OVER
            raise _ConnectionEnded(packet.reason_str or packet.reason_code.name, taken_over=taken_over)


class _Incoming:
    """What a connection has sent, as packets: iterating gives those that are there as a whole."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._buffer = bytearray(_BUFFER_BYTES)
        self._start = 0
        self._end = 0
        self.hold_back = False  # messages stay where they are from here on
        self.held_back = False  # the next packet is such a message
        self.more = False
        """Whether there may be packets without news on the socket: held back, or decrypted already."""

    def connack(self) -> mqtt5.ConnAckPacket:
        """The first packet of a connection, read with the socket's timeout. Raises _ConnectionEnded."""
        while True:
            if not self.fill():
                continue
            packet = next(iter(self), None)
            if isinstance(packet, mqtt5.ConnAckPacket):
                return packet
            if packet is not None:
                raise _ConnectionEnded("the broker did not begin with CONNACK")

    def fill(self) -> int:
        """Read once. Gives the number of bytes, 0 where there are none now; raises _ConnectionEnded at their end."""
        if self._start:
            rest = self._end - self._start
            self._buffer[:rest] = self._buffer[self._start : self._end]
            self._start, self._end = 0, rest
        if self._end == len(self._buffer):
            if self._end >= _LONGEST_PACKET:
                raise _ConnectionEnded("the broker sent a packet that is too long")
            self._buffer.extend(bytes(len(self._buffer)))
        try:
            with memoryview(self._buffer) as view:
                received = self._connection.recv_into(view[self._end :])
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return 0
        if not received:
            raise _ConnectionEnded("the broker closed the connection")
        self._end += received
        return received

    def __iter__(self) -> Iterator[mqtt5.Packet]:
        """Packets, until what is left is less than one; raises _ConnectionEnded for what is none."""
        read = mqtt5.read
        self.more = True
        self.held_back = False
        with memoryview(self._buffer) as view:
            while self._start < self._end:
                if self.hold_back and view[self._start] >> 4 == _PUBLISH:
                    self.held_back = True
                    return
                try:
                    packet, length = read(view[self._start : self._end])
                except IndexError:  # the rest of it is still to come
                    break
                except (KeyboardInterrupt, SystemExit):
                    raise
                except BaseException as error:  # noqa: BLE001  # on text that is not UTF-8 the codec panics, and that is no Exception
                    packet, length = _read_publish(bytes(view[self._start : self._end]), error)
                self._start += length
                yield packet
        pending = getattr(self._connection, "pending", None)  # of an SSLSocket: bytes that poll() does not see
        self.more = bool(pending and pending())


def _read_publish(data: bytes, error: BaseException) -> tuple[mqtt5.PublishPacket, int]:
    """A PUBLISH whose texts are not UTF-8, read without its properties; what is not UTF-8 in the topic is escaped.

    Such a message must arrive: it could never be refused, acknowledged or looked at otherwise, and would come again
    with every connection. Section 3.3 of MQTT 5.0. Raises _ConnectionEnded for any other packet.
    """
    if data[0] >> 4 != _PUBLISH:
        raise _ConnectionEnded(f"the broker sent something that is not MQTT 5: {error}")
    remaining, at = _variable_integer(data, 1)
    end = at + remaining
    qos, topic_length = data[0] >> 1 & 3, int.from_bytes(data[at : at + 2], "big")
    topic, at = data[at + 2 : at + 2 + topic_length], at + 2 + topic_length
    packet_id = int.from_bytes(data[at : at + 2], "big") if qos else None
    properties, at = _variable_integer(data, at + (2 if qos else 0))
    packet = mqtt5.PublishPacket(
        topic.decode(errors="backslashreplace"),
        data[at + properties : end],
        qos=mqtt5.QoS(qos),
        retain=bool(data[0] & 1),
        packet_id=packet_id,
        duplicate=bool(data[0] & 8),
    )
    return packet, end


def _variable_integer(data: bytes, at: int) -> tuple[int, int]:
    """A variable byte integer (section 1.5.5), and where what follows it begins."""
    value = 0
    for place in range(4):
        byte = data[at + place]
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return value, at + place + 1
    raise _ConnectionEnded("the broker sent a packet of malformed length")

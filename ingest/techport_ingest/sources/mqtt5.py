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
import random
import select
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence

import mqtt5
import numpy as np
import structlog

from techport_ingest.message import Message
from techport_ingest.sources.backlog import Backlog
from techport_ingest.sources.session_watch import SessionEvent
from techport_ingest.sources.settings import MqttSettings
from techport_storage.clock import now

log = structlog.get_logger(__name__)

_PACKET_ID_BITS = 16
_QOS_BITS = 2
_BUFFER_BYTES = 1 << 18
_LONGEST_PACKET = 1 << 29  # more than MQTT can express: 256 MB and a header (section 1.5.5)
_TOPIC_ALIASES = 1_000  # that the broker may use in place of topics on one connection
_PUBACK = np.dtype([("header", ">u2"), ("packet_id", ">u2")])
_PUBACK_HEADER = 0x4002  # success without properties: two more bytes, the packet number (section 3.4)
_FAILURE = 0x80  # reason codes from here on (section 2.4); the codec's are no integers, whatever its stub says
_PUBLISH = 3  # the type of a packet, in the upper half of its first byte (section 2.1.2)
_PING = mqtt5.PingReqPacket().write()
_UNANSWERED_PINGS = 2  # sent at half the keep-alive each
_CONNECT_TIMEOUT = 10.0  # seconds to a connection, and from CONNECT to CONNACK


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
        self._on_session = on_session
        self._session_events: deque[SessionEvent] = deque()
        self._topics = settings.topics
        self._undescribed: set[str] = set()  # filters whose retained messages this process has still to get
        self._arrived: deque[Message] = deque()
        self._something_arrived = threading.Event()
        self._connection = 0  # counts connections: the generation that a packet number belongs to
        self._lock = threading.Lock()  # over _connection, _outgoing and _packet_id
        self._outgoing: list[bytes] | None = None  # what waits to be sent; None while there is no connection
        self._packet_id = 0
        self._aliases: dict[int, str] = {}
        self._backlog = Backlog(settings.client_id)
        self._subscribed = False
        self._failures = 0
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
        while self._session_events and (self._on_session is None or self._on_session(self._session_events[0])):
            self._session_events.popleft()
        if not self._arrived:
            self._something_arrived.wait(timeout)
        # Cleared before the queue is emptied: a message that comes in between is either seen now or wakes us.
        self._something_arrived.clear()
        window, arrived = self._settings.window, self._arrived
        taken: list[Message] = []
        with contextlib.suppress(IndexError):
            while len(taken) < window:
                taken.append(arrived.popleft())
        if taken and self._full:
            self._full = False
            self._wake()
        return taken

    def ack(self, messages: Sequence[Message]) -> None:
        shift = _PACKET_ID_BITS + _QOS_BITS
        with self._lock:
            current = self._connection
            packet_ids = [
                message.id & 0xFFFF
                for message in messages
                if message.id >> shift == current and message.id >> _PACKET_ID_BITS & 3
            ]
        if packet_ids:
            packets = np.empty(len(packet_ids), _PUBACK)
            packets["header"] = _PUBACK_HEADER
            packets["packet_id"] = packet_ids
            self._send(packets.tobytes(), current)

    def subscribe(self, topics: Sequence[str], described: Collection[str] = ()) -> None:
        before, self._topics = self._topics, tuple(topics)
        self._undescribed |= set(described) - set(before)
        fresh = [topic for topic in topics if topic not in before]
        stale = [topic for topic in before if topic not in topics]
        # Not connected: the next connection asks for all of them. What an earlier run subscribed to and nobody wants
        # any more goes on coming into the persistent session; the pipeline sorts it out.
        if fresh:
            self._ask_for(fresh)
        if stale:
            self._send(mqtt5.UnsubscribePacket(self._next_packet_id(), self._shared(stale)).write())

    @property
    def connected(self) -> bool:
        return self._subscribed

    def close(self) -> None:
        """Leave the broker, which keeps the session. What `ack` was called for is acknowledged by then, if the broker
        answers.
        """
        if self._subscribed:
            self._flushed.clear()
            # Its answer comes when the broker has read all before it.
            if self._send(mqtt5.UnsubscribePacket(self._next_packet_id(), ["techport/nothing"]).write()):
                self._flushed.wait(2)
        goodbye = mqtt5.DisconnectPacket(session_expiry_interval=0 if self._settings.retire else None)
        self._closing.set()
        self._send(goodbye.write())
        self._wake()
        self._thread.join(5)
        self._waker.close()
        self._something_arrived.set()

    # -- sending ---------------------------------------------------------------------------------------------------

    def _send(self, packet: bytes, connection: int | None = None) -> bool:
        """Leave a packet to the thread of the connection; False where there is none, or no longer `connection`."""
        with self._lock:
            if self._outgoing is None or connection not in (None, self._connection):
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

    def _ask_for(self, topics: Sequence[str]) -> None:
        if not topics:
            return
        names = self._shared(topics)
        former = self._settings.former_names(topics)
        if self._settings.retire:
            self._send(mqtt5.UnsubscribePacket(self._next_packet_id(), [*names, *former]).write())
            return
        if former:
            self._send(mqtt5.UnsubscribePacket(self._next_packet_id(), former).write())
        filters = [
            mqtt5.TopicFilter(
                name, max_qos=mqtt5.QoS.AT_LEAST_ONCE, retain_as_published=False, retain_handling=self._retained(topic)
            )
            for name, topic in zip(names, topics, strict=True)
        ]
        self._send(mqtt5.SubscribePacket(self._next_packet_id(), filters).write())

    def _retained(self, topic: str) -> mqtt5.RetainHandling:
        """Retained values are asked for with a new subscription only, not again at every reconnect; descriptions once
        by every process.
        """
        if self._settings.share is not None:
            return mqtt5.RetainHandling.SEND_NEVER
        if topic in self._undescribed:
            self._undescribed.discard(topic)
            return mqtt5.RetainHandling.SEND_ALWAYS
        return mqtt5.RetainHandling.SEND_IF_SUBSCRIPTION_NOT_EXISTS

    def _shared(self, topics: Sequence[str]) -> list[str]:
        """The filters, divided among the workers of the group where there is one."""
        prefix = f"$share/{self._settings.share}/" if self._settings.share else ""
        return [prefix + topic for topic in topics]

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
            self._closing.wait(self._pause())
        self._wakened.close()
        self._something_arrived.set()

    def _connection_ended(self, why: str, *, taken_over: bool = False) -> None:
        with self._lock:
            self._connection += 1
            was_connected, self._outgoing = self._outgoing is not None, None
        self._backlog.lost()
        if taken_over:
            self._session_events.append("taken-over")
        if self._closing.is_set():
            return
        if was_connected:
            log.warning("lost the broker", broker=str(self._settings), reason=why)
        elif self._failures == 0:
            log.warning("cannot reach the broker; trying on", broker=str(self._settings), reason=why)
        if not self._subscribed:
            self._failures += 1
        self._subscribed = False

    def _pause(self) -> float:
        """Exponential back-off with jitter, so that a hundred clients do not come back in the same instant."""
        return random.uniform(0.1, min(self._settings.longest_wait, 0.5 * 2 ** min(self._failures, 16)))

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
        self._session_events.append("resumed" if answer.session_present else "new")
        if answer.session_present:
            self._forget_unread()
        connection.setblocking(False)
        with self._lock:
            self._outgoing = []
        self._ask_for(self._topics)
        self._backlog.connected(answer.session_present)
        return settings.keepalive if answer.server_keep_alive is None else answer.server_keep_alive

    def _forget_unread(self) -> None:
        """Drop what nobody has received yet: it comes again, and would otherwise be held twice, once a connection.

        Not when the broker has lost the session: then what we hold is all that is left of it.
        """
        for _ in range(len(self._arrived)):
            try:
                message = self._arrived.popleft()
            except IndexError:  # the pipeline took the last ones meanwhile
                return
            if not message.id >> _PACKET_ID_BITS & 3:
                self._arrived.append(message)  # of QoS 0, which does not come again

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
            if not unsent:
                unsent = self._take_outgoing()
            if self._closing.is_set() and not unsent:
                raise _ConnectionEnded("closed")
            self._full = incoming.held_back  # said first: `receive` wakes us if it is so
            if self._full and len(self._arrived) < self._settings.window:
                self._full = incoming.held_back = False
            reading = not self._full
            poll.modify(connection, select.POLLIN * reading | select.POLLOUT * bool(unsent))
            wait = 0.0 if reading and incoming.more else min(60.0, max(0.0, last_sent + ping_after - time.monotonic()))
            events = dict(poll.poll(wait * 1000))
            if self._wakened.fileno() in events:
                self._wakened.recv(4096)
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
        received, window = now(), self._settings.window
        unnumbered = self._connection << (_QOS_BITS + _PACKET_ID_BITS)  # of QoS 0
        numbered = unnumbered | 1 << _PACKET_ID_BITS  # of QoS 1: we subscribe to no more
        arrived = self._arrived
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
            self._something_arrived.set()

    def _publish_mark(self) -> None:
        """See Backlog: it comes back behind everything that waits for this session."""
        topic, token, packet_id = self._backlog.topic, self._backlog.token, self._next_packet_id()
        self._send(mqtt5.PublishPacket(topic, token, qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=packet_id).write())

    def _resolve(self, topic: str, alias: int) -> str:
        """The topic that an alias stands for on this connection (section 3.3.2.3.4); a topic beside it redefines it."""
        if topic:
            self._aliases[alias] = topic
        elif alias not in self._aliases:
            raise _ConnectionEnded(f"the broker uses the topic alias {alias}, which it has not defined")
        return self._aliases[alias]

    def _handle(self, packet: mqtt5.Packet) -> None:
        if isinstance(packet, mqtt5.SubAckPacket):
            refused = [code.name for code in packet.reason_codes if int(code) >= _FAILURE]
            if refused:
                log.error("the broker refused the subscription", topics=self._topics, reasons=refused)
                return
            self._failures = 0
            self._subscribed = True
        elif isinstance(packet, mqtt5.UnsubAckPacket):
            self._flushed.set()
            if self._settings.retire:
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

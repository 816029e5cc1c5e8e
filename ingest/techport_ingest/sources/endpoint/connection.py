"""One client's connection: from bytes to what the server does with them, and back.

    CONNECT ──► hello ──► the server admits ──► opened() ──► PUBLISH, SUBSCRIBE, PINGREQ ...

What a client may have us hold is bounded: a packet by `longest_packet`, and where it is no PUBLISH by MOST_CONTROL;
what it has published and the pipeline has not kept by `Server.has_room`, beyond which nothing more is read from it;
what it does not read by SLOW_READER bytes, beyond which nothing is read from it either, and by STUCK seconds.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Literal, cast

import structlog

from techport_ingest.source import Answer
from techport_ingest.sources.backlog import ClientBacklog
from techport_ingest.sources.endpoint import packets
from techport_ingest.sources.endpoint.delivery import Receivers, Session, well_formed_topic
from techport_ingest.sources.endpoint.packets import (
    ALIAS_INVALID,
    NOT_AUTHORIZED,
    PROTOCOL_ERROR,
    PUBACK,
    PUBCOMP,
    PUBLISH,
    PUBREC,
    PUBREL,
    QUOTA_EXCEEDED,
    TOPIC_INVALID,
    Hello,
    MalformedPacket,
    Mqtt5,
    Mqtt311,
    Published,
    Wire,
)
from techport_ingest.sources.endpoint.window import Share

if TYPE_CHECKING:
    from techport_ingest.sources.endpoint.server import Server

log = structlog.get_logger(__name__)

MOST_CONNECT = 32_768
"""Bytes of a packet from somebody who has not proved who they are."""

MOST_CONTROL = 16_384
"""Bytes of a packet of a device that is no PUBLISH."""

SLOW_READER = 262_144
"""Bytes that wait to be read by the client."""

STUCK = 60.0
"""Seconds in which a client has to read what waits for it."""

CLOSING = 5.0
"""Seconds in which it has to read what it is told at the end."""

_PROGRESS = 1_000  # bytes of a packet that is not whole yet, which show that its sender is there
_MOST_ROUTES = 64
_LONGEST_ROUTE = 1_000  # bytes of a topic that is remembered

State = Literal["greeting", "admitting", "open", "closed"]


class Route:
    """What becomes of messages to a topic of this client. `version` is that of who is subscribed to what."""

    __slots__ = ("may", "own", "receivers", "taken", "topic", "version")

    def __init__(self, topic: str, may: bool, own: bool, taken: bool, receivers: Receivers, version: int) -> None:
        self.topic = topic
        self.may = may  # the client may publish to it
        self.own = own  # it may not, but the topic is below the device's own
        self.taken = taken  # the pipeline gets them
        self.receivers = receivers
        self.version = version


class Connection(asyncio.BufferedProtocol):
    """Used in the event loop only."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.hello: asyncio.Future[Hello] = server.loop.create_future()
        self.state: State = "greeting"
        self.wire: Wire = Mqtt311()
        self.session: Session | None = None
        self.proof: str | None = None  # the hash that its client's password had; None for those that have none
        self.backlog = ClientBacklog(None)  # what its client may have kept while it could not reach us
        self.receive_maximum = 0
        self.longest_packet: int | None = None
        self.keep_alive = 0  # seconds
        self.said_goodbye = False
        self.held = 0  # messages of it that the pipeline has not kept yet
        self.held_bytes = 0
        self.share = Share()  # of the window: its own until a credential says of which pilot it is
        self.last_arrival = server.loop.time()  # of a packet, by the clock of the loop
        self.stuck_since: float | None = None
        self.closed_at: float | None = None
        self._transport: asyncio.Transport | None = None
        self._longest = MOST_CONNECT
        self._most_control = MOST_CONNECT
        self._wants_reasons = True
        self._rest = bytearray()  # what has arrived of packets that are not worked through
        self._blocked = False  # a message waits at its beginning until there is room for it
        self._reading = True
        self._routes: dict[bytes, Route] = {}
        self._aliases: dict[int, bytes] = {}
        self._warned = False

    # -- what the server asks and tells ----------------------------------------------------------------------------

    def opened(self, session: Session, hello: Hello, most_control: int, longest: int) -> None:
        """The client is let in: what it sends counts from now on."""
        self.state = "open"
        self.session = session
        self.receive_maximum = hello.receive_maximum
        self.longest_packet = hello.longest_packet
        self._wants_reasons = hello.wants_reasons
        self._most_control = most_control
        self._longest = longest
        self.last_arrival = self._server.loop.time()

    def proceed(self) -> None:
        """Go on with what has arrived, where something stopped it."""
        if self.state != "open":
            return
        self._blocked = False
        self.last_arrival = self._server.loop.time()
        self._work_through_rest()
        self._set_reading()
        self._server.inbox.wake()

    def send(self, data: bytes) -> None:
        if data and self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    @property
    def has_room(self) -> bool:
        """Whether the client reads what it is sent."""
        return self.stuck_since is None and self._transport is not None

    def acknowledge(self, packet_id: int, qos: int, answer: Answer | None) -> bytes:
        """What is said to a message that is kept."""
        kind = PUBACK if qos == 1 else PUBREC
        if answer is None or not self.wire.five:
            return packets.acknowledgement(kind, packet_id)
        try:
            return self.wire.puback(kind, packet_id, answer.code, answer.text if self._wants_reasons else "")
        except ValueError:  # half a surrogate pair; others wait for their acknowledgements behind this one
            log.exception("a reason cannot be written", reason=answer.text)
            return self.wire.puback(kind, packet_id, answer.code)

    def refuse(self, code: int, reason: str) -> None:
        """Say why, as far as the protocol has words for it, and close the connection."""
        if self.state == "admitting" and code == packets.SHUTTING_DOWN:
            code = packets.SERVER_UNAVAILABLE  # a CONNACK has no word for the other
        if self.state == "open":
            self.send(self.wire.goodbye(code, reason))
        elif self.state == "admitting" or code == packets.UNSUPPORTED_VERSION:
            self.send(self.wire.connack(code, reason=reason))
        self.close()

    def close(self) -> None:
        """Close the connection once what was sent has left."""
        self.state = "closed"
        if not self.hello.done():
            self.hello.cancel()
        if self.closed_at is None:
            self.closed_at = self._server.loop.time()
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close it at once."""
        self.close()
        if self._transport is not None:
            self._transport.abort()

    # -- asyncio ---------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast("asyncio.Transport", transport)  # uvloop's have another base class
        transport.set_write_buffer_limits(high=SLOW_READER)
        self._server.connections.add(self)
        if self.state == "closed":
            transport.abort()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._server.buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self.state == "closed":
            return
        arrived = self._server.buffer[:nbytes]
        if self._rest or self.state == "admitting" or self._blocked:
            self._server.partial += nbytes
            self._rest += arrived
            if not self._blocked:
                self._work_through_rest()
        else:
            worked = self._work(arrived, nbytes)
            if worked < nbytes and not self._ended():
                self._rest = bytearray(arrived[worked:])
                self._server.partial += nbytes - worked
        if nbytes >= _PROGRESS:
            self.last_arrival = self._server.loop.time()  # a long packet on its way
        if len(self._rest) > self._server.room_for_one and not self._blocked and self._server.is_crowded:
            self.refuse(QUOTA_EXCEEDED, "too many long packets are on their way at once")
        self._server.inbox.wake()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.state = "closed"
        self.hello.cancel()
        self._transport = None
        self._server.partial -= len(self._rest)
        self._rest = bytearray()
        self._server.lost(self)

    def pause_writing(self) -> None:
        self.stuck_since = self._server.loop.time()
        self._set_reading()

    def resume_writing(self) -> None:
        self.stuck_since = None
        self.last_arrival = self._server.loop.time()
        self._set_reading()
        if self.session is not None and self.session.link is self:
            self.session.send_waiting()

    def _set_reading(self) -> None:
        reading = not self._blocked and self.stuck_since is None and self.state in ("greeting", "open")
        if self._transport is None or reading == self._reading or self._transport.is_closing():
            return
        self._reading = reading
        if reading:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    @property
    def is_read(self) -> bool:
        """Whether we read what the client sends: only then is its silence its own."""
        return self._reading

    # -- packets ---------------------------------------------------------------------------------------------------

    def _work_through_rest(self) -> None:
        with memoryview(self._rest) as view:
            worked = self._work(view, len(view))
        if self._ended():
            worked = len(self._rest)
        del self._rest[:worked]
        self._server.partial -= worked

    def _ended(self) -> bool:
        return self.state == "closed"

    def _work(self, data: memoryview, end: int) -> int:
        """Handle the packets that have arrived as a whole; how many bytes they were. Stops where one has to wait."""
        at = 0
        try:
            if self.state == "greeting" and end and data[0] != packets.CONNECT << 4:
                # At once: TLS, HTTP or a proxy's header may never become as long as its second byte says.
                raise MalformedPacket("a connection begins with CONNECT", PROTOCOL_ERROR)
            while self.state in ("greeting", "open"):
                header = packets.frame(data, at, end, self._longest)
                if header is None:
                    break
                body, stop = header
                if data[at] >> 4 == PUBLISH and self.state == "open":
                    if not self._publish(packets.read_publish(data, at, body, stop, self.wire.five)):
                        self._blocked = True
                        self._server.block(self)
                        self._set_reading()
                        break
                else:
                    self._handle(data[at:stop])
                at = stop
        except MalformedPacket as error:
            self._malformed(error)
        except Exception:  # a bug of ours ends this connection and no other
            log.exception("a client's packet could not be handled; its connection is ended")
            self.abort()
        if at:
            self.last_arrival = self._server.loop.time()
        return at

    def _malformed(self, error: MalformedPacket) -> None:
        log.debug("a client's connection is ended", reason=str(error), user=self.session and self.session.key[0])
        self.refuse(error.code, str(error))

    def _handle(self, data: memoryview) -> None:
        kind = data[0] >> 4
        if self.state == "greeting":
            self._connect(data)
        elif len(data) > self._most_control:
            raise MalformedPacket(f"this packet has at most {self._most_control} bytes here", packets.PACKET_TOO_LARGE)
        elif kind == packets.PINGREQ:
            if bytes(data) != bytes((packets.PINGREQ << 4, 0)):
                raise MalformedPacket("PINGREQ with a content")
            self.send(packets.PONG)
        elif kind == packets.SUBSCRIBE:
            self._subscribe(data)
        elif kind == packets.UNSUBSCRIBE:
            packet_id, filters = self.wire.unsubscribe(data)
            self.send(self.wire.unsuback(packet_id, self._server.unsubscribe(self, filters)))
        elif kind == PUBACK:
            if self.session is not None:
                self.session.confirmed(self.wire.acknowledged(data))
        elif kind == PUBREL:
            self.send(packets.acknowledgement(PUBCOMP, self.wire.acknowledged(data)))
        elif kind == packets.DISCONNECT:
            self._disconnect(data)
        else:  # a second CONNECT, what only servers send, AUTH, and answers to QoS 2, which we do not send
            raise MalformedPacket("a packet that cannot come here", PROTOCOL_ERROR)

    def _connect(self, data: memoryview) -> None:
        if packets.version_of(data) == 5:
            self.wire = Mqtt5()
        hello = self.wire.connect(data)
        if isinstance(self.wire, Mqtt5):
            self.wire.longest_packet = hello.longest_packet
        self.state = "admitting"
        self._set_reading()
        self.hello.set_result(hello)

    def _subscribe(self, data: memoryview) -> None:
        packet_id, wanted = self.wire.subscribe(data)
        codes, retained = self._server.subscribe(self, wanted)
        self.send(self.wire.suback(packet_id, codes))
        if self.session is not None:
            for message in retained:
                self.session.deliver(message)

    def _disconnect(self, data: memoryview) -> None:
        with_will, expiry = self.wire.disconnect(data)
        self.said_goodbye = True
        if self.session is not None:
            if not with_will:
                self.session.will = None
            if expiry is not None:
                if expiry and not self.session.expiry:
                    raise MalformedPacket("a session without an expiry interval gets none at the end", PROTOCOL_ERROR)
                self.session.expire_after(expiry)
        self.close()

    # -- PUBLISH ---------------------------------------------------------------------------------------------------

    def _publish(self, packet: Published) -> bool:
        """False where there is no room for the message now."""
        topic = packet.topic if packet.alias is None else self._resolve(packet.topic, packet.alias)
        route = self._routes.get(topic)
        if route is None or route.version != self._server.exchange.version:
            route = self._route(topic)
        if not route.may:
            self._forbid(route, packet)
            return True
        if route.taken and not self._server.has_room(self):
            return False
        self._server.publish(self, route, packet)
        return True

    def _resolve(self, topic: bytes, alias: int) -> bytes:
        """The topic that an alias stands for on this connection (section 3.3.2.3.4)."""
        if topic:
            self._aliases[alias] = topic
        elif alias not in self._aliases:
            raise MalformedPacket(f"the topic alias {alias} was not defined", ALIAS_INVALID)
        return self._aliases[alias]

    def _route(self, data: bytes) -> Route:
        topic = packets.text_of(data)
        if not well_formed_topic(topic):
            raise MalformedPacket("nobody may publish to such a topic", TOPIC_INVALID)
        assert self.session is not None
        route = self._server.route(self.session.access, topic)
        if len(data) <= _LONGEST_ROUTE:
            if len(self._routes) >= _MOST_ROUTES:
                self._routes.clear()
            self._routes[data] = route
        return route

    def _forbid(self, route: Route, packet: Published) -> None:
        """The topic is not this client's. MQTT 3.1.1 has no other way to say so than to hang up."""
        if not self._warned:
            self._warned = True
            log.warning("a client published to a topic that is not its own", topic=route.topic[:200])
        if self.wire.five and packet.qos:
            answer = Answer(NOT_AUTHORIZED, self._server.own_topics(self))
            self.send(self.acknowledge(packet.packet_id, packet.qos, answer))
        elif not (self.wire.five or (route.own and not packet.qos)):
            self.close()

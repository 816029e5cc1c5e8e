"""Packets of MQTT as a server reads and writes them, without I/O: MQTT 5 with the codec `mqtt5`, MQTT 3.1.1 here.

    frame()            where the first packet of what has arrived ends
    read_publish()     PUBLISH of both versions: what comes by the thousand
    Mqtt311, Mqtt5     the other packets, each class for the connections of its version

Whatever the bytes are, reading raises MalformedPacket or gives a packet. The codec of MQTT 5 prints a trace to standard
error for a text that is not UTF-8, so texts are looked at before it sees them. Numbers of sections are those of the
specifications: MQTT 5.0 (2019) and MQTT 3.1.1 (2014).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import mqtt5
import msgspec

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = 1, 2, 3, 4, 5, 6, 7
SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT, AUTH = 8, 9, 10, 11, 12, 13, 14, 15

SUCCESS = 0x00
UNSPECIFIED = 0x80
MALFORMED = 0x81
PROTOCOL_ERROR = 0x82
UNSUPPORTED_VERSION = 0x84
CLIENT_ID_NOT_VALID = 0x85
NOT_AUTHORIZED = 0x87
SERVER_UNAVAILABLE = 0x88
SERVER_BUSY = 0x89
SHUTTING_DOWN = 0x8B
BAD_AUTHENTICATION_METHOD = 0x8C
KEEP_ALIVE_TIMEOUT = 0x8D
TAKEN_OVER = 0x8E
FILTER_INVALID = 0x8F
TOPIC_INVALID = 0x90
ALIAS_INVALID = 0x94
PACKET_TOO_LARGE = 0x95
QUOTA_EXCEEDED = 0x97
PAYLOAD_INVALID = 0x99
NO_SUBSCRIPTION_IDS = 0xA1
"""Reason codes (MQTT 5.0, section 2.4)."""

TOPIC_ALIASES = 32
"""Topics that a client may name by numbers on one connection."""

_RETURN_CODES = {SUCCESS: 0, UNSUPPORTED_VERSION: 1, CLIENT_ID_NOT_VALID: 2, SERVER_UNAVAILABLE: 3, SERVER_BUSY: 3}
_NOT_AUTHORIZED_311 = 5
"""CONNACK of MQTT 3.1.1 has five ways to say no (section 3.2.2.3)."""

_NO_RECEIVE_MAXIMUM = 65_535


class MalformedPacket(ValueError):
    """What came is not MQTT, or more than is allowed; with the reason code to say so."""

    def __init__(self, text: str, code: int = MALFORMED) -> None:
        super().__init__(text)
        self.code = code


class Will(NamedTuple):
    """What a client wants to be published when its connection is lost."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    delay: int = 0  # seconds


class Hello(msgspec.Struct, frozen=True, kw_only=True):
    """CONNECT."""

    client_id: str
    clean: bool
    keep_alive: int  # seconds; 0: none
    username: str | None
    password: str | None
    will: Will | None
    session_expiry: int  # seconds that the session outlives the connection
    receive_maximum: int = _NO_RECEIVE_MAXIMUM  # QoS 1 messages that the client takes without having acknowledged them
    longest_packet: int | None = None  # that the client takes
    wants_reasons: bool = True
    unsupported_authentication: bool = False


class Published(NamedTuple):
    """PUBLISH."""

    topic: bytes
    payload: bytes
    qos: int
    retain: bool
    duplicate: bool
    packet_id: int
    alias: int | None


class Wanted(NamedTuple):
    """One topic filter of a SUBSCRIBE."""

    topic_filter: str
    qos: int
    no_local: bool = False
    keep_retain: bool = False  # the retain flag is given on as it was published
    retained: int = 0  # retained messages: 0 are sent, 1 with a new subscription only, 2 never


class Frame(NamedTuple):
    """Where a packet's body begins and ends."""

    body: int
    end: int


def frame(data: memoryview, at: int, end: int, longest: int) -> Frame | None:
    """The packet that begins at `at`; None where the rest of it has still to come. Raises MalformedPacket for one of
    more than `longest` bytes as soon as it says so.
    """
    if end - at < 2:
        return None
    length = data[at + 1]
    body = at + 2
    if length > 0x7F:
        length &= 0x7F
        shift = 7
        while True:
            if body == end:
                return None
            byte = data[body]
            body += 1
            length |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
            if shift > 21:
                raise MalformedPacket("a packet's length has at most four bytes")
    if body + length - at > longest:
        raise MalformedPacket(f"a packet has at most {longest} bytes here", PACKET_TOO_LARGE)
    return Frame(body, body + length) if body + length <= end else None


def read_publish(data: memoryview, start: int, body: int, end: int, five: bool) -> Published:
    """A PUBLISH (section 3.3 of both): its first byte stands at `start`. Raises MalformedPacket."""
    flags = data[start]
    qos = flags >> 1 & 3
    if end - body < 2:
        raise MalformedPacket("a PUBLISH without a topic")
    at = body + 2 + (data[body] << 8 | data[body + 1])
    packet_id = 0
    if qos:
        if qos == 3:
            raise MalformedPacket("a quality of service of 3")
        if at + 2 > end:
            raise MalformedPacket("a PUBLISH that ends within its topic or packet identifier")
        packet_id = data[at] << 8 | data[at + 1]
        at += 2
        if not packet_id:
            raise MalformedPacket("a packet identifier of 0", PROTOCOL_ERROR)
    elif at > end:
        raise MalformedPacket("a PUBLISH that ends within its topic")
    topic = bytes(data[body + 2 : body + 2 + (data[body] << 8 | data[body + 1])])
    alias = None
    if five:
        if at >= end:
            raise MalformedPacket("a PUBLISH without the length of its properties")
        if data[at]:
            alias, at = _publish_properties(data, start, body, end)
        else:
            at += 1
    return Published(topic, bytes(data[at:end]), qos, bool(flags & 1), bool(flags & 8), packet_id, alias)


def _publish_properties(data: memoryview, start: int, body: int, end: int) -> tuple[int | None, int]:
    """The topic alias, and where the payload begins."""
    fields = _Fields(data, body, end)
    fields.text()
    if data[start] >> 1 & 3:
        fields.number(2)
    fields.properties()
    packet = _read(data[start:end])
    if not isinstance(packet, mqtt5.PublishPacket):
        raise MalformedPacket("a PUBLISH that is none")
    if packet.topic_alias is not None and not 0 < packet.topic_alias <= TOPIC_ALIASES:
        raise MalformedPacket(f"topic aliases are 1 to {TOPIC_ALIASES} here", ALIAS_INVALID)
    if packet.subscription_ids:
        raise MalformedPacket("a client's PUBLISH has no subscription identifier", PROTOCOL_ERROR)
    return packet.topic_alias, fields.at


def version_of(data: memoryview) -> int:
    """The protocol level of a whole CONNECT: 4 is MQTT 3.1.1, 5 is MQTT 5. Raises MalformedPacket for other packets."""
    if data[0] != CONNECT << 4:
        raise MalformedPacket("a connection begins with CONNECT", PROTOCOL_ERROR)
    header = frame(data, 0, len(data), len(data))
    if header is None:
        raise MalformedPacket("a packet that ends too early")
    fields = _Fields(data, *header)
    name = fields.text()
    level = fields.number(1)
    if (name, level) in (("MQTT", 4), ("MQTT", 5)):
        return level
    if name in ("MQTT", "MQIsdp"):
        raise MalformedPacket("MQTT 5 and 3.1.1 are spoken here", UNSUPPORTED_VERSION)
    raise MalformedPacket("another protocol than MQTT", PROTOCOL_ERROR)


class Wire(Protocol):
    """How one version of the protocol writes what a server reads and says. Reading raises MalformedPacket.

    `data` is a whole packet with its header.
    """

    five: bool

    def connect(self, data: memoryview) -> Hello: ...

    def subscribe(self, data: memoryview) -> tuple[int, list[Wanted]]:
        """Packet identifier and filters."""

    def unsubscribe(self, data: memoryview) -> tuple[int, list[str]]:
        """Packet identifier and filters."""

    def acknowledged(self, data: memoryview) -> int:
        """The packet identifier of a PUBACK, PUBREC, PUBREL or PUBCOMP."""

    def disconnect(self, data: memoryview) -> tuple[bool, int | None]:
        """Whether the will is to be published all the same, and the session's new expiry, where there is one."""

    def connack(self, code: int, present: bool = False, more: Granted | None = None, reason: str = "") -> bytes: ...

    def suback(self, packet_id: int, codes: Sequence[int]) -> bytes: ...

    def unsuback(self, packet_id: int, codes: Sequence[int]) -> bytes: ...

    def publish(self, message: Outgoing, packet_id: int, duplicate: bool = False) -> bytes: ...

    def puback(self, kind: int, packet_id: int, code: int = SUCCESS, reason: str = "") -> bytes: ...

    def goodbye(self, code: int, reason: str = "") -> bytes:
        """What is said before the connection is closed; nothing in MQTT 3.1.1."""


class Granted(NamedTuple):
    """What CONNACK tells of this server (MQTT 5.0, section 3.2.2.3)."""

    receive_maximum: int
    longest_packet: int
    session_expiry: int | None = None  # seconds, where they are not those that the client asked for
    assigned_client_id: str | None = None
    keep_alive: int | None = None  # seconds, where it is not the client's


class Outgoing(NamedTuple):
    """A message on its way to a subscriber."""

    topic: str
    payload: bytes
    qos: int
    retain: bool


def acknowledgement(kind: int, packet_id: int) -> bytes:
    """PUBACK, PUBREC, PUBREL or PUBCOMP that says nothing but yes: the same in both versions."""
    return bytes((kind << 4 | (kind == PUBREL) << 1, 2, packet_id >> 8, packet_id & 0xFF))


PONG = bytes((PINGRESP << 4, 0))


class Mqtt311:
    """MQTT 3.1.1."""

    five = False

    def connect(self, data: memoryview) -> Hello:
        fields = _Fields.of(data, CONNECT)
        fields.text()
        fields.number(1)
        flags = fields.number(1)
        if flags & 1 or flags >> 3 & 3 == 3 or (not flags & 4 and flags & 0x38) or flags & 0xC0 == 0x40:
            raise MalformedPacket("CONNECT with flags that cannot be")
        keep_alive = fields.number(2)
        client_id = fields.text()
        will = None
        if flags & 4:
            will = Will(fields.text(), fields.binary(), flags >> 3 & 3, bool(flags & 0x20))
        username = fields.text() if flags & 0x80 else None
        password = fields.binary().decode(errors="replace") if flags & 0x40 else None
        fields.ends()
        return Hello(
            client_id=client_id,
            clean=bool(flags & 2),
            keep_alive=keep_alive,
            username=username,
            password=password,
            will=will,
            session_expiry=0 if flags & 2 else 0xFFFFFFFF,
        )

    def subscribe(self, data: memoryview) -> tuple[int, list[Wanted]]:
        fields = _Fields.of(data, SUBSCRIBE)
        packet_id = fields.packet_id()
        wanted: list[Wanted] = []
        while fields.at < fields.end or not wanted:
            topic_filter, qos = fields.text(), fields.number(1)
            if qos > 2:
                raise MalformedPacket("a quality of service above 2")
            wanted.append(Wanted(topic_filter, qos))
        return packet_id, wanted

    def unsubscribe(self, data: memoryview) -> tuple[int, list[str]]:
        fields = _Fields.of(data, UNSUBSCRIBE)
        packet_id = fields.packet_id()
        filters: list[str] = []
        while fields.at < fields.end or not filters:
            filters.append(fields.text())
        return packet_id, filters

    def acknowledged(self, data: memoryview) -> int:
        fields = _Fields.of(data, data[0] >> 4)
        packet_id = fields.packet_id()
        fields.ends()
        return packet_id

    def disconnect(self, data: memoryview) -> tuple[bool, int | None]:
        _Fields.of(data, DISCONNECT).ends()
        return False, None

    def connack(self, code: int, present: bool = False, more: Granted | None = None, reason: str = "") -> bytes:
        return bytes((CONNACK << 4, 2, present, _RETURN_CODES.get(code, _NOT_AUTHORIZED_311)))

    def suback(self, packet_id: int, codes: Sequence[int]) -> bytes:
        return _packet(SUBACK << 4, packet_id.to_bytes(2, "big") + bytes(min(code, UNSPECIFIED) for code in codes))

    def unsuback(self, packet_id: int, codes: Sequence[int]) -> bytes:
        return _packet(UNSUBACK << 4, packet_id.to_bytes(2, "big"))

    def publish(self, message: Outgoing, packet_id: int, duplicate: bool = False) -> bytes:
        topic = message.topic.encode()
        number = packet_id.to_bytes(2, "big") if message.qos else b""
        first = PUBLISH << 4 | duplicate << 3 | message.qos << 1 | message.retain
        return _packet(first, len(topic).to_bytes(2, "big") + topic + number + message.payload)

    def puback(self, kind: int, packet_id: int, code: int = SUCCESS, reason: str = "") -> bytes:
        return acknowledgement(kind, packet_id)

    def goodbye(self, code: int, reason: str = "") -> bytes:
        return b""


class Mqtt5:
    """MQTT 5, through the codec. Not more of a reason string is written than fits into `longest_packet`."""

    five = True

    def __init__(self, longest_packet: int | None = None) -> None:
        self.longest_packet = longest_packet  # that the client takes

    def connect(self, data: memoryview) -> Hello:
        fields = _Fields.of(data, CONNECT)
        fields.text()
        fields.number(1)
        flags = fields.number(1)
        fields.number(2)
        fields.properties()
        fields.text()
        if flags & 4:
            fields.properties()
            fields.text()
            fields.binary()
        if flags & 0x80:
            fields.text()
        packet = _read(data)
        if not isinstance(packet, mqtt5.ConnectPacket):
            raise MalformedPacket("a CONNECT that is none")
        will = packet.will
        return Hello(
            client_id=packet.client_id,
            clean=packet.clean_start,
            keep_alive=packet.keep_alive,
            username=packet.username,
            password=None if packet.password is None else packet.password.decode(errors="replace"),
            will=None
            if will is None
            else Will(will.topic, will.payload or b"", int(will.qos), will.retain, will.will_delay_interval),
            session_expiry=packet.session_expiry_interval,
            receive_maximum=packet.receive_max or _NO_RECEIVE_MAXIMUM,
            longest_packet=packet.max_packet_size,
            wants_reasons=packet.request_problem_info,
            unsupported_authentication=packet.authentication_method is not None,
        )

    def subscribe(self, data: memoryview) -> tuple[int, list[Wanted]]:
        fields = _Fields.of(data, SUBSCRIBE)
        fields.packet_id()
        fields.properties()
        while fields.at < fields.end:
            fields.text()
            fields.number(1)
        packet = _read(data)
        if not isinstance(packet, mqtt5.SubscribePacket) or not packet.topic_filters:
            raise MalformedPacket("a SUBSCRIBE without a topic filter", PROTOCOL_ERROR)
        if packet.subscription_id is not None:
            raise MalformedPacket("there are no subscription identifiers here", NO_SUBSCRIPTION_IDS)
        return packet.packet_id, [
            Wanted(
                wanted.pattern,
                int(wanted.max_qos),
                wanted.no_local,
                wanted.retain_as_published,
                int(wanted.retain_handling),
            )
            for wanted in packet.topic_filters
        ]

    def unsubscribe(self, data: memoryview) -> tuple[int, list[str]]:
        fields = _Fields.of(data, UNSUBSCRIBE)
        fields.packet_id()
        fields.properties()
        while fields.at < fields.end:
            fields.text()
        packet = _read(data)
        if not isinstance(packet, mqtt5.UnsubscribePacket) or not packet.patterns:
            raise MalformedPacket("an UNSUBSCRIBE without a topic filter", PROTOCOL_ERROR)
        return packet.packet_id, list(packet.patterns)

    def acknowledged(self, data: memoryview) -> int:
        fields = _Fields.of(data, data[0] >> 4)
        packet_id = fields.packet_id()
        if fields.at < fields.end:
            fields.number(1)
        if fields.at < fields.end:
            fields.properties()
        fields.ends()
        return packet_id

    def disconnect(self, data: memoryview) -> tuple[bool, int | None]:
        fields = _Fields.of(data, DISCONNECT)
        if fields.at == fields.end:
            return False, None
        fields.number(1)
        if fields.at < fields.end:
            fields.properties()
        packet = _read(data)
        if not isinstance(packet, mqtt5.DisconnectPacket):
            raise MalformedPacket("a DISCONNECT that is none")
        # All codes but the normal one leave the will in force (section 3.14.4).
        return int(packet.reason_code) != SUCCESS, packet.session_expiry_interval

    def connack(self, code: int, present: bool = False, more: Granted | None = None, reason: str = "") -> bytes:
        if more is None:
            answer = mqtt5.ConnAckPacket(reason_code=mqtt5.ConnAckReasonCode(code), reason_str=reason or None)
        else:
            answer = mqtt5.ConnAckPacket(
                session_present=present,
                reason_code=mqtt5.ConnAckReasonCode(code),
                session_expiry_interval=more.session_expiry,
                assigned_client_id=more.assigned_client_id,
                server_keep_alive=more.keep_alive,
                receive_max=more.receive_maximum,
                topic_alias_max=TOPIC_ALIASES,
                max_packet_size=more.longest_packet,
                subscription_id_available=False,
            )
        return answer.write()

    def suback(self, packet_id: int, codes: Sequence[int]) -> bytes:
        return mqtt5.SubAckPacket(packet_id, [mqtt5.SubAckReasonCode(code) for code in codes]).write()

    def unsuback(self, packet_id: int, codes: Sequence[int]) -> bytes:
        return mqtt5.UnsubAckPacket(packet_id, [mqtt5.UnsubAckReasonCode(code) for code in codes]).write()

    def publish(self, message: Outgoing, packet_id: int, duplicate: bool = False) -> bytes:
        return mqtt5.PublishPacket(
            message.topic,
            message.payload,
            qos=mqtt5.QoS(message.qos),
            retain=message.retain,
            packet_id=packet_id if message.qos else None,
            duplicate=duplicate,
        ).write()

    def puback(self, kind: int, packet_id: int, code: int = SUCCESS, reason: str = "") -> bytes:
        if code == SUCCESS and not reason:
            return acknowledgement(kind, packet_id)

        def written(text: str) -> bytes:
            if kind == PUBREC:
                return mqtt5.PubRecPacket(
                    packet_id, reason_code=mqtt5.PubRecReasonCode(code), reason_str=text or None
                ).write()
            return mqtt5.PubAckPacket(
                packet_id, reason_code=mqtt5.PubAckReasonCode(code), reason_str=text or None
            ).write()

        return self._fitting(reason, written)

    def goodbye(self, code: int, reason: str = "") -> bytes:
        def written(text: str) -> bytes:
            return mqtt5.DisconnectPacket(reason_code=mqtt5.DisconnectReasonCode(code), reason_str=text or None).write()

        return self._fitting(reason, written)

    def _fitting(self, reason: str, written: Callable[[str], bytes]) -> bytes:
        """With the reason where the client takes so long a packet (section 3.4.2.2.2), else without."""
        packet = written(reason)
        return packet if self.longest_packet is None or len(packet) <= self.longest_packet else written("")


def _packet(first: int, body: bytes) -> bytes:
    length, rest = bytearray(), len(body)
    while True:
        length.append(rest & 0x7F | (rest > 0x7F) << 7)
        rest >>= 7
        if not rest:
            return bytes((first,)) + bytes(length) + body


def _read(data: memoryview) -> mqtt5.Packet:
    """One whole packet of MQTT 5, whose texts have been looked at."""
    try:
        packet, length = mqtt5.read(data)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001  # a panic of the codec is no Exception
        raise MalformedPacket(f"not MQTT 5: {error}") from None
    if length != len(data):
        raise MalformedPacket("a packet that ends too early")
    return packet


_BYTES, _TEXT, _BINARY, _NUMBER, _PAIR = range(5)
_PROPERTIES: dict[int, tuple[int, int]] = {
    **dict.fromkeys((0x01, 0x17, 0x19, 0x24, 0x25, 0x28, 0x29, 0x2A), (_BYTES, 1)),
    **dict.fromkeys((0x13, 0x21, 0x22, 0x23), (_BYTES, 2)),
    **dict.fromkeys((0x02, 0x11, 0x18, 0x27), (_BYTES, 4)),
    **dict.fromkeys((0x03, 0x08, 0x12, 0x15, 0x1A, 0x1C, 0x1F), (_TEXT, 0)),
    **dict.fromkeys((0x09, 0x16), (_BINARY, 0)),
    0x0B: (_NUMBER, 0),
    0x26: (_PAIR, 0),
}
"""What kind of value each property has (MQTT 5.0, section 2.2.2.2)."""


_WITH_FLAGS = (PUBREL, SUBSCRIBE, UNSUBSCRIBE)


class _Fields:
    """Reads a packet field by field. Raises MalformedPacket where one goes beyond the packet's end."""

    __slots__ = ("_data", "at", "end")

    def __init__(self, data: memoryview, at: int, end: int) -> None:
        self._data = data
        self.at = at
        self.end = end

    @classmethod
    def of(cls, data: memoryview, kind: int) -> _Fields:
        """The body of a whole packet of this kind, whose header has the flags that it has to have (section 2.1.3)."""
        if data[0] != kind << 4 | (kind in _WITH_FLAGS) << 1:
            raise MalformedPacket("reserved flags of a packet's header are not as they have to be")
        header = frame(data, 0, len(data), len(data))
        if header is None:
            raise MalformedPacket("a packet that ends too early")
        return cls(data, *header)

    def number(self, size: int) -> int:
        return int.from_bytes(self._take(size), "big")

    def packet_id(self) -> int:
        packet_id = self.number(2)
        if not packet_id:
            raise MalformedPacket("a packet identifier of 0", PROTOCOL_ERROR)
        return packet_id

    def binary(self) -> bytes:
        return bytes(self._take(self.number(2)))

    def text(self) -> str:
        return text_of(self.binary())

    def properties(self) -> None:
        """Pass over a set of properties."""
        length = self._variable()
        end, self.end = self.end, self.at + length
        if self.end > end:
            raise MalformedPacket("properties beyond the packet's end")
        while self.at < self.end:
            kind, size = _PROPERTIES.get(self.number(1), (-1, 0))
            if kind == _BYTES:
                self._take(size)
            elif kind == _TEXT:
                self.text()
            elif kind == _BINARY:
                self.binary()
            elif kind == _NUMBER:
                self._variable()
            elif kind == _PAIR:
                self.text()
                self.text()
            else:
                raise MalformedPacket("a property that MQTT 5 does not have")
        self.end = end

    def ends(self) -> None:
        if self.at != self.end:
            raise MalformedPacket("a packet that is too long")

    def _variable(self) -> int:
        value = 0
        for place in range(4):
            byte = self.number(1)
            value |= (byte & 0x7F) << 7 * place
            if byte < 0x80:
                return value
        raise MalformedPacket("a variable byte integer has at most four bytes")

    def _take(self, size: int) -> memoryview:
        start, self.at = self.at, self.at + size
        if self.at > self.end:
            raise MalformedPacket("a field beyond the packet's end")
        return self._data[start : self.at]


def text_of(data: bytes) -> str:
    """A text of MQTT (section 1.5.4): UTF-8 without the character 0. Raises MalformedPacket."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise MalformedPacket("a text that is not UTF-8") from None
    if "\0" in text:
        raise MalformedPacket("a text with the character U+0000")
    return text

"""What goes to whom: sessions of clients, their subscriptions, and retained messages. All of it in memory, and bounded.

Ordinary subscriptions are the exception at an ingest endpoint: a device has its `problems` and the Observations of its
own streams, the platform and clients of this machine may have others. Nothing here is part of the promise that
acknowledged readings are kept.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Protocol

import structlog

from techport_ingest.brokers.auth import EVERYTHING, Access
from techport_ingest.sources.endpoint.packets import (
    FILTER_INVALID,
    NOT_AUTHORIZED,
    QUOTA_EXCEEDED,
    Outgoing,
    Wanted,
    Will,
    Wire,
)
from techport_pilots.topics import topic_matches

log = structlog.get_logger(__name__)

MOST_RETAINED_BYTES = 64_000
"""Of a device's retained message; it may leave one in each of its topics (brokers/auth.py)."""

MOST_RETAINED = 64_000_000
"""Bytes of all retained messages."""

MOST_WAITING = 1_000
"""Messages that wait for one device that is away, or reads slowly."""

MOST_WAITING_OF_PLATFORM = 10_000
"""The same of a client that may receive everything."""

MOST_WAITING_BYTES = 4_000_000
"""Their bytes, of any client."""

MOST_SESSIONS = 8
"""Sessions of one device, under different client ids."""

LONGEST_EXPIRY = 7 * 24 * 3600
"""Seconds that a session outlives its connection, at most."""

MOST_SUBSCRIPTIONS = 1_000
"""Of one device's session."""

_ALL_PACKET_IDS = 65_535

Key = tuple[str, str]
"""User name and client id, so that nobody reaches the session of another user."""


class Link(Protocol):
    """The connection of a session, to send through."""

    wire: Wire
    receive_maximum: int  # QoS 1 messages that the client takes without having acknowledged them
    longest_packet: int | None  # that the client takes

    def send(self, data: bytes) -> None: ...

    @property
    def has_room(self) -> bool:
        """Whether the client reads what it is sent."""


class Session:
    """What is kept of one client: its subscriptions, and the messages on their way to it."""

    def __init__(self, key: Key, access: Access) -> None:
        self.key = key
        self.access = access
        self.link: Link | None = None
        self.subscriptions: dict[str, Wanted] = {}
        self.expiry = 0  # seconds that it outlives its connection
        self.ended: float | None = None  # when its connection ended, of the event loop's clock
        self.will: Will | None = None
        self._waiting: deque[Outgoing] = deque()
        self._waiting_bytes = 0
        self._unconfirmed: dict[int, Outgoing] = {}
        self._packet_id = 0

    @property
    def of_device(self) -> bool:
        return self.access is not EVERYTHING

    def expire_after(self, seconds: int) -> None:
        """Outlive the connection by so long, as far as sessions do here."""
        self.expiry = min(seconds, LONGEST_EXPIRY)

    def deliver(self, message: Outgoing) -> None:
        """Send a message, or let it wait; at QoS 0 it is sent now or not at all."""
        link = self.link
        if not message.qos:
            if link is not None and link.has_room:
                self._send(link, message, 0)
        elif link is not None and not self._waiting and self._may_send(link):
            self._send(link, message, self._next_packet_id())
        else:
            self._wait(message)

    def resumed(self) -> None:
        """Another connection stands: send what the one before did not acknowledge, and what has waited."""
        link = self.link
        if link is not None:
            for packet_id, message in list(self._unconfirmed.items()):
                self._send(link, message, packet_id, duplicate=True)
            self.send_waiting()

    def confirmed(self, packet_id: int) -> None:
        """The client has acknowledged a message."""
        if self._unconfirmed.pop(packet_id, None) is not None and self._waiting:
            self.send_waiting()

    def send_waiting(self) -> None:
        """Send what waits, as far as the client takes it."""
        link = self.link
        while link is not None and self._waiting and self._may_send(link):
            message = self._waiting.popleft()
            self._waiting_bytes -= len(message.payload)
            self._send(link, message, self._next_packet_id())

    def _may_send(self, link: Link) -> bool:
        return link.has_room and len(self._unconfirmed) < min(link.receive_maximum, MOST_WAITING)

    def _send(self, link: Link, message: Outgoing, packet_id: int, duplicate: bool = False) -> None:
        packet = link.wire.publish(message, packet_id, duplicate)
        if link.longest_packet is not None and len(packet) > link.longest_packet:
            self._unconfirmed.pop(packet_id, None)  # as if it had been delivered (MQTT 5.0, section 3.1.2.11.4)
            return
        if packet_id:
            self._unconfirmed[packet_id] = message
        link.send(packet)

    def _wait(self, message: Outgoing) -> None:
        most = MOST_WAITING if self.of_device else MOST_WAITING_OF_PLATFORM
        self._waiting.append(message)
        self._waiting_bytes += len(message.payload)
        while len(self._waiting) > most or (self._waiting_bytes > MOST_WAITING_BYTES and len(self._waiting) > 1):
            self._waiting_bytes -= len(self._waiting.popleft().payload)

    def _next_packet_id(self) -> int:
        while True:
            self._packet_id = self._packet_id % _ALL_PACKET_IDS + 1
            if self._packet_id not in self._unconfirmed:
                return self._packet_id


class SharedGroup:
    """The sessions that divide the messages of one filter among them (MQTT 5.0, section 4.8.2)."""

    def __init__(self) -> None:
        self.members: dict[Session, Wanted] = {}

    def next(self) -> tuple[Session, Wanted] | None:
        """Whose turn it is: of those that are connected, or of all where none is."""
        for session in self.members:
            if session.link is not None:
                break
        else:
            session = next(iter(self.members), None)  # type: ignore[assignment]
        if session is None:
            return None
        wanted = self.members.pop(session)
        self.members[session] = wanted  # behind the others
        return session, wanted


class _Node:
    """A level of the topic filters that are subscribed to."""

    __slots__ = ("children", "groups", "sessions")

    def __init__(self) -> None:
        self.children: dict[str, _Node] = {}
        self.sessions: dict[Session, Wanted] = {}
        self.groups: dict[str, SharedGroup] = {}

    @property
    def empty(self) -> bool:
        return not (self.children or self.sessions or self.groups)


class Receivers:
    """Who gets the messages of one topic."""

    def __init__(self, sessions: dict[Session, Wanted], groups: list[SharedGroup]) -> None:
        self._sessions = sessions
        self._groups = groups

    def __bool__(self) -> bool:
        return bool(self._sessions or self._groups)

    def __iter__(self) -> Iterator[tuple[Session, Wanted]]:
        yield from list(self._sessions.items())
        for group in self._groups:
            turn = group.next()
            if turn is not None:
                yield turn


class Exchange:
    """All sessions, subscriptions and retained messages."""

    def __init__(self) -> None:
        self.version = 0
        """Rises with every change of who gets what: what `receivers` gave before is out of date."""
        self.sessions: dict[Key, Session] = {}
        self._keys: dict[str, set[Key]] = {}  # of the sessions of each user
        self._root = _Node()
        self._retained: dict[str, Outgoing] = {}
        self._retained_bytes = 0

    # -- sessions --------------------------------------------------------------------------------------------------

    def add(self, session: Session) -> None:
        self.sessions[session.key] = session
        self._keys.setdefault(session.key[0], set()).add(session.key)

    def remove(self, session: Session) -> None:
        """Forget a session and its subscriptions."""
        if self.sessions.get(session.key) is not session:
            return
        for topic_filter in list(session.subscriptions):
            self.unsubscribe(session, topic_filter)
        del self.sessions[session.key]
        keys = self._keys[session.key[0]]
        keys.discard(session.key)
        if not keys:
            del self._keys[session.key[0]]

    def sessions_beside(self, key: Key) -> int:
        """How many other sessions the user has."""
        return len(self._keys.get(key[0], set()) - {key})

    # -- subscriptions ---------------------------------------------------------------------------------------------

    def subscribe(self, session: Session, wanted: Wanted) -> tuple[int, list[Outgoing]]:
        """The code for SUBACK, and the retained messages that the new subscription is sent."""
        group, topic_filter = _shared(wanted.topic_filter)
        if not well_formed_filter(topic_filter) or group == "":
            return FILTER_INVALID, []
        if not session.access.may_subscribe(topic_filter) or (group is not None and session.of_device):
            return NOT_AUTHORIZED, []
        is_new = wanted.topic_filter not in session.subscriptions
        if is_new and session.of_device and len(session.subscriptions) >= MOST_SUBSCRIPTIONS:
            return QUOTA_EXCEEDED, []
        granted = wanted._replace(qos=min(wanted.qos, 1))
        node = self._root
        for level in topic_filter.split("/"):
            node = node.children.setdefault(level, _Node())
        if group is None:
            node.sessions[session] = granted
        else:
            node.groups.setdefault(group, SharedGroup()).members[session] = granted
        session.subscriptions[wanted.topic_filter] = granted
        self.version += 1
        if group is not None or wanted.retained == 2 or (wanted.retained == 1 and not is_new):
            return granted.qos, []
        return granted.qos, [
            message._replace(qos=min(message.qos, granted.qos), retain=True)
            for message in self._retained_for(session, topic_filter)
        ]

    def unsubscribe(self, session: Session, topic_filter: str) -> bool:
        """Whether there was such a subscription."""
        if session.subscriptions.pop(topic_filter, None) is None:
            return False
        group, bare = _shared(topic_filter)
        way = [self._root]
        levels = bare.split("/")
        for level in levels:
            way.append(way[-1].children[level])
        node = way[-1]
        if group is None:
            node.sessions.pop(session, None)
        else:
            node.groups[group].members.pop(session, None)
            if not node.groups[group].members:
                del node.groups[group]
        for parent, level in zip(reversed(way[:-1]), reversed(levels), strict=True):
            if not parent.children[level].empty:
                break
            del parent.children[level]
        self.version += 1
        return True

    def receivers(self, topic: str) -> Receivers:
        """Who gets the messages of a topic, while `version` stays what it is."""
        sessions: dict[Session, Wanted] = {}
        groups: list[SharedGroup] = []
        if not self._root.children:
            return Receivers(sessions, groups)
        levels = topic.split("/")
        begun = [(self._root, 0)]
        while begun:
            node, depth = begun.pop()
            ends = [node] if depth == len(levels) else []
            system = depth == 0 and topic.startswith("$")  # a wildcard in front takes no such topic (section 4.7.2)
            if not system and (rest := node.children.get("#")) is not None:
                ends.append(rest)
            for end in ends:
                groups += end.groups.values()
                for session, wanted in end.sessions.items():
                    best = sessions.get(session)
                    if session.access.may_receive(topic) and (best is None or best.qos < wanted.qos):
                        sessions[session] = wanted
            if depth < len(levels):
                for level in (levels[depth],) if system else (levels[depth], "+"):
                    if (child := node.children.get(level)) is not None:
                        begun.append((child, depth + 1))
        return Receivers(sessions, groups)

    # -- retained messages -----------------------------------------------------------------------------------------

    def retain(self, message: Outgoing, of_device: bool) -> None:
        """Keep it, within what one device and all together may have here; an empty one takes it away."""
        before = self._retained.get(message.topic)
        size = 0 if before is None else _size(before)
        if not message.payload:
            if before is not None:
                del self._retained[message.topic]
                self._retained_bytes -= size
            return
        beyond = of_device and len(message.payload) > MOST_RETAINED_BYTES
        if beyond or self._retained_bytes - size + _size(message) > MOST_RETAINED:
            log.warning("too many or too large retained messages: one is not kept", topic=message.topic[:200])
            return
        self._retained[message.topic] = message
        self._retained_bytes += _size(message) - size

    def retained(self, filters: Iterable[str]) -> list[Outgoing]:
        """The retained messages of the filters, each once."""
        return list({message.topic: message for one in filters for message in self._retained_by(one)}.values())

    def _retained_for(self, session: Session, topic_filter: str) -> list[Outgoing]:
        """What a new subscription is sent. A device may receive few topics, each named in whole."""
        if not session.of_device:
            return self._retained_by(topic_filter)
        own = [self._retained[topic] for topic in session.access.receive if topic in self._retained]
        return [message for message in own if topic_matches(topic_filter, message.topic)]

    def _retained_by(self, topic_filter: str) -> list[Outgoing]:
        if "+" not in topic_filter and "#" not in topic_filter:
            message = self._retained.get(topic_filter)
            return [] if message is None else [message]
        beginning = topic_filter[: min(topic_filter.find(sign) % (len(topic_filter) + 1) for sign in "+#")]
        return [
            message
            for topic, message in self._retained.items()
            if topic.startswith(beginning.rstrip("/")) and topic_matches(topic_filter, topic)
        ]


def well_formed_topic(topic: str) -> bool:
    """Whether a client may publish to such a topic (section 4.7.1): no wildcards, and none of the broker's own."""
    return bool(topic) and not topic.startswith("$") and "+" not in topic and "#" not in topic


def well_formed_filter(topic_filter: str) -> bool:
    levels = topic_filter.split("/")
    return (
        bool(topic_filter)
        and "#" not in "".join(levels[:-1])
        and all(level == "#" or "#" not in level for level in levels[-1:])
        and all(level == "+" or "+" not in level for level in levels)
    )


def _shared(topic_filter: str) -> tuple[str | None, str]:
    """The group of `$share/<group>/<filter>` and its filter; the group "" where it is not well-formed."""
    if not topic_filter.startswith("$share/"):
        return None, topic_filter
    _, group, *rest = topic_filter.split("/", 2)
    return ("", topic_filter) if not rest or set(group) & set("+#") else (group, rest[0])


def _size(message: Outgoing) -> int:
    return len(message.topic) + len(message.payload) + 200

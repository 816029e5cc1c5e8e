"""What the sources of both versions of MQTT share: the messages that wait for the pipeline, what the session is
subscribed to, and when to connect again.

A PUBACK names a packet by a 16-bit number that belongs to one connection. After a reconnect the same number may mean
another message, so the number of a message holds its connection too, and a message is never acknowledged on a later
one: it comes again anyway.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence

import structlog

from techport_ingest.message import Message
from techport_ingest.sources.session_watch import SessionEvent
from techport_ingest.sources.settings import MqttSettings

log = structlog.get_logger(__name__)

PACKET_ID_BITS = 16
QOS_BITS = 2
_CONNECTION_SHIFT = PACKET_ID_BITS + QOS_BITS

FAILURE = 0x80
"""Reason codes from here on say that something failed (MQTT 5.0, section 2.4; MQTT 3.1.1, section 3.9.3)."""

LASTING = 5.0
"""Seconds that a subscription has to stand for the next attempt to count as the first."""

SEND_ALWAYS, SEND_IF_NEW, SEND_NEVER = 0, 1, 2
"""What becomes of retained messages at a subscription (MQTT 5.0, section 3.8.3.1)."""


class Inbox:
    """Messages that have arrived and that the pipeline has not taken yet.

    `messages` is added to by the connection's thread, which calls `wake` then, and taken from by the pipeline's.
    """

    def __init__(self, window: int) -> None:
        self.window = window
        self.messages: deque[Message] = deque()
        self.connection = 0  # counts connections
        self._something_arrived = threading.Event()

    def number(self, qos: int, packet_id: int) -> int:
        """The number of a message on the current connection; of QoS 0 with the packet number 0."""
        return (self.connection << QOS_BITS | qos) << PACKET_ID_BITS | packet_id

    def wake(self) -> None:
        """Tell the pipeline that there is something to take."""
        if not self._something_arrived.is_set():
            self._something_arrived.set()

    def take(self, timeout: float) -> list[Message]:
        """A window's worth of messages at most; waits `timeout` seconds for the first."""
        messages = self.messages
        if not messages:
            self._something_arrived.wait(timeout)
        # Cleared before the queue is emptied: a message that comes in between is either seen now or wakes us.
        self._something_arrived.clear()
        taken: list[Message] = []
        take = messages.popleft
        try:
            while len(taken) < self.window:
                taken.append(take())
        except IndexError:
            pass
        return taken

    def packet_ids(self, messages: Sequence[Message]) -> list[int]:
        """The packet numbers of those messages of QoS 1 that came over the current connection."""
        current = self.connection
        return [
            message.id & 0xFFFF
            for message in messages
            if message.id >> _CONNECTION_SHIFT == current and message.id >> PACKET_ID_BITS & 3
        ]

    def forget_unread(self) -> None:
        """Drop what nobody has taken yet: it comes again, and would otherwise be held twice, once a connection.

        Not when the broker has lost the session: then what we hold is all that is left of it.
        """
        for _ in range(len(self.messages)):
            try:
                message = self.messages.popleft()
            except IndexError:  # the pipeline took the last ones meanwhile
                return
            if not message.id >> PACKET_ID_BITS & 3:
                self.messages.append(message)  # of QoS 0, which does not come again


class Subscriptions:
    """The topic filters that a session is to have, and those that it has to leave.

    `lock` is held by who changes them or asks the broker for them, so that both happen in the same order.
    """

    def __init__(self, settings: MqttSettings) -> None:
        self.lock = threading.Lock()
        self._settings = settings
        self.topics = settings.topics
        self._left: dict[str, None] = {}  # of this process: asked to be left with every connection
        self._undescribed: set[str] = set()  # filters whose retained messages this process has still to get
        self._asked: set[str] = set()  # those of them that this connection has asked for

    def change(self, topics: Sequence[str], described: Collection[str]) -> tuple[list[str], list[str]]:
        """Have these from now on (Source.subscribe); the topics that are new, and those that are not wanted any more.

        What an earlier run subscribed to and nobody wants any more goes on coming into the persistent session; the
        pipeline sorts it out.
        """
        before, self.topics = self.topics, tuple(topics)
        self._undescribed |= set(described) - set(before)
        stale = [topic for topic in before if topic not in topics]
        self._left = {topic: None for topic in (*self._left, *stale) if topic not in topics}
        return [topic for topic in topics if topic not in before], stale

    def connected(self) -> None:
        """A new connection stands, which has asked for nothing yet."""
        self._asked.clear()

    def filters(self, topics: Sequence[str]) -> list[str]:
        """The filters, divided among the workers of the group where there is one."""
        prefix = f"$share/{self._settings.share}/" if self._settings.share else ""
        return [prefix + topic for topic in topics]

    def former_filters(self, topics: Sequence[str]) -> list[str]:
        """What the topics were subscribed to as in an earlier version, to be left."""
        group = self._settings.former_share
        return [f"$share/{group}/{topic}" for topic in topics] if group else []

    def filters_left(self) -> list[str]:
        """What the session may still have, because it was away when it was to leave them."""
        return self.filters(list(self._left))

    def retain_handling(self, topic: str) -> int:
        """Retained values are asked for with a new subscription only, not again at every reconnect; descriptions once
        by every process.
        """
        if self._settings.share is not None:
            return SEND_NEVER
        if topic in self._undescribed:
            self._asked.add(topic)
            return SEND_ALWAYS
        return SEND_IF_NEW

    def granted(self, reasons: Sequence[tuple[int, str]]) -> bool:
        """Whether the broker's answer to a subscription, codes and what they mean, grants all of it."""
        refused = [meaning for code, meaning in reasons if code >= FAILURE]
        if refused:
            log.error("the broker refused the subscription", topics=self.topics, reasons=refused)
            return False
        if any(code == 0 for code, _ in reasons):
            log.warning(
                "the broker grants quality of service 0 only: what it sends while we are away is lost",
                broker=str(self._settings),
            )
        with self.lock:
            self._undescribed -= self._asked
            self._asked.clear()
        return True


class SessionEvents:
    """What became of the session, kept until somebody has recorded it."""

    def __init__(self, record: Callable[[SessionEvent], bool] | None) -> None:
        """`record` gives False for what it could not record now."""
        self._record = record
        self._events: deque[SessionEvent] = deque()

    def add(self, event: SessionEvent) -> None:
        self._events.append(event)

    def pass_on(self) -> None:
        """Have what has happened recorded, in order, in the caller's thread."""
        while self._events and (self._record is None or self._record(self._events[0])):
            self._events.popleft()


class Backoff:
    """How long to wait before the next attempt to connect: longer after each connection that failed or did not last,
    with jitter, so that a hundred clients do not come back in the same instant.
    """

    def __init__(self, longest_wait: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._longest_wait = longest_wait  # seconds
        self._monotonic = monotonic
        self._since: float | None = None  # when the subscription was granted
        self.failures = 0

    def subscribed(self) -> None:
        """The subscription stands."""
        if self._since is None:
            self._since = self._monotonic()

    def ended(self) -> None:
        """The connection has ended, or there was none."""
        lasted = self._since is not None and self._monotonic() - self._since >= LASTING
        self.failures = 0 if lasted else self.failures + 1
        self._since = None

    def wait(self) -> float:
        """Seconds."""
        return random.uniform(0.1, min(self._longest_wait, 0.5 * 2 ** min(self.failures, 16)))

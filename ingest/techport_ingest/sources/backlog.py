"""Which messages may have waited in a queue before they arrived, so that their arrival says little about when their
values were measured. It matters for values without a time of their own: they are stored, flagged as doubtful.

    source        waits                                  delayed are
    ------------  -------------------------------------  ---------------------------------------------------------------
    any           a message that comes again (DUP), or   these messages
                  that the broker retained
    mosquitto     the broker keeps messages for a        all messages of a resumed session until the broker has given
                  session whose worker is away           what waited: until nothing came for PAUSE seconds, or a mark
                                                         has come back that the worker publishes to itself at the
                                                         MARK_AFTER-th message or after a second. It need not come (a
                                                         shared subscription, an access list): LONGEST seconds at most.
                                                         Absences up to TOLERATED seconds count for nothing
    the embedded  the device keeps messages itself       messages of QoS 1 of a client whose connection was lost, or
    broker        while it cannot reach the broker       which is back for the first time after the platform was
                                                         restarted, until it pauses for a second; after a restart only
                                                         if more than one message comes in that time
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable

PAUSE = 2.0
MARK_AFTER = 20
LONGEST = 600.0
TOLERATED = 5.0


class Backlog:
    """What one client of a broker knows of the messages that waited for its session. Used from the client's thread."""

    def __init__(self, client_id: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self.topic = f"pilots/-/{client_id}/problems"  # one that the platform may publish to and never reads
        self.token = b""
        self._expected = False  # the mark has still to come back
        self._draining = False
        self._since = 0.0
        self._last = 0.0
        self._lost: float | None = None
        self._messages = 0

    def lost(self) -> None:
        """The connection has ended."""
        if self._lost is None:
            self._lost = self._monotonic()

    def connected(self, resumed: bool) -> None:
        """A connection stands, and its session was resumed or is new."""
        away = None if self._lost is None else self._monotonic() - self._lost
        self._lost = None
        self._since = self._last = self._monotonic()
        self._draining = resumed and (away is None or away > TOLERATED)
        self._expected = False
        self._messages = 0

    def take_mark(self) -> bool:
        """Whether a mark is to be published now, to `topic` and with `token` as its payload; once a connection."""
        due = self._messages >= MARK_AFTER or (self._messages > 0 and self._monotonic() - self._since >= 1.0)
        if not self._draining or self._expected or not due:
            return False
        self.token = secrets.token_hex(8).encode()
        self._expected = True
        return True

    def is_mark(self, topic: str, payload: bytes) -> bool:
        """Whether a message is the mark of this connection; then everything that waited has been given."""
        if not self._expected or topic != self.topic or payload != self.token:
            return False
        self._expected = self._draining = False
        return True

    @property
    def watching(self) -> bool:
        """Whether messages have to be asked about at all."""
        return self._expected or self._draining

    def delayed(self) -> bool:
        """Whether a message that arrives now may have waited."""
        if not self._draining:
            return False
        now = self._monotonic()
        self._draining = now - self._last < PAUSE and now - self._since < LONGEST
        self._last = now
        self._messages += 1
        return self._draining


# -- At the embedded broker it is the devices that keep messages.

BURST_PAUSE = 1.0
"""Seconds without a message after which a client has sent what it kept."""

_HELD = 0.25  # seconds that the first message after a restart is held, to see whether others follow it
_WATCHED = 600.0  # seconds after a restart in which clients come back for the first time
_MOST_CLIENTS = 10_000


class ClientBacklog:
    """What one connection of a client may bring along. Used in the broker's event loop."""

    def __init__(self, suspicion: str | None, monotonic: Callable[[], float] = time.monotonic) -> None:
        """`suspicion`: "lost", the client could not reach the broker for a while; "restarted", nobody knows; None."""
        self._suspicion = suspicion
        self._monotonic = monotonic
        self._last = monotonic()
        self._first: dict[str, asyncio.Event] = {}  # by topic: whether another message followed

    @property
    def watching(self) -> bool:
        """Whether messages have to be asked about at all."""
        return self._suspicion is not None

    async def delayed(self, topic: str) -> bool:
        """Whether a message that arrives now may have waited. After a restart, holds a first one for a moment."""
        at_once = self.delayed_at_once(topic)
        return await self.followed(topic) if at_once is None else at_once

    def delayed_at_once(self, topic: str) -> bool | None:
        """The same, as far as it is known without waiting: None where `followed` says it."""
        if self._suspicion is None:
            return False
        now = self._monotonic()
        if now - self._last >= BURST_PAUSE:
            self._suspicion = None
            return False
        self._last = now
        if self._suspicion == "lost":
            return True
        followed = self._first.get(topic)
        if followed is not None:
            followed.set()
            return True
        self._first[topic] = asyncio.Event()
        return None

    async def followed(self, topic: str) -> bool:
        """Whether another message to the topic follows the first one within a moment."""
        try:
            await asyncio.wait_for(self._first[topic].wait(), _HELD)
        except TimeoutError:
            return False
        return True


class Clients:
    """Which clients may have kept messages while they could not reach the broker. Used in its event loop."""

    def __init__(self, restarted: bool, monotonic: Callable[[], float] = time.monotonic) -> None:
        """`restarted`: an earlier run of the broker had clients."""
        self._monotonic = monotonic
        self._restarted = monotonic() if restarted else None
        self._back: set[str] = set()  # clients of an earlier run that have come
        self._lost: dict[str, float] = {}

    def connected(self, client_id: str) -> ClientBacklog:
        """What a client that connects may bring along."""
        now = self._monotonic()
        lost = self._lost.pop(client_id, None)
        if lost is not None:
            return ClientBacklog("lost" if now - lost > TOLERATED else None, self._monotonic)
        if self._restarted is None or now - self._restarted > _WATCHED or client_id in self._back:
            return ClientBacklog(None, self._monotonic)
        if len(self._back) < _MOST_CLIENTS:
            self._back.add(client_id)
        return ClientBacklog("restarted", self._monotonic)

    def lost(self, client_id: str) -> None:
        """A client's connection ended without a goodbye."""
        self._lost.pop(client_id, None)
        if len(self._lost) >= _MOST_CLIENTS:
            del self._lost[next(iter(self._lost))]
        self._lost[client_id] = self._monotonic()

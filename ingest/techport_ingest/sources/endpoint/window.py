"""How many messages the pipeline may have from devices before it has kept them, and who may add one.

The window is shared by pilots, as far as credentials name them. Half of it is for whoever comes first; beyond that,
each of those who have something in it gets an equal part of the other half. So a pilot that sends more than is taken
waits for itself, and one that sends little always finds room. (Max-min fairness, as in D. Bertsekas, R. Gallager: Data
Networks, 2nd edition 1992, section 6.5.2, with a part that is not shared so that one pilot alone is fast.)
"""

from __future__ import annotations

from typing import Protocol

MOST_HELD = 1_000
"""Messages of one connection that the pipeline has not kept: no more is read from it."""

MOST_HELD_BYTES = 8_000_000
"""Of those messages: nothing more is read from the connection while they are as many."""

WINDOW_BYTES = 64_000_000
"""Of all messages that the pipeline has not kept: while the store is away, a few devices that send a megabyte at a time
would else take all memory."""


class Share:
    """What one party has in the window: the clients of a pilot, or one client of nobody knows whom."""

    __slots__ = ("held",)

    def __init__(self) -> None:
        self.held = 0  # messages


class Sender(Protocol):
    """A connection, as far as the window asks."""

    held: int  # messages of it in the window
    held_bytes: int
    share: Share


class Window:
    """Counts; no message is here."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.messages = 0
        self.bytes = 0
        self._sharing = 0  # parties that have something in it

    @property
    def is_full(self) -> bool:
        """Whether it is, for everybody."""
        return self.messages >= self.size or self.bytes >= WINDOW_BYTES

    def has_room(self, sender: Sender) -> bool:
        """Whether one more message of this connection fits."""
        if self.is_full or sender.held >= MOST_HELD or sender.held_bytes >= MOST_HELD_BYTES:
            return False
        half = self.size // 2
        held = sender.share.held
        return self.messages < half or not held or held * self._sharing < half

    def add(self, sender: Sender | None, size: int) -> None:
        """One message of so many bytes; None: of the platform itself, which does not wait for room."""
        self.messages += 1
        self.bytes += size
        if sender is not None:
            sender.held += 1
            sender.held_bytes += size
            self._sharing += not sender.share.held
            sender.share.held += 1

    def remove(self, sender: Sender | None, size: int) -> None:
        """It is kept."""
        self.messages -= 1
        self.bytes -= size
        if sender is not None:
            sender.held -= 1
            sender.held_bytes -= size
            sender.share.held -= 1
            self._sharing -= not sender.share.held

"""Where messages come from."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

import msgspec

from techport_ingest.message import Message


class Source(Protocol):
    """Gives messages at least once: what was not acknowledged comes back, after a restart too.

    Bounded: a source holds no more unacknowledged messages than its in-flight window; the broker holds the rest.
    """

    def receive(self, timeout: float) -> list[Message]:
        """All messages that have arrived, in order; waits at most `timeout` seconds for the first, then [].

        Callers that are slow get larger lists, which is how batches grow by themselves under load.
        """

    def ack(self, messages: Sequence[Message]) -> None:
        """Tell the broker that these are kept. Only after the commit; never raises for a lost connection (they come
        back).
        """

    def subscribe(self, topics: Sequence[str], described: Collection[str] = ()) -> None:
        """Receive what fits these filters from now on, instead of those before; the same again costs nothing.

        `described` are those among them where retained messages say what the others mean: a process that has just
        started gets these once more, though its session has had them.
        """

    @property
    def connected(self) -> bool: ...

    def close(self) -> None: ...


class Answer(msgspec.Struct, frozen=True):
    """What the sender of a message is told with its acknowledgement."""

    code: int  # a reason code of MQTT 5.0, section 3.4.2.1
    text: str


class AnswersSenders(Protocol):
    """A source that hears from the senders themselves, and can tell them more than that a message is kept."""

    def can_tell(self, message_id: int) -> bool:
        """Whether the sender of this message understands more than yes."""

    def tell(self, message_id: int, answer: Answer) -> None:
        """Say this with the message's acknowledgement, which comes later."""

"""What a message would become: the answer of the linter that ingest has, in words that all parts share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from techport_pilots.accounting.rejection import Rejected
from techport_pilots.i18n import Message
from techport_pilots.model import PilotDefinition, Text
from techport_storage.model import Micros


class Understood(msgspec.Struct, frozen=True):
    """A value that would be stored."""

    device: str
    quantity: str
    value: float
    unit: str | None  # UCUM; None: nobody knows the quantity
    time: Micros | None  # None: the message says none, and the time of its arrival is taken
    remark: Message | None = None  # what its maker should know about it
    word: Text | None = None  # of a state: what people read for its number


class IgnoredPart(msgspec.Struct, frozen=True):
    """A part of a message that is no reading by rule."""

    rule: str
    key: str = ""  # as the message calls it; "": the whole message
    value: str | None = None  # as the message has it, in JSON; None: none, or one that is not shown

    @property
    def why(self) -> Message:
        """The rule in a sentence."""
        return why_ignored(self.rule)


EXPLAINED = (
    *("text", "missing", "null", "property", "time", "retained", "mapping", "identity", "status", "diagnostics"),
    *("nested", "normalized", "empty"),
)
"""Rules that have a sentence of their own."""


def why_ignored(rule: str) -> Message:
    """What a rule says, in a sentence."""
    return Message(f"ignored.{rule}" if rule in EXPLAINED else "ignored.other", {"rule": rule})


class Explanation(msgspec.Struct, frozen=True):
    """What a message would become. `ok`: nothing of it would be rejected."""

    readings: Sequence[Understood]
    rejected: Sequence[Rejected]
    ignored: Sequence[str]
    events: Sequence[str]
    ok: bool
    ignored_parts: Sequence[IgnoredPart] = ()  # `ignored` with keys and values
    unmatched: Sequence[str] = ()  # keys under `fields` of the source that nothing in the message is called


class Explain(Protocol):
    """What becomes of a message that arrives now. With a pilot its sources and devices are used; `format` reads a topic
    that no source names, and every device is welcome where no pilot is given. Raises ValueError without both.
    """

    def __call__(
        self,
        payload: bytes,
        topic: str,
        received: Micros,
        format_name: str | None = None,
        pilot: PilotDefinition | None = None,
    ) -> Explanation: ...

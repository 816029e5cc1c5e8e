"""A source for messages that somebody has captured: what a team would have to write, to be accepted or changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from techport_pilots.definition.load import source_yaml
from techport_pilots.model import SourceDefinition
from techport_storage.model import Micros


class Captured(msgspec.Struct, frozen=True):
    """A message as it was published."""

    topic: str
    payload: bytes


class OpenField(msgspec.Struct, frozen=True):
    """A field of the messages of which something has to be said by a person."""

    key: str
    value: str  # one that was sent
    lacks: str  # "quantity", "unit" or "words"
    near: Sequence[str] = ()  # quantities that it may be
    text: bool = False  # a number that is sent as text


class Proposal(msgspec.Struct, frozen=True):
    """A source that reads the messages, and what remains to be said."""

    source: SourceDefinition
    devices: Sequence[str]
    fields: Sequence[str]  # streams that would be stored
    open: Sequence[OpenField]
    rejected: int  # messages of those captured that it still could not read

    def yaml(self) -> str:
        """The lines for a definition's `sources:`, with what remains to be said as comments."""
        lines = [f"# {len(self.fields)} fields of {len(self.devices)} devices: {', '.join(self.fields)}"]
        lines += ["sources:", *(f"  {line}" for line in source_yaml(self.source).rstrip().splitlines())]
        if self.open:
            lines.append("    # say what these are, under fields: of the source")
        for field in self.open:
            guess = field.near[0] if field.near else "..."
            needed = f"{{quantity: {guess}, unit: ...{', text: true' if field.text else ''}}}"
            if field.lacks == "words":
                needed = f"{{quantity: ..., words: {{{field.value}: 1}}}}"
            lines.append(f"    #   {field.key}: {needed}    # {field.lacks} unknown; sent: {field.value}")
        return "\n".join(lines) + "\n"


class Propose(Protocol):
    """The best source for these messages; None where nothing reads any of them."""

    def __call__(self, captured: Sequence[Captured], received: Micros) -> Proposal | None: ...

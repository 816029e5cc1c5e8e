"""Fixing in the pilot's definition what made messages be rejected: a field's meaning, a field to ignore, a range.

Each makes a new version of the definition that says who and why; a replay afterwards reprocesses the messages.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

import msgspec

from techport_pilots.accounting.rejection import Rejection
from techport_pilots.definition.misfit import Misfit, misfit
from techport_pilots.definition.neighbours import MaySee, nobody
from techport_pilots.devices.onboarding import change
from techport_pilots.errors import DefinitionError
from techport_pilots.model import DeviceDefinition, FieldMapping, PilotDefinition, SourceDefinition, StreamDefinition
from techport_pilots.registry.registry import Registry
from techport_pilots.topics import source_reads

DefinitionChange = Callable[[PilotDefinition], PilotDefinition]

REMAPPABLE = ("not-a-number", "unknown-unit", "wrong-unit", "bad-name", "nan", "number-too-large", "conflict")
"""Reasons of rejections that end when the definition says what the field means, or that it is not a reading."""

INCURABLE = frozenset(
    ("truncated", "clock-future", "clock-past", "duplicate-key", "not-base64", "not-hex", "conflict.records")
)
"""Reasons, and codes, of messages that are damaged themselves: no definition makes sense of them."""

Cure = Literal["mapping", "definition", "none"]
"""What lets a message be stored: the meaning of a field, another change of the definition, or nothing."""


def cure(rejection: Rejection, field: str | None) -> Cure:
    """What lets messages that were rejected so be stored, and be worth reprocessing."""
    if rejection.reason in INCURABLE or rejection.code in INCURABLE:
        return "none"
    return "mapping" if rejection.reason in REMAPPABLE and field is not None else "definition"


class OfTopic(Protocol):
    """A message: an entry of the quarantine, or one of which something was ignored."""

    @property
    def topic(self) -> str: ...


def map_field(definition: PilotDefinition, entry: OfTopic, key: str, mapping: FieldMapping) -> PilotDefinition:
    """The definition, in whose source of the entry's messages `key` now means `mapping`. Raises DefinitionError."""

    def mapped(source: SourceDefinition) -> SourceDefinition:
        keys = _keys(source, key)
        still_ignored = [ignored for ignored in source.ignore if ignored not in keys]
        return msgspec.structs.replace(
            source, fields={**source.fields, **dict.fromkeys(keys, mapping)}, ignore=still_ignored
        )

    return _with_source(definition, entry, mapped)


def ignore_field(definition: PilotDefinition, entry: OfTopic, key: str) -> PilotDefinition:
    """The definition, in whose source of the entry's messages `key` is not a reading. Raises DefinitionError."""

    def passed(source: SourceDefinition) -> SourceDefinition:
        keys = _keys(source, key)
        fields = {name: mapping for name, mapping in source.fields.items() if name not in keys}
        return msgspec.structs.replace(source, fields=fields, ignore=[*dict.fromkeys([*source.ignore, *keys])])

    return _with_source(definition, entry, passed)


def with_range(definition: PilotDefinition, device: str, quantity: str, low: float, high: float) -> PilotDefinition:
    """The definition, in which this range is valid for a stream; readings beyond it are kept and flagged.

    Raises DefinitionError for a device that it does not have.
    """

    def widened(candidate: DeviceDefinition) -> DeviceDefinition:
        if candidate.id != device:
            return candidate
        listed = {stream.quantity: stream for stream in candidate.streams}
        stream = listed.get(quantity, StreamDefinition(quantity=quantity))
        listed[quantity] = msgspec.structs.replace(stream, range=(low, high))
        return msgspec.structs.replace(candidate, streams=list(listed.values()))

    if all(candidate.id != device for candidate in definition.devices):
        raise _not_here(misfit(("devices",), "no-device-to-change", device=device))
    return msgspec.structs.replace(definition, devices=[widened(candidate) for candidate in definition.devices])


def update_definition(
    registry: Registry, pilot: str, edit: DefinitionChange, who: str, why: str, *, may_see: MaySee = nobody
) -> int:
    """Change the pilot's definition; returns its version. Raises UnknownPilot, DefinitionError, WrongState."""
    return change(registry, edit(registry.pilot(pilot)), who, why, may_see)


def can_remap(definition: PilotDefinition, entry: OfTopic) -> bool:
    """Whether a source reads the entry's messages, or could, so that the meaning of a field can be said there."""
    return _index_of(definition, entry) is not None or entry.topic.startswith(_native(definition.id))


def _with_source(
    definition: PilotDefinition, entry: OfTopic, how: Callable[[SourceDefinition], SourceDefinition]
) -> PilotDefinition:
    sources = list(definition.sources)
    index = _index_of(definition, entry)
    if index is not None:
        sources[index] = how(sources[index])
    elif entry.topic.startswith(_native(definition.id)):
        # Native topics need no source; what a field means can be said in one all the same.
        sources.append(how(SourceDefinition(topic=f"{_native(definition.id)}+/readings", format="native")))
    else:
        raise _not_here(misfit(("sources",), "no-source-of-topic", topic=entry.topic))
    return msgspec.structs.replace(definition, sources=sources)


def _index_of(definition: PilotDefinition, entry: OfTopic) -> int | None:
    """The source that reads the entry's messages: the first whose filter has the topic."""
    return next((i for i, source in enumerate(definition.sources) if source_reads(source.topic, entry.topic)), None)


def _keys(source: SourceDefinition, key: str) -> list[str]:
    """What messages call the field: an entry has its name behind the mapping."""
    return [name for name, mapping in source.fields.items() if mapping.quantity == key] or [key]


def _native(pilot: str) -> str:
    return f"pilots/{pilot}/"


def _not_here(wrong: Misfit) -> DefinitionError:
    return DefinitionError([wrong.finding("definition")])

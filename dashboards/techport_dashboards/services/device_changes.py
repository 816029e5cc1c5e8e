"""Changes of one device in its pilot's definition, each a new version: described anew, moved, retired."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from techport_dashboards.problems import Problem
from techport_dashboards.viewer import Viewer
from techport_pilots.access.credentials import Credentials
from techport_pilots.definition.load import parse_definition, to_yaml
from techport_pilots.devices.remap import DefinitionChange, map_field, update_definition
from techport_pilots.errors import DefinitionError, WrongState
from techport_pilots.model import (
    DeviceDefinition,
    FieldMapping,
    PilotDefinition,
    Position,
    StreamDefinition,
)
from techport_pilots.quantities import vocabulary_of
from techport_pilots.registry import events
from techport_pilots.registry.registry import Registry, StreamInfo


class Undescribed(NamedTuple):
    """What a device sends that its definition does not describe, and what it means where that is known."""

    key: str
    meaning: str | None  # a key of the vocabulary; the same as `key` where only the description is missing


class _Topic(NamedTuple):
    topic: str


class CannotSave(Exception):
    """What is wrong with a change, all of it."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(problem.detail for problem in problems))
        self.problems = problems


def problems_of(error: DefinitionError | WrongState | Problem) -> list[Problem]:
    """What is wrong, one by one."""
    if isinstance(error, DefinitionError):
        return [Problem("bad-definition", finding.message) for finding in error.findings]
    return [Problem("wrong-state", error.message)] if isinstance(error, WrongState) else [error]


def described_device(pilot: PilotDefinition, device: str) -> DeviceDefinition:
    """The device as the definition has it. Raises Problem."""
    described = next((candidate for candidate in pilot.devices if candidate.id == device), None)
    if described is None:
        raise Problem("not-found", "The pilot has no device {device}.", device=device[:80])
    return described


def digest(device: DeviceDefinition) -> str:
    """Tells whether somebody else has changed the device since a form was made."""
    return hashlib.sha256(msgspec.json.encode(device)).hexdigest()[:16]


def undescribed(pilot: PilotDefinition, streams: Sequence[StreamInfo]) -> list[Undescribed]:
    """Those of the streams that nobody has described, the known ones first."""
    words = vocabulary_of(pilot)
    keys = [info.stream.quantity for info in streams if not info.described]
    keys_sent = [Undescribed(key, words.meaning(key)) for key in keys]
    return sorted(keys_sent, key=lambda key_sent: (key_sent.meaning is None, key_sent.key))


def streams_of(device: DeviceDefinition, keys: Sequence[str]) -> list[StreamDefinition]:
    """Streams of these keys; those that the device has keep their interval, range and title."""
    listed = {stream.quantity: stream for stream in device.streams}
    return [listed.get(key, StreamDefinition(quantity=key)) for key in dict.fromkeys(keys)]


def save_device(
    registry: Registry,
    pilot: PilotDefinition,
    device: DeviceDefinition,
    viewer: Viewer,
    *,
    was: str,
    meanings: Sequence[Undescribed] = (),
    problems: Sequence[Problem] = (),
) -> int:
    """Make `device` what the definition says of it; returns the version. `meanings` are keys of its messages that are
    to be read as something else from now on. `problems` are those that were found before: nothing is saved then.

    Raises CannotSave with everything that is wrong at once.
    """

    def edit(definition: PilotDefinition) -> PilotDefinition:
        if digest(described_device(definition, device.id)) != was:
            raise Problem(
                "wrong-state",
                "Somebody else has changed this device meanwhile. Look at what you wrote, and save again to keep it.",
                parameter="was",
            )
        devices = [device if candidate.id == device.id else candidate for candidate in definition.devices]
        changed = msgspec.structs.replace(definition, devices=devices)
        for stream in meanings:
            mapping = FieldMapping(quantity=str(stream.meaning))
            topic = _Topic(f"pilots/{definition.id}/{device.id}/readings")
            changed = map_field(changed, topic, stream.key, mapping)
        return changed

    all_problems = list(problems)
    try:
        if not all_problems:
            return _update(registry, pilot.id, edit, viewer, f"edited {device.id}")
        changed = edit(registry.pilot(pilot.id))
        parse_definition(to_yaml(changed), file="definition")
    except (DefinitionError, WrongState, Problem) as error:
        all_problems += problems_of(error)
    raise CannotSave(all_problems)


def move_device(
    registry: Registry, pilot: PilotDefinition, device: str, event: tuple[dt.datetime, Position, str], viewer: Viewer
) -> int:
    """Put on the time line that the device stands elsewhere since then: its series are split there. Returns the
    event's number. Raises CannotSave."""
    described_device(pilot, device)
    time, position, text = event
    try:
        return events.add_event(registry.database, pilot, events.moved(device, time, position, text), viewer.who)
    except (DefinitionError, WrongState) as error:
        raise CannotSave(problems_of(error)) from error


def retire_device(
    registry: Registry,
    pilot: PilotDefinition,
    device: str,
    since: dt.datetime | None,
    viewer: Viewer,
    *,
    revoke: bool = False,
) -> int:
    """Expect nothing of the device from then on; None: expect it again. With `revoke`, its passwords end at once.
    Returns the version. Raises CannotSave."""

    def edit(definition: PilotDefinition) -> PilotDefinition:
        changed = msgspec.structs.replace(described_device(definition, device), retired=since)
        devices = [changed if candidate.id == device else candidate for candidate in definition.devices]
        return msgspec.structs.replace(definition, devices=devices)

    try:
        why = f"retired {device}" if since is not None else f"{device} is in use again"
        version = _update(registry, pilot.id, edit, viewer, why)
    except (DefinitionError, WrongState) as error:
        raise CannotSave(problems_of(error)) from error
    if revoke and since is not None:
        Credentials(registry.database).revoke(pilot.id, device)
    return version


def _update(registry: Registry, pilot: str, edit: DefinitionChange, viewer: Viewer, why: str) -> int:
    return update_definition(registry, pilot, edit, viewer.who, why, may_see=viewer.may_see)

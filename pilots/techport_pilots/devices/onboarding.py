"""Bringing devices in: those that a team adds, and those that send already and nobody knows yet.

The command line, the pages and the API come through here.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from techport_pilots.access.credentials import Credentials, Issued
from techport_pilots.accounting.message_tap import MessageTap
from techport_pilots.accounting.quarantine import Quarantine, QuarantineFilter
from techport_pilots.definition.load import parse_definition, to_yaml
from techport_pilots.definition.neighbours import MaySee, nobody
from techport_pilots.device_names import as_id, comparable_name
from techport_pilots.formats import DEFAULT, formats
from techport_pilots.model import (
    DeviceDefinition,
    DeviceRule,
    PilotDefinition,
    SourceDefinition,
    StreamDefinition,
    Text,
)
from techport_pilots.registry.database import Database, clean_text
from techport_pilots.registry.registry import Registry
from techport_storage.model import Micros

UNKNOWN_DEVICE = "unknown-device"
"""The reason under which ingest quarantines what a device sends that its pilot does not know."""

TAKES_EFFECT = 2.0
"""Seconds until a broker and a worker have surely taken up what was changed: both look once a second or more often."""

WATCHED_FOR = 3600.0
"""Seconds for which the messages of a new device are kept to be looked at."""


class UnknownDevice(msgspec.Struct, frozen=True, kw_only=True):
    """A device that sends to a pilot whose definition does not know it."""

    pilot: str
    device: str  # as its messages call it
    messages: int  # that are kept and can be replayed
    first: Micros
    last: Micros
    entry: int  # in quarantine: the last message
    topic: str  # of the last message
    payload: bytes
    title: str = ""  # the name that people gave it, where its message says one
    kind: str = ""  # its model or profile


class Claimed(msgspec.Struct, frozen=True):
    """What a claim has changed."""

    device: str  # the id in the definition
    version: int  # of the definition
    entries: int  # in quarantine, that are replayed now
    replay: int = 0  # number of the replay


class NewDevice(msgspec.Struct, frozen=True, kw_only=True):
    """A device that is to come in, as its team describes it. Only the id is needed; "" and () say nothing."""

    id: str
    title: str = ""
    kind: str = ""  # maker's model or what it is
    format: str = DEFAULT
    quantities: Sequence[str] = ()
    interval: str = ""  # expected time between readings, ISO 8601 duration


class ProvisionedDevice(msgspec.Struct, frozen=True, kw_only=True):
    """A device that may send now. The password is known this once."""

    device: str
    version: int | None  # of the definition; None: it knew the device already
    format: str
    quantity: str  # for an example of a message
    credential: Issued


_PER_DEVICE = (
    "SELECT device, count(*), min(received), max(received), max(id) FROM quarantine"
    " WHERE pilot = :pilot AND reason = :reason AND replay_requested IS NULL GROUP BY device"
)
_MESSAGES = "SELECT id, topic, payload, format FROM quarantine WHERE id IN :ids"


def unknown_devices(database: Database, pilot: str) -> list[UnknownDevice]:
    """Devices that sent and are not known, the last heard first; without messages that are being reprocessed.

    May raise RegistryUnavailable.
    """
    with database.reading() as transaction:
        rows = transaction.execute(_PER_DEVICE, {"pilot": pilot, "reason": UNKNOWN_DEVICE}).all()
        newest = transaction.execute(_MESSAGES, {"ids": tuple(row[4] for row in rows)})
        last = {row.id: row for row in newest}
    listed = [
        UnknownDevice(
            pilot=pilot,
            device=device,
            messages=count,
            first=first,
            last=latest,
            entry=number,
            topic=last[number].topic,
            payload=last[number].payload,
            **_about(last[number].format, last[number].topic, last[number].payload),
        )
        for device, count, first, latest, number in rows
    ]
    return sorted(listed, key=lambda device: -device.last)


def _about(format_name: str, topic: str, payload: bytes) -> dict[str, str]:
    """What a message says of who sent it."""
    form = formats().get(format_name)
    if form is None or form.sender is None:
        return {}
    sender = form.sender(topic, payload)
    return {"title": clean_text(sender.title), "kind": clean_text(sender.kind)}


def with_device(definition: PilotDefinition, name: str) -> PilotDefinition:
    """The definition as it would be with the device that calls itself `name`."""
    device = DeviceDefinition(id=as_id(name), aliases=[name])
    return msgspec.structs.replace(definition, devices=[*definition.devices, device])


def provision_device(
    registry: Registry, pilot: str, new_device: NewDevice, who: str, *, may_see: MaySee = nobody
) -> ProvisionedDevice:
    """Make the device known where it is not yet, keep its messages to be looked at for an hour, and give it a
    credential, instead of one that it had. All of it takes effect within TAKES_EFFECT seconds.

    Raises UnknownPilot, DefinitionError (an id, quantity or interval that cannot be one), WrongState.
    """
    definition = registry.pilot(pilot)
    view = registry.snapshot().pilot(pilot)
    described = None if view is None else view.device(new_device.id)
    changed = _with_source(definition, new_device.format)
    if described is None:
        changed = msgspec.structs.replace(changed, devices=[*changed.devices, _described(new_device)])
    version = None if changed is definition else change(registry, changed, who, f"added {new_device.id}", may_see)
    device = described.id if described else new_device.id
    MessageTap(registry.database).watch(pilot, device, WATCHED_FOR)
    issued = Credentials(registry.database).issue(pilot, device, who)
    listed = next((candidate for candidate in changed.devices if candidate.id == device), None)
    quantities = new_device.quantities or [stream.quantity for stream in listed.streams] if listed else ()
    return ProvisionedDevice(
        device=device,
        version=version,
        format=new_device.format,
        quantity=next(iter(quantities), "air_temperature"),
        credential=msgspec.structs.replace(issued, topic=topic_of(pilot, device, new_device.format)),
    )


def provision_devices(
    registry: Registry, pilot: str, devices: Sequence[DeviceDefinition], who: str, *, may_see: MaySee = nobody
) -> list[Issued]:
    """Make those devices known that are not yet, in one version of the definition, and give each a credential instead
    of all that it had.

    Raises UnknownPilot, DefinitionError, WrongState.
    """
    definition = registry.pilot(pilot)
    described_ids = {device.id for device in definition.devices}
    new = [device for device in devices if device.id not in described_ids]
    if new:
        changed = msgspec.structs.replace(definition, devices=[*definition.devices, *new])
        change(registry, changed, who, f"added {', '.join(device.id for device in new)}"[:500], may_see)
    return Credentials(registry.database).issue_all(pilot, [device.id for device in devices], who)


def topic_of(pilot: str, device: str, format_name: str) -> str:
    """Where a device sends messages of this format when it can be told where; otherwise, where it may send readings."""
    return f"pilots/{pilot}/{device}/{formats()[format_name].own_topic or formats()[DEFAULT].own_topic}"


def _described(new_device: NewDevice) -> DeviceDefinition:
    return DeviceDefinition(
        id=new_device.id,
        title=Text(nb=new_device.title, en=new_device.title) if new_device.title else None,
        kind=new_device.kind or None,
        interval=new_device.interval or None,
        streams=[StreamDefinition(quantity=quantity) for quantity in new_device.quantities],
    )


def _with_source(definition: PilotDefinition, format_name: str) -> PilotDefinition:
    """The definition with a source that reads the format, where it has none."""
    if format_name == DEFAULT or any(source.format == format_name for source in definition.sources):
        return definition
    form = formats()[format_name]
    if form.own_topic:
        topic, device = f"pilots/{definition.id}/+/{form.own_topic}", DeviceRule(level=3)
        source = SourceDefinition(topic=topic, format=format_name, device=device)
    else:
        source = SourceDefinition(topic=form.topic, format=format_name)
    return msgspec.structs.replace(definition, sources=[*definition.sources, source])


def claim(
    registry: Registry, pilot: str, name: str, who: str, device: str | None = None, *, may_see: MaySee = nobody
) -> Claimed:
    """Make an unknown device known, under its own name or as `device`, and have replayed what it sent before.

    Where `device` is in the definition already, the name becomes another name of it. Raises UnknownPilot,
    DefinitionError, WrongState.
    """
    definition = registry.pilot(pilot)
    device_id = device or as_id(name)
    devices = list(definition.devices)
    index_of_device = next((index for index, candidate in enumerate(devices) if candidate.id == device_id), None)
    alias = [name] if comparable_name(name) != comparable_name(device_id) else []
    if index_of_device is None:
        devices.append(DeviceDefinition(id=device_id, aliases=alias))
    else:
        devices[index_of_device] = msgspec.structs.replace(
            devices[index_of_device], aliases=[*devices[index_of_device].aliases, *alias]
        )
    changed = msgspec.structs.replace(definition, devices=devices)
    version = change(registry, changed, who, f"claimed {name}", may_see)
    replay = Quarantine(registry.database).request_replay(
        QuarantineFilter(pilot=pilot, device=name, reason=UNKNOWN_DEVICE), who
    )
    return Claimed(device_id, version, replay.entries, replay.id)


def change(registry: Registry, definition: PilotDefinition, who: str, why: str, may_see: MaySee = nobody) -> int:
    """Make a changed definition the pilot's, checked as a file would be; returns its version. Errors name other pilots
    that `who` may see.

    Raises DefinitionError, WrongState.
    """
    checked = parse_definition(to_yaml(definition), file="definition")
    return registry.import_pilot(checked, to_yaml(checked), who, why, edited=True, may_see=may_see)

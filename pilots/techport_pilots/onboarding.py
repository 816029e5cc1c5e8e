"""Bringing devices in: those that a team adds, and those that send already and nobody knows yet."""

from __future__ import annotations

import re

import msgspec
from sqlalchemy import Engine, func, select

from techport_pilots.database import reading
from techport_pilots.definition import parse_definition, to_yaml
from techport_pilots.model import DeviceDefinition, PilotDefinition
from techport_pilots.quarantine import Where
from techport_pilots.registry import Registry
from techport_pilots.snapshot import plain
from techport_pilots.tables import quarantine
from techport_storage.model import Micros

UNKNOWN_DEVICE = "unknown-device"
"""The reason under which ingest sets aside what a device sends that its pilot does not know."""


_SPELLED = {
    ord(letter): plain_one for letter, plain_one in zip("æøåÆØÅ", ("ae", "o", "a", "Ae", "O", "A"), strict=True)
}


class Stranger(msgspec.Struct, frozen=True, kw_only=True):
    """A device that sends to a pilot whose definition does not know it."""

    pilot: str
    device: str  # as its messages call it
    messages: int  # that are kept and can be replayed
    first: Micros
    last: Micros
    topic: str  # of the last message
    payload: bytes


class Claimed(msgspec.Struct, frozen=True):
    """What a claim has changed."""

    device: str  # the id in the definition
    version: int  # of the definition
    entries: int  # in quarantine, that are replayed now


def strangers(engine: Engine, pilot: str) -> list[Stranger]:
    """Devices that sent and are not known, the last heard first. May raise RegistryUnavailable."""
    q = quarantine.c
    per_device = (
        select(q.device, func.count(), func.min(q.received), func.max(q.received), func.max(q.id))
        .where(q.pilot == pilot, q.reason == UNKNOWN_DEVICE)
        .group_by(q.device)
    )
    with reading(engine) as connection:
        found = connection.execute(per_device).all()
        last = {
            row.id: row
            for row in connection.execute(select(q.id, q.topic, q.payload).where(q.id.in_([row[4] for row in found])))
        }
    listed = [
        Stranger(
            pilot=pilot,
            device=device,
            messages=count,
            first=first,
            last=latest,
            topic=last[number].topic,
            payload=last[number].payload,
        )
        for device, count, first, latest, number in found
    ]
    return sorted(listed, key=lambda stranger: -stranger.last)


def add_device(registry: Registry, pilot: str, device: DeviceDefinition, who: str) -> int:
    """Add a device to the pilot's definition; returns the definition's version.

    Raises UnknownPilot, DefinitionError (an id that is there already, or that cannot be one), WrongState.
    """
    definition = registry.pilot(pilot)
    return _import(registry, msgspec.structs.replace(definition, devices=[*definition.devices, device]), who)


def claim(registry: Registry, pilot: str, name: str, who: str, device: str | None = None) -> Claimed:
    """Make an unknown device known, under its own name or as `device`, and have replayed what it sent before.

    Where `device` is in the definition already, the name becomes another name of it. Raises UnknownPilot,
    DefinitionError, WrongState.
    """
    definition = registry.pilot(pilot)
    wanted = device or as_id(name)
    devices = list(definition.devices)
    known = next((index for index, one in enumerate(devices) if one.id == wanted), None)
    alias = [name] if plain(name) != plain(wanted) else []
    if known is None:
        devices.append(DeviceDefinition(id=wanted, aliases=alias))
    else:
        devices[known] = msgspec.structs.replace(devices[known], aliases=[*devices[known].aliases, *alias])
    version = _import(registry, msgspec.structs.replace(definition, devices=devices), who)
    entries = registry.quarantine.request_replay(Where(pilot=pilot, device=name, reason=UNKNOWN_DEVICE))
    return Claimed(wanted, version, entries)


def as_id(name: str) -> str:
    """A device's id out of what its messages call it: letters, digits and . _ -"""
    spelled = name.translate(_SPELLED)
    return re.sub(r"[^A-Za-z0-9._-]+", "-", spelled).strip("-._")[:64] or "device"


def _import(registry: Registry, definition: PilotDefinition, who: str) -> int:
    checked = parse_definition(to_yaml(definition), file="definition")
    return registry.import_pilot(checked, to_yaml(checked), who)

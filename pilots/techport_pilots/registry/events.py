"""What happened to a pilot while it ran, and what evaluation leaves out: added to the registry as it happens.

Those that stand in the definition file are one half, those added here the other; whoever asks the registry for the
definition gets both, so that importing the file again loses nothing. A moved device starts a new deployment.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator

import msgspec
from sqlalchemy import Connection, Engine, text

from techport_pilots.definition.checks import check
from techport_pilots.definition.structure import field_name
from techport_pilots.errors import DefinitionError, Finding
from techport_pilots.model import Event, Exclusion, PilotDefinition, Position, Text
from techport_pilots.quality.flag_requests import ask_for_change
from techport_pilots.registry.database import reading, writing
from techport_pilots.registry.lifecycle import refuse_if_closed
from techport_pilots.registry.versioning import bump, lock
from techport_pilots.time import micros_of
from techport_storage.clock import now
from techport_storage.model import Micros

_ALL = text("SELECT pilot, kind, content FROM pilot_events ORDER BY id")
_OF = text("SELECT id, kind, content, who, at FROM pilot_events WHERE pilot = :pilot ORDER BY id")
_ADD = text(
    "INSERT INTO pilot_events (pilot, kind, content, who, at) VALUES (:pilot, :kind, :content, :who, :at) RETURNING id"
)
_TAKE_BACK = text("DELETE FROM pilot_events WHERE pilot = :pilot AND id = :id RETURNING kind, content")


class Added(msgspec.Struct, frozen=True):
    """An event or exclusion that was added to the registry, by whom and when."""

    id: int
    what: Event | Exclusion
    who: str
    at: Micros


def add_event(engine: Engine, pilot: PilotDefinition, event: Event, who: str) -> int:
    """Put an event on the pilot's time line. Returns the number under which it can be taken back.

    Raises DefinitionError when it names a device that there is not or ends before it begins, WrongState when the pilot
    is closed.
    """
    return _add(engine, pilot, msgspec.structs.replace(pilot, events=[*pilot.events, event]), "event", event, who)


def said_by_device(device: str, time: Micros, position: Position) -> Event:
    """The event of a device that reports itself at another place."""
    words = Text(nb="Enheten meldte selv at den er her.", en="The device said itself that it is here.")
    return Event(dt.datetime.fromtimestamp(time // 1_000_000, dt.UTC), "moved", words, device, None, position)


def add_exclusion(engine: Engine, pilot: PilotDefinition, exclusion: Exclusion, who: str) -> int:
    """Leave a window out of every evaluation from now on; its readings stay. As add_event."""
    changed = msgspec.structs.replace(pilot, exclusions=[*pilot.exclusions, exclusion])
    return _add(engine, pilot, changed, "exclusion", exclusion, who)


def take_back(engine: Engine, pilot: PilotDefinition, number: int) -> Event | Exclusion | None:
    """Remove what was added under this number; None where there is nothing. Raises WrongState for a closed pilot.

    What stands in the definition file is changed there, with its history.
    """
    with writing(engine) as connection:
        lock(connection)
        refuse_if_closed(connection, pilot.id)
        found = connection.execute(_TAKE_BACK, {"pilot": pilot.id, "id": number}).first()
        if found is None:
            return None
        what = _decode(*found)
        events = [event for event in pilot.events if event != what]
        exclusions = [window for window in pilot.exclusions if window != what]
        ask_for_change(connection, pilot, msgspec.structs.replace(pilot, events=events, exclusions=exclusions))
        bump(connection)
    return what


def added(engine: Engine, pilot: str) -> list[Added]:
    """What was added to the registry, in order; what stands in the definition file is not among it."""
    with reading(engine) as connection:
        rows = connection.execute(_OF, {"pilot": pilot}).all()
    return [Added(id, _decode(kind, content), who, at) for id, kind, content, who, at in rows]


def with_added(connection: Connection, pilots: Iterable[PilotDefinition]) -> Iterator[PilotDefinition]:
    """The definitions with the events and exclusions of the registry, each in order of time."""
    found: dict[str, list[Event | Exclusion]] = {}
    for pilot, kind, content in connection.execute(_ALL):
        found.setdefault(pilot, []).append(_decode(kind, content))
    for definition in pilots:
        more = found.get(definition.id)
        yield definition if more is None else _merged(definition, more)


def _add(
    engine: Engine, pilot: PilotDefinition, changed: PilotDefinition, kind: str, what: Event | Exclusion, who: str
) -> int:
    known = check(pilot)
    fresh = [misfit for misfit in check(changed) if misfit not in known]
    if fresh:
        raise DefinitionError([Finding(kind, 0, field_name(m.path[2:]), m.problem, m.remedy) for m in fresh], kind)
    with writing(engine) as connection:
        lock(connection)
        refuse_if_closed(connection, pilot.id)
        content = msgspec.json.encode(what).decode()
        row = {"pilot": pilot.id, "kind": kind, "content": content, "who": who, "at": now()}
        number = connection.execute(_ADD, row).scalar_one()
        ask_for_change(connection, pilot, changed)
        bump(connection)
    return int(number)


def _merged(pilot: PilotDefinition, more: Iterable[Event | Exclusion]) -> PilotDefinition:
    events, exclusions = list(pilot.events), list(pilot.exclusions)
    for one in more:
        if isinstance(one, Event):
            if one not in events:
                events.append(one)
        elif one not in exclusions:
            exclusions.append(one)
    zone = pilot.timezone
    events.sort(key=lambda event: micros_of(event.time, zone))
    exclusions.sort(key=lambda exclusion: micros_of(exclusion.start, zone))
    return msgspec.structs.replace(pilot, events=events, exclusions=exclusions)


def _decode(kind: str, content: str) -> Event | Exclusion:
    if kind == "event":
        return msgspec.json.decode(content, type=Event)
    return msgspec.json.decode(content, type=Exclusion)

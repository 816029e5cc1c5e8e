"""What happened to a pilot while it ran, and what evaluation leaves out: added to the registry as it happens.

Those that stand in the definition file are one half, those added here the other; whoever asks the registry for the
definition gets both, so that importing the file again loses nothing. A moved device starts a new deployment.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator

import msgspec

from techport_pilots.definition.checks import check
from techport_pilots.errors import DefinitionError
from techport_pilots.i18n import Message, in_all_languages
from techport_pilots.model import Event, Exclusion, PilotDefinition, Position, Text
from techport_pilots.registry.database import Database, Transaction
from techport_pilots.registry.flag_requests import ask_for_change
from techport_pilots.registry.lifecycle import refuse_if_closed
from techport_pilots.registry.versioning import bump, lock
from techport_pilots.time import micros_of
from techport_storage.clock import now
from techport_storage.model import Micros

_ALL = "SELECT pilot, kind, content FROM pilot_events ORDER BY id"
_OF = "SELECT id, kind, content, who, at FROM pilot_events WHERE pilot = :pilot ORDER BY id"
_ADD = (
    "INSERT INTO pilot_events (pilot, kind, content, who, at) VALUES (:pilot, :kind, :content, :who, :at) RETURNING id"
)
_TAKE_BACK = "DELETE FROM pilot_events WHERE pilot = :pilot AND id = :id RETURNING kind, content"


class Added(msgspec.Struct, frozen=True):
    """An event or exclusion that was added to the registry, by whom and when."""

    id: int
    what: Event | Exclusion
    who: str
    at: Micros


def add_event(database: Database, pilot: PilotDefinition, event: Event, who: str) -> int:
    """Put an event on the pilot's time line. Returns the number under which it can be taken back.

    Raises DefinitionError when it names a device that there is not or ends before it begins, WrongState when the pilot
    is closed.
    """
    return _add(database, pilot, msgspec.structs.replace(pilot, events=[*pilot.events, event]), "event", event, who)


def moved(device: str, time: dt.datetime, position: Position, text: str = "") -> Event:
    """The event of a device that somebody has moved; without a text it says no more than that."""
    words = Text(nb=text, en=text) if text else Text(**in_all_languages(Message("event.moved")))
    return Event(time, "moved", words, device, None, position)


def said_by_device(device: str, time: Micros, position: Position) -> Event:
    """The event of a device that reports itself at another place."""
    text = Text(**in_all_languages(Message("event.moved-by-device")))
    return Event(dt.datetime.fromtimestamp(time // 1_000_000, dt.UTC), "moved", text, device, None, position)


def erase_said_by_devices(transaction: Transaction, pilot: str) -> None:
    """Remove where devices reported to be."""
    text = said_by_device("", 0, Position(0, 0)).text
    of_pilot = "SELECT id, content FROM pilot_events WHERE pilot = :pilot AND kind = 'event'"
    rows = transaction.execute(of_pilot, {"pilot": pilot}).all()
    for number, content in rows:
        event = msgspec.json.decode(content, type=Event)
        if event.kind == "moved" and event.text == text:
            transaction.execute("DELETE FROM pilot_events WHERE id = :id", {"id": number})


def add_exclusion(database: Database, pilot: PilotDefinition, exclusion: Exclusion, who: str) -> int:
    """Leave a window out of every evaluation from now on; its readings stay. As add_event."""
    changed = msgspec.structs.replace(pilot, exclusions=[*pilot.exclusions, exclusion])
    return _add(database, pilot, changed, "exclusion", exclusion, who)


def take_back(database: Database, pilot: PilotDefinition, number: int) -> Event | Exclusion | None:
    """Remove what was added under this number; None where there is nothing. Raises WrongState for a closed pilot.

    What stands in the definition file is changed there, with its history.
    """
    with database.writing() as transaction:
        lock(transaction)
        refuse_if_closed(transaction, pilot.id)
        row = transaction.execute(_TAKE_BACK, {"pilot": pilot.id, "id": number}).first()
        if row is None:
            return None
        entry = _decode(*row)
        events = [event for event in pilot.events if event != entry]
        exclusions = [window for window in pilot.exclusions if window != entry]
        ask_for_change(transaction, pilot, msgspec.structs.replace(pilot, events=events, exclusions=exclusions))
        bump(transaction)
    return entry


def added(database: Database, pilot: str) -> list[Added]:
    """What was added to the registry, in order; what stands in the definition file is not among it."""
    with database.reading() as transaction:
        rows = transaction.execute(_OF, {"pilot": pilot}).all()
    return [Added(event_id, _decode(kind, content), who, at) for event_id, kind, content, who, at in rows]


def with_added(transaction: Transaction, pilots: Iterable[PilotDefinition]) -> Iterator[PilotDefinition]:
    """The definitions with the events and exclusions of the registry, each in order of time."""
    by_pilot: dict[str, list[Event | Exclusion]] = {}
    for pilot, kind, content in transaction.execute(_ALL):
        by_pilot.setdefault(pilot, []).append(_decode(kind, content))
    for definition in pilots:
        more = by_pilot.get(definition.id)
        yield definition if more is None else _merged(definition, more)


def _add(
    database: Database, pilot: PilotDefinition, changed: PilotDefinition, kind: str, entry: Event | Exclusion, who: str
) -> int:
    problems_before = check(pilot)
    fresh = [wrong for wrong in check(changed) if wrong not in problems_before]
    if fresh:
        raise DefinitionError([wrong._replace(path=wrong.path[2:]).finding(kind) for wrong in fresh], kind)
    with database.writing() as transaction:
        lock(transaction)
        refuse_if_closed(transaction, pilot.id)
        content = msgspec.json.encode(entry).decode()
        row = {"pilot": pilot.id, "kind": kind, "content": content, "who": who, "at": now()}
        number = transaction.execute(_ADD, row).scalar_one()
        ask_for_change(transaction, pilot, changed)
        bump(transaction)
    return int(number)


def _merged(pilot: PilotDefinition, more: Iterable[Event | Exclusion]) -> PilotDefinition:
    events, exclusions = list(pilot.events), list(pilot.exclusions)
    for entry in more:
        if isinstance(entry, Event):
            if entry not in events:
                events.append(entry)
        elif entry not in exclusions:
            exclusions.append(entry)
    zone = pilot.timezone
    events.sort(key=lambda event: micros_of(event.time, zone))
    exclusions.sort(key=lambda exclusion: micros_of(exclusion.start, zone))
    return msgspec.structs.replace(pilot, events=events, exclusions=exclusions)


def _decode(kind: str, content: str) -> Event | Exclusion:
    if kind == "event":
        return msgspec.json.decode(content, type=Event)
    return msgspec.json.decode(content, type=Exclusion)

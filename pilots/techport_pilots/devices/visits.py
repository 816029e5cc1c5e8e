"""The log of visits to devices: who was there, when, and what was done.

What matters to a reader of the curve becomes an event of the pilot as well.
"""

from __future__ import annotations

import datetime as dt
from typing import Literal, get_args

import msgspec

from techport_pilots.i18n import Message
from techport_pilots.i18n.language import in_all_languages
from techport_pilots.model import Event, EventKind, PilotDefinition, Text
from techport_pilots.registry import events
from techport_pilots.registry.database import Database, name
from techport_pilots.registry.lifecycle import refuse_if_closed
from techport_pilots.registry.versioning import lock
from techport_storage.clock import now
from techport_storage.model import Micros

Done = Literal["looked", "battery", "cleaned", "repaired", "calibrated"]
DONE: tuple[Done, ...] = get_args(Done)
EVENTS: dict[Done, EventKind] = {
    "battery": "maintenance",
    "cleaned": "maintenance",
    "repaired": "maintenance",
    "calibrated": "calibrated",
}
"""What becomes an event, and of which kind."""
LONGEST_COMMENT = 2_000

_ADD = (
    "INSERT INTO device_visits (pilot, device, at, who, done, comment, photo, event)"
    " VALUES (:pilot, :device, :at, :who, :done, :comment, :photo, :event) RETURNING id"
)
_OF_DEVICE = (
    "SELECT id, pilot, device, at, who, done, comment, photo, event FROM device_visits"
    " WHERE pilot = :pilot AND device = :device ORDER BY at DESC, id DESC LIMIT :most"
)
_OF_PILOT = (
    "SELECT id, pilot, device, at, who, done, comment, photo, event FROM device_visits WHERE pilot = :pilot"
    " ORDER BY at, id"
)
_REMOVE = "DELETE FROM device_visits WHERE pilot = :pilot AND device = :device AND id = :id RETURNING event, photo"


class Visit(msgspec.Struct, frozen=True, kw_only=True):
    id: int = 0
    pilot: str
    device: str
    at: Micros
    who: str
    done: Done
    comment: str
    photo: str = ""  # its name; empty: none
    event: int | None = None  # its number, as events.take_back has it


def sentence(done: Done) -> Message:
    """What was done, as the log and the event say it."""
    if done == "battery":
        return Message("visit.battery")
    if done == "cleaned":
        return Message("visit.cleaned")
    if done == "repaired":
        return Message("visit.repaired")
    return Message("visit.calibrated") if done == "calibrated" else Message("visit.looked")


class VisitLog:
    """Every method may raise RegistryUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(
        self, pilot: PilotDefinition, device: str, done: Done, who: str, *, comment: str = "", photo: str = ""
    ) -> Visit:
        """Write a visit down that is being made now. Raises DefinitionError for a device that the pilot does not have,
        WrongState where the pilot is closed."""
        at = now()
        visit = Visit(
            pilot=pilot.id,
            device=name(device),
            at=at,
            who=who,
            done=done,
            comment=comment.strip()[:LONGEST_COMMENT],
            photo=photo,
        )
        kind = EVENTS.get(done)
        if kind is not None:
            time = dt.datetime.fromtimestamp(at // 1_000_000, dt.UTC)
            event = Event(time, kind, Text(**in_all_languages(sentence(done))), device)
            visit = msgspec.structs.replace(visit, event=events.add_event(self._database, pilot, event, who))
        row = msgspec.to_builtins(visit)
        with self._database.writing() as transaction:
            lock(transaction)
            refuse_if_closed(transaction, pilot.id)
            number = transaction.execute(_ADD, {key: row[key] for key in row if key != "id"}).scalar_one()
        return msgspec.structs.replace(visit, id=int(number))

    def of(self, pilot: str, device: str, most: int = 100) -> list[Visit]:
        """The visits to a device, the newest first."""
        parameters = {"pilot": pilot, "device": name(device), "most": most}
        with self._database.reading() as transaction:
            rows = transaction.execute(_OF_DEVICE, parameters).all()
        return [Visit(**row._mapping) for row in rows]

    def of_pilot(self, pilot: str) -> list[Visit]:
        """The visits to all devices, in order of time."""
        with self._database.reading() as transaction:
            rows = transaction.execute(_OF_PILOT, {"pilot": pilot}).all()
        return [Visit(**row._mapping) for row in rows]

    def remove(self, pilot: PilotDefinition, device: str, number: int) -> bool:
        """Take back a visit that was written down by mistake, with its event; whether there was one.

        Raises WrongState."""
        parameters = {"pilot": pilot.id, "device": name(device), "id": number}
        with self._database.writing() as transaction:
            lock(transaction)
            refuse_if_closed(transaction, pilot.id)
            row = transaction.execute(_REMOVE, parameters).first()
        if row is not None and row.event is not None:
            events.take_back(self._database, pilot, int(row.event))
        return row is not None

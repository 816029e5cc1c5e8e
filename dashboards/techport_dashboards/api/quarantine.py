"""The quarantine over HTTP: groups of rejected messages, fixing the cause, reprocessing and deleting."""

from __future__ import annotations

import datetime as dt
import logging
import time
from typing import Annotated

from fastapi import APIRouter, Query

from techport_dashboards.api.accounts_schema import QuarantineCount
from techport_dashboards.api.matters_schema import (
    Chosen,
    DefinitionChanged,
    Deleted,
    FieldMeaning,
    QuarantineChoice,
    QuarantineGroupItem,
    QuarantineItem,
    ReplayState,
)
from techport_dashboards.api.onboarding import who
from techport_dashboards.dependencies import ChangeDep, PilotDep, ServicesDep
from techport_dashboards.problems import Problem
from techport_dashboards.query import times
from techport_dashboards.viewer import Viewer
from techport_dashboards.web.request_slots import SlotRoute
from techport_pilots.accounting.quarantine import Quarantine, QuarantineFilter, QuarantineRecord
from techport_pilots.devices import remap
from techport_pilots.model import FieldMapping
from techport_pilots.registry.registry import Registry

log = logging.getLogger(__name__)

router = APIRouter(prefix="/pilots/{pilot}/quarantine", tags=["quarantine"], route_class=SlotRoute)
PATIENCE = 3.0  # seconds that a page waits for what comes of a replay
Filter = Annotated[QuarantineChoice, Query()]


@router.get("/groups", response_model=list[QuarantineGroupItem])
def groups(services: ServicesDep, pilot: PilotDep, asked: Filter) -> list[QuarantineGroupItem]:
    """The entries by device, reason and field, the latest heard first, each group with its newest entry."""
    registry = services.registry_cache.registry
    found = Quarantine(registry.database).groups(where_of(pilot.id, asked), asked.limit)
    return [QuarantineGroupItem.of(group) for group in found]


@router.get("/counts", response_model=list[QuarantineCount])
def counts(services: ServicesDep, pilot: PilotDep) -> list[QuarantineCount]:
    """How many entries and values are in quarantine, by device, reason and day (UTC)."""
    registry = services.registry_cache.registry
    found = Quarantine(registry.database).counts(QuarantineFilter(pilot=pilot.id))
    return [QuarantineCount.of(count) for count in found]


@router.post("/replay", status_code=202, response_model=ReplayState)
def replay(services: ServicesDep, viewer: ChangeDep, pilot: PilotDep, chosen: Chosen) -> ReplayState:
    """Reprocess messages after the cause has been fixed; an ingest worker does it within a second or two. What still
    cannot be stored comes back as new entries; /replays gives the result.
    """
    registry = services.registry_cache.registry
    where = _which(chosen, pilot.id)
    return ReplayState.of(Quarantine(registry.database).request_replay(where, who(viewer)))


@router.get("/replays/{replay}", response_model=ReplayState)
def outcome(services: ServicesDep, pilot: PilotDep, replay: int) -> ReplayState:
    """The result of a replay so far."""
    registry = services.registry_cache.registry
    found = Quarantine(registry.database).outcome(replay) if 0 <= replay < 2**63 else None
    if found is None:
        raise Problem("not-found", "There is no replay {number}.", number=replay)
    return ReplayState.of(found)


@router.post("/discard", response_model=Deleted)
def discard(services: ServicesDep, viewer: ChangeDep, pilot: PilotDep, chosen: Chosen) -> Deleted:
    """Delete entries with their messages permanently. The sums still count them as received and quarantined."""
    registry = services.registry_cache.registry
    deleted = discard_entries(registry, _which(chosen, pilot.id), viewer)
    return Deleted(deleted=deleted, discarded=deleted)


@router.get("/{entry}", response_model=QuarantineItem)
def one(services: ServicesDep, pilot: PilotDep, entry: int) -> QuarantineItem:
    """One entry."""
    registry = services.registry_cache.registry
    return QuarantineItem.of_record(entry_of(registry, pilot.id, entry))


@router.post("/{entry}/mapping", response_model=DefinitionChanged)
def map_field(
    services: ServicesDep, viewer: ChangeDep, pilot: PilotDep, entry: int, wanted: FieldMeaning
) -> DefinitionChanged:
    """State in the pilot's definition what a field of this entry's message means, or that it is not a reading, and
    reprocess the messages that were rejected like it.
    """
    registry = services.registry_cache.registry
    version, number = change_meaning(registry, pilot.id, entry, wanted, viewer)
    return DefinitionChanged(version=version, replay=number)


def change_meaning(
    registry: Registry, pilot: str, entry: int, wanted: FieldMeaning, viewer: Viewer
) -> tuple[int, int | None]:
    """(version of the definition, number of the replay). Raises Problem, DefinitionError, WrongState."""
    found = entry_of(registry, pilot, entry)
    key = wanted.field or found.field
    if not key:
        raise Problem("bad-parameter", "Specify the field of the message.", parameter="field", example="temp")
    why = wanted.why or f"{key} was rejected: {found.reason}"
    if wanted.means == "nothing":
        version = remap.update_definition(
            registry, pilot, lambda d: remap.ignore_field(d, found, key), who(viewer), why
        )
    else:
        if not wanted.quantity:
            raise Problem(
                "bad-parameter", "Specify what the field measures.", parameter="quantity", example="air_temperature"
            )
        meaning = FieldMapping(quantity=wanted.quantity, unit=wanted.unit, factor=wanted.factor, text=wanted.text)
        version = remap.update_definition(
            registry, pilot, lambda d: remap.map_field(d, found, key, meaning), who(viewer), why
        )
    if not wanted.replay:
        return version, None
    return version, Quarantine(registry.database).request_replay(alike(found), who(viewer)).id


def alike(entry: QuarantineRecord) -> QuarantineFilter:
    """The entries of the same device, reason and field."""
    return QuarantineFilter(pilot=entry.pilot, device=entry.device, reason=entry.reason, field=entry.field or "")


def discard_entries(registry: Registry, where: QuarantineFilter, viewer: Viewer) -> int:
    """Delete the entries; how many there were. Only the log says who did it."""
    deleted = Quarantine(registry.database).discard(where)
    log.info("entries of the quarantine were discarded", extra={"entries": deleted, "who": who(viewer)})
    return deleted


def replay_done(registry: Registry, replay: int) -> None:
    """Wait until the replay is done, but not for long: a page can tell later, too."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        came = Quarantine(registry.database).outcome(replay)
        if came is None or came.done:
            return
        time.sleep(0.2)


def entry_of(registry: Registry, pilot: str, entry: int) -> QuarantineRecord:
    """The entry, where it is one of the pilot's. Raises Problem."""
    found = Quarantine(registry.database).get(entry) if 0 <= entry < 2**63 else None
    if found is None or found.pilot != pilot:
        raise Problem(
            "not-found",
            "There is no message {number} in quarantine. It may have been reprocessed or deleted.",
            number=entry,
        )
    return found


def where_of(pilot: str, asked: QuarantineChoice) -> QuarantineFilter:
    """The filter, as the quarantine takes it. Raises Problem for a day that is none."""
    return QuarantineFilter(
        pilot=pilot,
        device=asked.device or None,
        reason=asked.reason or None,
        field=asked.field,
        day=_day(asked.day) if asked.day else None,
    )


def _day(text: str) -> int:
    try:
        return (dt.date.fromisoformat(text) - times.EPOCH.date()).days
    except ValueError as error:
        raise Problem("bad-parameter", "This is not a date.", parameter="day", example="2026-05-04") from error


def _which(chosen: Chosen, pilot: str) -> QuarantineFilter:
    if not chosen.says_which:
        raise Problem("bad-parameter", "Specify which messages.", parameter="reason", example="not-a-number")
    return chosen.where(pilot)

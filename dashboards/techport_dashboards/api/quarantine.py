"""The quarantine over HTTP: groups of rejected messages, fixing the cause, reprocessing and deleting."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from techport_dashboards.api.accounts_schema import QuarantineCount
from techport_dashboards.api.matters_schema import (
    Chosen,
    DefinitionChanged,
    Deleted,
    FieldMeaning,
    QuarantineGroupItem,
    QuarantineItem,
    ReplayState,
)
from techport_dashboards.problems import Problem
from techport_dashboards.query.parameters import QuarantineChoice
from techport_dashboards.services.quarantine import FieldCorrection, correct_field, discard_entries, find_entry
from techport_dashboards.web.dependencies import ChangeDep, PilotDep, ServicesDep
from techport_dashboards.web.request_slots import SlotRoute
from techport_pilots.accounting.quarantine import Quarantine, QuarantineFilter

router = APIRouter(prefix="/pilots/{pilot}/quarantine", tags=["quarantine"], route_class=SlotRoute)
Filter = Annotated[QuarantineChoice, Query()]


@router.get("/groups", response_model=list[QuarantineGroupItem])
def groups(services: ServicesDep, pilot: PilotDep, asked: Filter) -> list[QuarantineGroupItem]:
    """The entries by device, reason and field, the latest heard first, each group with its newest entry."""
    registry = services.registry_cache.registry
    found = Quarantine(registry.database).groups(asked.where(pilot.id), asked.limit)
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
    return ReplayState.of(Quarantine(registry.database).request_replay(where, viewer.author))


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
    deleted = discard_entries(registry, _which(chosen, pilot.id), viewer.author)
    return Deleted(deleted=deleted, discarded=deleted)


@router.get("/{entry}", response_model=QuarantineItem)
def one(services: ServicesDep, pilot: PilotDep, entry: int) -> QuarantineItem:
    """One entry."""
    registry = services.registry_cache.registry
    return QuarantineItem.of_record(find_entry(registry, pilot.id, entry))


@router.post("/{entry}/mapping", response_model=DefinitionChanged)
def map_field(
    services: ServicesDep, viewer: ChangeDep, pilot: PilotDep, entry: int, wanted: FieldMeaning
) -> DefinitionChanged:
    """State in the pilot's definition what a field of this entry's message means, or that it is not a reading, and
    reprocess the messages that were rejected like it.
    """
    registry = services.registry_cache.registry
    correction = FieldCorrection(**wanted.model_dump(exclude={"means"}), is_reading=wanted.means == "quantity")
    version, number = correct_field(registry, pilot.id, entry, correction, viewer.author)
    return DefinitionChanged(version=version, replay=number)


def _which(chosen: Chosen, pilot: str) -> QuarantineFilter:
    if not chosen.says_which:
        raise Problem("bad-parameter", "Specify which messages.", parameter="reason", example="not-a-number")
    return chosen.where(pilot)

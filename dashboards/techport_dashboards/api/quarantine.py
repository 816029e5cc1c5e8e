"""The quarantine over HTTP: entries and groups of them, fixing the cause, reprocessing and deleting."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from techport_dashboards.api.messages import RawMessage, RejectedItem, said
from techport_dashboards.api.schema import Body, Listed, day, old_name
from techport_dashboards.api.words import DeviceName, EntryNumber, PilotName
from techport_dashboards.problems import Problem
from techport_dashboards.query.paging import decode, encode, page_size
from techport_dashboards.query.parameters import Page, QuarantineChoice
from techport_dashboards.query.question import instant
from techport_dashboards.query.times import iso
from techport_dashboards.services.quarantine import FieldCorrection, correct_field, discard_entries, find_entry
from techport_dashboards.web.access import needs
from techport_dashboards.web.dependencies import PilotDep, ServicesDep, ViewerDep
from techport_dashboards.web.request_slots import SlotRoute
from techport_pilots.accounting.quarantine import Count, Quarantine, QuarantineFilter, QuarantineGroup, QuarantineRecord
from techport_pilots.accounting.replays import Replay
from techport_pilots.devices.remap import Cure, cure
from techport_storage import clock

router = APIRouter(prefix="/pilots/{pilot}/quarantine", tags=["quarantine"], route_class=SlotRoute)

Filter = Annotated[QuarantineChoice, Query()]
LONGEST_PAYLOAD = 10_000
"""Bytes that the list gives of an entry under the old name `payload`."""


class QuarantineItem(RejectedItem):
    """A message, or some values of one, in quarantine."""

    id: int
    device: str
    received: str
    format: str
    waiting: bool = Field(description="To be reprocessed by an ingest worker.")
    cure: Cure = Field(
        description="What lets it be stored: mapping (say what the field means), definition (another change of the "
        "pilot's definition), none (the message itself is damaged; reprocessing rejects it again)."
    )
    message: RawMessage

    @classmethod
    def of_record(cls, record: QuarantineRecord) -> QuarantineItem:
        return cls(
            **said(record.rejection),
            id=record.id,
            device=record.device,
            received=iso(record.received),
            format=record.format,
            field=record.field,
            values=record.values,
            waiting=record.replay_requested is not None,
            cure=cure(record.rejection, record.field),
            message=RawMessage.of(record.topic, record.payload),
        )


class ListedQuarantineItem(QuarantineItem):
    """An entry of the list, which also has the old names of parts of `message`."""

    topic: str = old_name("message.topic")
    payload: str = old_name("message.text")

    @classmethod
    def of_record(cls, record: QuarantineRecord) -> ListedQuarantineItem:
        item = QuarantineItem.of_record(record)
        payload = record.payload[:LONGEST_PAYLOAD].decode("utf-8", "backslashreplace")
        return cls(**item.model_dump(), topic=record.topic, payload=payload)


class QuarantineGroupItem(BaseModel):
    """Entries that need the same fix."""

    device: str
    reason: str
    field: str | None
    entries: int
    values: int
    first: str
    newest: QuarantineItem

    @classmethod
    def of(cls, group: QuarantineGroup) -> QuarantineGroupItem:
        return cls(
            device=group.device,
            reason=group.reason,
            field=group.field,
            entries=group.entries,
            values=group.values,
            first=iso(group.first),
            newest=QuarantineItem.of_record(group.newest),
        )


class QuarantineCount(BaseModel):
    """How much of one kind went into quarantine on a day."""

    pilot: PilotName
    device: DeviceName
    reason: str
    day: str = Field(description="Of arrival or observation, UTC.", examples=["2026-05-04"])
    entries: int
    values: int

    @classmethod
    def of(cls, count: Count) -> QuarantineCount:
        return cls(**{**msgspec.structs.asdict(count), "day": day(count.day)})


class RangeParameters(Page):
    start: str | None = Field(None, max_length=64, description="First instant, as of /readings.", examples=["-P30D"])
    end: str | None = Field(None, max_length=64, description="First instant that is left out.")


class QuarantineParameters(RangeParameters):
    device: str | None = Field(None, max_length=200)
    reason: str | None = Field(None, max_length=80)


class Chosen(Body):
    """Which entries: by number, or all of a device, a reason, a field. At least one of device, reason and entries."""

    entries: list[EntryNumber] = Field([], max_length=10_000)
    device: str | None = Field(None, max_length=200)
    reason: str | None = Field(None, max_length=80, examples=["not-a-number"])
    field: str | None = Field(None, max_length=200, description="Empty: entries that are about no field.")

    @property
    def says_which(self) -> bool:
        return bool(self.entries) or self.device is not None or self.reason is not None

    def where(self, pilot: str) -> QuarantineFilter:
        return QuarantineFilter(
            ids=tuple(self.entries) if self.entries else None,
            pilot=pilot,
            device=self.device,
            reason=self.reason,
            field=self.field,
        )


class ReplayState(BaseModel):
    """A replay, and what has come of it so far. All but entries and waiting are values."""

    replay: int
    entries: int
    waiting: int = Field(description="Entries that no worker has taken yet.")
    stored: int
    duplicates: int = Field(description="Stored already when the message first came.")
    corrections: int = Field(description="Values that replaced other ones at the same stream and time.")
    rejected: int = Field(description="In quarantine again, as new entries.")
    refused: int = old_name("rejected")
    ignored: int

    @classmethod
    def of(cls, state_of_replay: Replay) -> ReplayState:
        return cls(
            replay=state_of_replay.id,
            entries=state_of_replay.entries,
            waiting=state_of_replay.waiting,
            stored=state_of_replay.stored,
            duplicates=state_of_replay.duplicates,
            corrections=state_of_replay.corrections,
            rejected=state_of_replay.rejected,
            refused=state_of_replay.rejected,
            ignored=state_of_replay.ignored,
        )


class Deleted(BaseModel):
    deleted: int = Field(description="Entries that were deleted.")
    discarded: int = old_name("deleted")


class FieldMeaning(Body):
    """What a field of an entry's message means, for all messages of its source from now on."""

    means: Literal["quantity", "nothing"] = Field("quantity", description="nothing: it is no reading, and ignored.")
    field: str | None = Field(None, max_length=200, description="None: the field that the entry names.")
    quantity: str | None = Field(None, max_length=100, examples=["pm10"])
    unit: str | None = Field(None, max_length=40, examples=["ug/m3"], description="Of the values in the message.")
    factor: float = Field(1.0, allow_inf_nan=False)
    text: bool = Field(
        False, examples=[True], description='Read numbers sent as text, with a decimal comma too: "21,5".'
    )
    why: str = Field("", max_length=500)
    replay: bool = Field(True, description="Reprocess the messages that were rejected like this one.")


class DefinitionChanged(BaseModel):
    version: int = Field(description="Of the pilot's definition.")
    replay: int | None = Field(description="Number of the replay, where one was asked for.")


@router.get("", response_model=Listed[ListedQuarantineItem])
@needs("see-raw")
def entries(
    services: ServicesDep, pilot: PilotDep, parameters: Annotated[QuarantineParameters, Query()]
) -> dict[str, Any]:
    """Messages that could not be stored, newest first: what they were, why, and what to do about it."""
    if services.ledger is None:
        raise Problem("not-found", "This process keeps no ledger. Use a process that ingests messages.")
    now, zone = clock.now(), pilot.timezone
    where = QuarantineFilter(
        pilot=pilot.id,
        device=parameters.device,
        reason=parameters.reason,
        start=instant("start", parameters.start, zone, now, False),
        end=instant("end", parameters.end, zone, now, False),
    )
    size = page_size(parameters.limit, services.settings.page_size, services.settings.max_page_size)
    after = _entry_number(parameters.cursor) if parameters.cursor is not None else None
    page = services.ledger.quarantine.entries(where, size, after)
    return {
        "items": [ListedQuarantineItem.of_record(entry) for entry in page.items],
        "next": None if page.next is None else encode(str(page.next)),
    }


@router.get("/groups", response_model=list[QuarantineGroupItem])
@needs("see-raw")
def groups(services: ServicesDep, pilot: PilotDep, asked: Filter) -> list[QuarantineGroupItem]:
    """The entries by device, reason and field, the latest heard first, each group with its newest entry."""
    registry = services.registry_cache.registry
    listed_groups = Quarantine(registry.database).groups(asked.where(pilot.id), asked.limit)
    return [QuarantineGroupItem.of(group) for group in listed_groups]


@router.get("/counts", response_model=list[QuarantineCount])
@needs("see-raw")
def counts(services: ServicesDep, pilot: PilotDep) -> list[QuarantineCount]:
    """How many entries and values are in quarantine, by device, reason and day (UTC)."""
    registry = services.registry_cache.registry
    listed_counts = Quarantine(registry.database).counts(QuarantineFilter(pilot=pilot.id))
    return [QuarantineCount.of(count) for count in listed_counts]


@router.post("/replay", status_code=202, response_model=ReplayState)
@needs("edit")
def replay(services: ServicesDep, viewer: ViewerDep, pilot: PilotDep, chosen: Chosen) -> ReplayState:
    """Reprocess messages after the cause has been fixed; an ingest worker does it within a second or two. What still
    cannot be stored comes back as new entries; /replays gives the result.
    """
    registry = services.registry_cache.registry
    where = _which(chosen, pilot.id)
    return ReplayState.of(Quarantine(registry.database).request_replay(where, viewer.who))


@router.get("/replays/{replay}", response_model=ReplayState)
@needs("see-raw")
def outcome(services: ServicesDep, pilot: PilotDep, replay: int) -> ReplayState:
    """The result of a replay so far."""
    registry = services.registry_cache.registry
    state = Quarantine(registry.database).outcome(replay, pilot.id) if 0 <= replay < 2**63 else None
    if state is None:
        raise Problem("not-found", "There is no replay {number}.", number=replay)
    return ReplayState.of(state)


@router.post("/discard", response_model=Deleted)
@needs("edit")
def discard(services: ServicesDep, viewer: ViewerDep, pilot: PilotDep, chosen: Chosen) -> Deleted:
    """Delete entries with their messages permanently. The sums still count them as received and quarantined."""
    registry = services.registry_cache.registry
    deleted = discard_entries(registry, _which(chosen, pilot.id), viewer.who)
    return Deleted(deleted=deleted, discarded=deleted)


@router.get("/{entry}", response_model=QuarantineItem)
@needs("see-raw")
def one(services: ServicesDep, pilot: PilotDep, entry: int) -> QuarantineItem:
    """One entry."""
    registry = services.registry_cache.registry
    return QuarantineItem.of_record(find_entry(registry, pilot.id, entry))


@router.post("/{entry}/mapping", response_model=DefinitionChanged)
@needs("edit")
def map_field(
    services: ServicesDep, viewer: ViewerDep, pilot: PilotDep, entry: int, meaning: FieldMeaning
) -> DefinitionChanged:
    """State in the pilot's definition what a field of this entry's message means, or that it is not a reading, and
    reprocess the messages that were rejected like it.
    """
    registry = services.registry_cache.registry
    correction = FieldCorrection(**meaning.model_dump(exclude={"means"}), is_reading=meaning.means == "quantity")
    version, number = correct_field(registry, pilot.id, entry, correction, viewer)
    return DefinitionChanged(version=version, replay=number)


def _which(chosen: Chosen, pilot: str) -> QuarantineFilter:
    if not chosen.says_which:
        raise Problem("bad-parameter", "Specify which messages.", parameter="reason", example="not-a-number")
    return chosen.where(pilot)


def _entry_number(cursor: str) -> int:
    number = decode(cursor)
    if not (number.isascii() and number.isdecimal() and len(number) < 19):
        raise Problem("bad-cursor", "This is not a valid cursor.", parameter="cursor")
    return int(number)

"""Message accounting: where a message went, the sums of a device's days, and whether they agree with the store."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

import msgspec
from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from techport_dashboards.api.messages import SeenMessage
from techport_dashboards.api.quarantine import QuarantineItem
from techport_dashboards.api.schema import day, old_name
from techport_dashboards.api.words import DeviceName, Instant, PilotName, QuantityName
from techport_dashboards.problems import Problem
from techport_dashboards.query.parameters import Parameters
from techport_dashboards.query.question import instant
from techport_dashboards.query.times import EPOCH, iso
from techport_dashboards.web.access import needs
from techport_dashboards.web.dependencies import PilotDep, Services, ServicesDep, ViewerDep
from techport_dashboards.web.request_slots import SlotRoute
from techport_pilots.accounting.audit import AuditReport, AuditRow, State
from techport_pilots.accounting.audit import audit as compare
from techport_pilots.accounting.commit_log import Arrival
from techport_pilots.accounting.ledger import Ledger, ignored_by_rule
from techport_pilots.accounting.tally import COUNTS, BookedEvent, Correction, DeviceDay, Tally
from techport_pilots.accounting.trace import StoredValue, Trace, trace
from techport_pilots.accounting.worker_sessions import LossKind, SessionLoss
from techport_pilots.registry.registry import Registry
from techport_storage import clock

router = APIRouter(tags=["accounting"], route_class=SlotRoute)


class Sums(BaseModel):
    """What became of values: received = stored + duplicates + corrections + quarantined + ignored."""

    messages: int
    received: int = Field(description="Values that arrived; a message that cannot be read counts as one.")
    stored: int = Field(description="Values that became a row of the store.")
    duplicates: int = Field(description="Values that were there already, and equal.")
    corrections: int = Field(0, description="Values that replaced another one at the same stream and time.")
    quarantined: int = Field(description="Values that were quarantined.")
    ignored: int = Field(description="Values that a rule leaves out.")
    erased: int = Field(description="Rows that were stored and erased since.")

    @classmethod
    def of(cls, tally: Tally) -> Sums:
        return cls(**msgspec.structs.asdict(tally))


class StoredItem(BaseModel):
    """A row of the store."""

    quantity: QuantityName
    time: Instant
    value: float = Field(description="In the unit of its stream.")
    received: str
    quality: int = Field(description="Flags, added up: 0 is a reading without any.")

    @classmethod
    def of(cls, stored: StoredValue) -> StoredItem:
        return cls(
            quantity=stored.quantity,
            time=iso(stored.time),
            value=stored.value,
            received=iso(stored.received),
            quality=stored.quality,
        )


class CorrectionItem(BaseModel):
    """A value that a later message has replaced."""

    quantity: QuantityName
    time: Instant
    before: float = Field(description="What stood there, in the unit of its stream.")
    value: float = Field(description="What came in its place.")
    received: str = Field(description="When that arrived.")

    @classmethod
    def of(cls, correction: Correction) -> CorrectionItem:
        return cls(
            quantity=correction.quantity,
            time=iso(correction.time),
            before=correction.before,
            value=correction.value,
            received=iso(correction.received),
        )


class ArrivalItem(BaseModel):
    """How a message came in. More than one worker: they committed in the same second and cannot be told apart."""

    received: str
    workers: list[str] = Field(description="Ingest workers that took it; empty where it is not known any more.")
    visible: str | None = Field(description="Since when at the latest it is answered; null where it is not known.")

    @classmethod
    def of(cls, arrival: Arrival) -> ArrivalItem:
        visible = None if arrival.visible is None else iso(arrival.visible)
        return cls(received=iso(arrival.received), workers=list(arrival.workers), visible=visible)


class DeviceEventItem(BaseModel):
    """Something that a device said and that is no reading."""

    time: Instant
    kind: str = Field(description="What it was: join, button, offline, ...")
    text: str

    @classmethod
    def of(cls, event: BookedEvent) -> DeviceEventItem:
        return cls(time=iso(event.time), kind=event.kind, text=event.text)


class Traced(BaseModel):
    """Everything about a device around a time."""

    pilot: PilotName
    device: DeviceName
    known: bool = Field(description="Whether the pilot's definition has the device.")
    start: str = Field(description="First instant that was looked at.")
    end: str = Field(description="First instant that was not.")
    stored: list[StoredItem] = Field(description="Readings observed in that time.")
    corrections: list[CorrectionItem] = Field(description="Values observed in that time that were replaced since.")
    quarantined: list[QuarantineItem] = Field(description="What was received in that time and is in quarantine.")
    set_aside: list[QuarantineItem] = old_name("quarantined")
    arrivals: list[ArrivalItem] = Field(description="Of all these: through which worker, and visible since when.")
    messages: list[SeenMessage] = Field(description="Messages of that time, of a device that was watched.")
    events: list[DeviceEventItem]
    day: Sums = Field(description="The sums of that day (UTC).")
    ignored: dict[str, int] = Field(description="Parts of that day's messages that are no reading, by rule.")
    last_before: str | None = Field(
        description="Arrival of the newest reading stored, where nothing is found; else null."
    )
    cut: bool = Field(description="There is more than is listed: ask for a shorter time.")

    @property
    def found(self) -> bool:
        return bool(self.stored or self.quarantined or self.messages or self.events)

    @classmethod
    def of(cls, traced: Trace) -> Traced:
        quarantined = [QuarantineItem.of_record(entry) for entry in traced.quarantined]
        return cls(
            pilot=traced.pilot,
            device=traced.device,
            known=traced.known,
            start=iso(traced.start),
            end=iso(traced.end),
            stored=[StoredItem.of(value) for value in traced.stored],
            corrections=[CorrectionItem.of(correction) for correction in traced.corrections],
            quarantined=quarantined,
            set_aside=quarantined,
            arrivals=[ArrivalItem.of(arrival) for arrival in traced.arrivals],
            messages=[SeenMessage.of(message) for message in traced.messages],
            events=[DeviceEventItem.of(event) for event in traced.events],
            day=Sums.of(traced.day),
            ignored=dict(traced.ignored),
            last_before=None if traced.last_before is None else iso(traced.last_before),
            cut=traced.cut,
        )


class DaySums(Sums):
    """The sums of a device's day."""

    day: str = Field(description="UTC.", examples=["2026-05-04"])
    ignored_by_rule: dict[str, int] = Field(description="Parts of messages that are no reading, by rule.")


class AuditedDay(Sums):
    """A device's day as the ledger has it and as the store has it."""

    pilot: PilotName
    device: DeviceName
    day: str = Field(description="UTC.", examples=["2026-05-04"])
    counted: int = Field(description="Rows that the store holds.")
    state: State = Field(
        description="ok; unbalanced: not everything that was received became something; store-differs: the store holds "
        "another number of rows; open: it is being written to, no verdict yet."
    )

    @classmethod
    def of_row(cls, row: AuditRow) -> AuditedDay:
        pilot, device, number = row.device_day
        sums = msgspec.structs.asdict(row.tally)
        return cls(pilot=pilot, device=device, day=day(number), counted=row.counted, state=row.state, **sums)

    @property
    def row(self) -> AuditRow:
        number = (dt.date.fromisoformat(self.day) - EPOCH.date()).days
        tally = Tally(**{name: getattr(self, name) for name in COUNTS})
        return AuditRow(DeviceDay(self.pilot, self.device, number), tally, self.counted, self.state)


class LostSession(BaseModel):
    """The broker lost the session of an ingest worker, or gave it to another client."""

    id: int
    worker: str = Field(examples=["ingest-1"])
    at: int = Field(description="Since when acknowledged messages may be missing, µs since the epoch.")
    kind: LossKind = Field(
        description="lost: the broker no longer knew the session; taken-over: another client connected under its id."
    )
    accepted_by: str | None = Field(description="Who has looked into it and accepted it; null: nobody yet.")
    accepted_why: str | None = Field(description="What they found, in their words.")


class Audited(BaseModel):
    rows: list[AuditedDay] = Field(description="Every device and day that the ledger or the store knows.")
    session_losses: list[LostSession] = Field(
        description="Moments since which messages may be missing that are in no sum. The audit fails until accepted."
    )

    @classmethod
    def of(cls, report: AuditReport) -> Audited:
        losses = [LostSession(**msgspec.structs.asdict(loss)) for loss in report.session_losses]
        return cls(rows=[AuditedDay.of_row(row) for row in report.rows], session_losses=losses)

    @property
    def report(self) -> AuditReport:
        """What it was made of."""
        losses = [SessionLoss(**loss.model_dump()) for loss in self.session_losses]
        return AuditReport([day.row for day in self.rows], losses)


class TraceParameters(Parameters):
    time: str = Field(max_length=64, description="When the message was sent.", examples=["2026-05-04T14:03:00+02:00"])
    minutes: float = Field(5.0, gt=0, le=1440, description="How far around it to look.")


@router.get("/pilots/{pilot}/devices/{device}/trace", response_model=Traced)
@needs("see-raw")
def where_is_it(
    services: ServicesDep,
    pilot: PilotDep,
    device: str,
    parameters: Annotated[TraceParameters, Query()],
) -> Traced:
    """Where is my message? Readings observed and messages received around a time: stored, quarantined (why, and what to
    do) or ignored, with the sums of that day.
    """
    at = instant("time", parameters.time, pilot.timezone, clock.now(), False)
    assert at is not None
    registry, ledger = _parts(services)
    window = int(parameters.minutes * 60e6)
    return Traced.of(trace(registry, ledger, services.raw_store, pilot.id, device, at, window))


@router.get("/pilots/{pilot}/devices/{device}/account", response_model=list[DaySums])
@needs("see")
def account(services: ServicesDep, pilot: PilotDep, device: str) -> list[DaySums]:
    """The sums of each day (UTC), the newest first, and what was ignored by which rule: received = stored + duplicates
    + corrections + quarantined + ignored.
    """
    registry, ledger = _parts(services)
    tallies = ledger.tallies(pilot.id, device)
    rules = ignored_by_rule(registry.database, pilot.id, device)
    return [
        DaySums(
            **Sums.of(tally).model_dump(),
            day=day(device_day.day),
            ignored_by_rule={rule: parts for (owner, rule), parts in sorted(rules.items()) if owner == device_day},
        )
        for device_day, tally in sorted(tallies.items(), reverse=True)
    ]


def _parts(services: Services) -> tuple[Registry, Ledger]:
    if services.ledger is None:
        raise Problem("not-found", "This process keeps no ledger. Use a process that ingests messages.")
    return services.registry_cache.registry, services.ledger


class AuditParameters(Parameters):
    pilot: str | None = None


@router.get("/audit", response_model=Audited)
@needs("see")
def audit(services: ServicesDep, viewer: ViewerDep, parameters: Annotated[AuditParameters, Query()]) -> Audited:
    """Each device and day (UTC) as the ledger has it and as the store has it; `state` is ok, open, unbalanced or
    store-differs. Counts every row: seconds on a large store.
    """
    if services.ledger is None:
        raise Problem("not-found", "This process keeps no ledger. Use a process that ingests messages.")
    visible = viewer.pilots is None if parameters.pilot is None else viewer.may_see(parameters.pilot)
    if not visible:
        raise Problem("not-found", "Specify a pilot that you have access to, with pilot=.")
    return Audited.of(compare(services.ledger, services.raw_store, parameters.pilot))

"""The quarantine: rejected messages by reason, with the raw payloads, to be fixed, reprocessed or deleted."""

from __future__ import annotations

import math
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from techport_dashboards.problems import Problem
from techport_dashboards.query.parameters import QuarantineChoice
from techport_dashboards.services.quarantine import (
    FieldCorrection,
    correct_field,
    discard_entries,
    find_entry,
    similar_entries,
    wait_for_replay,
)
from techport_dashboards.web.access import NO_STORE, needs
from techport_dashboards.web.dependencies import PilotDep, Services, ServicesDep, ViewerDep
from techport_dashboards.web.forms import Form, FormDep
from techport_dashboards.web.payload import raw
from techport_dashboards.web.request_slots import SlotRoute
from techport_dashboards.web.templating import language_of, render, see_other
from techport_pilots.accounting.quarantine import Count, Quarantine, QuarantineFilter, QuarantineGroup
from techport_pilots.accounting.rejection import reason_title
from techport_pilots.device_names import as_id
from techport_pilots.devices.onboarding import UNKNOWN_DEVICE
from techport_pilots.devices.remap import can_remap, cure
from techport_pilots.model import PilotDefinition
from techport_pilots.quantities import Vocabulary, vocabulary_of
from techport_pilots.registry.registry import Registry
from techport_storage import clock
from techport_storage.microseconds import DAY
from techport_storage.model import Micros

router = APIRouter(route_class=SlotRoute)

GROUPS = 50
ENTRIES = 25
DAYS = 14


class QuarantineParameters(QuarantineChoice):
    entries: bool = Field(False, description="List single entries rather than groups.")
    after: int | None = Field(None, ge=0, lt=2**63, description="Entries older than this one.")
    replay: int | None = Field(None, ge=0, lt=2**63, description="A replay whose result to show.")
    discarded: int | None = Field(None, ge=0, description="How many entries were just deleted.")
    lang: str | None = Field(None, max_length=8)


@router.get("/pilots/{pilot}/quarantine")
@needs("see-raw")
def quarantine_page(
    request: Request,
    services: ServicesDep,
    viewer: ViewerDep,
    pilot: PilotDep,
    parameters: Annotated[QuarantineParameters, Query()],
) -> Response:
    """What is in quarantine: how much by device and day, and the entries by what fixes them."""
    values = _values(services.registry_cache.registry, pilot, parameters)
    return render(
        request,
        "quarantine.html",
        language_of(request),
        pilot=pilot,
        now=clock.now(),
        asked=parameters,
        reason_title=reason_title,
        unknown_device=UNKNOWN_DEVICE,
        as_id=as_id,
        **values,
    )


@router.get("/pilots/{pilot}/quarantine/replays/{replay}")
@needs("see-raw")
def outcome(request: Request, services: ServicesDep, pilot: PilotDep, replay: int) -> Response:
    """How far a replay is, as a piece of the page."""
    quarantine = Quarantine(services.registry_cache.registry.database)
    replay_outcome = quarantine.outcome(replay, pilot.id) if 0 <= replay < 2**63 else None
    if replay_outcome is None:
        raise Problem("not-found", "There is no replay {number}.", number=replay)
    page = render(request, "replay.html", language_of(request), pilot=pilot, replay=replay_outcome)
    page.headers.update(NO_STORE)
    return page


@router.post("/pilots/{pilot}/quarantine/replay")
@needs("edit")
def replay(request: Request, services: ServicesDep, viewer: ViewerDep, pilot: PilotDep, form: FormDep) -> Response:
    """Reprocess the chosen entries, and show the result."""
    quarantine = Quarantine(services.registry_cache.registry.database)
    asked = quarantine.request_replay(_chosen(services.registry_cache.registry, form, pilot.id), viewer.who)
    return _back(request, services, pilot.id, form, replay=asked.id)


@router.post("/pilots/{pilot}/quarantine/discard")
@needs("edit")
def discard(request: Request, services: ServicesDep, viewer: ViewerDep, pilot: PilotDep, form: FormDep) -> Response:
    """Delete the chosen entries permanently."""
    form.confirmed()
    registry = services.registry_cache.registry
    deleted = discard_entries(registry, _chosen(registry, form, pilot.id), viewer.who)
    return _back(request, services, pilot.id, form, discarded=deleted)


@router.post("/pilots/{pilot}/quarantine/{entry}/mapping")
@needs("edit", about=("quantity", "unit"))
def map_field(
    request: Request, services: ServicesDep, viewer: ViewerDep, pilot: PilotDep, entry: int, form: FormDep
) -> Response:
    """State what a field means, and reprocess the messages that were rejected for it."""
    correction = FieldCorrection(
        is_reading=form.get("means") != "nothing",
        quantity=form.get("quantity") or None,
        unit=form.get("unit") or None,
        factor=_factor(form),
        text=form.get("text") == "yes",
        why=form.get("why")[:500],
    )
    _, number = correct_field(services.registry_cache.registry, pilot.id, entry, correction, viewer)
    return _back(request, services, pilot.id, form, replay=number)


def _values(registry: Registry, pilot: PilotDefinition, asked: QuarantineParameters) -> dict[str, Any]:
    where = asked.where(pilot.id)
    words, counts = vocabulary_of(pilot), Quarantine(registry.database).counts(QuarantineFilter(pilot=pilot.id))
    page = Quarantine(registry.database).entries(where, ENTRIES, asked.after) if asked.entries else None
    groups = [] if asked.entries else Quarantine(registry.database).groups(where, GROUPS)
    return {
        "total": sum(count.entries for count in counts),
        "devices": sorted({count.device for count in counts}),
        "reasons": sorted({count.reason for count in counts}),
        "heat": heat(counts, clock.now()),
        "groups": [
            (group, raw(group.newest.payload), _can_remap(pilot, group), _suggested_quantity(words, group.field))
            for group in groups
        ],
        "page": page,
        "entries": [] if page is None else [(entry, raw(entry.payload)) for entry in page.items],
        "quantities": list(words),
        "cure": cure,
        "replay": None if asked.replay is None else Quarantine(registry.database).outcome(asked.replay, pilot.id),
    }


def _can_remap(pilot: PilotDefinition, group: QuarantineGroup) -> bool:
    """Whether the group can be fixed by stating what the field means."""
    return cure(group.newest.rejection, group.field) == "mapping" and can_remap(pilot, group.newest)


def _suggested_quantity(vocabulary: Vocabulary, field: str | None) -> str:
    """What the field most likely means: itself where it is a quantity, else the nearest name; "" where none is near."""
    if field is None:
        return ""
    return field if field in vocabulary else next(iter(vocabulary.near(field)), "")


def heat(counts: list[Count], now: Micros) -> dict[str, Any]:
    """How many entries of each device arrived on each of the last days (UTC, today first) and before."""
    last = now // DAY
    days = range(last, last - DAYS, -1)
    rows: dict[str, dict[int | None, int]] = {}
    for count in counts:
        row = rows.setdefault(count.device, {})
        day = count.day if count.day in days else None
        row[day] = row.get(day, 0) + count.entries
    most = max((n for row in rows.values() for day, n in row.items() if day is not None), default=0)
    ordered = sorted(rows.items(), key=lambda pair: -sum(pair[1].values()))
    return {"days": [(day, day * DAY) for day in days], "rows": ordered, "most": most}


def _chosen(registry: Registry, form: Form, pilot: str) -> QuarantineFilter:
    """The entries of the form: those that are ticked, or those like one. Raises Problem where it names none."""
    ticked = [text for text in form.all("entry") if text.isdecimal() and len(text) < 19]
    if ticked:
        return QuarantineFilter(pilot=pilot, ids=tuple(map(int, ticked)))
    like = form.number("like")
    if like is None:
        raise Problem("bad-parameter", "Select at least one message.", parameter="entry")
    return similar_entries(find_entry(registry, pilot, like))


def _factor(form: Form) -> float:
    try:
        factor = float(form.get("factor").replace(",", ".") or 1)
    except ValueError:
        factor = math.nan
    if not math.isfinite(factor):
        raise Problem("bad-parameter", "This is not a number.", parameter="factor", example="0.1")
    return factor


def _back(
    request: Request,
    services: Services,
    pilot: str,
    form: Form,
    replay: int | None = None,
    discarded: int | None = None,
) -> Response:
    """To the page again, with the filter it had, so that reloading it repeats nothing."""
    if replay is not None:
        wait_for_replay(services.registry_cache.registry, replay)
    filters = {name: form.raw(f"filter_{name}") for name in ("device", "reason", "day", "entries")}
    results = {"replay": replay, "discarded": discarded}
    query = {name: str(value) for name, value in {**filters, **results}.items() if value not in (None, "")}
    return see_other(request, f"/pilots/{pilot}/quarantine", **query)

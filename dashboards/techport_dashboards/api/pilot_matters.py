"""What is known of a pilot beside its readings: events, KPIs, their evaluation, and what was set aside."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query
from pydantic import Field

from techport_dashboards.api.describe import title
from techport_dashboards.api.matters_schema import said
from techport_dashboards.api.schema import KpiItem, Listed, QuarantineItem
from techport_dashboards.problems import Problem
from techport_dashboards.query import times
from techport_dashboards.query.paging import decode, encode, page_size, paged
from techport_dashboards.query.parameters import Page
from techport_dashboards.query.question import TIME_EXAMPLE, instant
from techport_dashboards.web.dependencies import PilotDep, Services, ServicesDep
from techport_dashboards.web.request_slots import SlotRoute
from techport_pilots.accounting.quarantine import QuarantineFilter, QuarantineRecord
from techport_pilots.evaluation.kpi import kpi_value
from techport_pilots.model import Kpi, PilotDefinition
from techport_storage import clock

router = APIRouter(prefix="/pilots/{pilot}", route_class=SlotRoute)


class RangeParameters(Page):
    start: str | None = Field(None, max_length=64, description="First instant, as of /readings.", examples=["-P30D"])
    end: str | None = Field(None, max_length=64, description="First instant that is left out.")


class KpiParameters(Page):
    start: str | None = Field(
        None, max_length=64, description="With `end`: the KPIs' values over this time.", examples=["-P7D"]
    )
    end: str | None = Field(None, max_length=64, description="First instant that is left out; now when left out.")


class QuarantineParameters(RangeParameters):
    device: str | None = Field(None, max_length=200)
    reason: str | None = Field(None, max_length=80)


@router.get("/kpis", tags=["evaluation"], response_model=Listed[KpiItem])
def kpis(services: ServicesDep, pilot: PilotDep, parameters: Annotated[KpiParameters, Query()]) -> dict[str, Any]:
    """The numbers that decide, as the pilot defined them; with `start` also their values over that time."""
    span = _span(parameters.start, parameters.end, pilot)
    items = []
    for kpi in sorted(pilot.kpis, key=lambda kpi: kpi.id):
        item = {**msgspec.to_builtins(kpi), "title": title(kpi.title)}
        if span is not None:
            value = kpi_value(services.store, pilot, kpi, *span)
            item["value"] = {**msgspec.to_builtins(value), "start": times.iso(span[0]), "end": times.iso(span[1])}
        items.append(item)
    return _listed(items, parameters, services)


@router.get("/kpis/{kpi}/evaluation", tags=["evaluation"], response_model=dict[str, Any])
def evaluation(services: ServicesDep, pilot: PilotDep, kpi: str) -> dict[str, Any]:
    """Baseline against intervention for one KPI: effect, interval, verdict, and what it rests on. Takes seconds.

    A phase that runs is judged up to now, or to the end of a pilot that has ended; what was found when it was closed
    stays. The same data and definition give the same answer. A verdict without its interval says less than it seems to.
    """
    seconds = services.settings.query_seconds
    try:
        answer = services.evaluations.fresh(pilot, _kpi(pilot, kpi), seconds)
    except TimeoutError as error:
        raise Problem("too-costly", f"The calculation took more than {seconds:g} seconds.") from error
    built: dict[str, Any] = msgspec.to_builtins(answer)
    return built


@router.get("/quarantine", tags=["accounting"], response_model=Listed[QuarantineItem])
def quarantine(
    services: ServicesDep, pilot: PilotDep, parameters: Annotated[QuarantineParameters, Query()]
) -> dict[str, Any]:
    """Messages that could not be stored, newest first: what they were, why, and what to do about it."""
    if services.books is None:
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
    page = services.books.quarantine.entries(where, size, after)
    return {
        "items": [_quarantine_entry(entry) for entry in page.items],
        "next": None if page.next is None else encode(str(page.next)),
    }


def _kpi(pilot: PilotDefinition, name: str) -> Kpi:
    found = next((kpi for kpi in pilot.kpis if kpi.id == name), None)
    if found is None:
        known = ", ".join(kpi.id for kpi in pilot.kpis)
        raise Problem("not-found", f"The pilot has no KPI {name[:80]!r}.", parameter="kpi", example=known or None)
    return found


def _span(start: str | None, end: str | None, pilot: PilotDefinition) -> tuple[int, int] | None:
    now = clock.now()
    first = instant("start", start, pilot.timezone, now, False)
    last = instant("end", end, pilot.timezone, now, False)
    if first is None:
        if last is not None:
            raise Problem("bad-parameter", "`end` requires `start`.", parameter="start", example=TIME_EXAMPLE)
        return None
    last = now if last is None else last
    if first >= last:
        raise Problem(
            "bad-parameter", "The time range is empty.", parameter="end", example="an end later than the start"
        )
    return first, last


def _quarantine_entry(entry: QuarantineRecord) -> dict[str, Any]:
    return {
        **{name: getattr(entry, name) for name in ("id", "device", "topic", "format", "field", "values")},
        **said(entry.rejection),
        "received": times.iso(entry.received),
        "payload": entry.payload[:10_000].decode("utf-8", "backslashreplace"),
    }


def _entry_number(cursor: str) -> int:
    number = decode(cursor)
    if not (number.isascii() and number.isdecimal() and len(number) < 19):
        raise Problem("bad-cursor", "This is not a valid cursor.", parameter="cursor")
    return int(number)


def _listed(items: list[dict[str, Any]], page: Page, services: Services) -> dict[str, Any]:
    settings = services.settings
    some, following = paged(items, lambda item: str(item["id"]), page, settings.page_size, settings.max_page_size)
    return {"items": some, "next": following}

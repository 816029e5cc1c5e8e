"""KPIs as the pilot defined them, their values over any time, and their evaluation."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from techport_dashboards.api.schema import Listed, Title, listed, old_name, title
from techport_dashboards.api.words import Instant, QuantityName, Unit
from techport_dashboards.problems import Problem
from techport_dashboards.query import times
from techport_dashboards.query.parameters import Page
from techport_dashboards.query.question import TIME_EXAMPLE, instant
from techport_dashboards.web.dependencies import PilotDep, ServicesDep
from techport_dashboards.web.request_slots import SlotRoute
from techport_pilots.evaluation.kpi import kpi_value
from techport_pilots.model import Kpi, PilotDefinition
from techport_storage import clock

router = APIRouter(prefix="/pilots/{pilot}/kpis", tags=["evaluation"], route_class=SlotRoute)


class KpiValueItem(BaseModel):
    """A KPI over a time."""

    value: float | None = Field(description="In `unit`; null where there are no readings to speak of.")
    unit: Unit
    completeness: float = Field(description="Samples with a value ÷ samples expected, 0 to 1.")
    samples: int = Field(description="Samples with a value: hours, or days, as the KPI counts.")
    slots: int = old_name("samples")
    start: Instant
    end: Instant


class KpiItem(BaseModel):
    model_config = ConfigDict(extra="allow")

    id: str = Field(description="Unique within the pilot.")
    title: Title
    quantity: QuantityName
    statistic: str = Field(description="mean, median, percentile, min, max, sum, count, hours_above or share_above.")
    direction: str = Field(description="What is better: lower or higher.")
    target: float | None = Field(description="In the quantity's unit, or in per cent where target_is says so.")
    value: KpiValueItem | None = Field(None, description="Over the time asked for; null where none was.")


class KpiParameters(Page):
    start: str | None = Field(
        None, max_length=64, description="With `end`: the KPIs' values over this time.", examples=["-P7D"]
    )
    end: str | None = Field(None, max_length=64, description="First instant that is left out; now when left out.")


@router.get("", response_model=Listed[KpiItem])
def kpis(services: ServicesDep, pilot: PilotDep, parameters: Annotated[KpiParameters, Query()]) -> dict[str, Any]:
    """The numbers that decide, as the pilot defined them; with `start` also their values over that time."""
    span = _span(parameters.start, parameters.end, pilot)
    items = []
    for kpi in sorted(pilot.kpis, key=lambda kpi: kpi.id):
        item = {**msgspec.to_builtins(kpi), "title": title(kpi.title)}
        if span is not None:
            value = kpi_value(services.store, pilot, kpi, *span)
            item["value"] = {
                **msgspec.to_builtins(value),
                "slots": value.samples,  # the old name, for one release (CHANGELOG.md)
                "start": times.iso(span[0]),
                "end": times.iso(span[1]),
            }
        items.append(item)
    return listed(items, ("id",), parameters, services.settings)


@router.get("/{kpi}/evaluation", response_model=dict[str, Any])
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

"""The public page of a pilot: what anybody may know of it, in plain words. Only for pilots that are declared open.

What it shows is chosen here, not left out: no ids, kinds or exact places of devices, no messages, no quarantine, no
remarks. A pilot that is not open answers like one that does not exist.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import pyarrow as pa
from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from techport_dashboards.charts.distribution import Days, Ints, days
from techport_dashboards.charts.lines import PRESENTATIONS
from techport_dashboards.charts.map import Outline, outline
from techport_dashboards.charts.timeline import timeline
from techport_dashboards.pages.datasets import described_for_programs
from techport_dashboards.pages.kpis import card_of
from techport_dashboards.pages.pilot import pilot_now
from techport_dashboards.problems import Problem
from techport_dashboards.query import times
from techport_dashboards.query.parameters import Parameters
from techport_dashboards.query.question import Question, answer
from techport_dashboards.services.basemap import load_basemap
from techport_dashboards.services.device_status import PilotNow, State
from techport_dashboards.viewer import Viewer
from techport_dashboards.web.access import needs
from techport_dashboards.web.dependencies import Services, ServicesDep, ViewerDep, address_of
from techport_dashboards.web.request_slots import SlotRoute
from techport_dashboards.web.templating import language_of, render
from techport_pilots.handover.dcat.build import shareable
from techport_pilots.model import PilotDefinition, Position
from techport_pilots.quantities import Quantity, vocabulary_of
from techport_pilots.svg import Floats
from techport_pilots.time import day_starts, local, micros_of, month_starts
from techport_storage import clock
from techport_storage.model import Micros

router = APIRouter(prefix="/p", route_class=SlotRoute)

ABOUT = 3  # decimals of a degree: within some hundred metres


class PublicParameters(Parameters):
    lang: str | None = Field(None, max_length=8)


@dataclass(frozen=True, slots=True)
class Course:
    """How what the pilot is about went, day by day."""

    quantity: Quantity
    drawing: Days


@router.get("/{pilot}")
@needs("see", anybody="the public page of an open pilot")
def public_page(
    request: Request, services: ServicesDep, viewer: ViewerDep, pilot: str, _: Annotated[PublicParameters, Query()]
) -> Response:
    """Question, hypothesis, figures, map and how to get the data."""
    now = clock.now()
    definition = shared(services, viewer, pilot)
    status, _infos = pilot_now(services, viewer, pilot, now)
    language, base = language_of(request), address_of(request)
    about, links = described_for_programs(services, definition, language, base)
    page = render(
        request,
        "public.html",
        language,
        public=True,
        now=now,
        open_pilot=definition,
        stage=services.registry_cache.registry.state(pilot),
        online=status.count(State.LIVE),
        devices=len(definition.devices),
        seen=status.seen,
        timeline=timeline(definition, now),
        map=_map(services, status),
        course=_course(services, viewer, definition, now),
        base=base,
        about=about,
    )
    if links:
        page.headers["Link"] = links
    return page


@router.get("/{pilot}/figures")
@needs("see", anybody="the public page of an open pilot")
def figures(
    request: Request, services: ServicesDep, viewer: ViewerDep, pilot: str, _: Annotated[PublicParameters, Query()]
) -> Response:
    """A piece of the page: each KPI so far with its uncertainty, which takes longer to work out than the rest."""
    language = language_of(request)
    definition = shared(services, viewer, pilot)
    standing = services.evaluations.standing(definition)
    cards = [card_of(definition, kpi, evaluation, language) for kpi, evaluation in standing.kpis]
    return render(request, "kpis.html", language, cards=cards, complete=None)


def shared(services: Services, viewer: Viewer, pilot: str) -> PilotDefinition:
    """The pilot if anybody may know of it. Raises the same Problem for one that is not shared as for none at all."""
    definition = services.registry_cache.current().pilots.get(pilot)
    if definition is None or not shareable(definition) or not viewer.may_see(pilot):
        raise Problem("not-found", "There is no public page for {name}.", name=repr(pilot[:80]), parameter="pilot")
    return definition


def _map(services: Services, status: PilotNow) -> Outline:
    """Where the pilot measures, about: places are rounded, and say nothing of the devices there."""
    places = [device.device.position for device in status.devices if device.device.described and device.device.position]
    rounded = {(round(at.lat, ABOUT), round(at.lon, ABOUT)) for at in places}
    return outline(
        [Position(lat, lon) for lat, lon in sorted(rounded)],
        load_basemap(services.settings.basemap),
        services.settings.map_tiles,
    )


def _course(services: Services, viewer: Viewer, pilot: PilotDefinition, now: Micros) -> Course | None:
    """Daily values of what the first KPI is about, over all its phases up to now, as the mean of the devices."""
    if not pilot.kpis or not pilot.phases:
        return None
    quantity = vocabulary_of(pilot).lookup(pilot.kpis[0].quantity)
    spans = [(p.kind, micros_of(p.start, pilot.timezone), micros_of(p.end, pilot.timezone)) for p in pilot.phases]
    today = int(day_starts(local(np.array([now], np.int64), pilot.timezone).day, pilot.timezone)[0])
    start, end = min(start for _, start, _ in spans), min(today, max(end for _, _, end in spans))  # a part is no day
    if quantity is None or start >= end or not PRESENTATIONS[quantity.kind].averaged:
        return None
    if pilot.kpis[0].statistic in ("sum", "count"):  # means of devices would say another number than the KPI
        return None
    day, value = _daily(services, viewer, pilot, pilot.kpis[0].quantity, (start, end), quantity.kind)
    phases = [(kind, a, min(b, end)) for kind, a, b in spans if a < end]
    drawing = days(day, value, phases, start, end, month_starts(start + 1, end, pilot.timezone))
    return None if drawing is None else Course(quantity, drawing)


def _daily(
    services: Services, viewer: Viewer, pilot: PilotDefinition, quantity: str, span: Sequence[Micros], kind: str
) -> tuple[Ints, Floats]:
    """One value a local day that has any, ascending."""
    how = PRESENTATIONS[kind]
    question = Question(
        pilots=[pilot.id],
        devices=[device.id for device in pilot.devices if quantity in {s.quantity for s in device.streams}],
        quantities=[quantity],
        start=times.iso(span[0]),
        end=times.iso(span[1]),
        every="P1D",
        aggregate=[how.statistic],
        zone=pilot.timezone,
        quality="good",
    )
    rows = answer(services, viewer, question).rows
    table = rows if isinstance(rows, pa.Table) else rows.read_all()
    value = table.column(how.statistic).to_numpy()
    day = table.column("time").cast(pa.int64()).to_numpy()
    finite = np.isfinite(value)
    all_days = np.unique(day[finite])
    return all_days, np.array(
        [how.mean(value[finite][day[finite] == day_number]) for day_number in all_days.tolist()], np.float64
    )

"""Explore: any quantity of a pilot over any range, as lines, distribution, week, rose or against another quantity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

import numpy as np
import pyarrow as pa
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse
from numpy.typing import NDArray
from pydantic import Field

from techport_dashboards.charts import figures, rose
from techport_dashboards.charts.clock import Clock
from techport_dashboards.charts.lines import PRESENTATIONS
from techport_dashboards.pages.pilot import PageParameters, Panel, first_charts, newest, panels, pilot_now
from techport_dashboards.pages.time_range import range_values
from techport_dashboards.query import times
from techport_dashboards.query.names import find_pilot
from techport_dashboards.query.question import Question, answer
from techport_dashboards.query.registry_cache import RegistryView
from techport_dashboards.viewer import Viewer
from techport_dashboards.web.access import needs
from techport_dashboards.web.dependencies import Services, ServicesDep, ViewerDep
from techport_dashboards.web.request_slots import SlotRoute
from techport_dashboards.web.templating import language_of, render
from techport_pilots.i18n import N_
from techport_pilots.model import PilotDefinition
from techport_storage import clock
from techport_storage.model import Micros

router = APIRouter(route_class=SlotRoute)

View = Literal["line", "distribution", "week", "rose", "scatter"]
VIEWS: dict[str, str] = {
    "line": N_("Time series"),
    "distribution": N_("Distribution"),
    "week": N_("Week by hour"),
    "rose": N_("By wind direction"),
    "scatter": N_("Scatter: two quantities"),
}
DIRECTION, SPEED = "wind_from_direction", "wind_speed"
EVERY = "PT1H"
ROSE_EVERY = "PT10M"  # the wind turns within an hour


class ExploreParameters(PageParameters):
    pilot: str | None = Field(None, max_length=64)
    quantity: str | None = Field(None, max_length=200)
    other: str | None = Field(None, max_length=200, description="The second quantity of view=scatter.")
    view: View = "line"


@dataclass(frozen=True, slots=True)
class Column:
    """Buckets of one quantity over all chosen devices, in no particular order."""

    device: list[str]
    time: NDArray[np.int64]
    value: NDArray[np.float64]


@router.get("/explore")
@needs("see")
def explore(
    request: Request, services: ServicesDep, viewer: ViewerDep, parameters: Annotated[ExploreParameters, Query()]
) -> Response:
    """Everything that is chosen is in the address; without a choice the first pilot and its first quantity."""
    now, language = clock.now(), language_of(request)
    catalogue = services.registry_cache.current()
    pilots = [pilot for pilot in catalogue.pilots.values() if viewer.may_see(pilot.id)]
    if not pilots:
        return RedirectResponse(f"/?lang={parameters.lang}" if parameters.lang else "/", 303)  # it shows the way
    pilot = find_pilot(catalogue, viewer, parameters.pilot or pilots[0].id)
    status, infos = pilot_now(services, viewer, pilot.id, now)
    choices = panels(pilot, infos)
    quantity = _chosen(parameters.quantity, choices, 0)
    other = _chosen(parameters.other, choices, 1) if parameters.view == "scatter" else None
    values = range_values(request, pilot, newest([status]), parameters, now)
    values["chosen"] = [name for name in values["chosen"] if (pilot.id, name) in catalogue.devices]
    drawing: dict[str, Any] = {}
    if quantity is not None and parameters.view != "line":
        drawing = _figure(
            services,
            viewer,
            catalogue,
            pilot.id,
            quantity.quantity,
            None if other is None else other.quantity,
            parameters.view,
            values,
        )
    return render(
        request,
        "explore.html",
        language,
        now=now,
        pilots=pilots,
        pilot=pilot,
        here=status,
        choices=choices,
        panel=quantity,
        other=other,
        asked_language=parameters.lang,
        weekdays=language.weekdays(),
        first=first_charts(request, pilot, [quantity] if quantity and parameters.view == "line" else [], values),
        base=str(request.base_url).rstrip("/"),
        view=parameters.view,
        views=VIEWS,
        drawing=drawing,
        decimals=_decimals(catalogue, pilot.id, quantity),
        api_call=_api_call(catalogue, pilot, (quantity, other), values, parameters.view, now),
        **values,
    )


def _chosen(name: str | None, choices: Sequence[Panel], default: int) -> Panel | None:
    """The quantity asked for; the one at `default` where it is not this pilot's: the form was sent for another."""
    named = next((choice for choice in choices if choice.quantity == name), None)
    return named or (choices[min(default, len(choices) - 1)] if choices else None)


def _decimals(catalogue: RegistryView, pilot: str, panel: Panel | None) -> int:
    decimals = [
        info.decimals
        for stream, info in catalogue.streams.items()
        if panel is not None and stream.pilot == pilot and stream.quantity == panel.quantity
    ]
    return decimals[0] if decimals else 2


def _figure(
    services: Services,
    viewer: Viewer,
    catalogue: RegistryView,
    pilot: str,
    quantity: str,
    other: str | None,
    view: View,
    values: dict[str, Any],
) -> dict[str, Any]:
    """What the template draws: {view: figure}, and how many buckets of which width it rests on."""
    every = ROSE_EVERY if view == "rose" else EVERY
    devices = values["chosen"]
    column = _column(services, viewer, catalogue, pilot, quantity, devices, every, values)
    rests: dict[str, Any] = {"count": len(column.value), "every": every, "without_wind": False}
    rests |= {"stacked": None, "speed": None, "distribution": [], "week": [], "rose": [], "scatter": None}
    if view == "distribution":
        bins = figures.distribution(column.value)
        if not bins:
            return rests
        across = figures.axis(bins[0].low, bins[-1].high, 52, 632, 8)
        up = figures.axis(0, max(bin_.count for bin_ in bins), 220, 15, 5)
        return rests | {"distribution": bins, "across": across, "up": up}
    if view == "week":
        clock = Clock(times.zone_named(catalogue.pilots[pilot].timezone), None)
        return rests | {"week": figures.week(clock.local(column.time), column.value)}
    if view == "rose":
        if not _measured(catalogue, pilot, DIRECTION):
            return rests | {"without_wind": True}
        wind = _column(services, viewer, catalogue, pilot, DIRECTION, (), every, values)
        direction, value = _at_the_time(wind, column)
        bounds = rose.WIND_CLASSES if quantity == SPEED else rose.classes_of(value)
        speed = None
        if quantity != SPEED and _measured(catalogue, pilot, SPEED):
            fast = _column(services, viewer, catalogue, pilot, SPEED, (), every, values)
            speed = rose.stacked(*_at_the_time(wind, fast), rose.WIND_CLASSES)
        return rests | {
            "rose": figures.rose(direction, value),
            "stacked": rose.stacked(direction, value, bounds),
            "speed": speed,
        }
    assert other is not None
    second = _column(services, viewer, catalogue, pilot, other, devices, every, values)
    x, y = _together(second, column)
    drawn = figures.scatter(x, y)
    if drawn is None:
        return rests
    across, up = figures.axis(*drawn.x, 0, 100, 6), figures.axis(*drawn.y, 60, 0, 6)
    return rests | {"scatter": drawn, "across": across, "up": up}


def _column(
    services: Services,
    viewer: Viewer,
    catalogue: RegistryView,
    pilot: str,
    quantity: str,
    devices: Sequence[str],
    every: str,
    values: dict[str, Any],
) -> Column:
    statistic = _statistic(catalogue, pilot, quantity)
    question = Question(
        pilots=[pilot],
        quantities=[quantity],
        devices=devices,
        start=values["start"],
        end=values["end"],
        every=every,
        aggregate=[statistic],
        wall_clock=True,
    )
    rows = answer(services, viewer, question).rows
    table = rows if isinstance(rows, pa.Table) else rows.read_all()
    value = table.column(statistic).to_numpy()
    finite = np.isfinite(value)
    device = [name for name, keep in zip(table.column("device").to_pylist(), finite, strict=True) if keep]
    return Column(device, table.column("time").cast(pa.int64()).to_numpy()[finite], value[finite])


def _measured(catalogue: RegistryView, pilot: str, quantity: str) -> bool:
    return any(stream[::2] == (pilot, quantity) for stream in catalogue.streams)


def _statistic(catalogue: RegistryView, pilot: str, quantity: str) -> str:
    """What stands for a bucket of the quantity."""
    kind = next((i.kind for s, i in catalogue.streams.items() if s.pilot == pilot and s.quantity == quantity), "level")
    return PRESENTATIONS[kind].statistic


def _together(first: Column, second: Column) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Values of the same device and time; where no device measures both, of the same time."""
    if set(first.device) & set(second.device):
        first_values = dict(zip(zip(first.device, first.time.tolist(), strict=True), first.value.tolist(), strict=True))
        keys: list[Any] = list(zip(second.device, second.time.tolist(), strict=True))
        pairs = [
            (first_values[key], value)
            for key, value in zip(keys, second.value.tolist(), strict=True)
            if key in first_values
        ]
        return np.array([x for x, _ in pairs]), np.array([y for _, y in pairs])
    return _at_the_time(first, second)


def _at_the_time(first: Column, second: Column) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Values of the second, each with the first's of the same bucket. Of several devices the last one's stands."""
    first_values = dict(zip(first.time.tolist(), first.value.tolist(), strict=True))
    has_pair = np.array([time in first_values for time in second.time.tolist()], bool)
    return np.array([first_values[time] for time in second.time[has_pair].tolist()], np.float64), second.value[has_pair]


def _api_call(
    catalogue: RegistryView,
    pilot: PilotDefinition,
    panels: Sequence[Panel | None],
    values: dict[str, Any],
    view: View,
    now: Micros,
) -> str:
    """The request that gives the same readings: the page's local times as UTC, durations as they are."""
    names = [panel.quantity for panel in panels if panel is not None]
    if view == "rose" and _measured(catalogue, pilot.id, DIRECTION):
        names.append(DIRECTION)
    query = {"pilot": pilot.id, "quantity": ",".join(dict.fromkeys(names))}
    for name in ("start", "end"):
        text = values[name]
        if text != "now" and not text.lstrip("+-").startswith("P"):
            text = times.iso(times.parse_instant(text, times.zone_named(pilot.timezone), now, wall_clock=True))
        query[name] = text
    if values["chosen"]:
        query["device"] = ",".join(values["chosen"])
    if view != "line":
        query["every"] = ROSE_EVERY if view == "rose" else EVERY
        query["aggregate"] = ",".join(dict.fromkeys(_statistic(catalogue, pilot.id, name) for name in names))
    return f"/api/v1/readings?{urlencode(query)}"

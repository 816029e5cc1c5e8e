"""One pilot: its question, where it stands, charts by quantity, its devices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from typing import Annotated, Any
from urllib.parse import urlencode

import msgspec
from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from techport_dashboards.charts import series
from techport_dashboards.charts.map import BESIDE, draw
from techport_dashboards.charts.plotly_figure import figure_of
from techport_dashboards.charts.timeline import timeline
from techport_dashboards.pages import device_table, embed, wall
from techport_dashboards.pages.time_range import range_values
from techport_dashboards.problems import Problem, sign_in_needed
from techport_dashboards.query.names import find_pilot
from techport_dashboards.query.parameters import ChartParameters, Parameters
from techport_dashboards.query.registry_cache import RegistryView
from techport_dashboards.services import air_quality, device_status
from techport_dashboards.services.alerts import attention, sentence
from techport_dashboards.services.basemap import load_basemap
from techport_dashboards.services.device_status import DeviceNow, PilotNow
from techport_dashboards.viewer import Viewer
from techport_dashboards.web.access import needs
from techport_dashboards.web.dependencies import PilotDep, Services, ServicesDep, ViewerDep
from techport_dashboards.web.paths import below
from techport_dashboards.web.request_slots import SlotRoute
from techport_dashboards.web.templating import language_of, render
from techport_pilots.accounting.quarantine import Quarantine, QuarantineFilter
from techport_pilots.alerts.log import Alert, AlertLog
from techport_pilots.devices.onboarding import unknown_devices
from techport_pilots.model import PilotDefinition, Text
from techport_pilots.registry.registry import Registry, StreamInfo
from techport_storage import clock
from techport_storage.model import Micros, Selection

router = APIRouter(route_class=SlotRoute)


class PageParameters(Parameters):
    """What a page's address may say. Times as in the API, or local times of the pilot without an offset."""

    start: str | None = Field(None, max_length=64)
    end: str | None = Field(None, max_length=64)
    typed_from: str | None = Field(None, max_length=64, alias="from", description="The start as people type it.")
    typed_to: str | None = Field(None, max_length=64, alias="to", description="The end as people type it.")
    against: str | None = Field(None, max_length=32)
    device: str | None = Field(None, max_length=2000, description="Devices to show, as a comma list; none: all.")
    lang: str | None = Field(None, max_length=8)
    wall: bool = False


class PilotPageParameters(PageParameters):
    sort: str = Field(
        device_table.WORST, max_length=200, description="A column of the devices; a minus turns it round."
    )
    cycle: bool = False
    map: str | None = Field(None, max_length=200, description="The quantity whose values the map shows.")
    embed: bool = False
    quantity: str | None = Field(None, max_length=200, description="With embed: the chart that stands alone.")
    kpi: str | None = Field(None, max_length=200, description="With embed: the KPI that stands alone.")


AT_ONCE = 2  # charts whose data the browser asks for as soon as it sees the page's head


@dataclass(frozen=True, slots=True)
class Panel:
    """A chart to be drawn: one quantity of the pilot, or of one device."""

    quantity: str
    title: Text
    unit_label: str
    group: str
    described: bool


_OF_MESSAGES = ("unknown-device", "quarantine", "quarantine-waiting")


@router.get("/pilots/{pilot}")
@needs("see", anybody="with embed=1 a chart of an open pilot in another site's page, where no cookie is sent")
def pilot_page(
    request: Request,
    services: ServicesDep,
    viewer: ViewerDep,
    pilot: str,
    parameters: Annotated[PilotPageParameters, Query()],
) -> Response:
    """The pilot's page over a range, by default the last day that has readings."""
    if not viewer.signed_in and not parameters.embed:
        raise sign_in_needed()
    now = clock.now()
    status, infos = pilot_now(services, viewer, pilot, now)
    language = language_of(request)
    values = range_values(request, status.pilot, newest([status]), parameters, now)
    shown = panels(status.pilot, infos)
    if parameters.embed:
        alone = [panel for panel in shown if parameters.quantity in (None, panel.quantity)]
        values["first"] = first_charts(request, status.pilot, alone[:1], values)
        return embed.embedded(request, status.pilot, shown, parameters.quantity, parameters.kpi, values)
    catalogue, registry = services.registry_cache.current(), services.registry_cache.registry
    air = air_quality.rated(catalogue.streams, services.last_hour, now, language)
    return render(
        request,
        "pilot.html",
        language,
        now=now,
        devices=device_table.ordered(status.devices, parameters.sort, language),
        headings=device_table.headings(request, status.devices, parameters.sort, language),
        air=air,
        map=draw(
            status.devices,
            load_basemap(services.settings.basemap),
            services.settings.map_tiles,
            {stream: info.name for stream, info in air.items()},
            BESIDE,
            parameters.map,
        ),
        here=status,
        pilot=status.pilot,
        assumed_open=pilot in catalogue.assumed_open,
        panels=shown,
        first=first_charts(request, status.pilot, shown, values),
        timeline=timeline(status.pilot, now),
        stage=registry.state(pilot),
        attention=device_status.worst_first([status]),
        alerts=_alerts(registry, viewer, pilot),
        sentence=partial(sentence, catalogue=catalogue, language=language),
        wall_next=wall.following(services, viewer, status.pilot.id) if parameters.cycle else None,
        **_waiting(registry, viewer, pilot),
        **values,
    )


@router.get("/pilots/{pilot}/chart")
@needs("see", anybody="the data of an embedded chart")
def chart(
    request: Request,
    services: ServicesDep,
    viewer: ViewerDep,
    pilot: PilotDep,
    parameters: Annotated[ChartParameters, Query()],
) -> Response:
    """One chart as static/js/chart.js draws it: its figure and the words around it.

    Others take /api/v1/pilots/{pilot}/figure.json.
    """
    language = language_of(request)
    chart = series.chart_of(services, viewer, parameters.question(pilot.id), language)
    body = msgspec.json.encode(series.described(chart) | {"figure": figure_of(chart, language)})
    return Response(body, 200, {"Cache-Control": "no-store"}, "application/json")


def _alerts(registry: Registry, viewer: Viewer, pilot: str) -> list[Alert]:
    """What needs attention beside devices that are offline. Whoever may see the messages has their list (_waiting)."""
    alerts = attention(AlertLog(registry.database).open(pilot), viewer.may_see)
    listed = _OF_MESSAGES if viewer.may("see-raw", pilot) else ()
    return [alert for alert in alerts if alert.rule not in listed]


def _waiting(registry: Registry, viewer: Viewer, pilot: str) -> dict[str, Any]:
    """Messages that need action, for who may see them: of unknown devices, and those in quarantine otherwise."""
    if not viewer.may("see-raw", pilot):
        return {"unknown": [], "quarantined": 0}
    unknown = unknown_devices(registry.database, pilot)
    entries = Quarantine(registry.database).count(QuarantineFilter(pilot=pilot))
    return {"unknown": unknown, "quarantined": entries - sum(unknown_device.messages for unknown_device in unknown)}


def pilot_now(services: Services, viewer: Viewer, pilot: str, now: Micros) -> tuple[PilotNow, list[StreamInfo]]:
    """The pilot's devices with their latest readings, and all its streams. Raises Problem where there is none."""
    catalogue: RegistryView = services.registry_cache.current()
    definition = find_pilot(catalogue, viewer, pilot)
    latest = services.store.latest(Selection(pilots=(pilot,)))
    (status,) = device_status.device_statuses(catalogue, latest, [definition], now)
    return status, [stream.view for device in status.devices for stream in device.streams]


def panels(pilot: PilotDefinition, infos: list[StreamInfo]) -> list[Panel]:
    """One panel a quantity; what the pilot is about first, the devices' own health and what is not described last."""
    ranks = device_status.ranks_of(pilot)
    by_quantity: dict[str, Panel] = {}
    for info in infos:
        quantity = info.stream.quantity
        if quantity not in by_quantity or (info.described and not by_quantity[quantity].described):
            by_quantity[quantity] = Panel(quantity, info.title, info.unit_label, info.group, info.described)
    return sorted(by_quantity.values(), key=lambda p: (not p.described, p.group == "device", ranks.get(p.quantity, 0)))


def first_charts(
    request: Request,
    pilot: PilotDefinition,
    panels: Sequence[Panel],
    values: Mapping[str, Any],
    device: str | None = None,
) -> list[str]:
    """Addresses of the data of the charts at the top, which the browser asks for while scripts are still coming."""
    fixed = {"start": values["start"], "end": values["end"], "against": values["against"]}
    devices = device or ",".join(values["chosen"])
    more = {**fixed, "device": devices, "lang": request.query_params.get("lang")}
    chosen = {name: value for name, value in more.items() if value}
    return [
        below(request.scope, f"/pilots/{pilot.id}/chart?{urlencode({'quantity': panel.quantity, **chosen})}")
        for panel in panels[:AT_ONCE]
    ]


def newest(pilots: list[PilotNow]) -> Micros | None:
    lasts = [s.last.time for p in pilots for d in p.devices for s in d.streams if s.last is not None]
    return max(lasts, default=None)


def device_of(status: PilotNow, device: str) -> DeviceNow:
    matching = next((candidate for candidate in status.devices if candidate.device.device == device), None)
    if matching is None:
        names = [candidate.device.device for candidate in status.devices]
        near = get_close_matches(device, names, n=3) or names[:3]
        raise Problem(
            "not-found",
            "There is no device {name} in {pilot}.",
            name=repr(device[:80]),
            pilot=status.pilot.id,
            parameter="device",
            example=", ".join(near) or None,
        )
    return matching

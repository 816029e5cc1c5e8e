"""All pilots at once: the map, what needs attention, and each pilot's health."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from techport_dashboards.charts.map import draw
from techport_dashboards.pages import wall
from techport_dashboards.query.parameters import Parameters
from techport_dashboards.services import device_status
from techport_dashboards.services.air_quality import rated
from techport_dashboards.services.alerts import attention, is_behind, sentence
from techport_dashboards.services.basemap import load_basemap
from techport_dashboards.services.definitions import may_create
from techport_dashboards.services.device_status import PilotNow, State
from techport_dashboards.viewer import Viewer
from techport_dashboards.web.access import needs
from techport_dashboards.web.dependencies import Services, ServicesDep, ViewerDep
from techport_dashboards.web.request_slots import SlotRoute
from techport_dashboards.web.templating import language_of, render
from techport_pilots.alerts.log import AlertLog
from techport_pilots.definition.load import parse_definition
from techport_pilots.registry import erasures
from techport_storage import clock
from techport_storage.model import Micros, Selection

router = APIRouter(route_class=SlotRoute)


class OverviewParameters(Parameters):
    wall: bool = False
    cycle: bool = Field(False, description="With wall: from page to page.")
    lang: str | None = Field(None, max_length=8)
    map: str | None = Field(None, max_length=200, description="The quantity whose values the map shows.")


@router.get("/")
@needs("see")
def overview(
    request: Request, services: ServicesDep, viewer: ViewerDep, parameters: Annotated[OverviewParameters, Query()]
) -> Response:
    """Every pilot that the viewer may see."""
    now = clock.now()
    pilots = device_status.by_severity(_survey(services, viewer, now))
    devices = [device for pilot in pilots for device in pilot.devices]
    running = [device for device in devices if device.state is not State.ENDED]
    language, creating = language_of(request), may_create(viewer)
    catalogue = services.registry_cache.current()
    log = AlertLog(services.registry_cache.registry.database)
    looked = log.looked()
    air = rated(catalogue.streams, services.last_hour, now, language)
    return render(
        request,
        "overview.html",
        language,
        now=now,
        pilots=pilots,
        online=sum(device.state is State.LIVE for device in running),
        running=len(running),
        seen=max((pilot.seen for pilot in pilots if pilot.seen), default=None),
        attention=device_status.worst_first(pilots),
        favourites=services.people.favourites(viewer),
        titles={pilot.pilot.id: pilot.pilot.title for pilot in pilots},
        sentence=partial(sentence, catalogue=catalogue, language=language),
        alerts=attention(log.open(), viewer.may_see),
        looked=looked,
        zone=services.settings.zone,
        behind=is_behind(looked, services.settings.alert_seconds, now),
        overdue=[due for due in erasures.overdue(services.registry_cache.registry, now) if viewer.may_see(due.pilot)],
        nobody_yet=viewer.identity is None and viewer.may("admin") and not services.people.accounts.any(),
        creating=creating,
        examples=[parse_definition(text) for text in services.settings.examples()] if creating and not pilots else [],
        wall_next=wall.following(services, viewer, None) if parameters.cycle else None,
        air=air,
        map=draw(
            devices,
            load_basemap(services.settings.basemap),
            services.settings.map_tiles,
            {stream: air_class.name for stream, air_class in air.items()},
            quantity=parameters.map,
        ),
    )


def _survey(services: Services, viewer: Viewer, now: Micros) -> list[PilotNow]:
    catalogue = services.registry_cache.current()
    pilots = [pilot for pilot in catalogue.pilots.values() if viewer.may_see(pilot.id)]
    latest = services.store.latest(Selection(pilots=tuple(pilot.id for pilot in pilots)))
    return device_status.device_statuses(catalogue, latest, pilots, now)

"""The page of a shared feed: what it shows, on a map and in charts that are live, and its addresses for programs."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from techport_dashboards.charts.map import outline
from techport_dashboards.pages.pilot import PageParameters, chart, first_charts, newest, panels, pilot_now
from techport_dashboards.pages.time_range import range_values
from techport_dashboards.query import times
from techport_dashboards.services.basemap import load_basemap
from techport_dashboards.services.shares import no_share
from techport_dashboards.web.access import needs
from techport_dashboards.web.dependencies import ServicesDep, ViewerDep, address_of
from techport_dashboards.web.paths import PREVIEWED, SHARE_KEY
from techport_dashboards.web.request_slots import SlotRoute
from techport_dashboards.web.templating import language_of, render
from techport_pilots.access.shares import Share
from techport_storage import clock
from techport_storage.microseconds import DAY
from techport_storage.model import Micros

router = APIRouter(include_in_schema=False, route_class=SlotRoute)

router.add_api_route("/pilots/{pilot}/chart", chart)


@router.get("/")
@needs("see", anybody="the page of a shared feed, for its audience")
def feed(
    request: Request, services: ServicesDep, viewer: ViewerDep, parameters: Annotated[PageParameters, Query()]
) -> Response:
    """What the share shows now."""
    share = services.shares.find(request.scope[SHARE_KEY])
    if share is None:
        raise no_share()
    now = clock.now()
    status, infos = pilot_now(services, viewer, share.id, now)
    shown = panels(status.pilot, infos)
    values = range_values(
        request, status.pilot, newest([status]), _with_range(share, newest([status]), parameters, now), now
    )
    places = [device.device.position for device in status.devices if device.device.position is not None]
    return render(
        request,
        "shared_feed.html",
        language_of(request),
        public=True,
        now=now,
        share=share,
        previewed=bool(request.scope.get(PREVIEWED)),
        here=status,
        feed=status.pilot,  # under the name pilot it would have the tabs of one
        panels=shown,
        first=first_charts(request, status.pilot, shown, values),
        map=outline(places, load_basemap(services.settings.basemap), services.settings.map_tiles) if places else None,
        width=None if share.terms.width is None else times.length(share.terms.width),
        base=address_of(request),
        **values,
    )


def _with_range(share: Share, last: Micros | None, asked: PageParameters, now: Micros) -> PageParameters:
    """The range that is asked for, else one that has some dozens of buckets."""
    chosen = asked.start or asked.end or asked.typed_from or asked.typed_to
    if chosen or share.terms.width is None:
        return asked
    span = max(DAY, 60 * times.length(share.terms.width))
    if last is not None and last < now - span:
        end = last + times.length(share.terms.width)
        return asked.model_copy(update={"start": times.iso(end - span), "end": times.iso(end)})
    return asked.model_copy(update={"start": f"-P{span // DAY}D"})

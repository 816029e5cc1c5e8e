"""Search over pilots, devices and places. Reached with the field of the bar, or the key / on any page."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from techport_dashboards.query.parameters import Parameters
from techport_dashboards.services.search import LONGEST, search
from techport_dashboards.web.access import needs
from techport_dashboards.web.dependencies import ServicesDep, ViewerDep
from techport_dashboards.web.request_slots import SlotRoute
from techport_dashboards.web.templating import language_of, render

router = APIRouter(route_class=SlotRoute)


class SearchParameters(Parameters):
    q: str = Field("", max_length=LONGEST, description="Words, or coordinates: 63.43, 10.40.")
    lang: str | None = Field(None, max_length=8)


@router.get("/search")
@needs("see")
def search_page(
    request: Request, services: ServicesDep, viewer: ViewerDep, asked: Annotated[SearchParameters, Query()]
) -> Response:
    """What the reader may see and is called so."""
    results = search(services.registry_cache.current(), viewer, asked.q)
    return render(request, "search.html", language_of(request), asked=asked.q, results=results)

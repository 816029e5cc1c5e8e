"""Pictures of the map from the operator's file of tiles."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Response

from techport_dashboards.web.access import needs
from techport_dashboards.web.dependencies import ServicesDep
from techport_dashboards.web.request_slots import SlotRoute

router = APIRouter(route_class=SlotRoute)


@router.get("/map-tiles/{zoom}/{column}/{row}", include_in_schema=False)
@needs("nothing", anybody="the ground below a map, which says nothing of any pilot")
def tile(
    services: ServicesDep,
    zoom: Annotated[int, Path(ge=0, le=30)],
    column: Annotated[int, Path(ge=0, lt=2**30)],
    row: Annotated[int, Path(ge=0, lt=2**30)],
) -> Response:
    """A tile in Web Mercator; no content where the file has none, or there is no file."""
    map_file = services.settings.map_file
    picture = None if map_file is None else map_file.tile(zoom, column, row)
    if map_file is None or picture is None:
        return Response(status_code=204)
    return Response(picture, 200, {"Cache-Control": "max-age=86400"}, map_file.media_type)

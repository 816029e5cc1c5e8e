"""The API about itself: its description, its kinds of problem, and what is new as it happens."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, Field

from techport_dashboards.api import examples_here, openapi
from techport_dashboards.api.schema import Listed
from techport_dashboards.problems import KINDS, Problem
from techport_dashboards.query.names import match_pilots
from techport_dashboards.query.parameters import Names, Parameters
from techport_dashboards.web.dependencies import ServicesDep, ViewerDep
from techport_dashboards.web.request_slots import SlotRoute

router = APIRouter(tags=["about"], route_class=SlotRoute)


class LiveParameters(Parameters):
    pilot: Names = Field(description="Pilots, with commas; none: all.", examples=[["school-air"]])


@router.get("/live", responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}})
def live(
    request: Request, services: ServicesDep, viewer: ViewerDep, parameters: Annotated[LiveParameters, Query()]
) -> StreamingResponse:
    """Server-sent events: `readings` with items as of /latest, `resync` (ask anew), `stale`, `beat`."""
    pilots = viewer.pilots
    if parameters.pilot:
        catalogue = services.registry_cache.current()
        visible = [pilot for pilot in catalogue.pilots if viewer.may_see(pilot)]
        pilots = frozenset(match_pilots(parameters.pilot, viewer, visible))
    client = request.client.host if request.client else ""
    if not services.live.has_room(client):
        raise Problem("too-many-requests", "Too many live pages are open already.")
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(services.live.watch(pilots, client), 200, headers, "text/event-stream")


@router.get("/openapi.json", include_in_schema=False)
def describe(request: Request, services: ServicesDep, viewer: ViewerDep) -> JSONResponse:
    """This API's OpenAPI description, with examples of what there is here."""
    known = examples_here.here(services, viewer)
    return JSONResponse(openapi.finished(request.app.openapi(), known, services.settings.max_page_size))


class KindItem(BaseModel):
    type: str = Field(description="What `type` of an error names: the address of this description.")
    status: int = Field(description="HTTP status.")
    title: str = Field(description="What it means.")
    remedy: str = Field(description="What to do about it.")


@router.get("/problems", response_model=Listed[KindItem])
def problems() -> dict[str, Any]:
    """The kinds of problem that errors of this API name in `type`."""
    return {"items": [_kind(name) for name in KINDS], "next": None}


@router.get("/problems/{kind}", response_model=KindItem)
def problem(kind: str) -> dict[str, Any]:
    """One kind of problem, and what to do about it."""
    if kind not in KINDS:
        raise Problem("not-found", f"There is no problem type {kind[:80]!r}.")
    return _kind(kind)


def _kind(name: str) -> dict[str, Any]:
    return {"type": f"/api/v1/problems/{name}", **KINDS[name]._asdict()}

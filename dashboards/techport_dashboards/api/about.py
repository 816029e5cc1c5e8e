"""The API about itself: its description, its kinds of problem, and what is new as it happens."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from techport_dashboards.api import examples_here, openapi
from techport_dashboards.api.schema import Listed
from techport_dashboards.problems import KINDS, Problem, sign_in_needed
from techport_dashboards.query.names import match_pilots
from techport_dashboards.query.parameters import Names, Parameters
from techport_dashboards.viewer import Viewer
from techport_dashboards.web.access import NO_PILOT, OPEN_DATA, identify, needs
from techport_dashboards.web.dependencies import ServicesDep, ViewerDep
from techport_dashboards.web.request_slots import SlotRoute

router = APIRouter(tags=["about"], route_class=SlotRoute)


class LiveParameters(Parameters):
    pilot: Names = Field(description="Pilots, with commas; none: all.", examples=[["school-air"]])


@router.get("/live", responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}})
@needs("see", anybody=OPEN_DATA)
def live(
    request: Request, services: ServicesDep, viewer: ViewerDep, parameters: Annotated[LiveParameters, Query()]
) -> StreamingResponse:
    """Server-sent events: `readings` with items as of /latest, `resync` (ask anew), `stale`, `beat`."""

    def chosen(viewer: Viewer) -> frozenset[str] | None:
        if not parameters.pilot:
            return viewer.pilots
        visible = [pilot for pilot in services.registry_cache.current().pilots if viewer.may_see(pilot)]
        return frozenset(match_pilots(parameters.pilot, viewer, visible))

    async def still_chosen() -> frozenset[str] | None:
        """Raises Problem when the viewer has been signed out, or may see no pilot of these any more."""
        now = await identify(request)
        if viewer.signed_in and not now.signed_in:
            raise sign_in_needed()
        return await run_in_threadpool(chosen, now)

    pilots = chosen(viewer)
    client = request.client.host if request.client else ""
    if not services.live.has_room(client):
        raise Problem("too-many-requests", "Too many live pages are open already.")
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(services.live.watch(pilots, client, still_chosen), 200, headers, "text/event-stream")


@router.get("/openapi.json", include_in_schema=False)
@needs("see", anybody="the API, with examples from open pilots")
def describe(request: Request, services: ServicesDep, viewer: ViewerDep) -> JSONResponse:
    """This API's OpenAPI description, with examples of what there is here."""
    examples = examples_here.here(services, viewer)
    return JSONResponse(openapi.finished(request.app.openapi(), examples, services.settings.max_page_size))


class KindItem(BaseModel):
    type: str = Field(description="What `type` of an error names: the address of this description.")
    status: int = Field(description="HTTP status.")
    title: str = Field(description="What it means.")
    remedy: str = Field(description="What to do about it.")


@router.get("/problems", response_model=Listed[KindItem])
@needs("nothing", anybody=NO_PILOT)
def problems() -> dict[str, Any]:
    """The kinds of problem that errors of this API name in `type`."""
    return {"items": [_kind(name) for name in KINDS], "next": None}


@router.get("/problems/{kind}", response_model=KindItem)
@needs("nothing", anybody=NO_PILOT)
def problem(kind: str) -> dict[str, Any]:
    """One kind of problem, and what to do about it."""
    if kind not in KINDS:
        raise Problem("not-found", f"There is no problem type {kind[:80]!r}.")
    return _kind(kind)


def _kind(name: str) -> dict[str, Any]:
    return {"type": f"/api/v1/problems/{name}", **KINDS[name]._asdict()}

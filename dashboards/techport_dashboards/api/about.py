"""The API about itself: its description, its kinds of problem, and what is new as it happens."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from techport_dashboards.api import examples_here, openapi
from techport_dashboards.api.schema import Listed, Names, Parameters
from techport_dashboards.dependencies import services_of
from techport_dashboards.problems import KINDS, Problem
from techport_dashboards.query.question import match
from techport_dashboards.viewer import Viewer, allow

router = APIRouter(tags=["about"])
Allowed = Annotated[Viewer, Depends(allow)]


class LiveParameters(Parameters):
    pilot: Names = Field(description="Pilots, with commas; none: all.", examples=[["school-air"]])


@router.get("/live", responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}})
async def live(request: Request, viewer: Allowed, parameters: Annotated[LiveParameters, Query()]) -> StreamingResponse:
    """Server-sent events: `readings` with items as of /latest, `resync` (ask anew), `stale`, `beat`."""
    services = services_of(request)
    pilots = viewer.pilots
    if parameters.pilot:
        catalogue = await run_in_threadpool(services.registry_cache.current)
        visible = [pilot for pilot in catalogue.pilots if viewer.may_see(pilot)]
        pilots = frozenset(match("pilot", parameters.pilot, visible))
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(services.live.watch(pilots), 200, headers, "text/event-stream")


@router.get("/openapi.json", include_in_schema=False)
async def describe(request: Request, viewer: Allowed) -> JSONResponse:
    """This API's OpenAPI description, with examples of what there is here."""
    services = services_of(request)
    known = await run_in_threadpool(examples_here.here, services, viewer)
    return JSONResponse(openapi.finished(request.app.openapi(), known, services.settings.max_page_size))


class KindItem(BaseModel):
    type: str = Field(description="What `type` of an error names: the address of this description.")
    status: int = Field(description="HTTP status.")
    title: str = Field(description="What it means.")
    remedy: str = Field(description="What to do about it.")


@router.get("/problems", response_model=Listed[KindItem])
async def problems() -> dict[str, Any]:
    """The kinds of problem that errors of this API name in `type`."""
    return {"items": [_kind(name) for name in KINDS], "next": None}


@router.get("/problems/{kind}", response_model=KindItem)
async def problem(kind: str) -> dict[str, Any]:
    """One kind of problem, and what to do about it."""
    if kind not in KINDS:
        raise Problem("not-found", f"There is no kind of problem called {kind[:80]!r}.")
    return _kind(kind)


def _kind(name: str) -> dict[str, Any]:
    return {"type": f"/api/v1/problems/{name}", **KINDS[name]._asdict()}

"""The API about itself: its description, its kinds of problem, and what is new as it happens."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.concurrency import run_in_threadpool

from techport_dashboards.access import Viewer, allow
from techport_dashboards.api.schema import Names, Parameters
from techport_dashboards.errors import KINDS, Problem
from techport_dashboards.queries import match
from techport_dashboards.services import services_of

router = APIRouter(tags=["about"])
Allowed = Annotated[Viewer, Depends(allow)]


_PROBLEM = {
    "description": "What was wrong, as RFC 9457 problem details: `parameter` points at it, `example` is a right one.",
    "content": {
        "application/problem+json": {
            "schema": {
                "type": "object",
                "required": ["type", "title", "status", "detail", "remedy"],
                "properties": {
                    **{name: {"type": "string"} for name in ("type", "title", "detail", "remedy", "parameter")},
                    "status": {"type": "integer"},
                    "example": {"type": "string"},
                },
            }
        }
    },
}


class LiveParameters(Parameters):
    pilot: Names


@router.get("/live")
async def live(request: Request, viewer: Allowed, parameters: Annotated[LiveParameters, Query()]) -> StreamingResponse:
    """Server-sent events: `readings` with items as of /latest, `resync` (ask anew), `stale`, `beat`."""
    services = services_of(request)
    pilots = viewer.pilots
    if parameters.pilot:
        catalogue = await run_in_threadpool(services.catalogues.current)
        visible = [pilot for pilot in catalogue.pilots if viewer.may_see(pilot)]
        pilots = frozenset(match("pilot", parameters.pilot, visible))
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(services.live.watch(pilots), 200, headers, "text/event-stream")


@router.get("/openapi.json", include_in_schema=False)
async def openapi(request: Request) -> JSONResponse:
    """This API's OpenAPI description."""
    description: dict[str, Any] = request.app.openapi()
    for operations in description["paths"].values():
        for operation in operations.values():
            responses = operation["responses"]
            responses.pop("422", None)  # the framework's own form, which never leaves this server
            responses.setdefault("default", _PROBLEM)
    return JSONResponse(description)


@router.get("/problems")
async def problems() -> dict[str, Any]:
    """The kinds of problem that errors of this API name in `type`."""
    return {"items": [_kind(name) for name in KINDS], "next": None}


@router.get("/problems/{kind}")
async def problem(kind: str) -> dict[str, Any]:
    """One kind of problem, and what to do about it."""
    if kind not in KINDS:
        raise Problem("not-found", f"There is no kind of problem called {kind[:80]!r}.")
    return _kind(kind)


def _kind(name: str) -> dict[str, Any]:
    return {"type": f"/api/v1/problems/{name}", **KINDS[name]._asdict()}

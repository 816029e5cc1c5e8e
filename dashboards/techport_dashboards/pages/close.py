"""A pilot's life on one page: its steps and versions, the next step, the checklist, closing, and the package."""

from __future__ import annotations

from typing import Annotated, cast, get_args

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from techport_dashboards.api.describe import find_pilot
from techport_dashboards.api.schema import Parameters
from techport_dashboards.dependencies import Services, services_of
from techport_dashboards.problems import Problem
from techport_dashboards.services import lifecycle
from techport_dashboards.viewer import Viewer, allow, allow_change
from techport_dashboards.web.forms import form_of
from techport_dashboards.web.templating import language_of, render
from techport_pilots.model import PilotDefinition
from techport_pilots.registry.lifecycle import State

router = APIRouter()


class CloseParameters(Parameters):
    lang: str | None = Field(None, max_length=8)


@router.get("/pilots/{pilot}/close")
async def close_page(
    request: Request, viewer: Annotated[Viewer, Depends(allow)], pilot: str, _: Annotated[CloseParameters, Query()]
) -> Response:
    """Where the pilot is in its life and what can be done next; the checklist as of now."""
    services, found = await _pilot(request, viewer, pilot)
    life = await run_in_threadpool(lifecycle.life, services, found)
    items = [] if life.state == "closed" else await run_in_threadpool(lifecycle.closing_checklist, services, found)
    return render(
        request,
        "close.html",
        language_of(request),
        viewer=viewer,
        pilot=found,
        life=life,
        look=[item for item in items if item.about == "look"],
        happens=[item for item in items if item.about == "happens"],
        blocked=any(item.blocks for item in items),
        possible=services.settings.packages is not None and services.books is not None,
    )


@router.post("/pilots/{pilot}/state")
async def step(request: Request, viewer: Annotated[Viewer, Depends(allow_change)], pilot: str) -> Response:
    """Start or end the pilot, from the page's form."""
    services, found = await _pilot(request, viewer, pilot)
    form = await form_of(request)
    to = form.get("state")
    if to not in get_args(State):
        raise Problem("bad-parameter", "{name} is no state.", name=repr(to[:40]), parameter="state", example="running")
    await run_in_threadpool(
        lifecycle.transition, services, found, cast(State, to), _who(form.get("who")), form.get("why")
    )
    return _back(request, pilot)


@router.post("/pilots/{pilot}/close")
async def close(request: Request, viewer: Annotated[Viewer, Depends(allow_change)], pilot: str) -> Response:
    """Begin to close the pilot, from the page's form. The page then shows how far it is."""
    services, found = await _pilot(request, viewer, pilot)
    form = await form_of(request)
    who = _who(form.get("who"))
    await run_in_threadpool(lifecycle.start_closing, services, found, form.get("confirm"), who, form.get("why"))
    return _back(request, pilot)


def _who(name: str) -> str:
    if not name:
        raise Problem("bad-parameter", "Say whose change it is.", parameter="who", example="Kari Nordmann")
    return name[:200]


def _back(request: Request, pilot: str) -> Response:
    query = f"?{request.url.query}" if request.url.query else ""
    return RedirectResponse(f"/pilots/{pilot}/close{query}", 303)


async def _pilot(request: Request, viewer: Viewer, pilot: str) -> tuple[Services, PilotDefinition]:
    services = services_of(request)
    return services, find_pilot(await run_in_threadpool(services.registry_cache.current), viewer, pilot)

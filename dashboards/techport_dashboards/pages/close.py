"""A pilot's life on one page: its steps and versions, the next step, the checklist, closing, and the package."""

from __future__ import annotations

from typing import Annotated, cast, get_args

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from techport_dashboards.problems import Problem
from techport_dashboards.query.parameters import Parameters
from techport_dashboards.web.access import needs
from techport_dashboards.web.dependencies import PilotDep, ServicesDep, ViewerDep
from techport_dashboards.web.forms import FormDep
from techport_dashboards.web.request_slots import SlotRoute
from techport_dashboards.web.templating import language_of, render, see_other
from techport_pilots.registry.lifecycle import State, with_note

router = APIRouter(route_class=SlotRoute)


class CloseParameters(Parameters):
    lang: str | None = Field(None, max_length=8)


@router.get("/pilots/{pilot}/close")
@needs("see")
def close_page(
    request: Request, services: ServicesDep, viewer: ViewerDep, pilot: PilotDep, _: Annotated[CloseParameters, Query()]
) -> Response:
    """Where the pilot is in its life and what can be done next; the checklist as of now."""
    life = services.lifecycle.life(pilot)
    items = [] if life.state == "closed" else services.lifecycle.closing_checklist(pilot)
    return render(
        request,
        "close.html",
        language_of(request),
        pilot=pilot,
        life=life,
        look=[item for item in items if item.about == "look"],
        happens=[item for item in items if item.about == "happens"],
        blocked=any(item.blocks for item in items),
        possible=services.settings.packages is not None and services.ledger is not None,
    )


@router.post("/pilots/{pilot}/state")
@needs("edit", about=("state",))
def step(request: Request, services: ServicesDep, viewer: ViewerDep, pilot: PilotDep, form: FormDep) -> Response:
    """Start or end the pilot, from the page's form."""
    to = form.get("state")
    if to not in get_args(State):
        raise Problem(
            "bad-parameter",
            "{name} is not a lifecycle state.",
            name=repr(to[:40]),
            parameter="state",
            example="running",
        )
    services.lifecycle.transition(pilot, cast(State, to), viewer.who, with_note(form.get("why"), form.get("who")))
    return see_other(request, f"/pilots/{pilot.id}/close")


@router.post("/pilots/{pilot}/close")
@needs("close")
def close(request: Request, services: ServicesDep, viewer: ViewerDep, pilot: PilotDep, form: FormDep) -> Response:
    """Begin to close the pilot, from the page's form. The page then shows how far it is."""
    why = with_note(form.get("why"), form.get("who"))
    services.lifecycle.start_closing(pilot, form.get("confirm"), viewer.who, why)
    return see_other(request, f"/pilots/{pilot.id}/close")

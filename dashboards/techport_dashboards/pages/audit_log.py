"""The audit log as a page: of a pilot for its owners, of everything for administrators."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from techport_dashboards.query.parameters import Parameters
from techport_dashboards.services.audit_log import KIND_NAMES, checked_kind, shown
from techport_dashboards.web.access import NO_STORE, needs
from techport_dashboards.web.dependencies import PilotDep, Services, ServicesDep, ViewerDep
from techport_dashboards.web.request_slots import SlotRoute
from techport_dashboards.web.templating import language_of, render
from techport_pilots.model import PilotDefinition

router = APIRouter(route_class=SlotRoute)

SHOWN = 100


class AuditLogParameters(Parameters):
    lang: str | None = Field(None, max_length=8)
    kind: str = Field("", max_length=20)
    before: int | None = Field(None, ge=1, le=2**63 - 1)


@router.get("/pilots/{pilot}/audit-log")
@needs("share")
def of_pilot(
    request: Request,
    services: ServicesDep,
    viewer: ViewerDep,
    pilot: PilotDep,
    asked: Annotated[AuditLogParameters, Query()],
) -> Response:
    """Who saw raw data of the pilot, changed, exported, shared or erased."""
    return _page(request, services, asked, pilot)


@router.get("/audit-log")
@needs("admin")
def of_platform(
    request: Request, services: ServicesDep, viewer: ViewerDep, asked: Annotated[AuditLogParameters, Query()]
) -> Response:
    """The entries of all pilots and of the platform."""
    return _page(request, services, asked, None)


def _page(request: Request, services: Services, asked: AuditLogParameters, pilot: PilotDefinition | None) -> Response:
    kind = checked_kind(asked.kind)
    entries, following = shown(
        services.audit,
        pilot=None if pilot is None else pilot.id,
        kind=kind,
        before=asked.before,
        limit=SHOWN,
    )
    page = render(
        request,
        "audit_log.html",
        language_of(request),
        pilot=pilot,
        asked=asked,
        entries=entries,
        following=following,
        kind=kind,
        kind_names=KIND_NAMES,
        zone=services.settings.zone if pilot is None else pilot.timezone,
        path="/audit-log" if pilot is None else f"/pilots/{pilot.id}/audit-log",
    )
    page.headers.update(NO_STORE)
    return page

"""The audit log: an owner sees the entries of the pilot, administrators all; as pages, and whole as JSON Lines."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from techport_dashboards.api.schema import Listed
from techport_dashboards.api.words import Instant
from techport_dashboards.problems import Problem
from techport_dashboards.query import paging
from techport_dashboards.query.parameters import Page, Parameters
from techport_dashboards.query.streaming import Streamed
from techport_dashboards.query.times import iso
from techport_dashboards.services.audit_log import Shown, json_lines, shown
from techport_dashboards.web.access import NO_STORE, needs
from techport_dashboards.web.dependencies import PilotDep, Services, ServicesDep, ViewerDep
from techport_dashboards.web.request_slots import SlotRoute
from techport_pilots.access import audit_log
from techport_pilots.access.audit_log import Kind

router = APIRouter(tags=["access"], route_class=SlotRoute)

JSON_LINES = "application/x-ndjson"
_FILE: dict[int | str, dict[str, Any]] = {200: {"content": {JSON_LINES: {"schema": {"type": "string"}}}}}


class AuditItem(BaseModel):
    number: int = Field(description="Place in the chain.")
    time: Instant
    until: Instant = Field(description="Of an entry for several times, the last.")
    kind: Kind = Field(description="What it was.")
    who: str = Field(
        description="Id of the account, with the number of an API token; or operator, command line, platform. Empty: "
        "unknown, or erased."
    )
    email: str = Field(description="The address that the account has now; empty where there is none.")
    what: str = Field(description="The route or the command.")
    action: str = Field(description="The action that it is declared to be.")
    pilot: str = Field(description="Empty: none, or all.")
    about: str = Field(description="Which device, entry or role. Empty: nothing more to say, or erased.")
    times: int = Field(description="How many times it happened.")
    hash: str = Field(description="SHA-256 of the entry and the one before.")


class AuditLogParameters(Page):
    kind: Kind | None = Field(None, description="Only entries of this kind.", examples=["saw-raw"])


class ExportParameters(Parameters):
    """None."""


@router.get("/pilots/{pilot}/audit-log", response_model=Listed[AuditItem])
@needs("share")
def of_pilot(
    services: ServicesDep, viewer: ViewerDep, pilot: PilotDep, parameters: Annotated[AuditLogParameters, Query()]
) -> dict[str, Any]:
    """Who saw raw data of the pilot, changed, exported, shared or erased, the newest first."""
    return _listed(services, parameters, pilot.id)


@router.get("/pilots/{pilot}/audit-log.jsonl", response_class=Response, responses=_FILE)
@needs("share", logs="exported")
def file_of_pilot(
    services: ServicesDep, viewer: ViewerDep, pilot: PilotDep, parameters: Annotated[ExportParameters, Query()]
) -> Response:
    """All entries of the pilot, the oldest first, an entry a line."""
    return _file(services, pilot.id)


@router.get("/audit-log", response_model=Listed[AuditItem])
@needs("admin")
def of_platform(
    services: ServicesDep, viewer: ViewerDep, parameters: Annotated[AuditLogParameters, Query()]
) -> dict[str, Any]:
    """The entries of all pilots and of the platform, the newest first."""
    return _listed(services, parameters, None)


@router.get("/audit-log.jsonl", response_class=Response, responses=_FILE)
@needs("admin", logs="exported")
def file_of_platform(
    services: ServicesDep, viewer: ViewerDep, parameters: Annotated[ExportParameters, Query()]
) -> Response:
    """All entries, the oldest first, an entry a line. `techport audit verify` checks the chain."""
    return _file(services, None)


def _listed(services: Services, parameters: AuditLogParameters, pilot: str | None) -> dict[str, Any]:
    settings = services.settings
    size = paging.page_size(parameters.limit, settings.page_size, settings.max_page_size)
    before = None if parameters.cursor is None else paging.decode(parameters.cursor)
    if before is not None and not (before.isascii() and before.isdecimal() and len(before) < 19):
        raise Problem("bad-cursor", "This is not a valid cursor.", parameter="cursor")
    page, following = shown(
        services.audit,
        pilot=pilot,
        kind=parameters.kind,
        before=None if before is None else int(before),
        limit=size,
    )
    return {
        "items": [_item(item) for item in page],
        "next": None if following is None else paging.encode(str(following)),
    }


def _item(row: Shown) -> dict[str, Any]:
    entry = row.entry
    return {
        "number": entry.number,
        "time": iso(entry.at),
        "until": iso(entry.until),
        "kind": entry.kind,
        "who": entry.who,
        "email": row.email,
        "what": entry.what,
        "action": entry.action,
        "pilot": entry.pilot,
        "about": entry.about,
        "times": entry.times,
        "hash": entry.hash,
    }


def _file(services: Services, pilot: str | None) -> Response:
    services.audit.flush()
    name = "audit-log" if pilot is None else f"audit-log-{pilot}"
    headers = {**NO_STORE, "Content-Disposition": f'attachment; filename="{name}.jsonl"'}
    return Streamed(json_lines(audit_log.export(services.audit.database, pilot)), headers, JSON_LINES)

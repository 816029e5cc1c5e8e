"""The report of a pilot, as the one file that `techport pilot report` writes."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from techport_dashboards.query.etags import matches
from techport_dashboards.query.parameters import Parameters
from techport_dashboards.web.access import needs
from techport_dashboards.web.dependencies import PilotDep, ServicesDep
from techport_dashboards.web.request_slots import SlotRoute
from techport_dashboards.web.templating import language_of

router = APIRouter(route_class=SlotRoute)


class ReportParameters(Parameters):
    lang: str | None = Field(None, max_length=8)
    fresh: bool = Field(False, description="Work it out now, however new the last one is.")
    file: bool = Field(False, description="As a file to send: without a way back to the pilot's page.")


@router.get("/pilots/{pilot}/report")
@needs("see")
def report_page(
    request: Request, services: ServicesDep, pilot: PilotDep, parameters: Annotated[ReportParameters, Query()]
) -> Response:
    """Worked out at most every ten minutes, which takes some seconds for a year of readings. Save it or print it."""
    language = language_of(request).code
    lang = f"?lang={language}" if parameters.lang else ""
    back = None if parameters.file else f"/pilots/{pilot.id}{lang}"
    written = services.reports.page(pilot, language, parameters.fresh, back)
    headers = {"Content-Language": language, "Vary": "Accept-Language", "Cache-Control": "no-cache"}
    headers |= {"ETag": written.etag, "Content-Disposition": f'inline; filename="{pilot.id}-{language}.html"'}
    if matches(request.headers.get("if-none-match", ""), written.etag):
        return Response(None, 304, headers)
    return Response(written.content, 200, headers, "text/html; charset=utf-8")

"""The report of a pilot, as the one file that `techport pilot report` writes."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from techport_dashboards import times
from techport_dashboards.access import Viewer, allow
from techport_dashboards.api.describe import find_pilot
from techport_dashboards.api.schema import Parameters
from techport_dashboards.basemap import load
from techport_dashboards.services import Services, services_of
from techport_dashboards.templating import language_of
from techport_pilots.evaluation import so_far
from techport_pilots.report import build_report, evaluate_all, keep_evaluations
from techport_pilots.report_page import page

router = APIRouter()


class ReportParameters(Parameters):
    lang: str | None = Field(None, max_length=8)


@router.get("/pilots/{pilot}/report")
async def report_page(
    request: Request,
    viewer: Annotated[Viewer, Depends(allow)],
    pilot: str,
    parameters: Annotated[ReportParameters, Query()],
) -> Response:
    """Worked out anew each time, which takes some seconds for a year of readings. Save it or print it."""
    services, language = services_of(request), language_of(request).code
    text = await run_in_threadpool(_report, services, viewer, pilot, language)
    headers = {"Content-Language": language, "Vary": "Accept-Language", "Cache-Control": "no-cache"}
    headers["Content-Disposition"] = f'inline; filename="{pilot}-{language}.html"'
    return Response(text, 200, headers, "text/html; charset=utf-8")


def _report(services: Services, viewer: Viewer, pilot: str, language: str) -> str:
    found = find_pilot(services.catalogues.current(), viewer, pilot)
    registry, now = services.catalogues.registry, times.now()
    evaluations = evaluate_all(services.store, so_far(found, now))
    keep_evaluations(registry.engine, pilot, evaluations, now)
    report = build_report(
        services.store,
        registry.engine,
        found,
        version=registry.history(pilot)[0].version,
        state=registry.state(pilot),
        now=now,
        evaluations=evaluations,
    )
    return page(report, language, load(services.settings.basemap))

"""The report of a pilot, as the one file that `techport pilot report` writes."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from techport_dashboards.api.describe import find_pilot
from techport_dashboards.api.schema import Parameters
from techport_dashboards.dependencies import services_of
from techport_dashboards.viewer import Viewer, allow
from techport_dashboards.web.templating import language_of

router = APIRouter()


class ReportParameters(Parameters):
    lang: str | None = Field(None, max_length=8)
    fresh: bool = Field(False, description="Work it out now, however new the last one is.")


@router.get("/pilots/{pilot}/report")
async def report_page(
    request: Request,
    viewer: Annotated[Viewer, Depends(allow)],
    pilot: str,
    parameters: Annotated[ReportParameters, Query()],
) -> Response:
    """Worked out at most every ten minutes, which takes some seconds for a year of readings. Save it or print it."""
    services, language = services_of(request), language_of(request).code
    found = find_pilot(await run_in_threadpool(services.registry_cache.current), viewer, pilot)
    written = await run_in_threadpool(services.reports.page, found, language, parameters.fresh)
    headers = {"Content-Language": language, "Vary": "Accept-Language", "Cache-Control": "no-cache"}
    headers |= {"ETag": written.etag, "Content-Disposition": f'inline; filename="{pilot}-{language}.html"'}
    if written.etag in request.headers.get("if-none-match", ""):
        return Response(None, 304, headers)
    return Response(written.content, 200, headers, "text/html; charset=utf-8")

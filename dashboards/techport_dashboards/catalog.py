"""The catalogue of open pilots, for data portals that harvest it (DCAT-AP-NO)."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from starlette.concurrency import run_in_threadpool

from techport_dashboards.access import Viewer, allow
from techport_dashboards.services import services_of
from techport_pilots.dcat import Publisher, catalogue
from techport_pilots.model import Text

router = APIRouter(tags=["catalogue"])
TITLE = Text(nb="Data fra piloter", en="Data of pilots")


@router.get("/catalog.ttl", response_class=Response, responses={200: {"content": {"text/turtle": {}}}})
async def turtle(request: Request, viewer: Annotated[Viewer, Depends(allow)]) -> Response:
    """The open pilots as DCAT-AP-NO in Turtle, one dataset each."""
    known = await run_in_threadpool(services_of(request).catalogues.current)
    visible = [pilot for pilot in known.pilots.values() if viewer.may_see(pilot.id)]
    base = str(request.base_url).rstrip("/")
    today = dt.datetime.now(dt.UTC).date()
    text = catalogue(visible, base, Publisher("techport", base), TITLE, today)
    return Response(text, media_type="text/turtle")

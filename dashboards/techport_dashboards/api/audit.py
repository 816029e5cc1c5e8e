"""Do the sums agree, asked of the process that has the store open."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from starlette.concurrency import run_in_threadpool

from techport_dashboards.api.accounts_schema import Audited
from techport_dashboards.api.schema import Parameters
from techport_dashboards.dependencies import services_of
from techport_dashboards.problems import Problem
from techport_dashboards.viewer import Viewer, allow
from techport_pilots.accounting.audit import audit as compare

router = APIRouter(tags=["accounting"])
Allowed = Annotated[Viewer, Depends(allow)]


class AuditParameters(Parameters):
    pilot: str | None = None


@router.get("/audit", response_model=Audited)
async def audit(request: Request, viewer: Allowed, parameters: Annotated[AuditParameters, Query()]) -> Audited:
    """Each device and day (UTC) as the books have it and as the store has it; `state` is ok, open, unbalanced or
    store-differs. Counts every row: seconds on a large store.
    """
    services = services_of(request)
    if services.books is None:
        raise Problem("not-found", "This process keeps no books: ask one that ingests.")
    if viewer.pilots is not None and parameters.pilot not in viewer.pilots:
        raise Problem("not-found", "Name a pilot that you may see, with pilot=.")
    return Audited.of(await run_in_threadpool(compare, services.books, services.store, parameters.pilot))

"""Do the sums agree, asked of the process that has the store open."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from techport_dashboards.api.accounts_schema import Audited
from techport_dashboards.problems import Problem
from techport_dashboards.query.parameters import Parameters
from techport_dashboards.web.dependencies import ServicesDep, ViewerDep
from techport_dashboards.web.request_slots import SlotRoute
from techport_pilots.accounting.audit import audit as compare

router = APIRouter(tags=["accounting"], route_class=SlotRoute)


class AuditParameters(Parameters):
    pilot: str | None = None


@router.get("/audit", response_model=Audited)
def audit(services: ServicesDep, viewer: ViewerDep, parameters: Annotated[AuditParameters, Query()]) -> Audited:
    """Each device and day (UTC) as the books have it and as the store has it; `state` is ok, open, unbalanced or
    store-differs. Counts every row: seconds on a large store.
    """
    if services.books is None:
        raise Problem("not-found", "This process keeps no ledger. Use a process that ingests messages.")
    if viewer.pilots is not None and parameters.pilot not in viewer.pilots:
        raise Problem("not-found", "Specify a pilot that you have access to, with pilot=.")
    return Audited.of(compare(services.books, services.store, parameters.pilot))

"""All pilots in one table: which run, are healthy, end soon, reached their targets."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from techport_dashboards.query.parameters import Parameters
from techport_dashboards.services import portfolio
from techport_dashboards.viewer import Viewer
from techport_dashboards.web.access import needs
from techport_dashboards.web.dependencies import Services, ServicesDep, ViewerDep
from techport_dashboards.web.request_slots import SlotRoute
from techport_dashboards.web.templating import language_of, render
from techport_pilots.accounting.quarantine import Quarantine, WithoutPilot
from techport_pilots.reports.kpi_text import verdict_text
from techport_storage import clock

router = APIRouter(route_class=SlotRoute)


class PortfolioParameters(Parameters):
    sort: str = Field(portfolio.WORST, max_length=40)
    mine: bool = Field(False, description="Only pilots in which the reader has a role.")
    lang: str | None = Field(None, max_length=8)


@router.get("/portfolio")
@needs("see")
def page(
    request: Request, services: ServicesDep, viewer: ViewerDep, asked: Annotated[PortfolioParameters, Query()]
) -> Response:
    """Every pilot that the viewer may see, worst first unless told."""
    language = language_of(request)
    own = viewer.rights.by_pilot.keys()
    rows = [row for row in portfolio.visible_rows(services, viewer) if row.standing.pilot in own or not asked.mine]
    others = [(name, value) for name, value in request.query_params.multi_items() if name != "sort"]

    def sorting(key: str) -> tuple[str, str]:
        turned = f"-{key}" if asked.sort == key != portfolio.WORST else key
        words = {key: "ascending", f"-{key}": "descending"}.get(asked.sort, "none")
        return f"{request.url.path}?{urlencode([*others, ('sort', turned)])}", words

    return render(
        request,
        "portfolio.html",
        language,
        rows=[(row, row.text(language)) for row in portfolio.ordered(rows, asked.sort)],
        verdict_text=verdict_text,
        headings={key: sorting(key) for key in portfolio.KEYS},
        mine=asked.mine,
        has_own=bool(own),
        without_pilot=_without_pilot(services, viewer),
        now=clock.now(),
        favourites=services.people.favourites(viewer),
    )


def _without_pilot(services: Services, viewer: Viewer) -> list[WithoutPilot]:
    """Messages that no pilot gets, for whoever runs the platform."""
    if not viewer.may("see-raw"):
        return []
    return Quarantine(services.registry_cache.registry.database).without_pilot()

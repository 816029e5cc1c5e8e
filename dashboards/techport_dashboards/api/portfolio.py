"""All pilots at once, worst first."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from techport_dashboards.api.schema import Listed, Title
from techport_dashboards.query.paging import paged
from techport_dashboards.query.parameters import Page
from techport_dashboards.services import portfolio
from techport_dashboards.web.access import needs
from techport_dashboards.web.dependencies import ServicesDep, ViewerDep
from techport_dashboards.web.request_slots import SlotRoute

router = APIRouter(tags=["pilots"], route_class=SlotRoute)


class PortfolioParameters(Page):
    sort: str = Field(
        portfolio.WORST,
        max_length=40,
        description="A column: worst, name, state, devices, targets, ends; -ends reverses the order.",
    )


class PortfolioItem(BaseModel):
    model_config = ConfigDict(extra="allow")

    id: str
    title: Title
    state: str = Field(description="draft, running, ended or closed.")
    day: int | None = Field(description="Of `days`; null before the first phase and after the last.")
    days: int | None = Field(description="From the first phase to the end of the last.")
    ends: str | None = Field(description="End of the last phase, ISO 8601.")
    devices: int = Field(description="How many it has.")
    online: int = Field(description="Devices that send as often as expected.")
    with_problems: int = Field(description="Devices that should send and do not, or not all they should.")
    alive: int = Field(description="Old name of `online`.", deprecated=True)
    troubled: int = Field(description="Old name of `with_problems`.", deprecated=True)
    kpis: int = Field(description="How many it has.")
    targets: int = Field(description="KPIs that have a target.")
    reached: int = Field(description="KPIs whose target was met at the last evaluation, of `targets`.")
    differing: int = Field(description="KPIs of an opened package that come out otherwise here; never `reached`.")
    sentence: Title = Field(
        description="What is to be believed of the pilot's first KPI; empty where there is nothing."
    )
    verdicts: dict[str, int] = Field(description="KPIs by the verdict of the last evaluation.")
    erase_at: str | None = Field(description="When its data is to be erased at the latest, ISO 8601.")
    erasure_overdue: bool = Field(description="That date is over, and readings are still there.")
    not_collected: int = Field(description="Values that came for a draft with personal data and were not kept.")
    attention: list[str] = Field(
        description="What needs attention: erasure-overdue, differs (an opened package whose evaluation comes out "
        "otherwise), personal-draft (a draft that holds readings about people), not-collected (devices send to such a "
        "draft), overdue, devices, targets, ends-soon, hand-over."
    )


@router.get("/portfolio", response_model=Listed[PortfolioItem])
@needs("see")
def listed(
    services: ServicesDep, viewer: ViewerDep, parameters: Annotated[PortfolioParameters, Query()]
) -> dict[str, Any]:
    """Where every pilot stands: state, day, devices online, targets met, what needs attention."""
    rows = portfolio.ordered(portfolio.visible_rows(services, viewer), parameters.sort)
    numbered = [(f"{number:06}", portfolio.item(row)) for number, row in enumerate(rows)]
    settings = services.settings
    some, following = paged(numbered, lambda pair: pair[0], parameters, settings.page_size, settings.max_page_size)
    return {"items": [pair for _, pair in some], "next": following}

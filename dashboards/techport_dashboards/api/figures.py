"""Charts as figures of plotly: what the pages draw, for notebooks and as a file."""

from __future__ import annotations

import re
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, Field

from techport_dashboards.charts.palette import PALETTES, Theme
from techport_dashboards.charts.plotly_figure import figure_of
from techport_dashboards.charts.series import chart_of
from techport_dashboards.charts.standalone import html_of
from techport_dashboards.query.parameters import ChartParameters
from techport_dashboards.web.access import OPEN_DATA, needs
from techport_dashboards.web.assets import PLOTLY
from techport_dashboards.web.dependencies import PilotDep, ServicesDep, ViewerDep
from techport_dashboards.web.request_slots import SlotRoute
from techport_dashboards.web.templating import language_of

router = APIRouter(prefix="/pilots/{pilot}", tags=["readings"], route_class=SlotRoute)


class FigureParameters(ChartParameters):
    theme: Theme = Field("light", description="Colours for a light or a dark background.", examples=["dark"])


class Figure(BaseModel):
    data: list[dict[str, Any]] = Field(
        description="Traces as plotly's schema has them; `meta` says the device and the role: line, earlier, band or "
        "flagged. Times are the pilot's wall clock, without an offset."
    )
    layout: dict[str, Any] = Field(
        description="Layout as plotly's schema has it; `meta` says unit, zone, and the parameters with which /readings "
        "gives the same numbers."
    )


Parameters = Annotated[FigureParameters, Query()]


@router.get("/figure.json", response_model=Figure)
@needs("see", anybody=OPEN_DATA)
def figure_json(
    request: Request, services: ServicesDep, viewer: ViewerDep, pilot: PilotDep, parameters: Parameters
) -> Response:
    """A chart of the pages as figure JSON, which `plotly.io.from_json` opens: at most about 1,000 points a line, else
    buckets with a band from lowest to highest; lines are broken where readings are missing.
    """
    language = language_of(request)
    chart = chart_of(services, viewer, parameters.question(pilot.id), language)
    figure = figure_of(chart, language, PALETTES[parameters.theme], standalone=True)
    return Response(msgspec.json.encode(figure), media_type="application/json")


@router.get("/figure.html", response_class=HTMLResponse)
@needs("see", anybody=OPEN_DATA)
def figure_html(
    request: Request, services: ServicesDep, viewer: ViewerDep, pilot: PilotDep, parameters: Parameters
) -> Response:
    """The same figure as one HTML file to keep or to send: plotly.js is inside, and it opens without a network."""
    language, palette = language_of(request), PALETTES[parameters.theme]
    chart = chart_of(services, viewer, parameters.question(pilot.id), language)
    library = services.assets.get(PLOTLY)
    assert library is not None
    figure = figure_of(chart, language, palette, standalone=True)
    content = html_of(figure, library.content, chart.heading, language, palette)
    name = re.sub(r"[^\w.-]", "_", f"{pilot.id}-{chart.quantity}-{chart.start[:10]}.html", flags=re.ASCII)
    return HTMLResponse(content, headers={"Content-Disposition": f'attachment; filename="{name}"'})

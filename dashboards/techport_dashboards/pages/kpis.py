"""The KPIs of a pilot so far, as a piece of its page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from techport_dashboards.query.parameters import Parameters
from techport_dashboards.services.air_quality import Rated, rate
from techport_dashboards.web.access import needs
from techport_dashboards.web.dependencies import PilotDep, ServicesDep
from techport_dashboards.web.request_slots import SlotRoute
from techport_dashboards.web.templating import language_of, render
from techport_pilots.evaluation import Evaluation
from techport_pilots.i18n import Language
from techport_pilots.model import Kpi, PilotDefinition
from techport_pilots.reports.kpi_text import KpiText, describe_kpi

router = APIRouter(route_class=SlotRoute)


class KpiParameters(Parameters):
    kpi: str | None = Field(None, max_length=200, description="This one alone.")
    lang: str | None = Field(None, max_length=8)


@dataclass(frozen=True, slots=True)
class Card:
    """One KPI in the reader's words."""

    text: KpiText
    completeness: str  # of what the value is of; "" where there is none
    air: Rated | None  # an hour of this value, for a mean concentration that the European index rates


@router.get("/pilots/{pilot}/kpis")
@needs("see", anybody="the KPI that is embedded")
def kpis(
    request: Request, services: ServicesDep, pilot: PilotDep, asked: Annotated[KpiParameters, Query()]
) -> Response:
    """Cards for the pilot's page: value, uncertainty and verdict of each KPI, and how complete the data is."""
    language = language_of(request)
    standing = services.evaluations.standing(pilot)
    chosen = [(kpi, evaluation) for kpi, evaluation in standing.kpis if asked.kpi in (None, kpi.id)]
    share = None if asked.kpi is not None else standing.complete.whole.share
    return render(
        request,
        "kpis.html",
        language,
        cards=[card_of(pilot, kpi, evaluation, language) for kpi, evaluation in chosen],
        complete=None if share is None else language.share(share),
        since=language.date_time(standing.complete.since, pilot.timezone, "d. MMM y"),
        at=language.date_time(standing.at, pilot.timezone, "HH:mm"),
    )


def card_of(pilot: PilotDefinition, kpi: Kpi, evaluation: Evaluation, language: Language) -> Card:
    """An evaluation in the reader's words."""
    measured = evaluation.intervention is not None and evaluation.intervention.value is not None
    now = evaluation.intervention if measured else evaluation.baseline
    return Card(
        text=describe_kpi(pilot, kpi, evaluation, language),
        completeness="" if now is None else language.share(now.completeness),
        air=None if now is None or now.value is None else _air(kpi, evaluation, now.value, language),
    )


def _air(kpi: Kpi, evaluation: Evaluation, value: float, language: Language) -> Rated | None:
    simple = kpi.statistic in ("mean", "median") and kpi.compare is None
    return rate(kpi.quantity, evaluation.unit, value, language) if simple else None

"""The KPIs of a pilot so far, as a piece of its page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from techport_dashboards.query.parameters import Parameters
from techport_dashboards.services.air_quality import Rated, rate
from techport_dashboards.web.dependencies import PilotDep, Services, ServicesDep
from techport_dashboards.web.request_slots import SlotRoute
from techport_dashboards.web.templating import language_of, render
from techport_pilots.evaluation import Evaluation, Interval
from techport_pilots.i18n import Language
from techport_pilots.model import Kpi, PilotDefinition
from techport_pilots.quantities import Vocabulary, vocabulary_of

router = APIRouter(route_class=SlotRoute)

SHARE = "1"  # the unit of shares and ratios, which people read in per cent


class KpiParameters(Parameters):
    kpi: str | None = Field(None, max_length=200, description="This one alone.")
    lang: str | None = Field(None, max_length=8)


@dataclass(frozen=True, slots=True)
class Card:
    """One KPI in the reader's words. Empty texts where there is nothing to say."""

    title: str
    value: str
    unit: str
    interval: str
    target: str
    effect: str
    days_after: bool  # what is compared are days after something was done, not phases
    verdict: str
    completeness: str
    reasons: list[str]
    air: Rated | None  # an hour of this value, for a mean concentration that the European index rates


@router.get("/pilots/{pilot}/kpis")
def kpis(
    request: Request, services: ServicesDep, pilot: PilotDep, asked: Annotated[KpiParameters, Query()]
) -> Response:
    """Cards for the pilot's page: value, uncertainty and verdict of each KPI, and the last day's completeness."""
    language = language_of(request)
    standing = services.evaluations.standing(pilot)
    chosen = [(kpi, evaluation) for kpi, evaluation in standing.kpis if asked.kpi in (None, kpi.id)]
    share = None if asked.kpi is not None else standing.recent.share
    return render(
        request,
        "kpis.html",
        language,
        cards=[card_of(services, pilot, kpi, evaluation, language) for kpi, evaluation in chosen],
        complete=None if share is None else f"{language.number(_floor(100 * share), 0)} %",
        at=language.date_time(standing.at, pilot.timezone, "HH:mm"),
    )


def card_of(services: Services, pilot: PilotDefinition, kpi: Kpi, evaluation: Evaluation, language: Language) -> Card:
    """An evaluation in the reader's words."""
    words = vocabulary_of(pilot)
    share = evaluation.unit == SHARE
    factor = 100.0 if share else 1.0
    known = words.lookup(kpi.quantity)
    decimals = known.decimals if known and not share else 1
    unit = "%" if share else _unit(words, evaluation.unit, language)

    def number(value: float) -> str:
        return language.number(factor * value, decimals)

    def between(interval: Interval | None) -> str:
        return "" if interval is None else f"{number(interval.low)} – {number(interval.high)}"

    measured = evaluation.intervention is not None and evaluation.intervention.value is not None
    now = evaluation.intervention if measured else evaluation.baseline
    return Card(
        title=language.text(kpi.title, kpi.id),
        value="–" if now is None or now.value is None else number(now.value),
        unit=unit,
        interval=between(now.interval if now else None),
        target="" if kpi.target is None else _target(kpi, unit, factor, decimals, language),
        effect=_effect(evaluation, unit, factor, decimals, language),
        days_after=evaluation.compared == "days",
        verdict=evaluation.verdict,
        completeness="" if now is None else f"{language.number(_floor(100 * now.completeness), 0)} %",
        reasons=[reason.text(language) for reason in evaluation.reasons],
        air=None if now is None or now.value is None else _air(kpi, evaluation, now.value, language),
    )


def _air(kpi: Kpi, evaluation: Evaluation, value: float, language: Language) -> Rated | None:
    simple = kpi.statistic in ("mean", "median") and kpi.compare is None
    return rate(kpi.quantity, evaluation.unit, value, language) if simple else None


def _unit(words: Vocabulary, unit: str, language: Language) -> str:
    """As people write it; sums are per local day."""
    if not unit.endswith("/d"):
        return words.label(unit)
    return " ".join(filter(None, (words.label(unit.removesuffix("/d")), language.gettext("per day"))))


def _target(kpi: Kpi, unit: str, factor: float, decimals: int, language: Language) -> str:
    assert kpi.target is not None
    sign = "≤" if kpi.direction == "lower" else "≥"
    if kpi.target_is == "percent":
        return f"{sign} {language.signed(kpi.target, 0)} %"
    value = factor * kpi.target
    shown = 0 if value == int(value) else max(decimals, 1)
    text = language.number(value, shown) if kpi.target_is == "value" else language.signed(value, shown)
    return f"{sign} {text} {unit}"


def _effect(evaluation: Evaluation, unit: str, factor: float, decimals: int, language: Language) -> str:
    """The change since the baseline with its interval, in per cent where the scale has a zero."""
    change, interval, unit_of_change, digits = evaluation.percent, evaluation.percent_interval, "%", 0
    if change is None:
        change, interval, unit_of_change, digits = evaluation.effect, evaluation.interval, unit, decimals
    else:
        factor = 1.0
    if change is None or interval is None:
        return ""
    low, high = (language.signed(factor * end, digits) for end in (interval.low, interval.high))
    return f"{language.signed(factor * change, digits)} {unit_of_change} ({low} … {high})"


def _floor(percent: float) -> int:
    """99.96 % is not complete."""
    return int(percent)

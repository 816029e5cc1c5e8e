"""KPIs as the pilot defined them, their values over any time, and their evaluation."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from techport_dashboards.api.schema import Listed, Title, listed, old_name, title
from techport_dashboards.api.words import Instant, QuantityName, Unit
from techport_dashboards.problems import Problem
from techport_dashboards.query import times
from techport_dashboards.query.parameters import Page
from techport_dashboards.query.question import TIME_EXAMPLE, instant
from techport_dashboards.services.evaluations import in_words
from techport_dashboards.web.access import OPEN_DATA, needs
from techport_dashboards.web.dependencies import PilotDep, ServicesDep
from techport_dashboards.web.request_slots import SlotRoute
from techport_pilots.evaluation.kpi import kpi_value
from techport_pilots.evaluation.model import Effect, Verdict
from techport_pilots.evaluation.power import power_note
from techport_pilots.i18n import Language
from techport_pilots.model import Kpi, PilotDefinition
from techport_storage import clock

router = APIRouter(prefix="/pilots/{pilot}/kpis", tags=["evaluation"], route_class=SlotRoute)


class KpiValueItem(BaseModel):
    """A KPI over a time."""

    value: float | None = Field(description="In `unit`; null where there are no readings to speak of.")
    unit: Unit
    completeness: float = Field(description="Samples with a value ÷ samples expected, 0 to 1.")
    samples: int = Field(description="Samples with a value: hours, or days, as the KPI counts.")
    slots: int = old_name("samples")
    start: Instant
    end: Instant


class KpiItem(BaseModel):
    model_config = ConfigDict(extra="allow")

    id: str = Field(description="Unique within the pilot.")
    title: Title
    quantity: QuantityName
    statistic: str = Field(description="mean, median, percentile, min, max, sum, count, hours_above or share_above.")
    direction: str = Field(description="What is better: lower or higher.")
    target: float | None = Field(description="In the quantity's unit, or in per cent where target_is says so.")
    value: KpiValueItem | None = Field(None, description="Over the time asked for; null where none was.")


class IntervalItem(BaseModel):
    """A confidence interval."""

    low: float = Field(description="Lower end, in the unit of what it belongs to.")
    high: float = Field(description="Upper end, in the same unit.")


class ReasonItem(BaseModel):
    """A sentence as a code with parameters, and in both languages."""

    code: str = Field(description="What it says, for programs; empty where the pilot's team wrote the sentence.")
    params: dict[str, Any] = Field(description="What differs each time in the sentence; a code may stand within.")
    nb: str = Field(description="The sentence in Norwegian (bokmål).")
    en: str = Field(description="The sentence in English.")


class PhaseValueItem(BaseModel):
    """A KPI over all phases of one side of the comparison."""

    phases: list[str] = Field(description="Ids of the phases.")
    value: float | None = Field(description="Of the readings as they are, in `unit`; null where there are none.")
    interval: IntervalItem | None = Field(description="Of the value, in `unit`; null where none could be given.")
    days: int = Field(description="Local days that went into the comparison.")
    completeness: float = Field(description="Samples with a value ÷ samples expected, 0 to 1.")


class LeftOutItem(BaseModel):
    """What was not used, and why."""

    what: str = Field(description="A device, or a time range.")
    reason: ReasonItem


class ProgressItem(BaseModel):
    """How far the intervention is."""

    days: int = Field(description="Local days of the intervention that have passed.")
    planned: int = Field(description="Local days of the intervention that the definition plans.")
    decides: str = Field(description="Local date on which the last compared phase is over and the KPI is decided.")


class LookItem(BaseModel):
    """A day on which the definition plans to decide early, or the last one."""

    day: str = Field(description="Local date; readings before it count.")
    factor: float = Field(description="How many times as wide as an interval that is looked at once.")
    verdict: Verdict | None = Field(description="What it said; null for looks to come.")


class CheckItem(BaseModel):
    """One way in which the evaluation checks itself."""

    code: str = Field(description="What was checked.")
    outcome: Literal["agrees", "warns", "disagrees", "not possible"] = Field(
        description="One that disagrees keeps the verdict from being settled."
    )
    text: ReasonItem
    would_settle: ReasonItem | None = Field(description="Where it disagrees: what would settle it.")


class RecalculatedItem(BaseModel):
    """What came out when the package that an evaluation is from was opened here."""

    verdict: Verdict = Field(description="As calculated here.")
    value: float | None = Field(description="With the intervention, in `unit`.")
    effect: float | None = Field(description="As calculated here, in `unit`.")
    interval: IntervalItem | None = Field(description="Of the effect, in `unit`.")


class EvaluationItem(BaseModel):
    """The answer to one KPI."""

    sentence: Title = Field(
        description="What is to be believed, as every page and report says it: what was expected without the "
        "intervention, what was measured, the difference with its interval, how sure that is, what it cannot show."
    )
    expected: float | None = Field(
        description="The value that the intervention would have had without its effect, in `unit`; null without one."
    )

    kpi: str = Field(description="The KPI, by its id.")
    unit: str = Field(description="Unit of values, effect and interval, in UCUM.")
    verdict: Verdict = Field(
        description="Whether the target is met, at the confidence given; without a target whether an effect is shown."
    )
    reasons: list[ReasonItem] = Field(description="Why the verdict is as it is, and what limits it.")
    compared: Literal["phases", "days"] = Field(
        description="phases: baseline and intervention. days: days that follow what was done, and days like others."
    )
    baseline: PhaseValueItem | None = Field(description="Before, or days like others; null where there is nothing.")
    intervention: PhaseValueItem | None = Field(
        description="During the intervention, or days that follow what was done; null where there is nothing."
    )
    control_change: float | None = Field(description="How the control group changed, in `unit`; null without one.")
    effect: float | None = Field(description="Intervention minus baseline after adjustment, in `unit`.")
    interval: IntervalItem | None = Field(description="Of the effect, in `unit`; null where none could be given.")
    percent: float | None = Field(
        description="The effect in per cent of the baseline; null for scales without a natural zero."
    )
    percent_interval: IntervalItem | None = Field(description="Of the effect in per cent; null where there is none.")
    shown: Effect | None = Field(description="Direction of the effect; null where no interval could be given.")
    confidence: float = Field(description="Of all intervals, 0 to 1.")
    independent_days: float | None = Field(
        description="How many days would tell as much if no day resembled the one before."
    )
    autocorrelation: float | None = Field(description="Of one day's value with the next day's, -1 to 1.")
    degrees_of_freedom: float | None = Field(description="Of the t distribution that the interval is from.")
    adjusted_for: list[str] = Field(description="Covariates: quantities and weekdays.")
    method: ReasonItem
    left_out: list[LeftOutItem] = Field(description="Devices and times that were not used.")
    final: bool = Field(description="Whether every compared phase is over; before that the verdict is `running`.")
    until: Instant | None = Field(description="Readings before it count; null where there are no phases.")
    progress: ProgressItem | None = Field(description="How far the intervention is; null where there is none.")
    looks: list[LookItem] = Field(description="Days on which the definition plans to decide; empty without any.")
    widened: float = Field(description="How many times as wide the intervals are as those that are looked at once.")
    checks: list[CheckItem] = Field(description="How the evaluation checked itself.")
    settled: bool = Field(description="Whether the checks agree with the verdict.")
    recalculated: RecalculatedItem | None = Field(
        description="Where the evaluation came with a package and something else came out here: what. Else null."
    )


class KpiParameters(Page):
    start: str | None = Field(
        None, max_length=64, description="With `end`: the KPIs' values over this time.", examples=["-P7D"]
    )
    end: str | None = Field(None, max_length=64, description="First instant that is left out; now when left out.")


@router.get("", response_model=Listed[KpiItem])
@needs("see", anybody=OPEN_DATA)
def kpis(services: ServicesDep, pilot: PilotDep, parameters: Annotated[KpiParameters, Query()]) -> dict[str, Any]:
    """The numbers that decide, as the pilot defined them; with `start` also their values over that time."""
    span = _span(parameters.start, parameters.end, pilot)
    items = []
    for kpi in sorted(pilot.kpis, key=lambda kpi: kpi.id):
        item = {**msgspec.to_builtins(kpi), "title": title(kpi.title)}
        if span is not None:
            value = kpi_value(services.store, pilot, kpi, *span)
            item["value"] = {
                **msgspec.to_builtins(value),
                "slots": value.samples,  # the old name, for one release (CHANGELOG.md)
                "start": times.iso(span[0]),
                "end": times.iso(span[1]),
            }
        items.append(item)
    return listed(items, ("id",), parameters, services.settings)


@router.get("/{kpi}/evaluation", response_model=EvaluationItem)
@needs("see", anybody=OPEN_DATA)
def evaluation(services: ServicesDep, pilot: PilotDep, kpi: str) -> dict[str, Any]:
    """Baseline against intervention for one KPI: effect, interval, verdict, and what it rests on. Takes seconds.

    While a compared phase runs, the verdict is `running` and the intervals stay valid under daily looking; a pilot that
    has ended is judged up to its end, and what was found when it was closed stays. The same data and definition give
    the same answer. A verdict without its interval says less than it seems to.
    """
    seconds = services.settings.query_seconds
    try:
        answer = services.evaluations.fresh(pilot, _kpi(pilot, kpi), seconds)
    except TimeoutError as error:
        raise Problem("too-costly", f"The calculation took more than {seconds:g} seconds.") from error
    return in_words(pilot, answer)


class PointItem(BaseModel):
    """What so many weeks and devices can find."""

    weeks: int = Field(description="Of the intervention.")
    devices: int = Field(description="That measure the KPI.")
    detectable: float = Field(description="The smallest difference that 4 of 5 such pilots find, in `unit`.")
    percent: float | None = Field(description="The same in per cent of `level`; null for scales without a zero.")


class PowerItem(BaseModel):
    """What a KPI can find, judged by the days of its baseline."""

    kpi: str = Field(description="The KPI, by its id.")
    unit: str = Field(description="Unit of level and differences, in UCUM.")
    level: float | None = Field(description="Of the baseline so far; null where there is too little.")
    devices: int = Field(description="That measured it.")
    days: int = Field(description="Local days that this rests on.")
    points: list[PointItem] = Field(description="By weeks and devices; empty where nothing can be said.")
    wanted: float | None = Field(description="The difference that the target asks for; null where it asks for none.")
    needed: float | None = Field(description="How much intervention shows that, in `counted`; null: none is enough.")
    planned: float | None = Field(description="How much is planned, in `counted`.")
    counted: Literal["weeks", "days"] = Field(description="weeks of the intervention, or days after an event.")
    note: Title = Field(description="What the definition is told where its target cannot be seen; else empty.")


@router.get("/{kpi}/power", response_model=PowerItem)
@needs("see", anybody=OPEN_DATA)
def kpi_power(services: ServicesDep, pilot: PilotDep, kpi: str) -> dict[str, Any]:
    """Which effect can be found in how many weeks with how many devices, before the intervention begins."""
    chosen = _kpi(pilot, kpi)
    answer = services.evaluations.power(pilot, chosen)
    note = answer.obstacle or power_note(chosen, answer)
    texts = {code: "" if note is None else Language(code).message(note) for code in ("nb", "en")}
    built: dict[str, Any] = msgspec.to_builtins(msgspec.structs.replace(answer, obstacle=None))
    del built["obstacle"]
    return {**built, "note": texts}


def _kpi(pilot: PilotDefinition, name: str) -> Kpi:
    matching = next((kpi for kpi in pilot.kpis if kpi.id == name), None)
    if matching is None:
        names = ", ".join(kpi.id for kpi in pilot.kpis)
        raise Problem("not-found", f"The pilot has no KPI {name[:80]!r}.", parameter="kpi", example=names or None)
    return matching


def _span(start: str | None, end: str | None, pilot: PilotDefinition) -> tuple[int, int] | None:
    now = clock.now()
    first = instant("start", start, pilot.timezone, now, False)
    last = instant("end", end, pilot.timezone, now, False)
    if first is None:
        if last is not None:
            raise Problem("bad-parameter", "`end` requires `start`.", parameter="start", example=TIME_EXAMPLE)
        return None
    last = now if last is None else last
    if first >= last:
        raise Problem(
            "bad-parameter", "The time range is empty.", parameter="end", example="an end later than the start"
        )
    return first, last

"""What does something that happens on some days do the day after? Street cleaning and dust, events and crowds.

There are no two phases here but scattered days. Each day's level is explained by whether it was exposed (the thing
happened `lag` days before), by what else moves it (rain, wind, traffic, of that day and the day before), by weekday and
calendar month, and the coefficient of the exposure is the effect. The error is interval.py's.

It remains an observation: days are not chosen by lot. Where the thing is done *because* of the quantity (streets are
swept when it is dusty and dry), `before` adds the quantity's own level on the last day before it was done.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from techport_pilots.evaluation.bootstrap import bootstrap_interval
from techport_pilots.evaluation.covariates import Columns, daily_covariate, no_columns, weekdays
from techport_pilots.evaluation.days import Days, day_levels
from techport_pilots.evaluation.interval import NoInterval, fit, half_width, welch
from techport_pilots.evaluation.model import Effect, Interval
from techport_pilots.evaluation.verdict import shown
from techport_pilots.kpi import plan_of
from techport_pilots.kpi_slots import slots_of
from techport_pilots.kpi_time import date_of
from techport_pilots.model import Covariate, Measure, PilotDefinition
from techport_storage.model import Micros, Stream
from techport_storage.store import ReadingStore

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MIN_EXPOSED = 14  # days; and as many that were not


class ExposureQuestion(msgspec.Struct, frozen=True, kw_only=True):
    """Outcome, exposure and what to adjust for. `exposure` is a 0/1 stream: a day on which it is ever 1 counts."""

    outcome: Measure
    exposure: Covariate
    lag: int = 1
    adjust: Sequence[Covariate] = ()
    before: bool = False


class ExposureEffect(msgspec.Struct, frozen=True, kw_only=True):
    """The change on exposed days, in the outcome's unit and in per cent of the other days' mean in the same months."""

    unit: str
    effect: float | None
    interval: Interval | None
    percent: float | None
    bootstrap: Interval | None
    shown: Effect | None
    exposed_days: int
    other_days: int
    independent_days: float | None
    autocorrelation: float | None
    degrees_of_freedom: float | None
    adjusted_for: list[str]
    problem: str | None = None  # why there is no effect to report


def evaluate_exposure(
    store: ReadingStore,
    pilot: PilotDefinition,
    question: ExposureQuestion,
    start: Micros,
    end: Micros,
    confidence: float = 0.95,
) -> ExposureEffect:
    """Answer the question from the readings in [start, end).

    Only calendar months in which the exposure happened at all are compared: a July without sweeping says nothing about
    sweeping. What is wrong with the data is said in `problem`; raises only what the store raises.
    """
    plan = plan_of(pilot, question.outcome)
    slots = plan.slots(store, start, end, pilot.timezone)
    summary = plan.summary(slots)
    if summary is None or summary.pseudo is None:
        return _no_effect(
            plan.meaning.unit, "the outcome has no readings, or a statistic that no interval can be given for"
        )
    outcome = day_levels(slots, summary.pseudo)
    day = outcome.day
    exposed = _exposed(store, pilot, question, day, start, end)
    month = _months(day)
    columns = _columns(store, pilot, question, day, start, end)
    if question.before:
        columns = columns.and_(Columns(["before"], outcome.at(day - question.lag - 1)[:, None]))
    rows = np.isfinite(exposed) & np.isfinite(columns.values).all(axis=1)
    rows &= np.isin(month, np.unique(month[rows & (exposed == 1)]))
    n_exposed, n_other = int((exposed[rows] == 1).sum()), int((exposed[rows] == 0).sum())
    if min(n_exposed, n_other) < MIN_EXPOSED:
        problem = f"{n_exposed} exposed and {n_other} other days are left; {MIN_EXPOSED} of each are needed"
        return _no_effect(plan.meaning.unit, problem, n_exposed, n_other)
    every = np.ones(int(rows.sum()), bool)
    columns = columns.of(rows).and_(weekdays(day[rows]).of(every)).and_(_dummies(month[rows]).of(every))
    design = np.column_stack([np.ones(len(every)), exposed[rows], columns.values])
    group = np.zeros(len(every), np.int64)
    try:
        found = fit(outcome.value[rows], design, day[rows], group, 1)
    except NoInterval as problem:
        return _no_effect(plan.meaning.unit, str(problem), n_exposed, n_other)
    half = half_width(found.variance, found.freedom, confidence)
    interval = Interval(found.value - half, found.value + half)
    level = float(outcome.value[rows][exposed[rows] == 0].mean())
    return ExposureEffect(
        unit=plan.meaning.unit,
        effect=found.value,
        interval=interval,
        percent=100 * found.value / level if plan.meaning.has_zero and level > 0 else None,
        bootstrap=Interval(*bootstrap_interval(found, group, confidence)),
        shown=shown(interval),
        exposed_days=n_exposed,
        other_days=n_other,
        independent_days=found.independent_days,
        autocorrelation=found.autocorrelation,
        degrees_of_freedom=welch(found.variance, found.freedom),
        adjusted_for=columns.names,
    )


def _exposed(
    store: ReadingStore, pilot: PilotDefinition, question: ExposureQuestion, day: Ints, start: Micros, end: Micros
) -> Floats:
    """1 for days that follow the exposure, 0 for others; NaN where it is not known, and on days while it goes on: what
    sweeping stirs up is not what it leaves behind."""
    exposure = question.exposure
    stream = Stream(exposure.pilot or pilot.id, exposure.device, exposure.quantity)
    measure = Measure(quantity=exposure.quantity, interval="P1D", slot="max")
    slots = slots_of(store, {exposure.device: [stream]}, measure, start, end, pilot.timezone, how="max")
    highest = Days(slots.day, slots.value)
    then, now = highest.at(day - question.lag), highest.at(day)
    exposed = np.where(np.isnan(then), np.nan, (then > 0).astype(float))
    return np.where((now > 0) & (exposed == 0), np.nan, exposed)


def _columns(
    store: ReadingStore, pilot: PilotDefinition, question: ExposureQuestion, day: Ints, start: Micros, end: Micros
) -> Columns:
    """Each covariate on the day and on the day before."""
    columns = no_columns(len(day))
    for covariate in question.adjust:
        for name, levels in daily_covariate(store, pilot, covariate, start, end).items():
            both = np.column_stack([levels.at(day), levels.at(day - 1)])
            columns = columns.and_(Columns([name, f"{name}, day before"], both))
    return columns


def _months(day: Ints) -> Ints:
    """Year and month of days, as one number."""
    return np.array([date.year * 12 + date.month for date in map(date_of, day)], np.int64)


def _dummies(month: Ints) -> Columns:
    seen = np.unique(month)[1:]
    names = [f"{(m - 1) // 12}-{(m - 1) % 12 + 1:02}" for m in seen]
    return Columns(names, (month[:, None] == seen[None, :]).astype(float))


def _no_effect(unit: str, problem: str, exposed: int = 0, other: int = 0) -> ExposureEffect:
    return ExposureEffect(
        unit=unit, effect=None, interval=None, percent=None, bootstrap=None, shown=None, exposed_days=exposed,
        other_days=other, independent_days=None, autocorrelation=None, degrees_of_freedom=None, adjusted_for=[],
        problem=problem,
    )  # fmt: skip

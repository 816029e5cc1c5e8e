"""What does something that happens on some days do the day after? Street cleaning and dust, events and crowds.

There are no two phases here but scattered days. Each day's level is explained by whether it was exposed (the thing
happened `lag` days before), by what else moves it (rain, wind, traffic, of that day and the day before), by weekday and
calendar month, and the coefficient of the exposure is the effect. The error is interval.py's.

It remains an observation: days are not chosen by lot. Where the thing is done *because* of the quantity (streets are
swept when it is dusty and dry), `level_before` adds the quantity's own level on the last day before it was done.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from techport_pilots.evaluation import messages
from techport_pilots.evaluation.covariates import Columns, daily_covariate, no_columns, weekdays
from techport_pilots.evaluation.days import Days, day_levels
from techport_pilots.evaluation.interval import Fit, NoInterval, fit, half_width, welch
from techport_pilots.evaluation.kpi import plan_of
from techport_pilots.evaluation.model import Evaluation, Interval, LeftOut, PhaseValue
from techport_pilots.evaluation.samples import samples_of
from techport_pilots.evaluation.verdict import decide_verdict, effect_direction
from techport_pilots.model import Exposure, Kpi, Measure, PilotDefinition, Text
from techport_pilots.time import date_of, local, micros_of
from techport_storage.model import Micros, Stream
from techport_storage.store import ReadingStore

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

MIN_EXPOSED = 14  # days; and as many that were not


@dataclass(frozen=True, slots=True)
class EventDays:
    """The days that are compared: level, whether it was done `lag` days before, and what moves the level beside it."""

    day: Ints
    level: Floats
    exposed: Flags
    columns: Columns
    completeness: float  # of the outcome, over the whole time
    left_out: int  # days with a level that cannot be compared

    @property
    def counts(self) -> tuple[int, int]:
        """Exposed days, and others."""
        return int(self.exposed.sum()), int((~self.exposed).sum())


def event_days(store: ReadingStore, pilot: PilotDefinition, kpi: Kpi) -> EventDays | None:
    """The days of a KPI with `after`, from the first phase's start to the last one's end; None where nothing varies.

    Only calendar months in which the thing was done at all are compared: a July without sweeping says nothing about
    sweeping. Raises only what the store raises.
    """
    assert kpi.after is not None
    start = min(micros_of(phase.start, pilot.timezone) for phase in pilot.phases)
    end = max(micros_of(phase.end, pilot.timezone) for phase in pilot.phases)
    plan = plan_of(pilot, kpi)
    slots = plan.slots(store, start, end, pilot.timezone)
    summary = plan.summary(slots)
    if summary is None or summary.pseudo is None:
        return None
    outcome = day_levels(slots, summary.pseudo)
    day = outcome.day
    exposed = _exposed(store, pilot, kpi.after, day, start, end)
    columns = _columns(store, pilot, kpi, day, start, end)
    if kpi.after.level_before:
        columns = columns.and_(Columns(["level before"], outcome.at(day - kpi.after.lag - 1)[:, None]))
    rows = np.isfinite(exposed) & np.isfinite(columns.values).all(axis=1)
    month = _months(day)
    rows &= np.isin(month, np.unique(month[rows & (exposed == 1)]))
    every = np.ones(int(rows.sum()), bool)
    columns = columns.of(rows).and_(weekdays(day[rows]).of(every)).and_(_dummies(month[rows]).of(every))
    left_out = len(day) - int(rows.sum())
    return EventDays(day[rows], outcome.value[rows], exposed[rows] == 1, columns, slots.completeness, left_out)


def evaluate_event_study(store: ReadingStore, pilot: PilotDefinition, kpi: Kpi, confidence: float = 0.95) -> Evaluation:
    """The answer to a KPI with `after`. `baseline` are the other days, `intervention` the days that follow it.

    What is wrong with the data becomes a verdict with its reasons; raises only what the store raises.
    """
    assert kpi.after is not None
    plan = plan_of(pilot, kpi)
    unit = plan.meaning.unit
    if not pilot.phases:
        return _insufficient(kpi, unit, messages.no_phase("any"))
    if not plan.streams:
        return _insufficient(kpi, unit, messages.no_device(kpi.quantity))
    found = event_days(store, pilot, kpi)
    if found is None or not len(found.day):
        return _insufficient(kpi, unit, messages.no_scattered_days())
    other, exposed = _side(found, ~found.exposed), _side(found, found.exposed)
    wanting = None
    if found.completeness < kpi.minimum_completeness:
        wanting = messages.incomplete(messages.named(pilot.phases), found.completeness, kpi.minimum_completeness)
    elif min(found.counts) < MIN_EXPOSED:
        wanting = messages.few_exposed(*found.counts, MIN_EXPOSED)
    if wanting is not None:
        return _insufficient(kpi, unit, wanting, other, exposed)
    group = np.zeros(len(found.day), np.int64)
    design = np.column_stack([np.ones(len(group)), found.exposed, found.columns.values])
    try:
        estimate = fit(found.level, design, found.day, group, 1)
    except NoInterval as problem:
        return _insufficient(kpi, unit, messages.no_interval(str(problem)), other, exposed)
    half = half_width(estimate.variance, estimate.freedom, confidence)
    interval = Interval(estimate.value - half, estimate.value + half)
    percent, percent_interval = _percent(found, estimate, confidence) if plan.meaning.has_zero else (None, None)
    verdict, why = decide_verdict(kpi, None, interval, percent_interval)
    left_out = [LeftOut(f"{found.left_out} d", messages.days_that_cannot_be_compared())] if found.left_out else []
    return Evaluation(
        kpi=kpi.id, unit=unit, verdict=verdict, compared="days", confidence=confidence, left_out=left_out,
        reasons=[why, *messages.caveats_of_scattered_days(len(plan.streams))],
        baseline=other, intervention=exposed,
        effect=estimate.value, interval=interval, percent=percent, percent_interval=percent_interval,
        shown=effect_direction(interval), independent_days=estimate.independent_days,
        autocorrelation=estimate.autocorrelation,
        degrees_of_freedom=welch(estimate.variance, estimate.freedom), adjusted_for=found.columns.names,
        method=messages.method_of_scattered_days(kpi),
    )  # fmt: skip


def _side(found: EventDays, rows: Flags) -> PhaseValue:
    level = found.level[rows]
    value = float(level.mean()) if len(level) else None
    return PhaseValue(phases=[], value=value, days=len(level), completeness=found.completeness)


def _percent(found: EventDays, estimate: Fit, confidence: float) -> tuple[float | None, Interval | None]:
    """The effect in per cent of the other days' mean, whose own error counts too (delta method)."""
    day, level = found.day[~found.exposed], found.level[~found.exposed]
    mean = float(level.mean())
    try:
        own = fit(level, np.ones((len(day), 1)), day, np.zeros(len(day), np.int64), 0)
    except NoInterval:
        return None, None
    if mean < 2 * np.sqrt(own.variance.sum()):
        return None, None
    ratio = estimate.value / mean
    variance = np.concatenate([estimate.variance, ratio**2 * own.variance]) / mean**2
    half = 100 * half_width(variance, np.concatenate([estimate.freedom, own.freedom]), confidence)
    return 100 * ratio, Interval(100 * ratio - half, 100 * ratio + half)


def _exposed(
    store: ReadingStore, pilot: PilotDefinition, after: Exposure, day: Ints, start: Micros, end: Micros
) -> Floats:
    """1 for days that follow the exposure, 0 for others; NaN where it is not known, and on days while it goes on: what
    sweeping stirs up is not what it leaves behind."""
    done = _event_days(pilot, after, day) if after.event else _stream_days(store, pilot, after, start, end)
    then, now = done.at(day - after.lag), done.at(day)
    exposed = np.where(np.isnan(then), np.nan, (then > 0).astype(float))
    return np.where((now > 0) & (exposed == 0), np.nan, exposed)


def _stream_days(store: ReadingStore, pilot: PilotDefinition, after: Exposure, start: Micros, end: Micros) -> Days:
    assert after.device is not None
    assert after.quantity is not None
    stream = Stream(after.pilot or pilot.id, after.device, after.quantity)
    measure = Measure(quantity=after.quantity, interval="P1D", slot="max")
    slots = samples_of(store, {after.device: [stream]}, measure, start, end, pilot.timezone, how="max")
    return Days(slots.day, slots.value)


def _event_days(pilot: PilotDefinition, after: Exposure, day: Ints) -> Days:
    """1 on each local day that an event of that kind touches, 0 on the others: the time line is complete."""
    first, last = (int(day[0]) - after.lag, int(day[-1])) if len(day) else (0, -1)
    every = np.arange(first, last + 1, dtype=np.int64)
    done = np.zeros(len(every))
    for event in pilot.events:
        if event.kind == after.event and after.device in (None, event.device):
            times = [micros_of(time, pilot.timezone) for time in (event.time, event.end or event.time)]
            begun, over = local(np.array(times, np.int64), pilot.timezone).day.tolist()
            done[(every >= begun) & (every <= over)] = 1
    return Days(every, done)


def _columns(store: ReadingStore, pilot: PilotDefinition, kpi: Kpi, day: Ints, start: Micros, end: Micros) -> Columns:
    """Each covariate on the day and on the day before."""
    columns = no_columns(len(day))
    for covariate in kpi.adjust:
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


def _insufficient(
    kpi: Kpi, unit: str, why: Text, other: PhaseValue | None = None, exposed: PhaseValue | None = None
) -> Evaluation:
    return Evaluation(
        kpi=kpi.id, unit=unit, verdict="insufficient data", compared="days", reasons=[why],
        baseline=other, intervention=exposed,
    )  # fmt: skip

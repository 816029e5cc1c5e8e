"""What does something that happens on some days do the day after? Street cleaning and dust, events and crowds.

There are no two phases here but scattered days. Each day's level is explained by whether it was exposed (the thing
happened `lag` days before), by what else moves it (rain, wind, traffic, of that day and the day before), by weekday and
calendar month, and the coefficient of the exposure is the effect. The error is interval.py's.

It remains an observation: days are not chosen by lot. Where the thing is done *because* of the quantity (streets are
swept when it is dusty and dry), `level_before` adds the quantity's own level on the last day before it was done, and
whether it is done again on the day itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from techport_pilots.evaluation.checks import chosen_days
from techport_pilots.evaluation.covariates import centred, covariate_columns, weekdays
from techport_pilots.evaluation.days import day_levels
from techport_pilots.evaluation.interval import (
    CONFIDENCE,
    ErrorPart,
    Fit,
    NoInterval,
    fit,
    interval_of,
    percent_change,
    welch,
)
from techport_pilots.evaluation.kpi import plan_of
from techport_pilots.evaluation.messages import caveats, message, method, phase_titles, remedies
from techport_pilots.evaluation.model import Check, Evaluation, Interval, LeftOut, PhaseValue, Reason
from techport_pilots.evaluation.samples import SamplePlan, Window, dates, day_numbers, read_samples
from techport_pilots.evaluation.verdict import decide_verdict, effect_direction
from techport_pilots.i18n import Message
from techport_pilots.model import Exposure, Kpi, Measure, PilotDefinition
from techport_pilots.time import local, micros_of
from techport_storage.model import Stream
from techport_storage.store import ReadingStore

MIN_EXPOSED = 14
"""Days that must follow the event, and as many that must not."""

_MIN_AGAIN = 3
"""Exposed days with the event on the day itself, and without, from which on both are told apart."""


@dataclass(frozen=True, slots=True)
class EventDays:
    """The days that are compared.

    `days` has a row for each: index `day` (datetime64[s]), columns `level` (unit of the KPI) and `exposed` (bool): the
    event was `lag` days before. `columns` has a row for each, too: what moves the level beside it, centred.
    """

    days: pd.DataFrame
    columns: pd.DataFrame
    completeness: float  # of the outcome, over the whole time, 0..1
    before: pd.DataFrame  # the last day before the event could act: `level`, and whether it was `exposed` itself
    left_out: int  # days with a level that cannot be compared

    @property
    def counts(self) -> tuple[int, int]:
        """Exposed days, and others."""
        exposed = int(self.days["exposed"].sum())
        return exposed, len(self.days) - exposed


def event_days(store: ReadingStore, pilot: PilotDefinition, kpi: Kpi) -> EventDays | None:
    """The days of an event-study KPI (one with `after`), from the first phase's start to the last one's end.

    Only calendar months in which the event happened at all are compared: a July without sweeping says nothing about
    sweeping.

    Parameters
    ----------
    store : ReadingStore
    pilot : PilotDefinition
        With at least one phase.
    kpi : Kpi
        With `after`.

    Returns
    -------
    EventDays or None
        None where nothing varies.

    Raises
    ------
    StoreError
        What the store raises.
    """
    assert kpi.after is not None
    start = min(micros_of(phase.start, pilot.timezone) for phase in pilot.phases)
    end = max(micros_of(phase.end, pilot.timezone) for phase in pilot.phases)
    plan = plan_of(pilot, kpi, never=kpi.control)
    samples = plan.read(store, [(start, end)], pilot.timezone)
    summary = plan.summary(samples.value, samples.per_day, plan.streams)
    if summary is None or summary.pseudo is None:
        return None
    level = day_levels(samples.frame.assign(pseudo_value=summary.pseudo), "pseudo_value", samples.per_day)
    days = pd.DatetimeIndex(level.index)
    touched = _event_days(store, pilot, kpi.after, days, (start, end))
    exposed = _exposed(touched, days, kpi.after.lag)
    columns = covariate_columns(store, pilot, kpi.adjust, days, (start, end), day_before=True)
    earlier = level.reindex(days - pd.Timedelta(days=kpi.after.lag + 1)).to_numpy()
    level_before = pd.Series(earlier, days, name="level before")
    if kpi.after.level_before:
        columns = pd.concat([columns, level_before], axis=1)
        columns = columns.join(_event_again(touched, exposed, np.isfinite(columns.to_numpy(float)).all(axis=1)))
    if kpi.control:
        columns = pd.concat([columns, _control_levels(store, pilot, kpi, days, (start, end))], axis=1)
    usable = np.isfinite(exposed.to_numpy()) & np.isfinite(columns.to_numpy(float)).all(axis=1)
    month = days.year.to_numpy() * 12 + days.month.to_numpy()
    usable &= np.isin(month, np.unique(month[usable & (exposed == 1)]))
    parts = [columns[usable], weekdays(days[usable]), _months(days[usable])]
    compared = pd.DataFrame({"level": level[usable], "exposed": exposed[usable] == 1})
    left_out = len(days) - len(compared)
    columns = pd.concat([centred(part) for part in parts], axis=1)
    exposed_before = exposed.reindex(days - pd.Timedelta(days=kpi.after.lag + 1)).to_numpy()
    before = pd.DataFrame({"level": level_before.to_numpy(), "exposed": np.nan_to_num(exposed_before)}, days)
    return EventDays(compared, columns, samples.completeness, before[usable], left_out)


def _control_levels(
    store: ReadingStore, pilot: PilotDefinition, kpi: Kpi, days: pd.DatetimeIndex, period: Window
) -> pd.DataFrame:
    """The control group's level of each day and of the day before, as of every covariate here: what the event could not
    touch, with estimated weights."""
    plan = plan_of(pilot, kpi, only=kpi.control)
    samples = plan.read(store, [period], pilot.timezone)
    summary = plan.summary(samples.value, samples.per_day, plan.streams)
    if summary is None or summary.pseudo is None:
        return pd.DataFrame({"control group": np.nan}, days)
    level = day_levels(samples.frame.assign(pseudo_value=summary.pseudo), "pseudo_value", samples.per_day)
    before = level.reindex(days - pd.Timedelta(days=1)).to_numpy()
    return pd.DataFrame({"control group": level.reindex(days).to_numpy(), "control group, day before": before}, days)


def evaluate_event_study(
    store: ReadingStore, pilot: PilotDefinition, kpi: Kpi, confidence: float = CONFIDENCE
) -> Evaluation:
    """The answer to an event-study KPI. `baseline` are the other days, `intervention` the days that follow the event.

    Parameters, returns and raises as for compare.evaluate.
    """
    assert kpi.after is not None
    plan = plan_of(pilot, kpi, never=kpi.control)
    unit = plan.resolved.unit
    if not pilot.phases:
        return _insufficient(kpi, unit, [message("no-phase.any")])
    if not plan.streams:
        return _insufficient(kpi, unit, [message("no-device", quantity=kpi.quantity)])
    observed = event_days(store, pilot, kpi)
    if observed is None or not len(observed.days):
        return _insufficient(kpi, unit, [message("no-days")])
    other, exposed = _side(observed, exposed=False), _side(observed, exposed=True)
    obstacle = None
    if observed.completeness < kpi.minimum_completeness:
        titles = phase_titles(pilot.phases)
        obstacle = message("incomplete", phases=titles, share=observed.completeness, required=kpi.minimum_completeness)
    elif min(observed.counts) < MIN_EXPOSED:
        exposed_days, other_days = observed.counts
        obstacle = message("few-exposed", exposed=exposed_days, others=other_days, required=MIN_EXPOSED)
    if obstacle is not None:
        return _insufficient(kpi, unit, [obstacle, *remedies([obstacle])], other, exposed)
    days = observed.days
    design = np.column_stack([np.ones(len(days)), days["exposed"], observed.columns])
    day, group = day_numbers(pd.DatetimeIndex(days.index)), np.zeros(len(days), np.int64)
    try:
        estimate = fit(days["level"].to_numpy(), design, day, group, 1)
    except NoInterval as problem:
        return _insufficient(kpi, unit, problem.reasons, other, exposed)
    interval = interval_of(estimate, confidence)
    percent, percent_interval = _percent(observed, estimate, confidence) if plan.resolved.has_zero else (None, None)
    verdict, why = decide_verdict(kpi, None, interval, percent_interval)
    left_out = (
        [LeftOut(f"{observed.left_out} d", Reason.of(message("left-out.not-comparable")))] if observed.left_out else []
    )
    return Evaluation(
        kpi=kpi.id,
        unit=unit,
        verdict=verdict,
        reasons=[Reason.of(reason) for reason in (why, *caveats(kpi, plan.streams))],
        compared="days",
        baseline=other,
        intervention=exposed,
        effect=estimate.value,
        interval=interval,
        percent=percent,
        percent_interval=percent_interval,
        shown=effect_direction(interval),
        confidence=confidence,
        independent_days=estimate.independent_days,
        autocorrelation=estimate.autocorrelation,
        degrees_of_freedom=welch(estimate.variance, estimate.freedom),
        adjusted_for=list(observed.columns.columns),
        method=Reason.of(method(kpi)),
        left_out=left_out,
        checks=_checks(kpi, observed, day),
    )


def _checks(kpi: Kpi, observed: EventDays, day: NDArray[np.int64]) -> list[Check]:
    """Were the days chosen because of the level before? With that adjusted for it does not matter."""
    assert kpi.after is not None
    if kpi.after.level_before:
        return []
    dates = pd.DatetimeIndex(observed.days.index)
    columns = pd.concat([centred(weekdays(dates)), centred(_months(dates))], axis=1).to_numpy(float)
    columns = np.column_stack([columns, observed.before["exposed"]])  # its own effect is not why it was done
    level = np.asarray(observed.before["level"], np.float64)
    return [chosen_days(level, columns, observed.days["exposed"].to_numpy(), day)]


def _side(observed: EventDays, *, exposed: bool) -> PhaseValue:
    level = observed.days["level"].to_numpy()[observed.days["exposed"].to_numpy() == exposed]
    value = float(level.mean()) if len(level) else None
    return PhaseValue(phases=[], value=value, days=len(level), completeness=observed.completeness)


def _percent(observed: EventDays, estimate: Fit, confidence: float) -> tuple[float | None, Interval | None]:
    """The effect in per cent of the other days' mean."""
    level = observed.days["level"][~observed.days["exposed"]]
    day = day_numbers(pd.DatetimeIndex(level.index))
    try:
        mean = fit(level.to_numpy(), np.ones((len(day), 1)), day, np.zeros(len(day), np.int64), 0)
    except NoInterval:
        return None, None
    parts = [
        *(ErrorPart(*part, 1.0, 0.0) for part in zip(estimate.variance, estimate.freedom, strict=True)),
        *(ErrorPart(*part, 0.0, 1.0) for part in zip(mean.variance, mean.freedom, strict=True)),
    ]
    change = percent_change(estimate.value, float(level.to_numpy().mean()), parts, confidence)
    if change is None:
        return None, None
    percent, half = change
    return percent, Interval(percent - half, percent + half)


def _event_days(
    store: ReadingStore, pilot: PilotDefinition, after: Exposure, days: pd.DatetimeIndex, period: Window
) -> pd.Series[float]:
    """Above zero on local days on which the event happens, zero on others; days that are not known are missing."""
    return _event_kind_days(pilot, after, days) if after.event else _stream_days(store, pilot, after, period)


def _exposed(events: pd.Series[float], days: pd.DatetimeIndex, lag: int) -> pd.Series[float]:
    """1 for days that follow the event, 0 for others; NaN where it is not known, and on days while it goes on: what
    sweeping stirs up is not what it leaves behind."""
    earlier = events.reindex(days - pd.Timedelta(days=lag)).to_numpy()
    today = events.reindex(days).to_numpy()
    exposed = np.where(np.isnan(earlier), np.nan, (earlier > 0).astype(float))
    return pd.Series(np.where((today > 0) & (exposed == 0), np.nan, exposed), days, name="exposed")


def _event_again(events: pd.Series[float], exposed: pd.Series[float], complete: NDArray[np.bool_]) -> pd.DataFrame:
    """A column for exposed days on which the event happens again; none where it tells no days apart.

    Days on which it begins are left out, and it begins on days with a high level: the other days that remain are calm
    ones. Exposed days on which it does not happen again are as calm, so the effect is that of those.
    """
    again = (events.reindex(exposed.index).fillna(0.0) > 0).astype(float)
    compared = again[complete & (exposed == 1).to_numpy()]
    if min((compared == 1).sum(), (compared == 0).sum()) < _MIN_AGAIN:
        return pd.DataFrame(index=exposed.index)
    return again.to_frame("event again")


def _stream_days(store: ReadingStore, pilot: PilotDefinition, after: Exposure, period: Window) -> pd.Series[float]:
    """The highest value of a stream on each local day that has one."""
    assert after.device is not None
    assert after.quantity is not None
    stream = Stream(after.pilot or pilot.id, after.device, after.quantity)
    measure = Measure(quantity=after.quantity, interval="P1D", slot="max")
    samples = read_samples(store, SamplePlan(measure, {after.device: [stream]}, "max"), [period], pilot.timezone)
    return samples.frame.set_index("day")["value"]


def _event_kind_days(pilot: PilotDefinition, after: Exposure, days: pd.DatetimeIndex) -> pd.Series[float]:
    """1 on each local day that an event of that kind touches, 0 on the others: the time line is complete."""
    day = day_numbers(days)
    first, last = (int(day[0]) - after.lag, int(day[-1])) if len(day) else (0, -1)
    every_day = np.arange(first, last + 1, dtype=np.int64)
    touched = np.zeros(len(every_day))
    for event in pilot.events:
        if event.kind == after.event and after.device in (None, event.device):
            times = [micros_of(time, pilot.timezone) for time in (event.time, event.end or event.time)]
            begun, over = local(np.array(times, np.int64), pilot.timezone).day.tolist()
            touched[(every_day >= begun) & (every_day <= over)] = 1
    return pd.Series(touched, pd.DatetimeIndex(dates(every_day)))


def _months(days: pd.DatetimeIndex) -> pd.DataFrame:
    """One column a calendar month that occurs; the first is the one the others differ from."""
    month = days.strftime("%Y-%m")
    seen = np.unique(month)[1:]
    values = (month.to_numpy()[:, None] == seen[None, :]).astype(float)
    return pd.DataFrame(values, index=days, columns=list(seen))


def _insufficient(
    kpi: Kpi, unit: str, why: Sequence[Message], other: PhaseValue | None = None, exposed: PhaseValue | None = None
) -> Evaluation:
    return Evaluation(
        kpi=kpi.id,
        unit=unit,
        verdict="insufficient data",
        reasons=[Reason.of(reason) for reason in why],
        compared="days",
        baseline=other,
        intervention=exposed,
    )

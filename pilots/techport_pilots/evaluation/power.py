"""Before the start: which effect can be found, in how many weeks, with how many devices.

    days of the baseline ─► level of each day ─► long-run variance (interval.fit) ─► standard error of a difference
                                              ─► share that single devices add to it ─► the same for more devices
                                              ─► smallest difference that 4 of 5 pilots would find

The days of the baseline stand for those to come. Other pilots' days of the same quantity may stand in for them.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence

import msgspec
import numpy as np
import pandas as pd

from techport_pilots.evaluation.compare import evaluate
from techport_pilots.evaluation.covariates import centred, weekdays
from techport_pilots.evaluation.days import day_levels
from techport_pilots.evaluation.interval import NoInterval, fit
from techport_pilots.evaluation.kpi import plan_of, unit_of
from techport_pilots.evaluation.looking import MIN_DAYS
from techport_pilots.evaluation.messages import message
from techport_pilots.evaluation.phases import phases_of
from techport_pilots.evaluation.roles import confidence_of
from techport_pilots.evaluation.samples import day_numbers
from techport_pilots.i18n import Message
from techport_pilots.model import Kpi, Phase, PilotDefinition
from techport_pilots.time import micros_of
from techport_storage.microseconds import DAY, SECOND
from techport_storage.model import Micros
from techport_storage.store import ReadingStore

FOUND = 0.8
"""Share of pilots that would find an effect of the size that is called detectable."""

WEEKS = (2, 3, 4, 6, 8, 12, 16, 26, 52)


class Point(msgspec.Struct, frozen=True):
    """The smallest difference that would be found, in the KPI's unit and in per cent of the level."""

    weeks: int
    devices: int
    detectable: float
    percent: float | None


class Power(msgspec.Struct, frozen=True, kw_only=True):
    """What a KPI can find. `wanted` is the difference that its target asks for, `needed` how much of the intervention
    it takes to see it, None where no length is enough. `counted`: in weeks of a phase, or in days after an event.
    """

    kpi: str
    unit: str
    level: float | None = None
    devices: int = 0
    days: int = 0  # that this rests on
    points: list[Point] = []
    wanted: float | None = None
    needed: float | None = None
    planned: float | None = None
    counted: str = "weeks"
    obstacle: Message | None = None  # why nothing can be said

    @property
    def enough(self) -> bool | None:
        """Whether the target can be seen with what is planned; None where it asks for no difference."""
        if self.wanted is None or self.planned is None:
            return None
        return self.needed is not None and self.needed <= self.planned


def power(store: ReadingStore, pilot: PilotDefinition, kpi: Kpi, until: Micros) -> Power:
    """What the pilot can find of this KPI, judged by the days of its baseline up to `until`.

    Parameters
    ----------
    store : ReadingStore
    pilot : PilotDefinition
        With its phases as they are planned.
    kpi : Kpi
        One of the pilot's.
    until : int
        µs: later readings do not count.

    Returns
    -------
    Power
        Sizes in the KPI's unit.

    Raises
    ------
    StoreError
        What the store raises.

    References
    ----------
    Normal approximation of the power of Student's test with the degrees of freedom of docs/statistics.md.
    """
    if kpi.after is not None:
        return _of_event_study(store, pilot, kpi, until)
    main = plan_of(pilot, kpi, never=kpi.control)
    unit = unit_of(main, kpi.compare)
    before, after = phases_of(pilot)
    spans = [(micros_of(p.start, pilot.timezone), min(micros_of(p.end, pilot.timezone), until)) for p in before]
    spans = [span for span in spans if span[0] < span[1]]
    if kpi.compare is not None or not main.streams or not spans:
        return Power(kpi=kpi.id, unit=unit, obstacle=message("power.no-baseline"))
    levels, frame = _levels(store, pilot, kpi, spans)
    if levels is None or len(levels) < MIN_DAYS:
        return Power(kpi=kpi.id, unit=unit, obstacle=message("power.no-baseline"))
    level = float(levels.mean())
    if kpi.control:
        beside, _ = _levels(
            store, pilot, msgspec.structs.replace(kpi, groups=kpi.control, devices=[], control=[]), spans
        )
        levels = levels if beside is None else (levels - beside.reindex(levels.index)).dropna()
    days = pd.DatetimeIndex(levels.index)
    design = np.column_stack([np.ones(len(days)), centred(weekdays(days)).to_numpy()])
    try:
        mean = fit(np.asarray(levels, np.float64), design, day_numbers(days), np.zeros(len(days), np.int64), 0)
    except NoInterval as problem:
        return Power(kpi=kpi.id, unit=unit, obstacle=problem.reason)
    variance = float(mean.variance.sum()) * len(days)
    devices = max(1, frame["device"].nunique())
    single = _of_single_devices(frame) / devices
    factor = _factor(2 * float(mean.freedom.sum()), confidence_of(pilot, kpi))
    planned_baseline, planned = _days_of(before, pilot.timezone), _days_of(after, pilot.timezone) / 7

    def detectable(weeks: float, count: int) -> float:
        of_day = max(variance - single, 0.1 * variance) + single * devices / count
        return factor * math.sqrt(of_day * (1 / planned_baseline + 1 / (7 * weeks)))

    has_zero = main.resolved.has_zero and level != 0
    points = [
        Point(weeks, count, size, 100 * size / abs(level) if has_zero else None)
        for count in (devices, 2 * devices, 4 * devices)
        for weeks in WEEKS
        for size in [detectable(weeks, count)]
    ]
    target_change = _wanted(kpi, level)
    room = (target_change / factor) ** 2 / variance - 1 / planned_baseline if target_change else 0.0
    return Power(
        kpi=kpi.id,
        unit=unit,
        level=level,
        devices=devices,
        days=len(days),
        points=points,
        wanted=target_change,
        needed=1 / (7 * room) if room > 0 else None,
        planned=planned or None,
    )


def power_by(store: ReadingStore, plan: PilotDefinition, kpi: Kpi, model: PilotDefinition, until: Micros) -> Power:
    """What a planned pilot can find, judged by another pilot's days of the same quantity.

    Parameters
    ----------
    store : ReadingStore
    plan : PilotDefinition
        With the phases that are planned.
    kpi : Kpi
        One of the plan's. Its devices, groups, control groups and covariates are not those of `model` and do not count.
    model : PilotDefinition
        A pilot that has measured the quantity.
    until : int
        µs: the last of its days that count; as many before it as the planned baseline has.

    Returns
    -------
    Power
        Sizes in the KPI's unit; `devices` are those of `model`: see detectable for another number.

    Raises
    ------
    StoreError
        What the store raises.
    """
    before, after = phases_of(plan)
    baseline, intervention = _days_of(before, plan.timezone), _days_of(after, plan.timezone)
    if not baseline or not intervention or kpi.after is not None or kpi.compare is not None:
        return Power(kpi=kpi.id, unit="", obstacle=message("power.no-baseline"))
    end = dt.datetime.fromtimestamp(until // SECOND, dt.UTC)
    phases = [
        Phase("baseline", "baseline", end - dt.timedelta(days=baseline), end),
        Phase("intervention", "intervention", end, end + dt.timedelta(days=intervention)),
    ]
    everywhere = msgspec.structs.replace(kpi, devices=[], groups=[], control=[], adjust=[])
    stand_in = msgspec.structs.replace(model, phases=phases, kpis=plan.kpis, looks=plan.looks)
    return power(store, stand_in, everywhere, until)


def detectable(power: Power, weeks: float, devices: int) -> float | None:
    """The smallest difference that would be found with so much intervention and so many devices; None without points.

    Its square is linear in the inverse of both (see `power`), so any number follows from the points there are.

    Parameters
    ----------
    power : Power
    weeks : float
        Of the intervention.
    devices : int
        That measure the quantity.

    Returns
    -------
    float or None
        In the KPI's unit.
    """
    squares = {(point.weeks, point.devices): point.detectable**2 for point in power.points}
    if not squares or weeks <= 0 or devices < 1:
        return None
    counts = sorted({count for _, count in squares})
    first, last = WEEKS[0], WEEKS[-1]
    along = (1 / weeks - 1 / last) / (1 / first - 1 / last)
    across = (1 / devices - 1 / counts[-1]) / (1 / counts[0] - 1 / counts[-1])
    few, many = (
        squares[last, count] + along * (squares[first, count] - squares[last, count])
        for count in (counts[0], counts[-1])
    )
    return math.sqrt(max(many + across * (few - many), 0.0))


def power_note(kpi: Kpi, estimate: Power) -> Message | None:
    """What a definition is told whose target cannot be seen with what it plans; None where it can."""
    if estimate.enough is not False or estimate.wanted is None:
        return None
    params = {"size": f"{estimate.wanted:.3g}", "planned": round(estimate.planned or 0)}
    if estimate.needed is None:
        return message("power.never", **params, days=estimate.days)
    return message(f"power.too-few.{estimate.counted}", **params, needed=math.ceil(estimate.needed))


def _levels(
    store: ReadingStore, pilot: PilotDefinition, kpi: Kpi, spans: list[tuple[Micros, Micros]]
) -> tuple[pd.Series[float] | None, pd.DataFrame]:
    """The level of each day, and the samples behind it with their pseudo-values."""
    plan = plan_of(pilot, kpi, never=kpi.control)
    samples = plan.read(store, spans, pilot.timezone)
    summary = plan.summary(samples.value, samples.per_day, plan.streams)
    if summary is None or summary.pseudo is None:
        return None, samples.frame
    frame = samples.frame.assign(pseudo_value=summary.pseudo)
    return day_levels(frame, "pseudo_value", samples.per_day), frame


def _days_of(phases: Sequence[Phase], zone: str) -> float:
    return sum((micros_of(phase.end, zone) - micros_of(phase.start, zone)) / DAY for phase in phases)


def _of_single_devices(frame: pd.DataFrame) -> float:
    """The variance that one device's day adds to what all devices share; 0 where there is only one."""
    by_day = frame.groupby(["day", "device"], observed=True)["pseudo_value"].mean().unstack()
    if by_day.shape[1] < 2 or len(by_day) < 2:
        return 0.0
    rest = by_day - by_day.mean()
    rest = rest.sub(rest.mean(axis=1), axis=0)
    share = 1 - 1 / by_day.shape[1]
    return float(np.nanmean(rest.to_numpy() ** 2) / share)


def _factor(freedom: float, confidence: float) -> float:
    """Standard errors that a difference must have to be found: of the interval, and of the share of pilots."""
    from scipy.special import stdtrit

    return _critical(freedom, confidence) + float(stdtrit(max(freedom, 3.0), FOUND))


def _wanted(kpi: Kpi, level: float) -> float | None:
    """The difference that the target asks for, None where it asks for none."""
    if kpi.target is None:
        return None
    if kpi.target_is == "percent":
        return abs(kpi.target / 100 * level) or None
    if kpi.target_is == "change":
        return abs(kpi.target) or None
    reached = level <= kpi.target if kpi.direction == "lower" else level >= kpi.target
    return None if reached else abs(level - kpi.target)


def _of_event_study(store: ReadingStore, pilot: PilotDefinition, kpi: Kpi, until: Micros) -> Power:
    """From the interval of the days that there are: it narrows with the root of the days that follow an event."""
    answer = evaluate(store, pilot, msgspec.structs.replace(kpi, adjust=[]), until=until)
    after, before = answer.intervention, answer.baseline
    if answer.interval is None or after is None or before is None or before.value is None:
        return Power(kpi=kpi.id, unit=answer.unit, counted="days", obstacle=message("power.no-baseline"))
    freedom = answer.degrees_of_freedom or 30.0
    half = (answer.interval.high - answer.interval.low) / 2 / answer.widened
    factor = _factor(freedom, answer.confidence)
    error = half / _critical(freedom, answer.confidence)
    target_change = _wanted(kpi, before.value)
    return Power(
        kpi=kpi.id,
        unit=answer.unit,
        level=before.value,
        days=before.days + after.days,
        wanted=target_change,
        needed=after.days * (factor * error / target_change) ** 2 if target_change else None,
        planned=float(after.days),
        counted="days",
    )


def _critical(freedom: float, confidence: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(max(freedom, 3.0), (1 + confidence) / 2))

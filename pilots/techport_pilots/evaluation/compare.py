"""Did the intervention change the KPI? Baseline against intervention, with an honest interval.

    phases ─► slots ─► one level a day ─► minus the control group ─► regression on the phase, weekdays and covariates
           ─► effect, interval (interval.py) ─► verdict (verdict.py)

docs/method.md says it for everybody, docs/statistics.md shows that the intervals keep their promise.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from techport_pilots.evaluation import messages
from techport_pilots.evaluation.covariates import covariate_columns, no_columns, weekdays
from techport_pilots.evaluation.days import Days
from techport_pilots.evaluation.event_study import evaluate_event_study
from techport_pilots.evaluation.interval import Fit, NoInterval, fit, half_width, welch
from techport_pilots.evaluation.kpi import Plan, combined, plan_of, unit_of
from techport_pilots.evaluation.model import Evaluation, Interval, LeftOut, PhaseValue
from techport_pilots.evaluation.phases import (
    BASELINE,
    INTERVENTION,
    BaselineVsIntervention,
    baseline_vs_intervention,
    overlapping,
    phases_of,
)
from techport_pilots.evaluation.verdict import decide_verdict, effect_direction
from techport_pilots.model import Kpi, PilotDefinition, Text
from techport_pilots.time import micros_of
from techport_storage.store import ReadingStore

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MIN_DAYS = 14  # on each side: below two weeks neither the week nor the autocorrelation can be told


@dataclass(frozen=True, slots=True)
class Estimate:
    """Effect, its parts and what it was adjusted for."""

    fit: Fit
    group: Ints
    baseline: float  # mean level of the baseline days
    adjusted_for: list[str]


def evaluate(store: ReadingStore, pilot: PilotDefinition, kpi: Kpi, confidence: float = 0.95) -> Evaluation:
    """Evaluate one KPI of a pilot over its phases.

    Whatever is wrong with the data becomes a verdict with its reasons, never an exception; raises only what the store
    raises. The same data and definition give the same answer exactly.
    """
    if kpi.after is not None:
        return evaluate_event_study(store, pilot, kpi, confidence)
    main = plan_of(pilot, kpi, never=kpi.control)
    unit = unit_of(main, kpi.compare)
    if (pair := overlapping(pilot)) is not None:
        return _insufficient(kpi, unit, [messages.overlap(*pair)])
    if not main.streams:
        return _insufficient(kpi, unit, [messages.no_device(kpi.quantity)])
    sides = baseline_vs_intervention(store, pilot, main)
    if kpi.compare is not None:
        sides = _combined(
            kpi.compare.kind, sides, baseline_vs_intervention(store, pilot, plan_of(pilot, kpi.compare.measure))
        )
    before, after = _phase_values(pilot, sides)
    left_out = _left_out(pilot, sides, kpi)
    wanting = _wanting(kpi, pilot, sides)
    if wanting:
        return _insufficient(kpi, unit, wanting, before, after, left_out)
    if sides.days is None and not _extreme(kpi):
        why = [messages.no_interval("all values are equal")]
        return _insufficient(kpi, unit, why, before, after, left_out)
    after = _with_interval(after, sides, confidence)
    if sides.days is None or not _two_sided(sides):
        return _without_effect(kpi, unit, before, after, left_out)
    control = baseline_vs_intervention(store, pilot, plan_of(pilot, kpi, only=kpi.control)) if kpi.control else None
    try:
        estimate, days_left = _estimate(store, pilot, kpi, sides, control)
    except NoInterval as problem:
        return _insufficient(kpi, unit, [messages.no_interval(str(problem))], before, after, left_out)
    return _answer(kpi, unit, main, before, after, control, estimate, [*left_out, *days_left], confidence)


def _estimate(
    store: ReadingStore,
    pilot: PilotDefinition,
    kpi: Kpi,
    sides: BaselineVsIntervention,
    control: BaselineVsIntervention | None,
) -> tuple[Estimate, list[LeftOut]]:
    assert sides.days is not None
    day, value, side = sides.days.day, sides.days.value, sides.side
    baseline = float(value[side == BASELINE].mean())
    if control is not None:
        if control.days is None:
            raise NoInterval("the control group has no data to compare with")
        value = value - control.days.at(day)
    columns = no_columns(len(day))
    if kpi.adjust:
        spans = [phase for side in phases_of(pilot) for phase in side]
        start = min(micros_of(phase.start, pilot.timezone) for phase in spans)
        end = max(micros_of(phase.end, pilot.timezone) for phase in spans)
        columns = covariate_columns(store, pilot, kpi.adjust, day, start, end)
    present = np.isfinite(value) & np.isfinite(columns.values).all(axis=1)
    for name, here in (("baseline", BASELINE), ("intervention", INTERVENTION)):
        if (side[present] == here).sum() < MIN_DAYS:
            raise NoInterval(f"fewer than {MIN_DAYS} days of the {name} have everything that the comparison needs")
    day, value, side = day[present], value[present], side[present]
    columns = columns.of(present).and_(weekdays(day).of(np.ones(len(day), bool)))
    design = np.column_stack([np.ones(len(day)), side == INTERVENTION, columns.values])
    estimate = Estimate(fit(value, design, day, side, 1), side, baseline, columns.names)
    missing = int((~present).sum())
    return estimate, [LeftOut(f"{missing} d", messages.days_without_covariates())] if missing else []


def _answer(
    kpi: Kpi,
    unit: str,
    main: Plan,
    before: PhaseValue,
    after: PhaseValue,
    control: BaselineVsIntervention | None,
    estimate: Estimate,
    left_out: list[LeftOut],
    confidence: float,
) -> Evaluation:
    found = estimate.fit
    half = half_width(found.variance, found.freedom, confidence)
    interval = Interval(found.value - half, found.value + half)
    percent, percent_interval = _percent(estimate, main, confidence) if main.meaning.has_zero else (None, None)
    verdict, why = decide_verdict(kpi, after.interval, interval, percent_interval)
    return Evaluation(
        kpi=kpi.id,
        unit=unit,
        verdict=verdict,
        reasons=[why, *messages.caveats(kpi, len(main.streams))],
        baseline=before,
        intervention=after,
        control_change=_change(control) if control else None,
        effect=found.value,
        interval=interval,
        percent=percent,
        percent_interval=percent_interval,
        shown=effect_direction(interval),
        confidence=confidence,
        independent_days=found.independent_days,
        autocorrelation=found.autocorrelation,
        degrees_of_freedom=welch(found.variance, found.freedom),
        adjusted_for=estimate.adjusted_for,
        method=messages.method(kpi, bool(kpi.adjust), control is not None),
        left_out=left_out,
    )


def _percent(estimate: Estimate, main: Plan, confidence: float) -> tuple[float | None, Interval | None]:
    """The effect in per cent of the baseline, whose own error counts too (delta method); None for one near zero."""
    level, effect = estimate.baseline, estimate.fit.value
    variance = estimate.fit.variance
    if level <= 0 or level < 2 * np.sqrt(variance[BASELINE]):
        return None, None
    ratio = (level + effect) / level
    parts = variance * np.array([ratio**2, 1.0]) / level**2
    half = 100 * half_width(parts, estimate.fit.freedom, confidence)
    share = 100 * effect / level
    return share, Interval(share - half, share + half)


def _combined(kind: str, first: BaselineVsIntervention, second: BaselineVsIntervention) -> BaselineVsIntervention:
    """A ratio, difference or share, as values and as days: each day's influence on it, to first order."""
    values = tuple(combined(kind, a, b) for a, b in zip(first.values, second.values, strict=True))
    completeness = tuple(min(a, b) for a, b in zip(first.completeness, second.completeness, strict=True))
    days, side = None, np.empty(0, np.int64)
    if first.days is not None and second.days is not None:
        day, mine, theirs = np.intersect1d(first.days.day, second.days.day, return_indices=True)
        side = first.side[mine]
        level = np.full(len(day), np.nan)
        for here in (BASELINE, INTERVENTION):
            a, b = first.values[here], second.values[here]
            value, rows = values[here], side == here
            if a is None or b is None or value is None:
                continue
            da, db = first.days.value[mine[rows]] - a, second.days.value[theirs[rows]] - b
            if kind == "difference":
                level[rows] = value + da - db
            elif kind == "ratio":
                level[rows] = value + (da - value * db) / b
            else:
                level[rows] = value + ((1 - value) * da - value * db) / (a + b)
        there = np.isfinite(level)
        days, side = Days(day[there], level[there]), side[there]
    names = [name for name in first.devices if name in second.devices] or [*first.devices, *second.devices]
    dropped = sorted({*first.dropped, *second.dropped})
    return BaselineVsIntervention(
        (values[0], values[1]), (completeness[0], completeness[1]), names, dropped, days, side
    )


def _phase_values(pilot: PilotDefinition, sides: BaselineVsIntervention) -> tuple[PhaseValue, PhaseValue]:
    both = []
    for side, phases in enumerate(phases_of(pilot)):
        days = int((sides.side == side).sum()) if sides.days is not None else 0
        names = [phase.name for phase in phases]
        both.append(
            PhaseValue(phases=names, value=sides.values[side], days=days, completeness=sides.completeness[side])
        )
    return both[0], both[1]


def _with_interval(after: PhaseValue, sides: BaselineVsIntervention, confidence: float) -> PhaseValue:
    """The interval of the intervention's own value, for targets that speak of it."""
    if after.value is None:
        return after
    if sides.days is None:  # the highest of what was measured is a fact of the phase
        interval = Interval(after.value, after.value)
    else:
        rows = sides.side == INTERVENTION
        day, level = sides.days.day[rows], sides.days.value[rows]
        try:
            found = fit(level, np.ones((len(day), 1)), day, np.zeros(len(day), np.int64), 0)
        except NoInterval:
            return after
        half = half_width(found.variance, found.freedom, confidence)
        interval = Interval(after.value - half, after.value + half)
    return msgspec.structs.replace(after, interval=interval)


def _wanting(kpi: Kpi, pilot: PilotDefinition, sides: BaselineVsIntervention) -> list[Text]:
    """What stands in the way of any verdict."""
    before, after = phases_of(pilot)
    needed = [INTERVENTION] if kpi.target is not None and kpi.target_is == "value" and not before else [0, 1]
    if not after:
        return [messages.no_phase("intervention")]
    if BASELINE in needed and not before:
        return [messages.no_phase("baseline")]
    found: list[Text] = []
    for side in needed:
        phases = (before, after)[side]
        name = messages.named(phases)
        share = sides.completeness[side]
        if share == 0:
            found.append(messages.no_data(name))
        elif share < kpi.minimum_completeness:
            found.append(messages.incomplete(name, share, kpi.minimum_completeness))
        elif sides.values[side] is None:
            found.append(messages.no_value(name))
        elif sides.days is not None and (days := int((sides.side == side).sum())) < MIN_DAYS:
            found.append(messages.too_short(name, days, MIN_DAYS))
    if not found and not sides.devices:
        found.append(messages.no_common_device())
    return found


def _extreme(kpi: Kpi) -> bool:
    """The highest or lowest value of a phase is a fact of it; there is nothing to estimate."""
    measures = [kpi, kpi.compare.measure] if kpi.compare else [kpi]
    return any(measure.statistic in ("min", "max") for measure in measures)


def _two_sided(sides: BaselineVsIntervention) -> bool:
    return all((sides.side == side).any() for side in (BASELINE, INTERVENTION))


def _without_effect(kpi: Kpi, unit: str, before: PhaseValue, after: PhaseValue, left_out: list[LeftOut]) -> Evaluation:
    verdict, why = decide_verdict(kpi, after.interval, None, None)
    return Evaluation(
        kpi=kpi.id, unit=unit, verdict=verdict, reasons=[why], baseline=before, intervention=after, left_out=left_out,
        method=messages.value_only(),
    )  # fmt: skip


def _insufficient(
    kpi: Kpi,
    unit: str,
    why: list[Text],
    before: PhaseValue | None = None,
    after: PhaseValue | None = None,
    left_out: list[LeftOut] | None = None,
) -> Evaluation:
    return Evaluation(
        kpi=kpi.id, unit=unit, verdict="insufficient data", reasons=why, baseline=before, intervention=after,
        left_out=left_out or [],
    )  # fmt: skip


def _left_out(pilot: PilotDefinition, sides: BaselineVsIntervention, kpi: Kpi) -> list[LeftOut]:
    keys = (kpi.quantity, *kpi.plus)
    windows = [
        LeftOut(f"{x.device or '*'}: {x.start.isoformat()} – {x.end.isoformat()}", x.reason)
        for x in pilot.exclusions
        if x.quantity is None or x.quantity in keys
    ]
    return [*windows, *(LeftOut(device, messages.one_sided_device()) for device in sides.dropped)]


def _change(control: BaselineVsIntervention) -> float | None:
    if control.days is None or not _two_sided(control):
        return None
    value = control.days.value
    return float(value[control.side == INTERVENTION].mean() - value[control.side == BASELINE].mean())

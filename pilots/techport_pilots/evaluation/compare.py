"""Did the intervention change the KPI? Baseline against intervention, with an honest interval.

    phases ─► samples ─► one level a day ─► minus the control group ─► regression on phase, weekdays and covariates
           ─► effect, interval (interval.py) ─► verdict (verdict.py)

docs/method.md says it for everybody, docs/statistics.md shows that the intervals keep their promise.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import pandas as pd

from techport_pilots.definition.lending import borrowed_by
from techport_pilots.definition.measures import resolve_measure
from techport_pilots.evaluation.checks import (
    ComparedDays,
    alternates,
    by_device,
    disagreeing,
    estimate_effect,
    run_checks,
)
from techport_pilots.evaluation.covariates import centred, covariate_columns, weekdays
from techport_pilots.evaluation.curve import expected_days
from techport_pilots.evaluation.earlier import earlier_levels
from techport_pilots.evaluation.event_study import evaluate_event_study
from techport_pilots.evaluation.interval import (
    CONFIDENCE,
    ErrorPart,
    Fit,
    NoInterval,
    interval_of,
    percent_change,
    welch,
)
from techport_pilots.evaluation.kpi import Plan, combined, plan_of, unit_of
from techport_pilots.evaluation.looking import (
    MIN_DAYS,
    Schedule,
    daily_factor,
    date_text,
    instant_of,
    planned_factors,
    schedule_of,
)
from techport_pilots.evaluation.messages import caveats, message, method, phase_titles, remedies
from techport_pilots.evaluation.model import (
    Check,
    Evaluation,
    Interval,
    LeftOut,
    Look,
    PhaseValue,
    Progress,
    Reason,
)
from techport_pilots.evaluation.phases import (
    BASELINE,
    INTERVENTION,
    BaselineVsIntervention,
    baseline_vs_intervention,
    overlapping,
    phases_of,
    so_far,
)
from techport_pilots.evaluation.roles import confidence_of
from techport_pilots.evaluation.samples import day_numbers
from techport_pilots.evaluation.values import OwnValue, is_extreme, own_value
from techport_pilots.evaluation.verdict import DECIDED, decide_verdict, effect_direction
from techport_pilots.i18n import Message
from techport_pilots.model import Kpi, PilotDefinition
from techport_pilots.quantities import vocabulary_of
from techport_pilots.time import micros_of
from techport_storage.model import Micros, Stream
from techport_storage.store import ReadingStore


@dataclass(frozen=True, slots=True)
class Estimate:
    """Effect, its parts and what it was adjusted for."""

    fit: Fit
    baseline: float  # mean level of the baseline days
    adjusted_for: list[str]
    checks: list[Check]
    days: pd.DataFrame  # measured and expected: see curve.expected_days


def evaluate(
    store: ReadingStore,
    pilot: PilotDefinition,
    kpi: Kpi,
    confidence: float | None = None,
    *,
    lent: Collection[Stream] = (),
    until: Micros | None = None,
    ended: bool = False,
) -> Evaluation:
    """Evaluate one KPI of a pilot over its phases; an event-study KPI (one with `after`) over its days.

    Parameters
    ----------
    store : ReadingStore
    pilot : PilotDefinition
        Must have passed its checks. With its phases as they were planned.
    kpi : Kpi
        One of the pilot's, or one made up for a question.
    confidence : float or None
        Of the intervals, 0..1. None: as the KPI's part in the pilot asks for, see roles.confidence_of.
    lent : collection of Stream
        Streams of other pilots that this one may use: Registry.lent. No other pilot's stream is read.
    until : int or None
        µs since the epoch: readings before it count. While a compared phase still runs then, there is an interval that
        stays valid under daily looking, and no verdict but at looks that the definition plans. None: everything counts.
    ended : bool
        The pilot was ended at `until`, before its plan or after: it decides on what there is.

    Returns
    -------
    Evaluation
        Values, effect and intervals in the KPI's unit (UCUM, in `unit`). Whatever is wrong with the data becomes a
        verdict with its reasons. The same data and definition give the same answer exactly.

    Raises
    ------
    StoreError
        What the store raises.

    References
    ----------
    docs/statistics.md; the interval follows doi:10.1080/07350015.2018.1506926.
    """
    confidence = confidence_of(pilot, kpi) if confidence is None else confidence
    if missing := [stream for stream in borrowed_by(kpi, pilot.id) if stream not in lent]:
        unit = unit_of(plan_of(pilot, kpi, never=kpi.control), kpi.compare)
        return _insufficient(kpi, unit, [message("not-lent", **stream._asdict()) for stream in missing])
    schedule = schedule_of(pilot, until, every_phase=kpi.after is not None)
    if schedule is None:
        return _claimed(kpi, _evaluate(store, pilot if until is None else so_far(pilot, until), kpi, confidence))
    return _scheduled(store, pilot, kpi, confidence, schedule, ended=ended)


def _claimed(kpi: Kpi, answer: Evaluation, factor: float = 1.0) -> Evaluation:
    """The answer with intervals so many times as wide, and without an effect that its checks do not bear out. Every
    verdict that is shown, that of a planned look too, comes from here."""
    answer = _widened(kpi, answer, factor)
    against = disagreeing(answer.checks)
    claims = answer.shown in ("lower", "higher")
    if claims and not against:
        warned = [check.text for check in answer.checks if check.outcome == "warns"]
        return msgspec.structs.replace(answer, reasons=[*answer.reasons, *warned])
    if not claims:
        return answer
    reasons = [reason for check in against for reason in (check.text, check.would_settle) if reason is not None]
    if kpi.target is not None and kpi.target_is == "value":  # the target is about the level, whatever it came from
        return msgspec.structs.replace(answer, shown=None, settled=False, reasons=[*answer.reasons, *reasons])
    not_settled = Reason.of(message("not-settled"))
    return msgspec.structs.replace(
        answer,
        verdict="not settled",
        shown=None,
        settled=False,
        reasons=[not_settled, *reasons, *answer.reasons[1:]],
    )


def _scheduled(
    store: ReadingStore, pilot: PilotDefinition, kpi: Kpi, confidence: float, schedule: Schedule, *, ended: bool
) -> Evaluation:
    """The answer as far as the plan has come."""
    if not schedule.final:
        return _early(store, pilot, kpi, confidence, schedule, ended=ended)
    answer = _evaluate(store, pilot, kpi, confidence)
    if not schedule.looks:
        return _on_schedule(_claimed(kpi, answer), schedule)
    factors = planned_factors(schedule, answer.autocorrelation or 0.0)
    looks = _looks(store, pilot, kpi, confidence, schedule, factors)
    answer = _claimed(kpi, answer, factors[-1])
    return _on_schedule(answer, schedule, [*looks, _final_look(schedule, factors[-1], answer)])


def _early(
    store: ReadingStore,
    pilot: PilotDefinition,
    kpi: Kpi,
    confidence: float,
    schedule: Schedule,
    *,
    ended: bool,
) -> Evaluation:
    """The answer before every compared phase is over."""
    answer = _evaluate(store, so_far(pilot, schedule.at), kpi, confidence)
    factor = daily_factor(schedule, answer.autocorrelation or 0.0) if answer.interval or answer.intervention else 1.0
    if ended:
        answer = _claimed(kpi, answer, factor)
        reasons = [*answer.reasons, Reason.of(message("ended-early", **_progress_params(schedule)))]
        return _on_schedule(msgspec.structs.replace(answer, reasons=reasons), schedule, final=True)
    factors = planned_factors(schedule, answer.autocorrelation or 0.0)
    looks = _looks(store, pilot, kpi, confidence, schedule, factors) if schedule.looks else []
    to_come = [_final_look(schedule, factors[-1], None)] if schedule.looks else []
    for look, day, wider in zip(looks, schedule.looks, factors, strict=False):
        if look.verdict in DECIDED:
            at = instant_of(day, pilot.timezone)
            decided = _claimed(kpi, _evaluate(store, so_far(pilot, at), kpi, confidence), wider)
            reason = Reason.of(message("planned-look", day=look.day, decides=date_text(schedule.end)))
            decided = msgspec.structs.replace(decided, reasons=[*decided.reasons, reason])
            past = msgspec.structs.replace(schedule, until=day, at=at)
            return _on_schedule(decided, past, [*looks, *to_come])
    params = _progress_params(schedule)
    progress = message("running", **params) if schedule.days else message("running.not-begun", **params)
    why = [Reason.of(progress)]
    if answer.verdict == "insufficient data":
        # A phase that runs is short because it runs.
        known = [reason for reason in answer.reasons if reason.code != "evaluation.too-short.remedy"]
        why += known if schedule.days else []
    else:
        answer = _widened(kpi, answer, factor)
        why += answer.reasons[1:]  # the first one speaks of the target
    answer = msgspec.structs.replace(answer, verdict="running", reasons=why, shown=None)
    return _on_schedule(answer, schedule, [*looks, *to_come])


def _progress_params(schedule: Schedule) -> dict[str, object]:
    return {
        "passed": schedule.days,
        "planned": len(schedule.intervention),
        "decides": date_text(schedule.end),
        "begins": date_text(schedule.intervention[0]),
    }


def _looks(
    store: ReadingStore,
    pilot: PilotDefinition,
    kpi: Kpi,
    confidence: float,
    schedule: Schedule,
    factors: list[float],
) -> list[Look]:
    """The looks that the definition plans, and what those said that have passed."""
    looks = []
    for day, factor in zip(schedule.looks, factors, strict=False):
        verdict = None
        if day <= schedule.until:
            answer = _evaluate(store, so_far(pilot, instant_of(day, pilot.timezone)), kpi, confidence)
            verdict = _claimed(kpi, answer, factor).verdict
        looks.append(Look(day=date_text(day), factor=factor, verdict=verdict))
    return looks


def _final_look(schedule: Schedule, factor: float, answer: Evaluation | None) -> Look:
    return Look(day=date_text(schedule.end), factor=factor, verdict=answer.verdict if answer else None)


def _widened(kpi: Kpi, answer: Evaluation, factor: float) -> Evaluation:
    """The answer with intervals so many times as wide, and the verdict that they give."""
    if factor == 1 or answer.verdict == "insufficient data":
        return answer
    after = answer.intervention
    if after is not None:
        after = msgspec.structs.replace(after, interval=_wider(after.interval, after.value, factor))
    interval = _wider(answer.interval, answer.effect, factor)
    percent = _wider(answer.percent_interval, answer.percent, factor)
    verdict, why = decide_verdict(kpi, after.interval if after else None, interval, percent)
    return msgspec.structs.replace(
        answer,
        intervention=after,
        interval=interval,
        percent_interval=percent,
        verdict=verdict,
        reasons=[Reason.of(why), *answer.reasons[1:]],
        shown=effect_direction(interval) if interval else None,
        widened=factor,
    )


def _wider(interval: Interval | None, centre: float | None, factor: float) -> Interval | None:
    if interval is None or centre is None or not math.isfinite(factor):
        return None
    return Interval(centre - factor * (centre - interval.low), centre + factor * (interval.high - centre))


def _on_schedule(
    answer: Evaluation,
    schedule: Schedule,
    looks: Sequence[Look] = (),
    *,
    final: bool | None = None,
) -> Evaluation:
    """The answer with how far the pilot is."""
    return msgspec.structs.replace(
        answer,
        final=schedule.final if final is None else final,
        until=dt.datetime.fromtimestamp(schedule.at / 1e6, dt.UTC).isoformat().replace("+00:00", "Z"),
        progress=Progress(schedule.days, len(schedule.intervention), date_text(schedule.end)),
        looks=list(looks),
    )


def _evaluate(store: ReadingStore, pilot: PilotDefinition, kpi: Kpi, confidence: float) -> Evaluation:
    """The answer over the phases as they are here."""
    if kpi.after is not None:
        return evaluate_event_study(store, pilot, kpi, confidence)
    main = plan_of(pilot, kpi, never=kpi.control)
    unit = unit_of(main, kpi.compare)
    if (pair := overlapping(pilot)) is not None:
        return _insufficient(kpi, unit, [message("phases-overlap", first=pair[0].name, second=pair[1].name)])
    if not main.streams:
        return _insufficient(kpi, unit, [message("no-device", quantity=kpi.quantity)])
    sides = baseline_vs_intervention(store, pilot, main)
    if kpi.compare is not None:
        sides = _combined(
            kpi.compare.kind, sides, baseline_vs_intervention(store, pilot, plan_of(pilot, kpi.compare.measure))
        )
    before, after = _phase_values(pilot, sides)
    left_out = _left_out(pilot, sides, kpi)
    obstacles = _obstacles(kpi, pilot, sides)
    if obstacles:
        return _insufficient(kpi, unit, [*obstacles, *remedies(obstacles)], before, after, left_out)
    if sides.days is None and not is_extreme(kpi):
        return _insufficient(kpi, unit, NoInterval("constant").reasons, before, after, left_out)
    own = _own_value(kpi, after, sides, confidence)
    after = msgspec.structs.replace(after, interval=own.published)
    value_only = _without_effect(kpi, unit, before, after, own, left_out)
    about_value = kpi.target is not None and kpi.target_is == "value"
    if own.refused is not None and (own.hopeless or about_value) and value_only.verdict != "target not met":
        return _insufficient(kpi, unit, [own.refused], before, after, left_out)
    if sides.days is None or not sides.two_sided:
        return value_only
    control = baseline_vs_intervention(store, pilot, plan_of(pilot, kpi, only=kpi.control)) if kpi.control else None
    try:
        estimate, days_left = _estimate(store, pilot, kpi, sides, control, confidence)
    except NoInterval as problem:
        if about_value and own.interval is not None:
            return msgspec.structs.replace(value_only, reasons=[*value_only.reasons, Reason.of(problem.reason)])
        return _insufficient(kpi, unit, problem.reasons, before, after, left_out)
    return _answer(kpi, main, (before, after), own, control, estimate, [*left_out, *days_left], confidence)


def _estimate(
    store: ReadingStore,
    pilot: PilotDefinition,
    kpi: Kpi,
    sides: BaselineVsIntervention,
    control: BaselineVsIntervention | None,
    confidence: float,
    *,
    checked: bool = True,
) -> tuple[Estimate, list[LeftOut]]:
    assert sides.days is not None
    days = sides.days
    baseline = float(days["level"].to_numpy()[~days["intervention"].to_numpy()].mean())
    of_control = pd.Series(0.0, days.index)
    if control is not None:
        if control.days is None:
            raise NoInterval("no-control-data")
        of_control = control.days["level"].reindex(days.index)
        days = days.assign(level=days["level"] - of_control)
    of_intervention = days["intervention"].to_numpy()
    in_control = [int(np.isfinite(of_control.to_numpy()[of_intervention == bool(n)]).sum()) for n in (0, 1)]
    dates = pd.DatetimeIndex(days.index)
    columns = pd.DataFrame(index=dates)
    if kpi.adjust:
        both_sides = [phase for phases in phases_of(pilot) for phase in phases]
        start = min(micros_of(phase.start, pilot.timezone) for phase in both_sides)
        end = max(micros_of(phase.end, pilot.timezone) for phase in both_sides)
        columns = covariate_columns(store, pilot, kpi.adjust, dates, (start, end))
    complete = np.isfinite(days["level"].to_numpy()) & np.isfinite(columns.to_numpy(float)).all(axis=1)
    days, columns, dates, of_control = days[complete], columns[complete], dates[complete], of_control[complete]
    raw = columns
    side = days["intervention"].to_numpy().astype(np.int64)
    for name, number in (("baseline", BASELINE), ("intervention", INTERVENTION)):
        if in_control[number] < MIN_DAYS:
            raise NoInterval("no-control-data")
        if (side == number).sum() < MIN_DAYS:
            raise NoInterval("too-few-days", required=MIN_DAYS, side=message(f"side.{name}"))
    columns = pd.concat([centred(columns), centred(weekdays(dates))], axis=1)
    design = np.column_stack([np.ones(len(side)), side, columns.to_numpy()])
    day, level = day_numbers(dates), days["level"].to_numpy()
    group = np.zeros_like(side) if alternates(side) else side  # taking turns, the sides share their noise
    compared = ComparedDays(
        level=level,
        side=side,
        day=day,
        design=design,
        group=group,
        raw=raw,
        confidence=confidence,
        street=level + of_control.to_numpy() if control is not None else None,
        control=of_control.to_numpy() if control is not None else None,
        devices=by_device(sides.frame, day) if kpi.compare is None and sides.frame is not None else None,
        has_zero=resolve_measure(kpi, vocabulary_of(pilot)).has_zero,
        earlier=earlier_levels(store, pilot, kpi),
    )
    compared, regression, allowed = estimate_effect(compared)
    adjusted_for = [*columns.columns, *allowed]
    missing = int((~complete).sum())
    left_out = [LeftOut(f"{missing} d", Reason.of(message("left-out.no-covariates")))] if missing else []
    checks = run_checks(compared, regression) if checked else []
    curve = expected_days(days, regression, of_control if control is not None else None)
    return Estimate(regression, baseline, adjusted_for, checks, curve), left_out


def daily_curve(store: ReadingStore, pilot: PilotDefinition, kpi: Kpi) -> pd.DataFrame | None:
    """Measured and expected days of a KPI that compares phases, as its evaluation compares them.

    Parameters
    ----------
    store : ReadingStore
    pilot : PilotDefinition
        With phases that run cut off, see phases.so_far.
    kpi : Kpi

    Returns
    -------
    pandas.DataFrame or None
        See curve.expected_days; None where nothing can be expected.

    Raises
    ------
    StoreError
        What the store raises.
    """
    main = plan_of(pilot, kpi, never=kpi.control)
    if kpi.after is not None or kpi.compare is not None or not main.streams or overlapping(pilot) is not None:
        return None
    sides = baseline_vs_intervention(store, pilot, main)
    if sides.days is None or not sides.two_sided or _obstacles(kpi, pilot, sides):
        return None
    control = baseline_vs_intervention(store, pilot, plan_of(pilot, kpi, only=kpi.control)) if kpi.control else None
    try:
        estimate, _ = _estimate(store, pilot, kpi, sides, control, CONFIDENCE, checked=False)
    except NoInterval:
        return None
    return estimate.days


def _answer(
    kpi: Kpi,
    main: Plan,
    sides: tuple[PhaseValue, PhaseValue],
    own: OwnValue,
    control: BaselineVsIntervention | None,
    estimate: Estimate,
    left_out: list[LeftOut],
    confidence: float,
) -> Evaluation:
    controls = len(control.devices) if control is not None else 0
    regression = estimate.fit
    interval = interval_of(regression, confidence)
    percent, percent_interval = _percent(estimate, confidence) if main.resolved.has_zero else (None, None)
    verdict, why = decide_verdict(kpi, own.interval, interval, percent_interval)
    return Evaluation(
        kpi=kpi.id,
        unit=unit_of(main, kpi.compare),
        verdict=verdict,
        reasons=[Reason.of(reason) for reason in (why, *own.notes, *caveats(kpi, main.streams, controls))],
        baseline=sides[0],
        intervention=sides[1],
        control_change=_change(control) if control else None,
        effect=regression.value,
        interval=interval,
        percent=percent,
        percent_interval=percent_interval,
        shown=effect_direction(interval),
        confidence=confidence,
        independent_days=regression.independent_days,
        autocorrelation=regression.autocorrelation,
        degrees_of_freedom=welch(regression.variance, regression.freedom),
        adjusted_for=estimate.adjusted_for,
        method=Reason.of(method(kpi)),
        left_out=left_out,
        checks=estimate.checks,
    )


def _percent(estimate: Estimate, confidence: float) -> tuple[float | None, Interval | None]:
    """The effect in per cent of the baseline."""
    variance, freedom = estimate.fit.variance, estimate.fit.freedom
    if len(variance) == 1:  # the sides take turns and share their noise
        variance, freedom = np.repeat(variance / 2, 2), np.repeat(freedom, 2)
    parts = [
        ErrorPart(variance[BASELINE], freedom[BASELINE], -1.0, 1.0),
        ErrorPart(variance[INTERVENTION], freedom[INTERVENTION], 1.0, 0.0),
    ]
    change = percent_change(estimate.fit.value, estimate.baseline, parts, confidence)
    if change is None:
        return None, None
    percent, half = change
    return percent, Interval(percent - half, percent + half)


def _combined(kind: str, first: BaselineVsIntervention, second: BaselineVsIntervention) -> BaselineVsIntervention:
    """A ratio, difference or share, as values and as days: each day's influence on it, to first order."""
    values = tuple(combined(kind, a, b) for a, b in zip(first.values, second.values, strict=True))
    completeness = tuple(min(a, b) for a, b in zip(first.completeness, second.completeness, strict=True))
    days = None
    if first.days is not None and second.days is not None:
        days = first.days.join(second.days["level"].rename("second"), how="inner")
        level = np.full(len(days), np.nan)
        for side in (BASELINE, INTERVENTION):
            a, b, value = first.values[side], second.values[side], values[side]
            if a is None or b is None or value is None:
                continue
            rows = days["intervention"].to_numpy() == bool(side)
            of_side = days[rows]
            da, db = of_side["level"].to_numpy() - a, of_side["second"].to_numpy() - b
            if kind == "difference":
                level[rows] = value + da - db
            elif kind == "ratio":
                level[rows] = value + (da - value * db) / b
            else:
                level[rows] = value + ((1 - value) * da - value * db) / (a + b)
        days = days.assign(level=level).drop(columns="second")[np.isfinite(level)]
    names = [name for name in first.devices if name in second.devices] or [*first.devices, *second.devices]
    dropped = sorted({*first.dropped, *second.dropped})
    return BaselineVsIntervention(
        (values[0], values[1]),
        (completeness[0], completeness[1]),
        names,
        dropped,
        days,
        first.frame,
        first.sparse,
        first.one_sided or second.one_sided,
    )


def _phase_values(pilot: PilotDefinition, sides: BaselineVsIntervention) -> tuple[PhaseValue, PhaseValue]:
    both = []
    for side, phases in enumerate(phases_of(pilot)):
        names = [phase.name for phase in phases]
        both.append(
            PhaseValue(
                phases=names,
                value=sides.values[side],
                days=sides.day_count(side),
                completeness=sides.completeness[side],
            )
        )
    return both[0], both[1]


def _own_value(kpi: Kpi, after: PhaseValue, sides: BaselineVsIntervention, confidence: float) -> OwnValue:
    """The interval of the intervention's own value, for targets that speak of it."""
    if after.value is None or sides.frame is None:
        return OwnValue(None)
    levels = None
    if sides.days is not None:
        levels = sides.days.loc[sides.days["intervention"].to_numpy(), "level"]
    frame = sides.frame[sides.frame["intervention"].to_numpy()]
    return own_value(kpi, after.value, frame, levels, sides.completeness[INTERVENTION], confidence)


def _obstacles(kpi: Kpi, pilot: PilotDefinition, sides: BaselineVsIntervention) -> list[Message]:
    """What stands in the way of any verdict."""
    before, after = phases_of(pilot)
    required = [INTERVENTION] if kpi.target is not None and kpi.target_is == "value" and not before else [0, 1]
    if not after:
        return [message("no-phase.intervention")]
    if BASELINE in required and not before:
        return [message("no-phase.baseline")]
    reasons: list[Message] = []
    for side in required:
        titles = phase_titles((before, after)[side])
        share = sides.completeness[side]
        sparse = sides.sparse[side] if sides.sparse else None
        if share == 0 and sparse is not None and sparse.samples:
            reasons.append(
                message(
                    "sparse",
                    phases=titles,
                    received=round(sparse.received, 1),
                    promised=round(sparse.promised),
                    interval=kpi.interval,
                )
            )
        elif share == 0:
            reasons.append(message("no-data", phases=titles))
        elif share < kpi.minimum_completeness:
            reasons.append(message("incomplete", phases=titles, share=share, required=kpi.minimum_completeness))
        elif sides.one_sided:
            reasons = [message("no-paired-device")]
        elif sides.values[side] is None:
            reasons.append(message("no-value", phases=titles))
        elif sides.days is not None and (days := sides.day_count(side)) < MIN_DAYS:
            reasons.append(message("too-short", phases=titles, days=days, required=MIN_DAYS))
    if not reasons and not sides.devices:
        reasons.append(message("no-paired-device"))
    return reasons


def _without_effect(
    kpi: Kpi, unit: str, before: PhaseValue, after: PhaseValue, own: OwnValue, left_out: list[LeftOut]
) -> Evaluation:
    verdict, why = decide_verdict(kpi, own.interval, None, None)
    return Evaluation(
        kpi=kpi.id,
        unit=unit,
        verdict=verdict,
        reasons=[Reason.of(reason) for reason in (why, *own.notes)],
        baseline=before,
        intervention=after,
        left_out=left_out,
        method=Reason.of(message("method.value-only")),
    )


def _insufficient(
    kpi: Kpi,
    unit: str,
    why: list[Message],
    before: PhaseValue | None = None,
    after: PhaseValue | None = None,
    left_out: list[LeftOut] | None = None,
) -> Evaluation:
    return Evaluation(
        kpi=kpi.id,
        unit=unit,
        verdict="insufficient data",
        reasons=[Reason.of(reason) for reason in why],
        baseline=before,
        intervention=after,
        left_out=left_out or [],
    )


def _left_out(pilot: PilotDefinition, sides: BaselineVsIntervention, kpi: Kpi) -> list[LeftOut]:
    keys = (kpi.quantity, *kpi.plus)
    windows = [
        LeftOut(f"{x.device or '*'}: {x.start.isoformat()} – {x.end.isoformat()}", Reason.of(x.reason))
        for x in pilot.exclusions
        if x.quantity is None or x.quantity in keys
    ]
    return [*windows, *(LeftOut(device, Reason.of(message("left-out.one-sided"))) for device in sides.dropped)]


def _change(control: BaselineVsIntervention) -> float | None:
    if control.days is None or not control.two_sided:
        return None
    level, in_intervention = control.days["level"].to_numpy(), control.days["intervention"].to_numpy()
    return float(level[in_intervention].mean() - level[~in_intervention].mean())

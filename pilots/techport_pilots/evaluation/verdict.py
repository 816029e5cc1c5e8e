"""From an interval to a verdict that a decision can rest on."""

from __future__ import annotations

import msgspec

from techport_pilots.evaluation.messages import message
from techport_pilots.evaluation.model import Effect, Evaluation, Interval, Verdict
from techport_pilots.evaluation.values import limit_rounding
from techport_pilots.i18n import Message
from techport_pilots.model import Kpi


def effect_direction(interval: Interval) -> Effect:
    """Which way the effect goes, if the interval leaves zero out."""
    if interval.high < 0:
        return "lower"
    return "higher" if interval.low > 0 else "none shown"


WITHOUT_TARGET: dict[Verdict, Verdict] = {"target met": "effect shown", "target not met": "no wanted effect"}
"""What a KPI without a target is said to show, by what one with a target would be said to."""

DECIDED: tuple[Verdict, ...] = ("target met", "target not met", "effect shown", "no wanted effect")


def in_its_words(kpi: Kpi, evaluation: Evaluation) -> Evaluation:
    """The evaluation; one that an earlier version stored without the words of a KPI that has no target."""
    if kpi.target is not None or evaluation.verdict not in WITHOUT_TARGET:
        return evaluation
    return msgspec.structs.replace(evaluation, verdict=WITHOUT_TARGET[evaluation.verdict])


def decide_verdict(
    kpi: Kpi, value: Interval | None, effect: Interval | None, percent: Interval | None
) -> tuple[Verdict, Message]:
    """Compare the interval that the target is about with the target.

    Without a target the effect must go the wanted way: its interval must leave zero out, since no change at all is not
    an improvement. With a target, a value equal to it meets it. An interval whose two ends are equal is an observed
    extreme: a fact of the phase, not an estimate.

    Parameters
    ----------
    kpi : Kpi
        With direction, target and what the target is about.
    value : Interval or None
        Of the KPI's value during the intervention, in its unit.
    effect : Interval or None
        Of the change from the baseline, in its unit.
    percent : Interval or None
        Of that change in per cent.

    Returns
    -------
    (Verdict, Message)
        The verdict and the sentence that gives its reason.
    """
    subject = "change" if kpi.target is None else kpi.target_is
    interval = {"value": value, "change": effect, "percent": percent}[subject]
    params = {"subject": message(f"subject.{subject}")}
    if interval is None:
        return "inconclusive", message("verdict.no-interval", **params)
    if kpi.target is None:
        direction = effect_direction(interval)
        if direction == "none shown":
            return "inconclusive", message("verdict.none-shown")
        if direction == kpi.direction:
            return "effect shown", message("verdict.effect")
        return "no wanted effect", message("verdict.unwanted")
    target, lenient = kpi.target, limit_rounding(kpi) if subject == "value" else 0.0
    if kpi.direction == "lower":
        met, missed = interval.high <= target + lenient, interval.low > target + lenient
    else:
        met, missed = interval.low >= target - lenient, interval.high < target - lenient
    if met:
        return "target met", message("verdict.met", **params, target=target)
    if missed:
        return "target not met", message("verdict.not-met", **params, target=target)
    return "inconclusive", message("verdict.inconclusive", **params, target=target)

"""From an interval to a verdict that a decision can rest on."""

from __future__ import annotations

from techport_pilots.evaluation.model import Effect, Interval, Verdict
from techport_pilots.model import Kpi, Text


def effect_direction(interval: Interval) -> Effect:
    """Which way the effect goes, if the interval leaves zero out."""
    if interval.high < 0:
        return "lower"
    return "higher" if interval.low > 0 else "none shown"


def decide_verdict(
    kpi: Kpi, value: Interval | None, effect: Interval | None, percent: Interval | None
) -> tuple[Verdict, Text]:
    """Compare the interval that the target speaks of with it. Without a target, the effect must go the wanted way.

    An interval whose two ends are equal is an observed extreme: a fact of the phase, not an estimate.
    """
    if kpi.target is None:
        about, target = effect, 0.0
        what = Text(nb="endringen", en="the change")
    else:
        target = kpi.target
        about, what = {
            "value": (value, Text(nb="verdien i tiltaksperioden", en="the value under the intervention")),
            "change": (effect, Text(nb="endringen", en="the change")),
            "percent": (percent, Text(nb="endringen i prosent", en="the change in per cent")),
        }[kpi.target_is]
    if about is None:
        return "inconclusive", Text(
            nb=f"Det kan ikke gis noe intervall for {what.nb}, så målet kan ikke bedømmes.",
            en=f"There is no interval for {what.en}, so the target cannot be judged.",
        )
    lower = kpi.direction == "lower"
    strict = kpi.target is None  # no change at all is not an improvement
    margin = target - about.high if lower else about.low - target
    good = margin > 0 if strict else margin >= 0
    bad = about.low > target if lower else about.high < target
    if good:
        return "target met", Text(
            nb=f"Hele intervallet for {what.nb} ligger på riktig side av {target:g}.",
            en=f"The whole interval of {what.en} lies on the right side of {target:g}.",
        )
    if bad:
        return "target not met", Text(
            nb=f"Hele intervallet for {what.nb} ligger på feil side av {target:g}.",
            en=f"The whole interval of {what.en} lies on the wrong side of {target:g}.",
        )
    return "inconclusive", Text(
        nb=f"Intervallet for {what.nb} dekker {target:g}: dataene kan ikke avgjøre det.",
        en=f"The interval of {what.en} spans {target:g}: the data cannot decide.",
    )

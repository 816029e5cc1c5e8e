"""The verdict at its borders: no change is not an improvement, a value equal to the target meets it."""

from __future__ import annotations

import pytest

from techport_pilots.evaluation.model import Interval
from techport_pilots.evaluation.verdict import decide_verdict, effect_direction
from techport_pilots.model import Kpi, Text

STEP = 1e-9
MET, NOT_MET = ("target met", "verdict.met"), ("target not met", "verdict.not-met")
SHOWN, UNWANTED = ("effect shown", "verdict.effect"), ("no wanted effect", "verdict.unwanted")
NONE_SHOWN = ("inconclusive", "verdict.none-shown")
UNDECIDED = ("inconclusive", "verdict.inconclusive")


def kpi(**more):
    return Kpi(id="k", title=Text(en="K"), quantity="pm10", **more)


def decided(kpi, **intervals):
    """The verdict, and the code of its reason."""
    named = {name: Interval(*ends) for name, ends in intervals.items()}
    verdict, reason = decide_verdict(kpi, *(named.get(name) for name in ("value", "effect", "percent")))
    return verdict, reason.code.removeprefix("evaluation.")


@pytest.mark.parametrize(
    ("low", "high", "direction"),
    [
        (-2, -1, "lower"),
        (-2, -STEP, "lower"),
        (-2, 0, "none shown"),
        (-1, 1, "none shown"),
        (0, 0, "none shown"),
        (0, 2, "none shown"),
        (STEP, 2, "higher"),
        (1, 2, "higher"),
    ],
)
def test_an_effect_has_a_direction_once_its_interval_leaves_zero_out(low, high, direction):
    assert effect_direction(Interval(low, high)) == direction


@pytest.mark.parametrize(
    ("low", "high", "verdict_if_lower", "verdict_if_higher"),
    [
        (-3, -1, SHOWN, UNWANTED),
        (-3, -STEP, SHOWN, UNWANTED),
        (-3, 0, NONE_SHOWN, NONE_SHOWN),
        (-1, 1, NONE_SHOWN, NONE_SHOWN),
        (0, 0, NONE_SHOWN, NONE_SHOWN),
        (0, 3, NONE_SHOWN, NONE_SHOWN),
        (STEP, 3, UNWANTED, SHOWN),
        (1, 3, UNWANTED, SHOWN),
    ],
)
def test_without_a_target_the_interval_must_leave_zero_out(low, high, verdict_if_lower, verdict_if_higher):
    """An interval that touches zero does not rule out that nothing happened. No target is met where there is none."""
    assert decided(kpi(direction="lower"), effect=(low, high)) == verdict_if_lower
    assert decided(kpi(direction="higher"), effect=(low, high)) == verdict_if_higher


@pytest.mark.parametrize("about", ["value", "change", "percent"])
@pytest.mark.parametrize(
    ("low", "high", "verdict_if_lower", "verdict_if_higher"),
    [
        (-9, -6, MET, NOT_MET),
        (-9, -5 - STEP, MET, NOT_MET),
        (-9, -5, MET, UNDECIDED),
        (-5, -5, MET, MET),
        (-6, -4, UNDECIDED, UNDECIDED),
        (-5, -3, UNDECIDED, MET),
        (-5 + STEP, -3, NOT_MET, MET),
        (-4, 3, NOT_MET, MET),
    ],
)
def test_a_value_equal_to_the_target_meets_it(low, high, verdict_if_lower, verdict_if_higher, about):
    """Only the interval that the target is about decides, whatever the other two say."""
    wrong = {"value": (90, 99), "effect": (90, 99), "percent": (90, 99)}
    intervals = wrong | {{"change": "effect"}.get(about, about): (low, high)}
    target = {"target": -5.0, "target_is": about}
    assert decided(kpi(direction="lower", **target), **intervals) == verdict_if_lower
    assert decided(kpi(direction="higher", **target), **intervals) == verdict_if_higher


def test_a_target_of_zero_is_a_target():
    """Zero reached is met; with no target at all it would be no effect."""
    assert decided(kpi(direction="lower", target=0.0, target_is="change"), effect=(-3, 0)) == MET
    assert decided(kpi(direction="higher", target=0.0, target_is="change"), effect=(0, 3)) == MET


@pytest.mark.parametrize(
    ("about", "subject"), [("value", "subject.value"), ("change", "subject.change"), ("percent", "subject.percent")]
)
def test_without_its_interval_a_target_is_inconclusive(about, subject):
    others = {"value": (1, 2), "effect": (1, 2), "percent": (1, 2)}
    del others[{"change": "effect"}.get(about, about)]
    asked = kpi(target=5.0, target_is=about)
    assert decided(asked, **others) == ("inconclusive", "verdict.no-interval")
    intervals = [Interval(*others[name]) if name in others else None for name in ("value", "effect", "percent")]
    _, reason = decide_verdict(asked, *intervals)
    assert reason.params["subject"]["code"] == f"evaluation.{subject}"


def test_the_reason_names_what_was_compared_and_the_target():
    asked = kpi(target=12.5, target_is="value", direction="lower")
    for ends in ((9.0, 10.0), (13.0, 14.0), (12.0, 13.0)):
        _, reason = decide_verdict(asked, Interval(*ends), Interval(-3, -1), None)
        assert reason.params["target"] == 12.5
        assert reason.params["subject"]["code"] == "evaluation.subject.value"
    _, reason = decide_verdict(kpi(), None, Interval(-3, -1), None)
    assert reason.code == "evaluation.verdict.effect", "nothing is said of a target that nobody set"

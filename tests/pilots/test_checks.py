"""An evaluation doubts itself: what looks like an effect without any is named or withheld, a real one is not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from techport_pilots.evaluation import checks
from techport_pilots.evaluation.checks import (
    ComparedDays,
    chosen_days,
    disagreeing,
    estimate_effect,
    run_checks,
    smooth_evidence,
    trend_column,
)
from techport_pilots.evaluation.interval import fit, fit_in_turns, half_width
from techport_pilots.model import Covariate, DeviceDefinition, StreamDefinition
from techport_storage.microseconds import HOUR
from tests.pilots.test_values import DURING, SPRING, answer, asked

DAY = ((SPRING - SPRING[0]) // (24 * HOUR)).astype(int)
DAYS = int(DAY.max()) + 1


def persistent(rho, seed, size=DAYS):
    steps = np.random.default_rng(seed).standard_normal(size + 200)
    for i in range(1, len(steps)):
        steps[i] += rho * steps[i - 1]
    return steps[200:] * np.sqrt(1 - rho**2)


def street(seed=1, rho=0.3, effect=0.0, slope=0.0):
    """Hours of a street whose days resemble each other, with an effect and a trend."""
    hourly = np.random.default_rng([seed, 9]).normal(size=len(SPRING))
    return 20 + persistent(rho, seed)[DAY] + 0.5 * hourly + effect * DURING + slope * DAY


def outcomes(found):
    return {check.code: check.outcome for check in found.checks}


def test_a_real_effect_passes_its_checks():
    found = answer({"a": (SPRING, street(effect=-4)), "b": (SPRING, street(effect=-4) + 3)}, asked())
    assert (found.verdict, found.shown, found.settled) == ("effect shown", "lower", True)
    assert set(outcomes(found).values()) == {"agrees"}


def test_a_trend_that_had_begun_is_no_effect():
    found = answer({"a": (SPRING, street(slope=-0.2))}, asked())
    assert found.shown is None or found.shown == "none shown"
    assert found.verdict in ("not settled", "inconclusive")


def test_what_is_not_settled_says_which_check_and_what_would_settle_it():
    """The trend is too weak to be adjusted for, and strong enough to make the effect."""
    for seed in range(40):
        found = answer({"a": (SPRING, street(seed, slope=-0.03))}, asked())
        if found.verdict == "not settled":
            break
    assert not found.settled
    assert found.shown is None
    assert found.reasons[0].code == "evaluation.not-settled"
    against = disagreeing(found.checks)
    codes = [reason.code for reason in found.reasons]
    assert all(check.text.code in codes and check.would_settle.code in codes for check in against)


def eight_weeks(level):
    """Four weeks against four."""
    day = np.arange(56)
    side = (day >= 28).astype(np.int64)
    return ComparedDays(
        level=level,
        side=side,
        day=20_361 + day,
        design=np.column_stack([np.ones(56), side]),
        group=side,
        raw=pd.DataFrame(index=pd.RangeIndex(56)),
        confidence=0.95,
    )


def evidence_of(level):
    days = eight_weeks(level)
    both = fit(days.level, np.column_stack([days.design, trend_column(days.day)]), days.day, days.group, 1)
    return smooth_evidence(days, both)


@pytest.mark.parametrize(("course", "smooth"), [("step", False), ("trend", True), ("spring", True), ("nothing", None)])
def test_a_step_is_told_from_a_smooth_course(course, smooth):
    """Each by as much as the noise of ten pilots allows; of nothing at all neither is likelier."""
    day = np.arange(56)
    side = (day >= 28).astype(np.int64)
    shape = {"step": 1.0 * side, "trend": day / 28 - 1, "spring": -np.cos(np.pi * day / 56), "nothing": 0.0 * day}
    evidence = [evidence_of(persistent(0.4, seed, 56) + 3 * shape[course]) for seed in range(10)]
    if smooth is None:
        assert abs(np.mean(evidence)) < 1
    else:
        assert np.mean(np.array(evidence) > 0) >= 0.9 if smooth else np.mean(np.array(evidence) > 0) <= 0.1


def test_a_course_that_is_left_in_the_days_does_not_hide_behind_persistence(monkeypatch):
    """Of days that know nothing of one another, a spring makes the residuals of a step look persistent."""
    judged_with = []

    def remember(days, both):
        judged_with.append(both.autocorrelation)
        return 0.0

    monkeypatch.setattr(checks, "smooth_evidence", remember)
    spring = -1.5 * np.cos(np.pi * np.arange(56) / 56)
    of_step = []
    for seed in range(10):
        days, estimate, _ = estimate_effect(eight_weeks(persistent(0.0, seed, 56) + spring))
        run_checks(days, estimate)
        of_step.append(estimate.autocorrelation)
    assert np.mean(judged_with) < np.mean(of_step) - 0.05


def test_days_that_hardly_vary_any_more_are_no_smooth_course():
    """No hour above the threshold since the intervention: what the days before did by chance is not half a season."""
    during = np.arange(56) >= 28
    for seed in range(20):
        noise = persistent(0.3, seed, 56)
        assert evidence_of(np.where(during, 0.02 * noise, 2 + noise)) < checks.SMOOTH


def test_one_device_that_drifts_does_not_make_an_effect_of_three():
    common = street()
    series = {
        name: (SPRING, common + np.random.default_rng(i).normal(size=len(SPRING))) for i, name in enumerate("abc")
    }
    series["c"] = (SPRING, series["c"][1] - 6.0 * DURING * (1 + (DAY - 28) / 28))
    found = answer(series, asked())
    assert outcomes(found)["device-drift"] == "disagrees"
    assert found.verdict == "not settled"
    (drift,) = [check for check in found.checks if check.code == "device-drift"]
    assert drift.text.params["device"] == "c"


@pytest.mark.parametrize("reaction", [1.0, 0.5])
def test_a_control_group_that_reacts_half_as_strongly_is_noticed(reaction):
    """Both feel the same weather, which is colder during the intervention; nothing is done."""
    weather = 3 * persistent(0.4, 3)[DAY] - 5 * DURING
    series = {
        "street": (SPRING, 30 + weather + 0.4 * np.random.default_rng(1).normal(size=len(SPRING))),
        "park": (SPRING, 20 + reaction * weather + 0.4 * np.random.default_rng(2).normal(size=len(SPRING))),
    }
    devices = [
        DeviceDefinition(name, group=name, interval="PT1H", streams=[StreamDefinition("pm10")]) for name in series
    ]
    found = answer(series, asked(groups=["street"], control=["park"]), devices=devices)
    assert "without-control" in outcomes(found)
    (alone,) = [check for check in found.checks if check.code == "without-control"]
    assert alone.text.params["effect"] < -3, "the street by itself"
    if reaction == 1:
        assert found.shown == "none shown"
    else:
        assert outcomes(found)["control"] == "disagrees"
        assert found.verdict == "not settled"


def test_weather_that_the_baseline_never_had_is_named():
    wind = 5 + np.random.default_rng(4).normal(size=DAYS)[DAY] + 4 * DURING
    devices = [
        DeviceDefinition("a", interval="PT1H", streams=[StreamDefinition("pm10")]),
        DeviceDefinition("mast", interval="PT1H", streams=[StreamDefinition("wind_speed")]),
    ]
    series = {"a": (SPRING, street(effect=-4) - wind), "mast": (SPRING, wind)}
    found = answer(series, asked(adjust=[Covariate("wind_speed", "mast")]), devices=devices)
    assert outcomes(found)["weather"] == "disagrees"


def test_days_that_resemble_each_other_for_weeks_are_too_few():
    found = answer({"a": (SPRING, 20 + 3 * persistent(0.97, 5)[DAY])}, asked())
    assert outcomes(found)["independent-days"] == "disagrees"
    assert found.shown in (None, "none shown")


def test_an_effect_that_comes_and_goes_every_year_is_not_unusual():
    """Two years before the baseline have the same swings: what is found is compared with them."""
    time = np.arange(SPRING[0] - 700 * 24 * HOUR, SPRING[-1] + HOUR, HOUR)
    day = ((time - SPRING[0]) // (24 * HOUR)).astype(int)
    value = 20 - 3 * np.sin(2 * np.pi * (day - 28) / 56) + 0.5 * np.random.default_rng(1).normal(size=len(time))
    found = answer({"a": (time, value)}, asked())
    assert outcomes(found)["placebo-earlier"] == "disagrees"
    assert found.shown in (None, "none shown")


def springs(years, effect=0.0, swing=4.0):
    """Days with a spring every year, hour by hour: until the end of the intervention, from so many years before."""
    time = np.arange(SPRING[0] - round(365.25 * years) * 24 * HOUR, SPRING[-1] + HOUR, HOUR)
    day = ((time - SPRING[0]) // (24 * HOUR)).astype(int)
    noise = persistent(0.3, 7, day[-1] - day[0] + 1)[day - day[0]]
    during = (time >= SPRING[DURING][0]) * effect
    return time, 20 + swing * np.sin(2 * np.pi * (day - 28) / 365.25) + noise + during


def test_a_spring_that_comes_every_year_is_not_the_intervention():
    found = answer({"a": springs(2)}, asked())
    assert outcomes(found)["season"] == "disagrees"
    assert found.shown is None or found.shown == "none shown"
    (season,) = [check for check in found.checks if check.code == "season"]
    assert season.text.params["years"] >= 1
    assert abs(season.text.params["effect"]) < abs(season.text.params["change"]), "little is left beyond the season"


def test_an_effect_beyond_the_season_agrees_with_earlier_years():
    found = answer({"a": springs(2, effect=-6.0, swing=0.5)}, asked())
    assert outcomes(found)["season"] == "agrees"
    assert found.shown == "lower"


@pytest.mark.parametrize("effect", [0.0, -4.0])
def test_a_baseline_of_a_year_tells_the_season_from_the_intervention(effect):
    phases = (("a", "baseline", "2025-03-29", "2026-03-30"), ("b", "intervention", "2026-03-30", "2026-04-27"))
    found = answer({"a": springs(1, effect)}, asked(), phases)
    assert "season" in found.adjusted_for
    assert "season" not in outcomes(found)
    assert found.effect == pytest.approx(effect, abs=1.2)
    assert found.shown == ("none shown" if effect == 0 else "lower")
    months = (("a", "baseline", "2025-12-01", "2026-03-30"), phases[1])
    assert "season" not in answer({"a": springs(1, effect)}, asked(), months).adjusted_for


@pytest.mark.parametrize(("chosen", "outcome"), [(True, "disagrees"), (False, "agrees")])
def test_days_chosen_because_of_the_level_are_told_from_days_drawn_by_lot(chosen, outcome):
    level = persistent(0.6, 11, 200)
    exposed = level > 0.7 if chosen else np.random.default_rng(1).random(200) < 0.25
    check = chosen_days(level, np.empty((200, 0)), exposed, np.arange(200))
    assert check.outcome == outcome


def test_phases_that_take_turns_get_the_narrower_interval_that_they_deserve_and_keep_its_promise():
    day, covered, widths = np.arange(56), [], []
    side = (day // 7) % 2
    design = np.column_stack([np.ones(56), side])
    for seed in range(120):
        values = persistent(0.7, seed, 56)
        sharp = fit_in_turns(values, design, day)
        half = half_width(sharp.variance, sharp.freedom)
        plain = fit(values, design, day, np.zeros(56, np.int64), 1)
        covered.append(abs(sharp.value) <= half)
        rest = values - sharp.value * side - sharp.residuals
        assert rest == pytest.approx(np.full(56, rest[0])), "residuals are of the days themselves"
        widths.append(half / half_width(plain.variance, plain.freedom))
    assert np.mean(covered) > 0.9
    assert np.mean(widths) < 0.9


def test_phases_longer_than_the_data_or_shorter_than_two_weeks_say_so():
    short = (("a", "baseline", "2026-03-27", "2026-03-30"), ("b", "intervention", "2026-03-30", "2026-04-27"))
    assert answer({"a": (SPRING, street())}, asked(), short).reasons[0].code == "evaluation.too-short"
    long = (("a", "baseline", "2025-12-01", "2026-03-30"), ("b", "intervention", "2026-03-30", "2026-04-27"))
    assert answer({"a": (SPRING, street())}, asked(), long).reasons[0].code == "evaluation.incomplete"


@pytest.mark.parametrize("value", [0.0, 20.0])
def test_a_series_that_never_varies_has_no_effect_and_no_interval(value):
    found = answer({"a": (SPRING, np.full(len(SPRING), value))}, asked())
    assert (found.verdict, found.effect, found.interval) == ("insufficient data", None, None)
    assert [reason.code for reason in found.reasons] == ["evaluation.no-interval", "evaluation.constant.remedy"]


def test_devices_that_are_all_new_in_the_intervention_cannot_be_compared():
    series = {"old": (SPRING[~DURING], street()[~DURING]), "new": (SPRING[DURING], street()[DURING])}
    found = answer(series, asked(minimum_completeness=0.4))
    assert [reason.code for reason in found.reasons] == [
        "evaluation.no-paired-device",
        "evaluation.no-paired-device.remedy",
    ]


def test_a_control_group_of_one_device_is_named():
    devices = [DeviceDefinition(name, group=name, interval="PT1H", streams=[StreamDefinition("pm10")]) for name in "sc"]
    series = {"s": (SPRING, street(effect=-4)), "c": (SPRING, street(2))}
    found = answer(series, asked(groups=["s"], control=["c"]), devices=devices)
    assert "evaluation.caveat.one-control" in [reason.code for reason in found.reasons]

"""Evaluation: verdicts from known worlds, and what is said when the data cannot carry one."""

from __future__ import annotations

import datetime as dt
import re

import msgspec
import numpy as np
import pytest

from techport_pilots.evaluation import agree, evaluate
from techport_pilots.evaluation.days import day_levels
from techport_pilots.evaluation.interval import NoInterval, fit, half_width
from techport_pilots.evaluation.kpi import plan_of
from techport_pilots.evaluation.phases import baseline_vs_intervention
from techport_pilots.evaluation.samples import samples_frame
from techport_pilots.model import (
    Comparison,
    Covariate,
    DeviceDefinition,
    Event,
    Exclusion,
    Kpi,
    Measure,
    Phase,
    PilotDefinition,
    StreamDefinition,
    Text,
)
from techport_pilots.time import local
from techport_storage.microseconds import HOUR
from techport_storage.model import Batch, Stream
from techport_storage.store import open_store
from tests.conftest import ROOT

START = dt.datetime(2025, 9, 28, 22, tzinfo=dt.UTC)  # midnight in Oslo; the last day of phase one has 25 hours
TURN, END = START + dt.timedelta(weeks=4, hours=1), START + dt.timedelta(weeks=8, hours=1)
BEFORE, AFTER = Phase("before", "baseline", START, TURN), Phase("after", "intervention", TURN, END)
HOURS = (END - START) // dt.timedelta(hours=1)
SECOND = np.arange(HOURS) >= 4 * 168 + 1
TIME = int(START.timestamp()) * 1_000_000 + HOUR * np.arange(HOURS)
SHORT = dt.timedelta(days=6)


@pytest.fixture
def store():
    store = open_store("duckdb://")
    yield store
    store.close()


def world(seed=1, level=20.0, effect=-5.0):
    """Hourly values with a daily pattern and noise that lasts, lower by the effect in the second half."""
    random = np.random.default_rng(seed)
    noise = np.zeros(HOURS)
    for i in range(1, HOURS):
        noise[i] = 0.8 * noise[i - 1] + random.normal(0, 1)
    return level + 3 * np.sin(2 * np.pi * local(TIME, "Europe/Oslo").hour / 24) + noise + effect * SECOND


def write(store, device, values, quantity="pm10", times=TIME):
    there = np.isfinite(values)
    n = int(there.sum())
    columns = np.zeros(n, np.int32), times[there], np.asarray(values, float)[there], times[there], np.zeros(n, np.uint8)
    store.write(Batch([Stream("p", device, quantity)], *columns))


def pilot(*devices, phases=(BEFORE, AFTER), **more):
    return PilotDefinition(
        "p",
        Text(en="P"),
        Text(en="Q?"),
        [
            DeviceDefinition(name, group=group, interval="PT1H", streams=[StreamDefinition(q) for q in quantities])
            for name, group, *quantities in devices or [("box", None, "pm10")]
        ],
        phases=list(phases),
        **more,
    )


def kpi(**more):
    return Kpi(**{"id": "k", "title": Text(en="K"), "quantity": "pm10"} | more)


def test_a_known_effect_is_found_with_its_interval(store):
    write(store, "box", world())
    found = evaluate(store, pilot(), kpi())
    assert found.interval.low < -5 < found.interval.high < 0
    assert found.percent_interval.low < -25 < found.percent_interval.high
    assert (found.verdict, found.shown, found.unit) == ("effect shown", "lower", "ug/m3")
    assert found.baseline.value == pytest.approx(20, abs=1)
    assert found.baseline.completeness == found.intervention.completeness == 1.0
    assert (found.baseline.days, found.intervention.days) == (28, 28)
    assert 10 < found.independent_days <= 56


@pytest.mark.parametrize(
    ("target", "what", "verdict"),
    [
        (18.0, "value", "target met"),
        (10.0, "value", "target not met"),
        (15.0, "value", "inconclusive"),
        (-2.0, "change", "target met"),
        (-9.0, "change", "target not met"),
        (-5.0, "change", "inconclusive"),
        (-10.0, "percent", "target met"),
        (-60.0, "percent", "target not met"),
    ],
)
def test_the_verdict_compares_the_interval_with_the_target(store, target, what, verdict):
    write(store, "box", world(seed=3))
    assert evaluate(store, pilot(), kpi(target=target, target_is=what)).verdict == verdict


def test_an_effect_the_wrong_way_is_not_met(store):
    write(store, "box", world())
    assert evaluate(store, pilot(), kpi(direction="higher")).verdict == "no wanted effect"


def test_the_control_group_takes_the_season_off(store):
    season = 6.0 * SECOND
    for i in range(2):
        write(store, f"street-{i}", world(i) + season)
        write(store, f"park-{i}", world(10 + i, effect=0) + season)
    devices = [(f"{place}-{i}", place, "pm10") for place in ("street", "park") for i in range(2)]
    alone = evaluate(store, pilot(*devices), kpi(groups=["street"]))
    controlled = evaluate(store, pilot(*devices), kpi(groups=["street"], control=["park"]))
    assert alone.shown != "lower"
    assert controlled.interval.low < -5 < controlled.interval.high < 0
    assert controlled.control_change == pytest.approx(6, abs=1)
    assert "evaluation.caveat.no-control" not in [reason.code for reason in controlled.reasons]


def test_adjusting_for_wind_takes_the_wind_off_and_narrows_the_interval(store):
    wind = 5 + np.repeat(np.random.default_rng(5).normal(0, 2, HOURS // 24 + 1), 24)[:HOURS] + 1.5 * SECOND
    write(store, "box", world() - 3 * wind)
    write(store, "mast", wind, "wind_speed")
    devices = [("box", None, "pm10"), ("mast", None, "wind_speed")]
    plain = evaluate(store, pilot(*devices), kpi())
    adjusted = evaluate(store, pilot(*devices), kpi(adjust=[Covariate("wind_speed", "mast")]))
    assert adjusted.interval.low < -5 < adjusted.interval.high
    assert adjusted.interval.high - adjusted.interval.low < 0.7 * (plain.interval.high - plain.interval.low)
    assert "wind_speed" in adjusted.adjusted_for


def test_missing_nights_do_not_look_like_an_effect(store):
    values = world(effect=0) + 10 * np.cos(2 * np.pi * (local(TIME, "Europe/Oslo").hour - 14) / 24)
    night = (local(TIME, "Europe/Oslo").hour < 6) & SECOND
    values[night & (np.random.default_rng(1).random(HOURS) < 0.8)] = np.nan
    write(store, "box", values)
    found = evaluate(store, pilot(), kpi(minimum_completeness=0.5))
    assert abs(found.intervention.value - found.baseline.value) < 1, "the value is adjusted as the days are"
    assert found.shown == "none shown"
    assert found.interval.low < 0 < found.interval.high


def test_a_device_that_falls_silent_does_not_look_like_an_effect(store):
    write(store, "clean", world(1, level=10, effect=0))
    dirty = world(2, level=60, effect=0)
    dirty[HOURS - 14 * 24 :] = np.nan
    write(store, "dirty", dirty)
    found = evaluate(store, pilot(("clean", None, "pm10"), ("dirty", None, "pm10")), kpi(minimum_completeness=0.5))
    assert found.intervention.value == pytest.approx(found.baseline.value, abs=1), "adjusted as the days are"
    assert found.shown == "none shown"


def test_the_same_data_gives_the_same_answer(store):
    write(store, "box", world())
    assert evaluate(store, pilot(), kpi()) == evaluate(store, pilot(), kpi())


@pytest.mark.parametrize(
    "measure",
    [
        {"statistic": "median"},
        {"statistic": "percentile", "percentile": 90.0},
        {"statistic": "share_above", "threshold": 20.0},
        {"statistic": "hours_above", "threshold": 20.0},
        {"interval": "P1D", "statistic": "percentile", "percentile": 75.0},
        {"interval": "P1D", "slot": "max"},
        {"hours": (7, 9), "weekdays": ["mon", "tue", "wed", "thu", "fri"]},
    ],
    ids=lambda measure: "-".join(map(str, measure.values())),
)
def test_every_statistic_finds_a_large_effect(store, measure):
    write(store, "box", world())
    found = evaluate(store, pilot(), kpi(**measure))
    assert (found.shown, found.verdict) == ("lower", "effect shown")


def test_sound_wind_and_counts_are_compared_in_their_own_way(store):
    random = np.random.default_rng(2)
    write(store, "box", 60 + random.normal(0, 2, HOURS) - 3 * SECOND, "laeq")
    write(store, "box", (350 + random.normal(0, 15, HOURS) + 30 * SECOND) % 360, "wind_from_direction")
    write(store, "box", random.poisson(20 + 10 * SECOND), "bicycle_count")
    street = pilot(("box", None, "laeq", "wind_from_direction", "bicycle_count"))
    sound = evaluate(store, street, kpi(quantity="laeq"))
    assert sound.interval.low < -3 < sound.interval.high < 0
    assert sound.percent is None  # decibels have no per cent
    wind = evaluate(store, street, kpi(quantity="wind_from_direction"))
    assert wind.interval.low < 30 < wind.interval.high
    bicycles = evaluate(store, street, kpi(quantity="bicycle_count", statistic="sum", direction="higher"))
    assert bicycles.unit == "{bicycle}/d"
    assert bicycles.interval.low < 240 < bicycles.interval.high
    assert bicycles.verdict == "effect shown"


def test_a_modal_share_has_an_interval(store):
    random = np.random.default_rng(2)
    write(store, "bike", random.poisson(20 + 10 * SECOND), "bicycle_count")
    write(store, "car", random.poisson(80 - 10 * SECOND), "vehicle_count")
    street = pilot(("bike", None, "bicycle_count"), ("car", None, "vehicle_count"))
    cars = Measure(quantity="vehicle_count", statistic="sum")
    share = kpi(quantity="bicycle_count", statistic="sum", compare=Comparison("share", cars), direction="higher")
    found = evaluate(store, street, share)
    assert found.baseline.value == pytest.approx(0.2, abs=0.01)
    assert found.interval.low < 0.1 < found.interval.high
    assert found.verdict == "effect shown"


def test_an_extreme_is_a_fact_that_a_target_may_be_held_against(store):
    write(store, "box", world())
    met = evaluate(store, pilot(), kpi(statistic="max", target=200.0))
    assert (met.verdict, met.effect, met.interval) == ("target met", None, None)
    assert evaluate(store, pilot(), kpi(statistic="max")).verdict == "inconclusive"


# What the data cannot carry: a verdict with its reason in both languages, and no number that means nothing.


def refused(found, *words):
    assert found.verdict == "insufficient data"
    assert found.effect is None
    assert found.interval is None
    text = " ".join(reason.en for reason in found.reasons)
    assert all(word in text for word in words), text
    assert all(reason.nb and reason.en for reason in found.reasons)


def test_a_phase_without_data(store):
    write(store, "box", np.where(SECOND, np.nan, world()))
    refused(evaluate(store, pilot(), kpi()), "No usable readings", "after")


def test_no_readings_at_all(store):
    refused(evaluate(store, pilot(), kpi()), "before", "after")


def test_all_values_equal(store):
    write(store, "box", np.full(HOURS, 7.0))
    refused(evaluate(store, pilot(), kpi()), "all values are equal")
    refused(evaluate(store, pilot(), kpi(statistic="median")), "equal")
    refused(evaluate(store, pilot(), kpi(statistic="median", target=5.0)), "equal")


def test_each_phase_constant(store):
    write(store, "box", 7.0 - SECOND)
    refused(evaluate(store, pilot(), kpi()))


def test_overlapping_and_missing_and_short_phases(store):
    write(store, "box", world())
    late = Phase("late", "baseline", TURN - dt.timedelta(days=1), END)
    refused(evaluate(store, pilot(phases=[BEFORE, AFTER, late]), kpi()), "overlap")
    refused(evaluate(store, pilot(phases=[BEFORE]), kpi()), "no intervention")
    refused(evaluate(store, pilot(phases=[AFTER]), kpi()), "no baseline")
    refused(evaluate(store, pilot(phases=[]), kpi()), "no intervention")
    short = Phase("short", "intervention", TURN, TURN + SHORT)
    refused(evaluate(store, pilot(phases=[BEFORE, short]), kpi()), "usable days")
    backwards = Phase("backwards", "intervention", END, TURN)
    refused(evaluate(store, pilot(phases=[BEFORE, backwards]), kpi()))


def test_below_the_completeness_floor(store):
    values = world()
    values[::2] = np.nan
    write(store, "box", values)
    found = evaluate(store, pilot(), kpi())
    refused(found, "50 % complete", "75 %")
    assert found.baseline.completeness == pytest.approx(0.5, abs=0.01)


def test_nobody_measures_it(store):
    refused(evaluate(store, pilot(), kpi(quantity="no2")), "no2")


def test_different_devices_before_and_after(store):
    write(store, "old", np.where(SECOND, np.nan, world(1)))
    write(store, "new", np.where(SECOND, world(2), np.nan))
    found = evaluate(store, pilot(("old", None, "pm10"), ("new", None, "pm10")), kpi(minimum_completeness=0.4))
    refused(found)
    assert {one.what for one in found.left_out} == {"old", "new"}


def test_a_device_that_was_moved_is_another_device(store):
    write(store, "box", world(1))
    write(store, "stays", world(2))
    moved = Event(TURN, "moved", Text(en="Across the street"), device="box")
    found = evaluate(store, pilot(("box", None, "pm10"), ("stays", None, "pm10"), events=[moved]), kpi())
    assert "box" in {one.what for one in found.left_out}
    assert found.interval.low < -5 < found.interval.high


def test_one_device_and_no_control_are_said(store):
    write(store, "box", world())
    text = " ".join(reason.en for reason in evaluate(store, pilot(), kpi()).reasons)
    assert "One device" in text
    assert "No control group" in text


def test_an_adjustment_that_is_the_intervention_itself(store):
    write(store, "box", world())
    write(store, "mast", SECOND * 1.0, "wind_speed")
    devices = [("box", None, "pm10"), ("mast", None, "wind_speed")]
    refused(evaluate(store, pilot(*devices), kpi(adjust=[Covariate("wind_speed", "mast")])), "told apart")


def test_an_adjustment_without_data(store):
    write(store, "box", world())
    refused(evaluate(store, pilot(), kpi(adjust=[Covariate("wind_speed", "nowhere")])), "days")


def test_a_control_group_without_data(store):
    write(store, "box", world())
    devices = [("box", "street", "pm10"), ("tree", "park", "pm10")]
    refused(evaluate(store, pilot(*devices), kpi(groups=["street"], control=["park"])))


def test_a_baseline_of_zero_has_no_per_cent(store):
    write(store, "box", world(level=0.0, effect=5.0))
    found = evaluate(store, pilot(), kpi(direction="higher"))
    assert found.percent is None
    assert found.shown == "higher"
    judged = evaluate(store, pilot(), kpi(direction="higher", target=10.0, target_is="percent"))
    assert judged.verdict == "inconclusive"


def test_negative_decibels_and_zeros_are_levels_like_others(store):
    write(store, "box", np.random.default_rng(1).normal(-2, 3, HOURS).round() * 1.0, "laeq")
    found = evaluate(store, pilot(("box", None, "laeq")), kpi(quantity="laeq"))
    assert np.isfinite([found.effect, found.interval.low, found.interval.high]).all()


@pytest.mark.parametrize("zeros", [1.0, 0.3])
def test_a_ratio_to_nothing_is_no_number(store, zeros):
    """A divisor that is zero all the time gives a verdict with its reason; one that is so at times, finite numbers."""
    write(store, "box", world())
    write(store, "box", np.where(np.random.default_rng(4).random(HOURS) < zeros, 0.0, 5.0), "no2")
    ratio = kpi(compare=Comparison("ratio", Measure(quantity="no2")))
    found = evaluate(store, pilot(("box", None, "pm10", "no2")), ratio)
    if zeros == 1:
        assert found.verdict == "insufficient data"
        assert "divisor is zero" in found.reasons[0].en
    else:
        assert np.isfinite([found.effect, found.interval.low, found.interval.high]).all()


def test_an_excluded_window_is_left_out_and_named(store):
    values = world()
    values[100:172] = 3000
    write(store, "box", values)
    begin = START + dt.timedelta(hours=100)
    fire = Exclusion(begin, begin + dt.timedelta(hours=72), Text(nb="Brann", en="A fire"))
    found = evaluate(store, pilot(exclusions=[fire]), kpi())
    assert found.interval.low < -5 < found.interval.high < 0
    assert [one.reason.en for one in found.left_out] == ["A fire"]


# The parts.


def test_a_constant_series_has_no_interval():
    day = np.arange(30)
    with pytest.raises(NoInterval, match="equal"):
        fit(np.ones(30), np.ones((30, 1)), day, np.zeros(30, np.int64), 0)


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_the_interval_scales_with_the_unit(scale):
    values = np.random.default_rng(1).normal(5, 1, 60)
    design = np.column_stack([np.ones(60), np.arange(60) >= 30])
    group = (np.arange(60) >= 30).astype(np.int64)
    one = fit(values, design, np.arange(60), group, 1)
    other = fit(values * scale, design, np.arange(60), group, 1)
    assert other.value == pytest.approx(one.value * scale)
    assert half_width(other.variance, other.freedom) == pytest.approx(half_width(one.variance, one.freedom) * scale)


def test_day_levels_are_exact_where_the_model_is():
    """Days + pattern + devices, most of it missing: the days come back."""
    random = np.random.default_rng(1)
    days, hours, devices = 20, 24, 3
    day, hour, device = (x.ravel() for x in np.meshgrid(np.arange(days), np.arange(hours), np.arange(devices)))
    level, pattern, habit = random.normal(size=days), random.normal(size=hours), random.normal(size=devices)
    kept = random.random(len(day)) < 0.4
    values = (level[day] + (pattern - pattern.mean())[hour] + (habit - habit.mean())[device])[kept]
    columns = [device[kept], day[kept] * 24 * HOUR + hour[kept] * HOUR, day[kept], hour[kept].astype(float), values]
    samples = samples_frame(["a", "b", "c"], columns)
    assert day_levels(samples, "value", per_day=24.0).to_numpy() == pytest.approx(level, abs=1e-6)


def test_samples_and_days_are_tables_that_can_be_printed_and_checked(store):
    write(store, "box", world())
    write(store, "tree", np.where(SECOND, np.nan, world()))
    plan = plan_of(pilot(("box", None, "pm10"), ("tree", None, "pm10")), kpi())
    first = int(TIME[0])
    samples = plan.read(store, [(first, first + 30 * HOUR)], "Europe/Oslo")
    table = samples.to_frame()
    assert list(table.columns) == ["device", "day", "hour", "value"]
    assert (table.index.name, str(table.index.tz)) == ("time", "UTC")
    assert table["device"].value_counts().to_dict() == {"box": 30, "tree": 30}
    assert [str(day.date()) for day in table["day"].unique()] == ["2025-09-29", "2025-09-30"]
    assert table["value"].to_numpy()[:30] == pytest.approx(world()[:30])
    table["value"] = 0.0
    assert samples.to_frame()["value"].to_numpy()[:30] == pytest.approx(world()[:30]), "a table of its own"
    days = baseline_vs_intervention(store, pilot(("box", None, "pm10"), ("tree", None, "pm10")), plan).days
    assert list(days.columns) == ["level", "intervention"]
    assert days.index.name == "day"
    assert days["intervention"].sum() == 28


def test_the_example_of_the_statistics_page_runs(capsys):
    [example] = re.findall(r"```python\n(.*?)```", (ROOT / "docs/statistics.md").read_text("utf-8"), re.DOTALL)
    exec(compile(example, "docs/statistics.md", "exec"), {})
    printed = capsys.readouterr().out
    assert "kirka" in printed
    assert "28.0" in printed


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"effect": lambda x: x * (1 + 1e-13)}, True),
        ({"effect": lambda x: x + 1e-12}, True),
        ({"effect": lambda x: x * (1 + 1e-6)}, False),
        ({"interval": lambda x: msgspec.structs.replace(x, low=x.low - 1e-5)}, False),
        ({"verdict": lambda x: "inconclusive"}, False),
        ({"reasons": lambda x: x[1:]}, False),
        ({"percent": lambda x: None}, False),
    ],
)
def test_only_last_digits_may_differ_between_evaluations_that_agree(store, change, same):
    write(store, "box", world())
    found = evaluate(store, pilot(), kpi())
    other = msgspec.structs.replace(found, **{name: turn(getattr(found, name)) for name, turn in change.items()})
    assert agree(found, other) is agree(other, found) is same


def test_a_device_that_moved_on_day_one_is_not_a_division_by_zero(store):
    write(store, "box", world())
    moved = Event(time=AFTER.start, kind="moved", text=Text(en="to the other side"), device="box")
    found = evaluate(store, pilot(events=[moved]), kpi())
    codes = [reason.code for reason in found.reasons]
    assert codes == ["evaluation.no-paired-device", "evaluation.no-paired-device.remedy"]

"""A KPI's own value: fair to what is missing, bounded by what is possible, and silent where the data cannot hold it."""

from __future__ import annotations

import datetime as dt

import msgspec
import numpy as np
import pytest

from techport_pilots.definition.limits import built_ins
from techport_pilots.definition.load import parse_definition
from techport_pilots.evaluation import evaluate
from techport_pilots.evaluation.kpi import kpi_value
from techport_pilots.evaluation.statistics import direction, is_above, rounded
from techport_pilots.evaluation.values import percentile_interval
from techport_pilots.model import DeviceDefinition, Event, Kpi, Measure, Phase, StreamDefinition, Text
from techport_pilots.time import local, micros_of
from techport_storage.microseconds import HOUR
from techport_storage.model import Batch, Stream
from techport_storage.store import open_store

BASE = parse_definition("""
id: own
title: {en: Values}
question: {en: "How much?"}
devices: [{id: a, interval: PT1H, streams: [{quantity: pm10}]}]
""")


def at(date: str) -> int:
    return micros_of(dt.datetime.fromisoformat(date), "Europe/Oslo")


def hours(start: str, end: str):
    return np.arange(at(start), at(end), HOUR)


SPRING = hours("2026-03-02", "2026-04-27")
DURING = at("2026-03-30") <= SPRING
PHASES = (("a", "baseline", "2026-03-02", "2026-03-30"), ("b", "intervention", "2026-03-30", "2026-04-27"))


def answer(series, kpi, phases=PHASES, interval="PT1H", devices=None, **more):
    """Evaluate one KPI over series of (time, value) by device, each of the first quantity that the device measures."""
    if devices is None:
        devices = [
            DeviceDefinition(name, interval=interval, streams=[StreamDefinition(kpi.quantity)]) for name in series
        ]
    with_kpi = msgspec.structs.replace(
        BASE,
        devices=devices,
        phases=[
            Phase(name, kind, dt.datetime.fromisoformat(start), dt.datetime.fromisoformat(end))
            for name, kind, start, end in phases
        ],
        **more,
    )
    quantities = {device.id: device.streams[0].quantity for device in devices}
    return evaluate(store_of(series, quantities), with_kpi, kpi)


def store_of(series, quantities):
    store = open_store("duckdb://")
    for name, (time, value) in series.items():
        zeros = np.zeros(len(time), np.int32)
        stream = [Stream("own", name, quantities[name])]
        store.write(Batch(stream, zeros, time, np.asarray(value, float), time, zeros.astype(np.uint8)))
    return store


def asked(**more):
    return Kpi(**{"id": "k", "title": Text(en="K"), "quantity": "pm10"} | more)


def noise(size, seed=1, scale=1.0):
    return scale * np.random.default_rng(seed).normal(size=size)


@pytest.mark.parametrize("above", [0, 1, 2, 5])
def test_fewer_hours_above_a_limit_are_never_worse(above):
    """A year with none keeps a limit that a year with one keeps, and no interval reaches below nothing."""
    time = hours("2024-12-15", "2026-01-01")
    value = 30 + noise(len(time))
    value[np.flatnonzero(time > at("2025-02-01"))[: above * 400 : 400]] = 250
    phases = (("a", "baseline", "2024-12-15", "2025-01-01"), ("b", "intervention", "2025-01-01", "2026-01-01"))
    limit = built_ins()["no2022-no2-hour"].kpi
    found = answer({"a": (time, value)}, limit, phases)
    assert found.verdict == "target met"
    assert 0 <= found.intervention.interval.low <= found.intervention.value == pytest.approx(above / 365)
    assert found.intervention.interval.high > 3 / 365, "none in a year is not certainty: the rule of three"


def test_hours_never_above_in_four_weeks_do_not_show_that_a_rare_limit_is_kept():
    found = answer({"a": (SPRING, 30 + noise(len(SPRING)))}, built_ins()["eu2024-no2-hour"].kpi)
    assert found.verdict == "inconclusive"


@pytest.mark.parametrize(("days", "verdict"), [(56, "insufficient data"), (480, "target met")])
def test_a_percentile_that_the_days_cannot_hold_is_refused(days, verdict):
    start = dt.date(2024, 1, 1)
    turn, end = start + dt.timedelta(days=28), start + dt.timedelta(days=28 + days)
    time = hours(start.isoformat(), end.isoformat())
    level = np.repeat(np.random.default_rng(2).uniform(5, 30, 28 + days), 24)[: len(time)]
    phases = (("a", "baseline", str(start), str(turn)), ("b", "intervention", str(turn), str(end)))
    found = answer({"a": (time, np.resize(level, len(time)))}, built_ins()["who2021-pm10-day"].kpi, phases)
    assert found.verdict == verdict
    if verdict == "insufficient data":
        assert found.reasons[0].code == "evaluation.percentile-too-rare"
        assert found.intervention.interval is None


def test_a_percentile_that_most_days_exceed_is_missed_though_its_upper_end_is_open():
    found = answer({"a": (SPRING, 80 + noise(len(SPRING)))}, built_ins()["who2021-pm10-day"].kpi)
    assert (found.verdict, found.intervention.interval) == ("target not met", None)


def test_the_interval_of_a_percentile_covers_it_as_often_as_it_says():
    true, covered = float(np.exp(1.2816)), []
    dates = np.datetime64("2026-01-01") + np.arange(100)
    for seed in range(200):
        values = np.exp(np.random.default_rng(seed).normal(size=100))
        interval = percentile_interval(values, dates.astype("datetime64[s]"), 0.9, 0.95).interval
        covered.append(interval.low <= true <= interval.high)
    assert 0.92 < np.mean(covered) <= 1


def test_a_surer_interval_of_a_percentile_is_only_so_much_wider():
    """As that of any other number: 2.58 standard errors instead of 1.96, and a little for the error's own doubt."""
    values = np.random.default_rng(3).permutation(np.arange(400.0))
    dates = (np.datetime64("2026-01-01") + np.arange(400)).astype("datetime64[s]")
    widths = []
    for confidence in (0.95, 0.99):
        interval = percentile_interval(values, dates, 0.5, confidence).interval
        widths.append(interval.high - interval.low)
    assert 1.25 < widths[1] / widths[0] < 1.45


@pytest.mark.parametrize(("statistic", "true"), [("mean", 30.0), ("sum", 1440.0), ("share_above", 0.5)])
def test_a_dirty_device_that_falls_silent_does_not_make_the_value_cleaner(statistic, true):
    day = (SPRING - SPRING[0]) // (24 * HOUR)
    there = ~(DURING & (day % 2 == 0))
    clean, dirty = 10 + noise(len(SPRING)), 50 + noise(len(SPRING), 2)
    more = {"statistic": statistic} | ({"threshold": 40.0} if statistic == "share_above" else {})
    found = answer({"clean": (SPRING, clean), "dirty": (SPRING[there], dirty[there])}, asked(**more))
    assert found.intervention.value == pytest.approx(true, rel=0.02)


def test_a_night_that_is_missing_every_day_does_not_change_the_value():
    hour = local(SPRING, "Europe/Oslo").hour
    value, there = np.where(hour < 6, 10.0, 30.0) + noise(len(SPRING), 3, 0.1), ~(DURING & (hour < 6))
    pilot = msgspec.structs.replace(BASE, kpis=[asked()])
    store = store_of({"a": (SPRING[there], value[there])}, {"a": "pm10"})
    got = kpi_value(store, pilot, asked(), int(SPRING[0]), int(SPRING[-1]) + HOUR)
    assert got.value == pytest.approx(25, abs=0.1)


@pytest.mark.parametrize(
    ("statistic", "direction_", "target", "missing", "verdict"),
    [
        ("max", "lower", 30.0, 0.0, "target met"),
        ("max", "lower", 30.0, 0.2, "inconclusive"),
        ("max", "lower", 15.0, 0.2, "target not met"),
        ("min", "higher", 10.0, 0.2, "inconclusive"),
        ("min", "higher", 25.0, 0.2, "target not met"),
    ],
)
def test_an_extreme_is_a_fact_only_while_nothing_is_missing(statistic, direction_, target, missing, verdict):
    there = np.random.default_rng(4).random(len(SPRING)) >= missing
    kpi = asked(statistic=statistic, direction=direction_, target=target)
    found = answer({"a": (SPRING[there], 20 + noise(int(there.sum())))}, kpi)
    assert found.verdict == verdict
    assert (f"evaluation.missing.{statistic}" in [reason.code for reason in found.reasons]) == (missing > 0)


def test_hours_above_say_what_missing_hours_could_make_of_them():
    there = np.random.default_rng(5).random(len(SPRING)) >= 0.2
    kpi = asked(statistic="share_above", threshold=20.0, target=0.9)
    found = answer({"a": (SPRING[there], 20 + noise(int(there.sum())))}, kpi)
    (note,) = [reason for reason in found.reasons if reason.code == "evaluation.missing.bounds"]
    assert note.params["low"] < 0.42 < 0.58 < note.params["high"]


def test_a_device_with_a_single_reading_before_is_not_compared():
    there = DURING | (np.arange(len(SPRING)) == 300)
    series = {"a": (SPRING, 10 + noise(len(SPRING))), "b": (SPRING[there], 80 + noise(int(there.sum())))}
    found = answer(series, asked(minimum_completeness=0.5))
    assert found.intervention.value - found.baseline.value == pytest.approx(found.effect, abs=0.5)
    assert [one.what for one in found.left_out] == ["b"]


def test_a_device_moved_on_day_one_is_named_as_the_reason():
    moved = Event(dt.datetime(2026, 3, 30), "moved", Text(en="moved"), device="a")
    found = answer({"a": (SPRING, 20 + noise(len(SPRING)))}, asked(), events=[moved])
    codes = [reason.code for reason in found.reasons]
    assert codes == ["evaluation.no-paired-device", "evaluation.no-paired-device.remedy"]


CLEAN = 20 + np.random.default_rng(5).normal(size=len(SPRING))
DEVICES = [
    DeviceDefinition("a", interval="PT1H", streams=[StreamDefinition("pm10")]),
    DeviceDefinition("c", group="beside", interval="PT1H", streams=[StreamDefinition("pm10")]),
]


@pytest.mark.parametrize(
    ("series", "more", "reason", "remedy"),
    [
        ({"a": (SPRING[~DURING], CLEAN[~DURING])}, {}, "no-data", "no-data"),
        ({"a": (SPRING[DURING], CLEAN[DURING])}, {}, "no-data", "no-data"),
        ({"a": (SPRING[::2], CLEAN[::2])}, {}, "incomplete", "incomplete"),
        ({"a": (SPRING, CLEAN)}, {"days": ("2026-03-27", "2026-04-27")}, "too-short", "too-short"),
        ({"a": (SPRING, np.full(len(SPRING), 7.0))}, {}, "no-interval", "constant"),
        ({"a": (SPRING, 20.0 - 5 * DURING)}, {}, "no-interval", "constant"),
        ({"a": (SPRING, CLEAN)}, {"control": ["beside"]}, "no-interval", "no-control-data"),
        ({"a": (SPRING, CLEAN), "c": (SPRING[DURING], CLEAN[DURING])}, {"control": ["beside"]}, "no-interval", None),
    ],
)
def test_where_there_is_no_verdict_the_reason_says_what_to_do(series, more, reason, remedy):
    start, end = more.get("days", ("2026-03-02", "2026-04-27"))
    phases = (("a", "baseline", start, "2026-03-30"), ("b", "intervention", "2026-03-30", end))
    kpi = asked(devices=["a"], control=more.get("control", []))
    found = answer(series, kpi, phases, devices=DEVICES)
    codes = [why.code for why in found.reasons]
    assert found.verdict == "insufficient data"
    assert codes[0] == f"evaluation.{reason}"
    assert codes[-1] == f"evaluation.{remedy or 'no-control-data'}.remedy"
    assert codes.count(codes[-1]) == 1, "once, where both phases lack something"


def test_readings_that_come_too_seldom_are_told_from_none():
    time = np.arange(at("2026-03-02"), at("2026-04-27"), HOUR // 6)
    there = (time < at("2026-03-30")) | (time % HOUR == 0)
    found = answer({"a": (time[there], 20 + noise(int(there.sum())))}, asked(), interval="PT10M")
    assert found.reasons[0].code == "evaluation.sparse"
    assert (found.reasons[0].params["received"], found.reasons[0].params["promised"]) == (1.0, 6)


@pytest.mark.parametrize(
    ("start", "end"), [("2026-10-19", "2026-11-02"), ("2026-03-23", "2026-04-06"), ("2026-06-01", "2026-06-15")]
)
def test_a_sum_is_per_local_day_though_days_have_23_or_25_hours(start, end):
    time = hours(start, end)
    kpi = asked(quantity="bicycle_count", statistic="sum")
    devices = [DeviceDefinition("a", interval="PT1H", streams=[StreamDefinition("bicycle_count")])]
    pilot = msgspec.structs.replace(BASE, devices=devices, kpis=[kpi])
    store = store_of({"a": (time, np.full(len(time), 10.0))}, {"a": "bicycle_count"})
    assert kpi_value(store, pilot, kpi, at(start), at(end)).value == pytest.approx(10 * len(time) / 14, abs=1e-9)


@pytest.mark.parametrize(
    ("value", "above"), [(50.0, False), (50.4, False), (50.49, False), (50.5, True), (51.0, True), (49.9, False)]
)
def test_values_are_compared_with_a_limit_in_its_own_accuracy(value, above):
    limit = built_ins()["eu2008-pm10-day"].kpi
    assert is_above(np.array([value]), limit).tolist() == [above]
    plain = Measure(quantity="pm10", threshold=50)
    assert is_above(np.array([value]), plain).tolist() == [value > 50], "a threshold of one's own is as it is"


@pytest.mark.parametrize(("mean", "verdict"), [(20.3, "target met"), (20.7, "target not met")])
def test_an_annual_mean_is_rounded_as_its_limit_is(mean, verdict):
    value = mean + noise(len(SPRING), 6, 0.05)
    assert answer({"a": (SPRING, value)}, built_ins()["no2022-pm10-year"].kpi).verdict == verdict


def test_half_is_rounded_up_and_twenty_degrees_are_warm_enough():
    assert rounded(np.array([0.5, 1.5, 2.5]), 0).tolist() == [1, 2, 3]
    assert is_above(np.array([20.0, 19.9]), built_ins()["en16798-cold"].kpi).tolist() == [True, False]


def test_a_day_of_air_quality_is_of_utc_plus_one_in_summer_too():
    """23:00 in Oslo's summer is 22:00 in UTC+1: its hour belongs to the day before."""
    time = hours("2026-06-01", "2026-06-15")
    local_midnight = (time - time[0]) % (24 * HOUR) == 0
    value = np.where(local_midnight, 24 * 60.0, 0.0)
    limit = built_ins()["no2022-pm10-day"].kpi
    pilot = msgspec.structs.replace(BASE, kpis=[limit])
    store = store_of({"a": (time, value)}, {"a": "pm10"})
    days = kpi_value(store, pilot, limit, int(time[0]), int(time[-1]) + HOUR)
    assert days.samples == 14
    assert days.value == pytest.approx(13 / 14), "the first midnight lies in a UTC+1 day before the range"


@pytest.mark.parametrize("degrees", [-1e-15, 0.0, 359.9, 360.0, -90.0, 720.5])
def test_a_direction_lies_in_0_to_360(degrees):
    assert 0 <= direction(degrees) < 360


# -- Devices that are retired.


def two_boxes(retired: str | None, until: str):
    """A clean street (10) and a dirty one (50) whose box sends nothing from a date on."""
    common = 2 * np.random.default_rng(3).normal(size=56)[(SPRING - SPRING[0]) // (24 * HOUR) % 56]
    sent = at(until) > SPRING
    devices = [
        DeviceDefinition("a", interval="PT1H", streams=[StreamDefinition("pm10")]),
        DeviceDefinition(
            "b",
            interval="PT1H",
            streams=[StreamDefinition("pm10")],
            retired=None if retired is None else dt.datetime.fromisoformat(retired),
        ),
    ]
    kpi = Kpi(id="dust", title=Text(en="Dust"), quantity="pm10", minimum_completeness=0.9)
    return answer({"a": (SPRING, 10 + common), "b": (SPRING[sent], (50 + common)[sent])}, kpi, devices=devices)


def test_nothing_is_expected_of_a_device_that_was_retired():
    silent, retired = two_boxes(None, "2026-04-13"), two_boxes("2026-04-13", "2026-04-13")
    assert silent.verdict == "insufficient data"
    assert "75 % complete" in silent.reasons[0].en
    assert retired.intervention.completeness == 1.0
    assert retired.intervention.value == pytest.approx(30, abs=1.5), "as if the dirty street had gone on"
    assert abs(retired.effect) < 2
    assert retired.verdict == "inconclusive"


def test_what_a_retired_device_still_sends_is_not_used():
    assert two_boxes("2026-04-13", "2026-04-27").intervention == two_boxes("2026-04-13", "2026-04-13").intervention


def test_a_device_that_was_retired_before_the_intervention_is_left_out():
    found = two_boxes("2026-03-30", "2026-03-30")
    assert [one.what for one in found.left_out] == ["b"]
    assert found.baseline.value == pytest.approx(10, abs=1)

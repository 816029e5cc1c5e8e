"""How many readings make a sample, how many hours a day, and what a table of samples holds."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest

from techport_pilots.evaluation import samples as module
from techport_pilots.evaluation.samples import (
    BucketColumns,
    Period,
    SamplePlan,
    Samples,
    completeness_of,
    dates,
    day_numbers,
    device_codes,
    read_buckets,
    read_samples,
    samples_frame,
)
from techport_pilots.model import Measure
from techport_pilots.quality.completeness import MINIMUM_COVER, enough_readings
from techport_pilots.time import day_starts, local, month_starts
from techport_storage.microseconds import DAY, HOUR, MINUTE
from techport_storage.model import Batch, Stream
from techport_storage.store import open_store

OSLO = "Europe/Oslo"
BOX, POST = Stream("p", "box", "pm10"), Stream("p", "post", "pm10")
MIDNIGHT = int(dt.datetime(2026, 3, 2, tzinfo=ZoneInfo(OSLO)).timestamp()) * 1_000_000  # a Monday
TWO_WEEKS = 14 * DAY


@pytest.fixture
def store():
    store = open_store("duckdb://")
    yield store
    store.close()


def write(store, times, values=1.0, stream=BOX, quality=0):
    times = np.asarray(times, np.int64)
    values = np.broadcast_to(np.asarray(values, float), times.shape).copy()
    flags = np.full(len(times), quality, np.uint8)
    store.write(Batch([stream], np.zeros(len(times), np.int32), times, values, times, flags))


def plan(*, aggregation="mean", streams=(BOX,), every: int | None = 10 * MINUTE, excluded=None, **measure):
    """A plan of one device "box", or of a device for each stream."""
    devices = {stream.device: [stream] for stream in streams}
    intervals = {} if every is None else dict.fromkeys(streams, every)
    return SamplePlan(Measure(quantity="pm10", **measure), devices, aggregation, intervals, excluded or {})


def hours(*numbers):
    """The first reading of each of these hours since midnight."""
    return MIDNIGHT + HOUR * np.array(numbers)


# -- How many readings are enough


@pytest.mark.parametrize(
    ("readings", "expected", "enough"),
    [
        (4, 4, True),
        (3, 4, True),
        (2, 4, False),
        (45, 60, True),
        (44, 60, False),
        (42, 60, False),
        (36, 60, False),
        (75, 100, True),
        (74, 100, False),
        (1, 1, True),
        (0, 1, False),
        (1, 0.5, True),
        (1, 0.0, True),
        (0, 0.0, False),
        (0, 0.5, False),
        (1, 1.3, True),
        (1, 1.4, False),
    ],
)
def test_three_quarters_of_the_readings_stand_for_an_hour(readings, expected, enough):
    """45 minutes of an hour, as 2008/50/EC annex XI has it; 44 do not."""
    assert enough_readings(np.array([readings]), expected).tolist() == [enough]
    assert enough_readings(np.array([readings, readings]), np.array([expected, 1e9])).tolist() == [enough, False]


def test_the_share_is_that_of_the_directive():
    assert MINIMUM_COVER == 0.75


@pytest.mark.parametrize(("readings", "counts"), [(60, True), (45, True), (44, False), (42, False), (36, False)])
def test_an_hour_with_fewer_than_three_quarters_of_its_readings_is_missing(store, readings, counts):
    write(store, MIDNIGHT + MINUTE * np.arange(readings), 10)
    write(store, MIDNIGHT + HOUR + MINUTE * np.arange(60), 20)
    samples = read_samples(store, plan(every=MINUTE), [(MIDNIGHT, MIDNIGHT + 2 * HOUR)], OSLO)
    assert samples.value.tolist() == ([10, 20] if counts else [20])
    assert samples.completeness == (1.0 if counts else 0.5)


@pytest.mark.parametrize(("in_day", "counts"), [(24, True), (18, True), (17, False), (15, False), (1, False)])
def test_a_day_with_fewer_than_three_quarters_of_its_hours_is_missing(store, in_day, counts):
    write(store, hours(*range(in_day)), 10)
    write(store, hours(*range(24, 48)), 20)
    daily = plan(every=HOUR, interval="P1D")
    samples = read_samples(store, daily, [(MIDNIGHT, MIDNIGHT + 2 * DAY)], OSLO)
    assert samples.value.tolist() == ([10, 20] if counts else [20])
    assert samples.periods[0] == Period(len(samples), 2, 1.0)
    assert samples.completeness == (1.0 if counts else 0.5)


@pytest.mark.parametrize(("in_day", "counts"), [(4, True), (3, True), (2, False)])
def test_a_day_is_asked_only_for_the_hours_of_its_measure(store, in_day, counts):
    write(store, hours(*range(8, 8 + in_day)), 10)
    write(store, hours(0, 1, 2, 3, 15, 16, 17, 18, 19, 20), 500)
    samples = read_samples(store, plan(every=HOUR, interval="P1D", hours=(8, 12)), [(MIDNIGHT, MIDNIGHT + DAY)], OSLO)
    assert samples.value.tolist() == ([10] if counts else [])


def test_a_stream_that_promised_nothing_needs_one_reading(store):
    write(store, [MIDNIGHT + 30 * MINUTE], 7)
    samples = read_samples(store, plan(every=None), [(MIDNIGHT, MIDNIGHT + 3 * HOUR)], OSLO)
    assert samples.value.tolist() == [7]
    assert samples.periods == (Period(1, 3, 3.0),)


# -- Tables and periods


def test_completeness_of_several_periods_is_of_all_that_was_expected():
    assert completeness_of([Period(5, 10, 24.0), Period(10, 30, 24.0)]) == 15 / 40
    assert completeness_of([Period(12, 10, 24.0)]) == 1.0
    assert completeness_of([Period(0, 0, 24.0)]) == 0.0
    assert completeness_of([]) == 0.0


def test_samples_say_how_many_there_are_in_an_ordinary_day():
    empty = samples_frame(["a"], [np.empty(0, kind) for kind in (np.int64, np.int64, np.int64, float, float)])
    assert Samples(empty, ()).per_day == 0.0
    assert Samples(empty, (Period(0, 1, 2.0), Period(0, 1, 24.0), Period(0, 1, 4.0))).per_day == 24.0
    assert len(Samples(empty, ())) == 0


def test_days_and_dates_are_each_others_opposite():
    days = np.array([-1, 0, 1, 20_514])
    assert [str(date)[:10] for date in dates(days)] == ["1969-12-31", "1970-01-01", "1970-01-02", "2026-03-02"]
    assert day_numbers(pd.DatetimeIndex(dates(days))).tolist() == days.tolist()


def test_a_row_for_each_sample_with_its_device_day_and_hour(store):
    write(store, hours(0, 1, 23, 24), [1, 2, 3, 4])
    write(store, hours(5), 9, POST)
    several = plan(every=HOUR, streams=(BOX, POST))
    samples = read_samples(store, several, [(MIDNIGHT, MIDNIGHT + DAY), (MIDNIGHT + DAY, MIDNIGHT + 2 * DAY)], OSLO)
    table = samples.to_frame()
    assert table["device"].tolist() == ["box", "box", "box", "post", "box"]
    assert device_codes(table).tolist() == [0, 0, 0, 1, 0]
    assert table["hour"].tolist() == [0, 1, 23, 5, 0]
    assert table["value"].tolist() == [1, 2, 3, 9, 4]
    assert [str(day)[:10] for day in table["day"]] == [*["2026-03-02"] * 4, "2026-03-03"]
    assert table.index.asi8.tolist() == hours(0, 1, 23, 5, 24).tolist()
    assert samples.periods == (Period(4, 48, 24.0), Period(1, 48, 24.0))


def test_without_a_period_there_are_no_samples(store):
    write(store, hours(0))
    samples = read_samples(store, plan(), [], OSLO)
    assert (len(samples), samples.completeness, samples.per_day) == (0, 0.0, 0.0)
    assert samples.to_frame()["device"].cat.categories.tolist() == ["box"]


def test_only_samples_that_lie_in_the_period_as_a_whole_count(store):
    write(store, MIDNIGHT + 10 * MINUTE * np.arange(24), np.repeat([1, 2, 3, 4], 6))
    period = (MIDNIGHT + 10 * MINUTE, MIDNIGHT + 4 * HOUR - 10 * MINUTE)
    samples = read_samples(store, plan(), [period], OSLO)
    assert samples.value.tolist() == [2, 3]
    assert samples.periods == (Period(2, 2, 2.0),)
    exact = read_samples(store, plan(), [(MIDNIGHT, MIDNIGHT + 4 * HOUR)], OSLO)
    assert exact.value.tolist() == [1, 2, 3, 4]
    less_than_one = read_samples(store, plan(), [(MIDNIGHT + MINUTE, MIDNIGHT + HOUR)], OSLO)
    assert (len(less_than_one), less_than_one.completeness) == (0, 0.0)


def test_samples_are_of_the_measures_hours_and_weekdays(store):
    write(store, MIDNIGHT + HOUR * np.arange(14 * 24), np.arange(14 * 24) % 24)
    rush = plan(every=HOUR, hours=(7, 9), weekdays=["tue"])
    samples = read_samples(store, rush, [(MIDNIGHT, MIDNIGHT + TWO_WEEKS)], OSLO)
    assert samples.to_frame()["hour"].tolist() == [7, 8, 7, 8]
    assert set(samples.to_frame().index.day_of_week) == {1}
    assert samples.periods == (Period(4, 4, 2.0),)


def test_days_outside_the_measures_weekdays_are_not_expected(store):
    write(store, MIDNIGHT + HOUR * np.arange(14 * 24), 5)
    tuesdays = plan(every=HOUR, interval="P1D", weekdays=["tue"])
    samples = read_samples(store, tuesdays, [(MIDNIGHT, MIDNIGHT + TWO_WEEKS)], OSLO)
    assert samples.value.tolist() == [5, 5]
    assert samples.periods == (Period(2, 2, 1.0),)
    one_hour = plan(every=HOUR, interval="P1D", weekdays=["tue"], hours=(8, 9))
    assert read_samples(store, one_hour, [(MIDNIGHT, MIDNIGHT + TWO_WEEKS)], OSLO).periods == (Period(2, 2, 1.0),)


def test_excluded_windows_are_half_open(store):
    write(store, hours(*range(6)), np.arange(6))
    window = (MIDNIGHT + HOUR, MIDNIGHT + 3 * HOUR)
    left_out = plan(every=HOUR, excluded={"box": [window, (MIDNIGHT + 5 * HOUR, MIDNIGHT + 9 * HOUR)]})
    samples = read_samples(store, left_out, [(MIDNIGHT, MIDNIGHT + 6 * HOUR)], OSLO)
    assert samples.value.tolist() == [0, 3, 4]
    assert samples.periods == (Period(3, 3, 6.0),)
    of_another = plan(every=HOUR, excluded={"post": [window]})
    assert len(read_samples(store, of_another, [(MIDNIGHT, MIDNIGHT + 6 * HOUR)], OSLO)) == 6


def test_flagged_readings_are_not_used(store):
    write(store, hours(0, 1), [1, 2])
    write(store, hours(2, 3), [99, 99], quality=1)
    for aggregation in ("mean", "energy", "vector"):
        samples = read_samples(store, plan(every=HOUR, aggregation=aggregation), [(MIDNIGHT, MIDNIGHT + DAY)], OSLO)
        assert samples.value == pytest.approx([1, 2])


# -- What samples are made of


def test_streams_of_a_device_are_added_up(store):
    lanes = [Stream("p", "box", f"count.{lane}") for lane in (1, 2)]
    write(store, hours(0, 1, 2), [1, 2, 3], lanes[0])
    write(store, hours(0, 2), [10, 30], lanes[1])
    both = SamplePlan(Measure(quantity="count"), {"box": lanes}, "sum", dict.fromkeys(lanes, HOUR))
    samples = read_samples(store, both, [(MIDNIGHT, MIDNIGHT + 3 * HOUR)], OSLO)
    assert samples.value.tolist() == [11, 33], "a lane is missing at one o'clock: so is the sum"


@pytest.mark.parametrize(("aggregation", "value"), [("sum", 6 * 2.5), ("mean", 2.5), ("max", 4.0), ("min", 1.0)])
def test_missing_readings_of_a_sum_are_taken_to_be_like_the_others(store, aggregation, value):
    """Of six readings an hour five came: the sum grows by a fifth. Other aggregates are what they are."""
    write(store, MIDNIGHT + 10 * MINUTE * np.arange(5), [1, 2, 3, 4, 2.5])
    samples = read_samples(store, plan(aggregation=aggregation), [(MIDNIGHT, MIDNIGHT + HOUR)], OSLO)
    assert samples.value == pytest.approx([value])


def test_readings_beyond_the_promised_ones_do_not_make_a_sum_smaller(store):
    write(store, MIDNIGHT + 5 * MINUTE * np.arange(12), 1)
    samples = read_samples(store, plan(aggregation="sum"), [(MIDNIGHT, MIDNIGHT + HOUR)], OSLO)
    assert samples.value.tolist() == [12]


def test_a_sum_of_readings_that_come_more_seldom_than_samples_is_not_scaled(store):
    write(store, hours(0), 5)
    for every in (2 * HOUR, None):
        samples = read_samples(store, plan(aggregation="sum", every=every), [(MIDNIGHT, MIDNIGHT + 2 * HOUR)], OSLO)
        assert samples.value.tolist() == [5]
    hourly = read_samples(store, plan(aggregation="sum", every=HOUR), [(MIDNIGHT, MIDNIGHT + HOUR)], OSLO)
    assert hourly.value.tolist() == [5]


def test_counts_are_none_while_the_device_is_online_and_unknown_otherwise(store):
    door, battery = Stream("p", "box", "door"), Stream("p", "box", "battery")
    write(store, hours(0, 24), 90, battery)
    write(store, [*hours(3), *(hours(3) + MINUTE), *hours(25)], 1, door)
    counted = SamplePlan(Measure(quantity="door", statistic="count", interval="PT12H"), {"box": [door]}, "sum", {})
    samples = read_samples(store, counted, [(MIDNIGHT - HOUR * 11, MIDNIGHT + HOUR * 61)], OSLO)
    table = samples.to_frame()
    by_day = table.groupby("day")["value"].sum()
    assert [str(day)[:10] for day in by_day.index] == ["2026-03-02", "2026-03-03"]
    assert by_day.tolist() == [2, 1]


@pytest.mark.parametrize(
    ("aggregation", "value"),
    [
        ("mean", 11.5),
        ("max", 23.0),
        ("min", 0.0),
        ("sum", 11.5 * 24),
        ("max_8h", 19.5),
        ("energy", 10 * np.log10(np.mean(10 ** (np.arange(24) / 10)))),
    ],
)
def test_days_are_made_of_hours(store, aggregation, value):
    write(store, hours(*range(24)), np.arange(24))
    daily = plan(every=HOUR, interval="P1D", aggregation=aggregation)
    samples = read_samples(store, daily, [(MIDNIGHT, MIDNIGHT + DAY)], OSLO)
    assert samples.value == pytest.approx([value])
    table = samples.to_frame()
    assert table["hour"].tolist() == [0]
    assert table.index.asi8.tolist() == [MIDNIGHT]


def test_the_hours_that_are_missing_in_a_daily_sum_are_like_the_others(store):
    write(store, hours(*range(20)), 3)
    daily = plan(every=HOUR, interval="P1D", aggregation="sum")
    assert read_samples(store, daily, [(MIDNIGHT, MIDNIGHT + DAY)], OSLO).value == pytest.approx([72])


def test_a_days_mean_direction_is_that_of_its_vectors(store):
    write(store, hours(*range(24)), np.where(np.arange(24) % 2, 350, 20))
    daily = plan(every=HOUR, interval="P1D", aggregation="vector")
    assert read_samples(store, daily, [(MIDNIGHT, MIDNIGHT + DAY)], OSLO).value == pytest.approx([5])


def test_lden_weighs_day_evening_and_night(store):
    """Each hour on the border belongs to the part that it begins."""
    quiet = np.full(24, 40.0)
    write(store, hours(*range(24)), quiet)
    daily = plan(every=HOUR, interval="P1D", aggregation="lden")
    base = read_samples(store, daily, [(MIDNIGHT, MIDNIGHT + DAY)], OSLO).value[0]
    assert base == pytest.approx(10 * np.log10((12 + 4 * 10**0.5 + 8 * 10) / 24) + 40)
    for hour, penalty in ((6, 10), (7, 0), (18, 0), (19, 5), (22, 5), (23, 10), (0, 10)):
        loud = quiet.copy()
        loud[hour] = 70.0
        fresh = open_store("duckdb://")
        write(fresh, hours(*range(24)), loud)
        level = read_samples(fresh, daily, [(MIDNIGHT, MIDNIGHT + DAY)], OSLO).value[0]
        fresh.close()
        power = np.where(
            np.isin(np.arange(24), range(7, 19)), 0, np.where(np.isin(np.arange(24), range(19, 23)), 5, 10)
        )
        assert power[hour] == penalty
        assert level == pytest.approx(10 * np.log10(np.mean(10 ** ((loud + power) / 10))))


@pytest.mark.parametrize(("missing", "highest"), [(0, 19.5), (2, 19.5), (3, None)])
def test_a_running_mean_needs_six_of_its_eight_hours(store, missing, highest):
    """Two hours missing in a row leave a running mean at 19 hours of the day, three at 13 only: too few for a day."""
    there = [hour for hour in range(24) if not 8 <= hour < 8 + missing]
    write(store, hours(*there), there)
    running = plan(every=HOUR, interval="P1D", aggregation="max_8h")
    values = read_samples(store, running, [(MIDNIGHT, MIDNIGHT + DAY)], OSLO).value.tolist()
    assert values == ([] if highest is None else [highest])


def test_the_day_of_a_clock_change_begins_at_its_own_midnight(store):
    start = int(day_starts(np.array([20_541, 20_542]), OSLO)[0])  # 29 March 2026 has 23 hours
    end = int(day_starts(np.array([20_542]), OSLO)[0])
    assert (end - start) // HOUR == 23
    assert local(np.array([start]), OSLO).day.tolist() == [20_541]
    write(store, np.arange(start, end, HOUR), 2)
    daily = plan(every=HOUR, interval="P1D", aggregation="sum")
    samples = read_samples(store, daily, [(start, end)], OSLO)
    assert samples.value.tolist() == [46]
    assert samples.to_frame().index.asi8.tolist() == [start]


# -- Buckets


def test_buckets_are_those_of_the_store_whatever_number_of_streams_is_read_at_once(store, monkeypatch):
    streams = [Stream("p", f"box-{i}", "pm10") for i in range(5)]
    for i, stream in enumerate(streams[:4]):
        write(store, MIDNIGHT + 30 * MINUTE * np.array([0, 1, 2, 6]), [i, i + 1, i + 2, i + 3], stream)
    window = (MIDNIGHT, MIDNIGHT + 4 * HOUR)
    expected = read_buckets(store, streams, window, HOUR, "mean")
    assert set(expected) == set(streams[:4])
    for i, stream in enumerate(streams[:4]):
        assert expected[stream].place.tolist() == [0, 1, 3]
        assert expected[stream].value.tolist() == [i + 0.5, i + 2, i + 3]
        assert expected[stream].readings.tolist() == [2, 1, 1]
    asked = []
    monkeypatch.setattr(type(store), "read", counted(type(store).read, asked))
    for rows, queries in ((4, 5), (8, 3), (1, 5), (20, 1)):
        monkeypatch.setattr(module, "ROWS_AT_ONCE", rows)
        asked.clear()
        again = read_buckets(store, streams, window, HOUR, "mean")
        assert {stream: columns.value.tolist() for stream, columns in again.items()} == {
            stream: columns.value.tolist() for stream, columns in expected.items()
        }
        assert len(asked) == queries


def counted(read, asked):
    """`read` that notes each query."""

    def reading(store, query):
        asked.append(query)
        return read(store, query)

    return reading


@pytest.mark.parametrize(("aggregation", "first"), [("energy", 80 - 10 * np.log10(2)), ("vector", None)])
def test_energy_and_vectors_are_made_of_every_reading(store, aggregation, first):
    write(store, [*hours(1), *(hours(1) + MINUTE), *hours(3)], [80.0, -100.0, 60.0])
    [columns] = read_buckets(store, [BOX], (MIDNIGHT, MIDNIGHT + DAY), HOUR, aggregation).values()
    assert isinstance(columns, BucketColumns)
    assert columns.place.tolist() == [1, 3]
    assert columns.readings.tolist() == [2, 1]
    assert columns.value[1] == pytest.approx(60)
    if first is None:
        assert np.isnan(columns.value[0]), "80 and -100 degrees point in opposite directions"
    else:
        assert columns.value[0] == pytest.approx(first)
    empty = read_buckets(store, [POST], (MIDNIGHT, MIDNIGHT + DAY), HOUR, aggregation)[POST]
    assert len(empty.place) == len(empty.value) == len(empty.readings) == 0


def test_months_begin_at_local_midnight_within_the_range():
    """Of summer and winter time; the start of the range counts, its end does not."""
    winter, summer = (dt.timezone(dt.timedelta(hours=hours)) for hours in (1, 2))
    firsts = [dt.datetime(2026, month, 1, tzinfo=winter if month == 3 else summer) for month in (3, 4, 5)]
    march, april, may = (int(first.timestamp()) * 1_000_000 for first in firsts)
    assert month_starts(march, may, "Europe/Oslo") == [march, april]
    assert month_starts(march + 1, may + 1, "Europe/Oslo") == [april, may]

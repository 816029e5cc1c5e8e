"""Completeness: expected against observed, whatever devices do."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from techport_pilots.model import (
    DeviceDefinition,
    EarlierInterval,
    Event,
    Phase,
    PilotDefinition,
    StreamDefinition,
    Text,
)
from techport_pilots.quality.completeness import (
    Promise,
    by_device,
    earlier_promises,
    gaps,
    phase_completeness,
    pilot_intervals,
    promised_windows,
    since_start,
    stream_completeness,
    together,
)
from techport_storage.coverage import coverage_by_reading
from techport_storage.duckdb import coverage
from techport_storage.microseconds import MINUTE
from techport_storage.model import Batch, Selection, Stream
from techport_storage.store import open_store

STEP = 10 * MINUTE
START = int(dt.datetime(2026, 3, 1, tzinfo=dt.UTC).timestamp()) * 1_000_000
STREAM = Stream("p", "box", "pm10")


@pytest.fixture
def store():
    store = open_store("duckdb://")
    yield store
    store.close()


@pytest.fixture(scope="module")
def used_store():
    """A store for many examples, each of which erases what others left: opening one takes longer than an example."""
    store = open_store("duckdb://")
    yield store
    store.close()


def write(store, times, stream=STREAM, flagged=0):
    times = np.asarray(times, np.int64)
    n = len(times)
    quality = (np.arange(n) < flagged).astype(np.uint8)
    store.write(Batch([stream], np.zeros(n, np.int32), times, np.ones(n), times, quality))


def of(store, start=START, end=START + 100 * STEP, interval=STEP):
    return stream_completeness(store, {STREAM: interval}, start, end)[STREAM]


@pytest.mark.dates
def test_every_reading_there_is_a_hundred_per_cent(store):
    write(store, START + STEP * np.arange(100))
    found = of(store)
    assert (found.expected, found.observed, found.share, found.longest_gap) == (100, 100, 1.0, 0)
    assert gaps(store, STREAM, STEP, START, START + 100 * STEP) == []


def test_each_time_counts_by_the_interval_that_was_promised_then(store):
    until = START + 50 * STEP
    earlier = {STREAM: [Promise(START - STEP, STEP // 7), Promise(until, 5 * STEP)]}
    kept = [*range(START, until, 5 * STEP), *range(until, START + 100 * STEP, STEP)]
    write(store, [time for time in kept if time not in (START + 10 * STEP, until + STEP)])
    found = stream_completeness(store, {STREAM: STEP}, START, START + 100 * STEP, earlier)[STREAM]
    assert (found.expected, found.observed, found.readings) == (60, 58, 58)
    assert found.longest_gap == 10 * STEP
    assert gaps(store, STREAM, STEP, START, START + 100 * STEP, earlier[STREAM]) == [
        (START + 5 * STEP, START + 15 * STEP, 1),
        (until, until + 2 * STEP, 1),
    ]
    assert of(store).share == pytest.approx(0.58)  # by the present interval alone, most of it would be missing


def test_a_day_counts_as_a_day_however_often_was_sent_then(store):
    """Nine tenths of the time each step, the last tenth ten times as often, and there silent."""
    write(store, START + STEP * np.arange(90))
    earlier = {STREAM: [Promise(START + 90 * STEP, STEP)]}
    found = stream_completeness(store, {STREAM: STEP // 10}, START, START + 100 * STEP, earlier)[STREAM]
    assert (found.observed, found.expected) == (90, 190)
    assert found.share == pytest.approx(0.9)


def test_a_pilot_remembers_what_its_devices_promised_before():
    before = EarlierInterval(dt.datetime(2026, 3, 1, tzinfo=dt.UTC), "PT1H")
    streams = [StreamDefinition("pm10"), StreamDefinition("pm25", interval="PT5M")]
    device = DeviceDefinition("box", interval="PT10M", previous=[before], streams=streams)
    pilot = PilotDefinition("p", Text(), Text(), [device, DeviceDefinition("other", interval="PT1M")])
    promise = Promise(START, 60 * MINUTE)
    assert earlier_promises(pilot) == {STREAM: (promise,), Stream("p", "box", "pm25"): (promise,)}
    assert promised_windows(STEP, [promise], START - 5, START + 7) == [
        (START - 5, START, 60 * MINUTE),
        (START, START + 7, STEP),
    ]
    assert promised_windows(STEP, [promise], START, START + 7) == [(START, START + 7, STEP)]
    assert promised_windows(STEP, [promise], START - 9, START - 2) == [(START - 9, START - 2, 60 * MINUTE)]


def test_nothing_there_is_nought_and_one_gap(store):
    found = of(store)
    assert (found.expected, found.observed, found.share, found.first) == (100, 0, 0.0, None)
    assert found.longest_gap == 100 * STEP
    assert gaps(store, STREAM, STEP, START, START + 100 * STEP) == [(START, START + 100 * STEP, 100)]


@pytest.mark.heavy
@settings(max_examples=60, deadline=None)
@given(
    st.sets(st.integers(0, 99), min_size=1),
    st.lists(st.integers(0, 99), max_size=20),
    st.integers(0, STEP - 1),
    st.integers(0, 10_000),
)
def test_it_counts_the_slots_that_hold_a_reading(used_store, slots, again, offset, seed):
    """A tenth early or late, twice or not: the share is that of the slots."""
    used_store.erase(Selection())
    random = np.random.default_rng(seed)
    offset = min(max(offset, STEP // 8), STEP - STEP // 8)
    slots = np.array(sorted(slots))
    jitter = random.integers(-STEP // 10, STEP // 10, 100)
    times = START + STEP * slots + offset + jitter[slots]
    extra = np.array([slot for slot in again if slot in slots], np.int64)
    twice = START + STEP * extra + offset + jitter[extra] + 1_000_000
    write(used_store, np.concatenate([times, twice]))
    found = of(used_store)
    missing = gaps(used_store, STREAM, STEP, START, START + 100 * STEP)
    assert found.observed == len(slots)
    assert sum(gap.missing for gap in missing) == 100 - len(slots)
    assert found.longest_gap == max((gap.end - gap.start for gap in missing), default=0)


def test_sending_faster_never_makes_more_than_a_hundred_per_cent(store):
    write(store, START + MINUTE * np.arange(500))  # ten times as often, but for half the time
    found = of(store)
    assert (found.readings, found.observed, found.expected) == (500, 50, 100)


def test_the_flagged_share_is_of_the_readings_there_are(store):
    write(store, START + STEP * np.arange(0, 100, 2), flagged=10)
    assert of(store).flagged_share == 0.2
    assert of(store).observed == 50


def test_no_readings_have_no_flagged_share(store):
    assert of(store).flagged_share == 0


def test_a_period_shorter_than_the_interval_expects_one_reading(store):
    write(store, [START + MINUTE])
    short = of(store, end=START + 2 * MINUTE)
    assert (short.expected, short.observed, short.share) == (1, 1, 1.0)


def test_a_stream_that_promised_nothing_has_no_share(store):
    write(store, START + STEP * np.array([3, 50]))
    found = of(store, interval=None)
    assert (found.expected, found.share, found.readings) == (None, None, 2)


def test_an_empty_period_is_refused(store):
    with pytest.raises(ValueError, match="period"):
        of(store, START, START)


@pytest.mark.dates
def test_devices_phases_and_pilot_are_sums(store):
    begin = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
    device = DeviceDefinition(
        "box", interval="PT10M", streams=[StreamDefinition("pm10"), StreamDefinition("no2", "PT1H")]
    )
    pilot = PilotDefinition(
        "p",
        Text(en="P"),
        Text(en="Q?"),
        [device],
        phases=[
            Phase("before", "baseline", begin, begin + dt.timedelta(days=1)),
            Phase("after", "intervention", begin + dt.timedelta(days=1), begin + dt.timedelta(days=2)),
            Phase("later", "other", begin + dt.timedelta(days=2), begin + dt.timedelta(days=3)),
        ],
    )
    write(store, START + STEP * np.arange(144))
    write(store, START + 6 * STEP * np.arange(36), Stream("p", "box", "no2"))
    end = START + 2 * 144 * STEP
    streams = stream_completeness(store, pilot_intervals(pilot), START, end)
    assert by_device(streams)["box"] == together(streams.values())
    assert (together(streams.values()).expected, together(streams.values()).observed) == (288 + 48, 144 + 36)
    phases = phase_completeness(store, pilot, now=end)
    assert {name: (one.observed, one.expected) for name, one in phases.items()} == {
        "before": (144 + 24, 144 + 24),
        "after": (12, 144 + 24),
    }


@pytest.mark.dates
def test_a_phase_that_is_running_is_judged_up_to_now(store):
    begin = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
    phase = Phase("before", "baseline", begin, begin + dt.timedelta(days=30))
    device = DeviceDefinition("box", interval="PT10M", streams=[StreamDefinition("pm10")])
    pilot = PilotDefinition("p", Text(en="P"), Text(en="Q?"), [device], phases=[phase])
    write(store, START + STEP * np.arange(144))
    assert phase_completeness(store, pilot, now=START + 144 * STEP)["before"].share == 1.0


@pytest.mark.heavy
@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 10_000), max_size=40), min_size=1, max_size=7),
    st.integers(1, 2000),
    st.sampled_from([5, 1_000_000]),
)
def test_the_store_and_its_readings_know_the_same_coverage(used_store, streams, interval, slice_rows):
    """Cut into slices of five rows, streams are cut in time and joined again."""
    store = used_store
    store.erase(Selection())
    intervals = {}
    for i, times in enumerate(streams):
        stream = Stream("p", f"d{i}", "pm10")
        intervals[stream] = interval
        write(store, START + np.array(times, np.int64), stream, flagged=len(times) // 2)
    some = dict(list(intervals.items())[::3])  # streams between which others lie
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coverage, "COUNTED", slice_rows)
        assert store.coverage(some, START, START + 5_000) == coverage_by_reading(store, some, START, START + 5_000)
        for start, end in ((START, START + 10_001), (START + 2_000, START + 7_000)):
            assert store.coverage(intervals, start, end) == coverage_by_reading(store, intervals, start, end)


def test_a_device_counts_from_the_later_of_the_pilots_start_and_its_deployment(store):
    """One that was installed half way is not half incomplete, and one that has not been installed says nothing."""
    devices = [
        DeviceDefinition(id=name, interval="PT10M", streams=[StreamDefinition(quantity="pm10")])
        for name in ("first", "second", "third")
    ]
    installed = [
        Event(time=moment(START + 50 * STEP), kind="installed", text=Text(), device="second"),
        Event(time=moment(START + 500 * STEP), kind="installed", text=Text(), device="third"),
    ]
    pilot = PilotDefinition(
        id="p",
        title=Text(),
        question=Text(),
        devices=devices,
        events=installed,
        phases=[Phase(name="one", kind="baseline", start=moment(START), end=moment(START + 100 * STEP))],
    )
    write(store, START + STEP * np.arange(100), Stream("p", "first", "pm10"))
    write(store, START + STEP * np.arange(50, 100), Stream("p", "second", "pm10"))
    found = since_start(store, pilot, START + 200 * STEP)
    assert (found.since, found.until) == (START, START + 100 * STEP)
    assert (found.whole.expected, found.whole.observed) == (150, 150)
    assert phase_completeness(store, pilot, START + 200 * STEP)["one"].share == 1
    running = since_start(store, pilot, START + 60 * STEP)
    assert (running.whole.expected, running.whole.share) == (70, 1)


def moment(instant):
    return dt.datetime.fromtimestamp(instant / 1e6, dt.UTC)

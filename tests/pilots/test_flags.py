"""Quality flags: what each means, that parts and the whole agree, and that values never change."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from techport_pilots.model import DeviceDefinition, Event, Exclusion, PilotDefinition, StreamDefinition, Text
from techport_pilots.quality.flags import Flagger, Rule, Rules, moves_of, reflag
from techport_storage.microseconds import HOUR, MINUTE
from techport_storage.model import Batch, Quality, Query, Stream
from techport_storage.store import open_store

START = int(dt.datetime(2026, 3, 1, tzinfo=dt.UTC).timestamp()) * 1_000_000
STREAM = Stream("p", "box", "pm10")


def batch(values, *, stream=STREAM, start=START, step=10 * MINUTE, quality=0):
    n = len(values)
    time = start + step * np.arange(n, dtype=np.int64)
    return Batch(
        [stream], np.zeros(n, np.int32), time, np.array(values, float), time + 1_000_000, np.full(n, quality, np.uint8)
    )


def pilot(**more):
    device = DeviceDefinition(
        "box", interval="PT10M", streams=[StreamDefinition("pm10"), StreamDefinition("bicycle_count")]
    )
    return PilotDefinition("p", Text(en="P"), Text(en="Q?"), [device], **more)


def wander(n, seed=1):
    return 20 + np.random.default_rng(seed).normal(0, 1, n).round(2)


def test_a_value_outside_its_range_is_flagged_and_kept():
    one = batch([10.0, -16.0, 4000.0])
    flags = Flagger(Rules(pilot())).flags(one)
    assert flags.tolist() == [0, Quality.RANGE, Quality.RANGE]
    assert one.value.tolist() == [10.0, -16.0, 4000.0]


def test_noise_around_zero_is_not_cut_off_on_one_side():
    noise = np.random.default_rng(3).normal(0.5, 3, 2_000).round(1)
    assert (noise < 0).mean() > 0.3
    assert not (Flagger(Rules(pilot())).flags(batch(noise)) & Quality.RANGE).any()


def test_a_range_that_a_definition_sets_is_kept_as_it_is():
    device = DeviceDefinition("box", streams=[StreamDefinition("pm10", range=(0, 500))])
    flags = Flagger(Rules(PilotDefinition("p", Text(), Text(), [device]))).flags(batch([-0.1, 0.0]))
    assert flags.tolist() == [Quality.RANGE, 0]


def test_a_lone_spike_is_flagged_and_its_neighbours_are_not():
    values = wander(60)
    values[40] = 90
    flags = Flagger(Rules(pilot())).flags(batch(values))
    assert np.flatnonzero(flags & Quality.SPIKE).tolist() == [40]


def test_ordinary_noise_is_rarely_a_spike():
    flags = Flagger(Rules(pilot())).flags(batch(wander(20_000)))
    assert np.mean(flags & Quality.SPIKE != 0) < 0.001


def test_counts_may_jump():
    values = np.zeros(100)
    values[50] = 400
    flags = Flagger(Rules(pilot())).flags(batch(values, stream=Stream("p", "box", "bicycle_count")))
    assert not flags.any()


def test_a_value_that_stands_still_for_six_hours_is_stuck_from_then_on():
    values = np.concatenate([wander(20), np.full(60, 21.37), wander(5)])
    flags = Flagger(Rules(pilot())).flags(batch(values))
    assert np.flatnonzero(flags & Quality.STUCK).tolist() == list(range(20 + 36, 20 + 60))


def test_zero_is_a_value_at_which_concentrations_may_rest():
    assert not (Flagger(Rules(pilot())).flags(batch(np.zeros(100))) & Quality.STUCK).any()


def test_a_jump_after_a_move_is_a_step_and_not_a_spike():
    when = dt.datetime.fromtimestamp((START + 30 * 10 * MINUTE) / 1e6, dt.UTC)
    moved = pilot(events=[Event(when, "moved", Text(en="To the other side"), device="box")])
    values = wander(60)
    values[30:] += 40
    flags = Flagger(Rules(moved), moves_of(moved)).flags(batch(values))
    assert (flags[30:36] == Quality.STEP).all()
    assert not flags[:30].any()
    assert not flags[45:].any()


def test_a_rise_that_lasts_is_no_spike():
    """What sweeping or a rush hour does to a street must not be filtered away."""
    values = wander(60)
    values[40:46] = 90
    assert not Flagger(Rules(pilot())).flags(batch(values)).any()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 30), max_size=12), st.integers(0, 1000))
def test_batches_of_any_size_give_the_same_flags(cuts, seed):
    random = np.random.default_rng(seed)
    values = wander(150, seed)
    values[random.integers(0, 150, 4)] += 60
    values[60:110] = 20.5
    whole = batch(values)
    rules = {STREAM: Rule(0, 70, True, 0.1)}
    flagger, in_parts, begin = Flagger(rules.__getitem__), np.zeros(150, np.uint8), 0
    for end in [*np.minimum(np.cumsum(cuts), 150).tolist(), 150]:
        rows = slice(begin, end)  # the last of each part is the first of the next
        columns = (whole.stream, whole.time, whole.value, whole.received, whole.quality)
        in_parts[rows] = flagger.flags(Batch(whole.streams, *(c[rows] for c in columns)))
        begin = max(end - 1, 0)
    assert in_parts.tolist() == Flagger(rules.__getitem__).flags(whole).tolist()


def test_streams_in_one_batch_do_not_mix():
    one, two = wander(40, 1), 500 + wander(40, 2)
    streams = [STREAM, Stream("p", "box2", "pm10")]
    both = np.stack([one, two], axis=1).ravel()
    time = np.repeat(batch(one).time, 2)
    mixed = Batch(streams, np.tile([0, 1], 40).astype(np.int32), time, both, time, np.zeros(80, np.uint8))
    assert not Flagger(lambda _: Rule(0, 3000, True, 0.1)).flags(mixed).any()


def test_late_readings_are_checked_for_range_only_and_do_not_disturb():
    flagger = Flagger(Rules(pilot()))
    flagger.flags(batch(wander(30)))
    late = flagger.flags(batch([900.0, -50.0], start=START + 5 * MINUTE))
    assert late.tolist() == [0, Quality.RANGE]
    assert not flagger.flags(batch(wander(10), start=START + 10 * HOUR)).any()


def test_flags_of_the_decoder_are_kept():
    assert Flagger(Rules(pilot())).flags(batch([-16.0], quality=Quality.CLOCK)).tolist() == [
        Quality.CLOCK | Quality.RANGE
    ]


@pytest.fixture
def store():
    store = open_store("duckdb://")
    yield store
    store.close()


def test_late_corrections_while_flags_are_worked_out_are_kept(store):
    values = wander(60)
    values[40] = 90
    raw = batch(values)
    store.write(raw)
    corrected = Batch([STREAM], raw.stream[:1], raw.time[40:41], np.array([21.0]), raw.received[40:41], raw.quality[:1])

    class Overtaken:
        """The store, where a correction comes between the reading of a value and its flag."""

        def __getattr__(self, name):
            return getattr(store, name)

        def flag(self, judged):
            store.write(corrected)
            return store.flag(judged)

    assert reflag(Overtaken(), pilot()) == 0
    (stored, quality) = _columns(store, "value", "quality")
    assert (stored[40], quality[40]) == (21.0, 0)


def test_a_range_of_the_vocabulary_holds_for_streams_that_nobody_described(store):
    store.write(batch([10.0, -16.0], stream=Stream("p", "box", "pm25")))
    assert reflag(store, pilot()) == 1
    assert _columns(store, "quality") == [[0, Quality.RANGE]]


def _columns(store, *names, quality="all"):
    table = store.read(Query(quality=quality)).read_all()
    return [table[name].to_pylist() for name in names]


def test_flags_change_and_nothing_else(store):
    values = wander(200)
    values[[50, 120]] = 80
    values[150] = -3
    raw = batch(values)
    store.write(raw)
    before = _columns(store, "time", "value", "received")
    expected = Flagger(Rules(pilot())).flags(raw)
    assert reflag(store, pilot(), write=False) == np.count_nonzero(expected) > 0
    assert reflag(store, pilot()) == np.count_nonzero(expected)
    assert _columns(store, "quality") == [expected.tolist()]
    assert _columns(store, "time", "value", "received") == before
    assert reflag(store, pilot()) == 0


def test_a_part_of_the_time_gets_the_same_flags_as_the_whole(store):
    values = wander(400)
    values[300] = 80
    store.write(batch(values))
    reflag(store, pilot(), START + 295 * 10 * MINUTE, START + 310 * 10 * MINUTE)
    (quality,) = _columns(store, "quality")
    assert np.flatnonzero(quality).tolist() == [300]


def test_an_exclusion_hides_readings_from_good_reads_until_it_is_withdrawn(store):
    store.write(batch(wander(60)))
    moment = dt.datetime.fromtimestamp(START / 1e6, dt.UTC)
    roadworks = Exclusion(
        moment + dt.timedelta(hours=2),
        moment + dt.timedelta(hours=4),
        Text(nb="Veiarbeid", en="Roadworks"),
        device="box",
    )
    assert reflag(store, pilot(exclusions=[roadworks])) == 12
    assert len(_columns(store, "value", quality="good")[0]) == 48
    assert len(_columns(store, "value")[0]) == 60
    assert reflag(store, pilot()) == 12
    assert len(_columns(store, "value", quality="good")[0]) == 60

"""The rounds that flag what came lately: soon, once, whoever stored it, and what a change of the pilot means."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest

from techport_pilots.model import DeviceDefinition, Event, Exclusion, PilotDefinition, StreamDefinition, Text
from techport_pilots.quality.flagging import FlagPass
from techport_pilots.quality.flags import reflag
from techport_pilots.registry.events import add_event, add_exclusion
from techport_pilots.registry.leases import Leases
from techport_pilots.registry.lifecycle import transition
from techport_pilots.registry.registry import Registry
from techport_storage.microseconds import MINUTE
from techport_storage.model import Batch, Quality, Query, Stream
from techport_storage.store import open_store

START = int(dt.datetime(2026, 3, 1, tzinfo=dt.UTC).timestamp()) * 1_000_000
BOX = Stream("p", "box", "pm10")


def pilot(**more):
    streams = [StreamDefinition("pm10"), StreamDefinition("bicycle_count")]
    devices = [DeviceDefinition(name, interval="PT10M", streams=streams) for name in ("box", "lamp")]
    return PilotDefinition("p", Text(en="P"), Text(en="Q?"), devices, **more)


def batch(values, first=0, stream=BOX):
    n = len(values)
    time = START + 10 * MINUTE * np.arange(first, first + n, dtype=np.int64)
    return Batch(
        [stream], np.zeros(n, np.int32), time, np.array(values, float), time + 1_000_000, np.zeros(n, np.uint8)
    )


def wander(n, seed=1):
    return 20 + np.random.default_rng(seed).normal(0, 1, n).round(2)


@pytest.fixture
def registry(tmp_path):
    registry = Registry.open(f"sqlite:///{tmp_path}/registry.sqlite")
    registry.import_pilot(pilot(), "", who="test")
    yield registry
    registry.close()


@pytest.fixture
def store():
    store = open_store("duckdb://")
    yield store
    store.close()


@pytest.fixture
def rounds(registry, store):
    return FlagPass(registry, store, "one")


def flags(store, stream=BOX):
    rows = store.read(Query()).read_all().to_pylist()
    return np.array([row["quality"] for row in rows if (row["device"], row["quantity"]) == stream[1:]])


@pytest.mark.dates
def test_a_spike_is_flagged_when_the_next_reading_is_there(rounds, store):
    store.write(batch(wander(40)))
    assert rounds.round() == 0
    store.write(batch([95.0], 40))
    assert rounds.round() == 0
    store.write(batch([20.5], 41))
    assert rounds.round() == 1
    assert np.flatnonzero(flags(store)).tolist() == [40]
    assert flags(store)[40] == Quality.SPIKE


@pytest.mark.slow
@pytest.mark.parametrize("cut", [1, 7, 40])
def test_rounds_find_what_a_look_at_the_whole_finds(rounds, store, cut):
    other = Stream("p", "lamp", "pm10")
    values, others = wander(300), wander(300, 2)
    values[[60, 61, 130, 299]] = 80
    values[150:220] = 21.37
    others[77] = -3
    for first in range(0, 300, cut):
        store.write(batch(values[first : first + cut], first))
        store.write(batch(others[first : first + cut], first, other))
        if first % 5 == 0:
            rounds.round()
    rounds.round()
    assert flags(store).any()
    assert reflag(store, pilot()) == 0


def test_a_new_process_goes_on_where_the_last_one_was(registry, store):
    store.write(batch(wander(60)))
    FlagPass(registry, store, "one").round()
    store.write(batch([95.0, 20.5], 60))
    assert FlagPass(registry, store, "one").round() == 1


def test_of_several_processes_one_does_the_rounds(registry, store):
    values = wander(40)
    values[20] = 95
    store.write(batch(values))
    assert Leases(registry.database).acquire("flags", "another", 60)
    assert FlagPass(registry, store, "one").round() == 0
    assert Leases(registry.database).acquire("flags", "another", -1)  # it stopped, and its time is over
    assert FlagPass(registry, store, "one").round() == 1


@pytest.mark.dates
def test_an_exclusion_hides_what_is_stored_and_what_comes(registry, store, rounds):
    store.write(batch(wander(30)))
    moment = dt.datetime.fromtimestamp(START / 1e6, dt.UTC)
    window = Exclusion(moment + dt.timedelta(hours=4), moment + dt.timedelta(hours=6), Text(en="Roadworks"))
    add_exclusion(registry.database, registry.pilot("p"), window, "test")
    rounds.answer()
    store.write(batch(wander(30, 3), 30))
    rounds.round()
    assert np.flatnonzero(flags(store) & Quality.EXCLUDED).tolist() == list(range(24, 36))


def test_a_move_that_is_told_late_makes_steps_of_spikes(registry, store, rounds):
    values = wander(60)
    values[30] += 60
    store.write(batch(values))
    assert rounds.round() == 1
    when = dt.datetime.fromtimestamp((START + 30 * 10 * MINUTE) / 1e6, dt.UTC)
    add_event(registry.database, registry.pilot("p"), Event(when, "moved", Text(en="moved"), device="box"), "test")
    assert rounds.answer() == 1
    assert flags(store)[30] == Quality.STEP


def test_another_range_is_asked_for_by_importing_it(registry, store, rounds):
    store.write(batch([10.0, 60.0, 10.0]))
    narrow = DeviceDefinition("box", streams=[StreamDefinition("pm10", range=(0, 50))])
    registry.import_pilot(PilotDefinition("p", Text(en="P"), Text(en="Q?"), [narrow]), "", who="test")
    assert rounds.answer() == 1
    assert flags(store).tolist() == [0, Quality.RANGE, 0]


def test_a_closed_pilot_stays_as_it_is(registry, store, rounds):
    values = wander(40)
    values[20] = 95
    store.write(batch(values))
    for state in ("running", "ended", "closed"):
        transition(registry.database, registry.pilot("p"), state, "test", "")
    assert rounds.round() == 0

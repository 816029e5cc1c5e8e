"""Devices are functions of time: history is what was lived, and a restart changes nothing."""

from __future__ import annotations

import datetime as dt
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from techport_pilots.definition.load import parse_definition, read_definition
from techport_pilots.model import PilotDefinition
from techport_simulators.demo import definition_path, demo_definitions
from techport_simulators.devices import Device, all_devices, devices_of, iso, micros
from techport_storage.microseconds import DAY, HOUR

NOON = micros(dt.datetime(2026, 11, 23, 12, tzinfo=dt.UTC))

MIXED = """
id: mixed
title: {en: Mixed}
question: {en: "Does it work?"}
quantities: [{name: odour, title: {en: Odour}, unit: "1", range: [2, 6]}]
devices:
  - id: post
    interval: PT30S
    streams: [{quantity: pm10}, {quantity: odour}, {quantity: fill_level, interval: PT10M}]
"""


@cache
def pilots() -> list[PilotDefinition]:
    return [read_definition(path) for path in demo_definitions()]


@cache
def district(seed: int = 1) -> list[Device]:
    return all_devices(pilots(), seed)


@pytest.mark.dates
def test_history_is_what_was_lived() -> None:
    for device in district():
        instants = device.instants(NOON - HOUR, NOON)
        at_once = device.measure(instants)
        for i in (0, len(instants) // 2, -1):
            assert at_once[i] == device.measure(instants[[i]])[0]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 44), st.integers(0, 2 * HOUR), st.integers(1, 2 * HOUR))
@pytest.mark.dates
def test_a_restart_carries_on_with_the_same_instants(which: int, cut: int, after: int) -> None:
    device = district()[which]
    whole = device.instants(NOON, NOON + cut + after)
    assert np.array_equal(
        whole, np.concatenate([device.instants(NOON, NOON + cut), device.instants(NOON + cut, NOON + cut + after)])
    )
    latest = device.latest(NOON + cut)
    assert NOON + cut - device.interval < latest <= NOON + cut
    assert device.latest(latest) == latest


def test_another_seed_is_another_city_and_the_same_seed_the_same() -> None:
    def readings(seed: int) -> list[dict[str, float]]:
        return [device.measure(np.array([NOON], np.int64))[0] for device in district(seed)]

    assert readings(5) == readings(5)
    differing = sum(a != b for a, b in zip(readings(5), readings(6), strict=True))
    assert differing >= 40


def test_streams_are_grouped_by_interval_and_unknown_quantities_wander_in_their_range() -> None:
    devices = devices_of(parse_definition(MIXED), seed=1)
    assert {(d.interval // 1_000_000, tuple(s.quantity for s in d.sensors)) for d in devices} == {
        (30, ("pm10", "odour")),
        (600, ("fill_level",)),
    }
    odour = np.array([v["odour"] for v in devices[0].measure(devices[0].instants(NOON, NOON + DAY))])
    assert odour.min() >= 2
    assert odour.max() <= 6
    assert len(np.unique(odour)) > 20


def test_an_interval_can_be_given_for_all() -> None:
    pilot = read_definition(definition_path("nidelva-water"))
    assert {d.interval for d in devices_of(pilot, 1, dt.timedelta(seconds=2))} == {2_000_000}


def test_counts_are_whole_numbers_and_others_are_not() -> None:
    bridge = next(d for d in district() if d.id == "bru-vest")
    assert all(type(v) is int for values in bridge.measure(bridge.instants(NOON, NOON + HOUR)) for v in values.values())
    air = next(d for d in district() if d.id == "ila-skole")
    assert all(type(v) is float for v in air.measure(np.array([NOON], np.int64))[0].values())


def test_times_are_written_and_read_to_the_microsecond() -> None:
    assert iso(NOON) == "2026-11-23T12:00:00Z"
    assert iso(NOON + 1500) == "2026-11-23T12:00:00.001500Z"
    assert micros(dt.datetime.fromisoformat(iso(NOON + 1))) == NOON + 1


def test_a_missing_definition_is_told_with_those_there_are() -> None:
    with pytest.raises(FileNotFoundError, match="school-air"):
        definition_path("school-water")

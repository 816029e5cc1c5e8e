"""The past in bulk is that which the devices would have published."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import msgspec
import numpy as np
import pytest

from techport_pilots.definition.load import read_definition
from techport_pilots.model import PilotDefinition
from techport_simulators.activity import OUTDOOR_CO2
from techport_simulators.demo import (
    DEMO_PILOTS,
    LOW_BATTERY,
    OFFLINE,
    UNKNOWN_BOX,
    definition_path,
    demo_faults,
    strays,
    with_unknown_box,
)
from techport_simulators.devices import devices_of, micros
from techport_simulators.past import past_of
from techport_storage.microseconds import DAY, HOUR, MINUTE

pytestmark = pytest.mark.dates


def pilot_of(name: str) -> PilotDefinition:
    return read_definition(definition_path(name))


def test_readings_are_those_that_a_device_publishes() -> None:
    pilot = pilot_of("nidelva-water")
    start = micros(pilot.phases[1].start)
    device = devices_of(pilot, 1)[0]
    times = device.instants(start, start + 2 * HOUR)
    published = device.measure(times)
    past = next(part for part in past_of(pilot, 1, start, start + 2 * HOUR) if part.device == device.id)
    assert past.time.tolist() == times.tolist()
    assert [dict(zip(past.quantities, row, strict=True)) for row in past.values.T] == published


def test_hourly_means_come_until_the_interval_was_changed() -> None:
    pilot = pilot_of("school-air")
    changed = micros(pilot.devices[0].previous[0].until)
    parts = list(past_of(pilot, 1, changed - 3 * HOUR, changed + HOUR))
    assert {part.device for part in parts} == {device.id for device in pilot.devices}
    times = np.concatenate([part.time for part in parts if part.device == "ila-skole"])
    assert times[:3].tolist() == [changed - 3 * HOUR, changed - 2 * HOUR, changed - HOUR]
    assert len(times) == 3 + 360
    assert (np.diff(times[3:]) == 10_000_000).all()


@pytest.mark.parametrize(
    ("name", "quantity", "whole"),
    [
        ("elgeseter-bridge", "vehicle_count", np.sum),
        ("hospital-noise", "laeq", lambda levels: 10 * np.log10(np.mean(10 ** (levels / 10)))),
        ("campus-rooms", "indoor_temperature", np.mean),
    ],
)
def test_an_hour_is_the_sum_of_its_counts_and_the_energy_mean_of_its_sound(
    name: str, quantity: str, whole: Callable[[np.ndarray], float]
) -> None:
    pilot = pilot_of(name)
    day = micros(pilot.phases[0].start) + 2 * DAY
    devices = [msgspec.structs.replace(device, previous=[]) for device in pilot.devices]
    hourly = _values(pilot, quantity, day, day + DAY)
    readings = _values(msgspec.structs.replace(pilot, devices=devices), quantity, day, day + DAY)
    assert len(hourly) == 24
    assert len(readings) > 1000
    assert whole(hourly) == pytest.approx(whole(readings), rel=0.05)


def _values(pilot: PilotDefinition, quantity: str, start: int, end: int) -> np.ndarray:
    device = next(d.id for d in pilot.devices if any(s.quantity == quantity for s in d.streams))
    parts = [part for part in past_of(pilot, 1, start, end) if part.device == device]
    return np.concatenate([part.values[part.quantities.index(quantity)] for part in parts])


def test_no_room_is_better_aired_than_the_street() -> None:
    pilot = pilot_of("campus-rooms")
    start = micros(pilot.phases[1].start)
    for part in past_of(pilot, 1, start - 3 * DAY, start + 7 * DAY):
        if "indoor_co2" in part.quantities:
            assert part.values[part.quantities.index("indoor_co2")].min() >= OUTDOOR_CO2


def test_what_is_wrong_in_the_demo_is_there_on_every_day_of_the_first_week() -> None:
    pilots = {name: pilot_of(name) for name in DEMO_PILOTS}
    faults = demo_faults(list(pilots.values()))
    monday = micros(pilots["school-air"].phases[1].start) + 28 * DAY
    for start in (monday, monday + 6 * DAY):
        school = pilots[OFFLINE[0]]
        heard = {part.device for part in past_of(school, 1, start - DAY, start, faults) if len(part.time)}
        assert {device.id for device in school.devices} - heard == {OFFLINE[1]}
        bins = list(past_of(pilots[LOW_BATTERY[0]], 1, start - DAY, start, faults))
        charge = {part.device: part.values[part.quantities.index("battery_level")][-1] for part in bins}
        assert 3.0 < charge.pop(LOW_BATTERY[1]) < 10.0
        assert min(charge.values()) > 40.0, "one battery is low, not several"
    assert not faults("school-air", "ila-skole").silent_from


def test_the_unknown_box_sends_and_no_definition_names_it() -> None:
    pilots = [pilot_of(name) for name in DEMO_PILOTS]
    simulated = {(p.id, device.id) for p in with_unknown_box(pilots) for device in p.devices}
    assert simulated - {(p.id, device.id) for p in pilots for device in p.devices} == {UNKNOWN_BOX}


def test_strays_are_of_the_last_day_and_in_order() -> None:
    now = micros(dt.datetime(2026, 12, 17, 12, tzinfo=dt.UTC))
    received = [message.received for message in strays(now)]
    assert received == sorted(received)
    assert now - 10 * HOUR < received[0]
    assert now - 15 * MINUTE < received[-1] < now

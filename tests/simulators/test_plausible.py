"""The simulated city is one that a person from Trondheim would believe."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from techport_pilots.definition.load import read_definition
from techport_pilots.quantities import lookup
from techport_simulators import season
from techport_simulators.chance import Numbers, Steps, key
from techport_simulators.demo import demo_definitions
from techport_simulators.devices import all_devices, micros
from techport_simulators.models import MODELS
from techport_simulators.physics import Moment, solar_elevation
from techport_simulators.place import Place
from techport_storage.microseconds import DAY, HOUR, MINUTE

pytestmark = pytest.mark.dates

OSLO = ZoneInfo("Europe/Oslo")
PLACE = Place(key=key("place"), device=key("device"), road=1.0, campus=1.0)


def local(*when: int) -> int:
    return micros(dt.datetime(*when, tzinfo=OSLO))  # type: ignore[misc,arg-type]


def span(start: int, days: int, step: int = 30 * MINUTE) -> Steps:
    return np.arange(start, start + days * DAY, step, dtype=np.int64)


def read(quantity: str, time: Steps, seed: int = 1, place: Place = PLACE) -> Numbers:
    return MODELS[quantity](Moment(time, seed), place)


def hours(time: Steps, *wanted: int) -> np.ndarray:
    return np.isin(season.LocalTime.at(time).hour.astype(int), wanted)


def test_the_sun_of_midsummer_does_not_get_dark_and_that_of_midwinter_hardly_rises() -> None:
    june = solar_elevation(span(local(2026, 6, 21), 1, MINUTE))
    assert june.max() == pytest.approx(90 - 63.43 + 23.44, abs=0.05)
    assert -3.3 < june.min() < -2.9  # below the horizon, in civil twilight
    december = solar_elevation(span(local(2026, 12, 21), 1, MINUTE))
    assert december.max() == pytest.approx(90 - 63.43 - 23.44, abs=0.05)
    assert 4.0 < (december > -0.83).sum() / 60 < 5.0  # hours of daylight: the almanac says 4 h 30 min


def test_solar_noon_is_where_the_almanac_has_it() -> None:
    day = span(micros(dt.datetime(2026, 2, 11, tzinfo=dt.UTC)), 1, MINUTE)
    noon = dt.datetime.fromtimestamp(int(day[solar_elevation(day).argmax()]) / 1e6, dt.UTC)
    # 12:00 - 10.39° / 15° + 14.2 minutes, the equation of time on 11 February
    assert abs(noon - dt.datetime(2026, 2, 11, 11, 32, 40, tzinfo=dt.UTC)) < dt.timedelta(minutes=2)


def test_a_june_night_is_darker_than_the_day_but_not_black() -> None:
    time = span(local(2026, 6, 11), 20)
    light = read("illuminance", time)
    assert light[hours(time, 1)].mean() < 0.05 * light[hours(time, 12)].mean()
    assert light[hours(time, 1)].min() > 50
    assert read("illuminance", span(local(2026, 12, 21), 1))[0] < 20


def test_wall_clock_follows_summer_time() -> None:
    for stamp in (micros(dt.datetime(2026, 3, 29, 0, 59, 59, tzinfo=dt.UTC)) + s * 1_000_000 for s in (0, 1, 3600)):
        clock = season.LocalTime.at(np.array([stamp], np.int64))
        there = dt.datetime.fromtimestamp(stamp / 1e6, OSLO)
        assert clock.hour[0] == pytest.approx(there.hour + there.minute / 60 + there.second / 3600)


def test_dust_is_a_matter_of_studs_and_dry_roads() -> None:
    spring, summer = span(local(2026, 3, 1), 28), span(local(2026, 7, 1), 28)
    assert read("pm10", spring).mean() > 2 * read("pm10", summer).mean()
    moment = Moment(spring, 1)
    busy = hours(spring, 8, 15, 16) & ~moment.local.free
    dry, wet = busy & (moment.wetness < 0.1), busy & (moment.wetness > 0.6)
    assert dry.sum() > 5
    assert wet.sum() > 5
    assert read("pm10", spring)[dry].mean() > 1.5 * read("pm10", spring)[wet].mean()


def test_exhaust_and_noise_follow_the_rush_hours_of_working_days() -> None:
    time = span(local(2026, 10, 5), 28)
    free = Moment(time, 1).local.free
    for quantity in ("no2", "laeq", "vehicle_count"):
        value = read(quantity, time)
        rush, night = hours(time, 7, 15), hours(time, 2, 3)
        assert value[rush & ~free].mean() > value[night & ~free].mean()
        assert value[hours(time, 7) & ~free].mean() > value[hours(time, 7) & free].mean()


def test_campus_fills_in_term_and_at_lunch() -> None:
    term, summer = span(local(2026, 10, 5), 5), span(local(2026, 7, 6), 5)
    assert read("people_count", term)[hours(term, 10, 11)].mean() > 4 * read("people_count", summer).mean()
    walk = read("pedestrian_count", term)
    assert walk[hours(term, 11)].mean() > 1.3 * walk[hours(term, 9)].mean()
    air = read("indoor_co2", term)
    assert air[hours(term, 11)].mean() > air[hours(term, 4)].mean() + 200
    assert air.min() > 380


def test_winter_is_cold_and_is_heated() -> None:
    january, july = span(local(2026, 1, 5), 25), span(local(2026, 7, 1), 25)
    assert -12 < read("air_temperature", january).mean() < 2
    assert 10 < read("air_temperature", july).mean() < 19
    assert read("heat_power", january).mean() > 3 * read("heat_power", july).mean()
    assert read("indoor_humidity", january).mean() < read("indoor_humidity", july).mean()
    assert read("bicycle_count", january).mean() < read("bicycle_count", july).mean()


def test_afternoon_is_warmer_than_the_end_of_the_night() -> None:
    time = span(local(2026, 5, 1), 60)
    warm = read("air_temperature", time)
    assert warm[hours(time, 14, 15)].mean() > warm[hours(time, 4, 5)].mean() + 2


def test_bins_fill_by_day_and_are_emptied() -> None:
    level = read("fill_level", span(local(2026, 10, 5), 14, 10 * MINUTE))
    emptied = np.flatnonzero(np.diff(level) < -50)
    assert 2 <= len(emptied) <= 8
    assert level[emptied].min() > 60
    assert level[emptied + 1].max() < 15


def test_river_has_a_tide_at_its_mouth_only() -> None:
    time = span(local(2026, 10, 5), 30, 10 * MINUTE)
    angle = np.exp(-2j * np.pi * time / (12.4206 * HOUR))
    mouth, upstream = (
        2 * abs((read("water_level", time, place=Place(1, 2, road=road)) * angle).mean()) for road in (1.0, 0.0)
    )
    assert mouth > 0.25
    assert upstream < 0.05


def test_every_model_stays_within_its_quantity_s_range_all_year() -> None:
    year = np.concatenate([span(local(2026, 1, 1) + month * 30 * DAY, 2, 40 * MINUTE) for month in range(12)])
    for seed in (1, 2):
        for name in MODELS:
            quantity = lookup(name)
            assert quantity is not None
            assert quantity.range is not None
            value = read(name, year, seed)
            assert np.isfinite(value).all()
            assert quantity.range[0] <= value.min(), name
            assert value.max() <= quantity.range[1], name
            assert len(np.unique(np.round(value, 3))) > 5, f"{name} does not move"


def test_the_demo_district_is_large_enough_and_every_stream_has_a_model() -> None:
    pilots = [read_definition(path) for path in demo_definitions()]
    assert len(pilots) >= 5
    assert sum(len(pilot.devices) for pilot in pilots) >= 40
    streams = [sensor.quantity for device in all_devices(pilots, seed=1) for sensor in device.sensors]
    assert {quantity.partition(".")[0] for quantity in streams} <= set(MODELS)
    for pilot in pilots:
        assert pilot.question.nb.endswith("?")
        assert pilot.question.en.endswith("?")
        assert pilot.phases
        assert pilot.kpis
        for device in pilot.devices:
            assert device.position is not None
            assert 63.39 < device.position.lat < 63.46
            assert 10.33 < device.position.lon < 10.47
            assert device.title is not None
            assert device.title.nb
            assert device.title.en

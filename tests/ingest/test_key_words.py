"""Keys of makers are read as words, and only where every word is understood."""

from __future__ import annotations

import pytest

from techport_ingest.decoding.key_words import quantity_in
from techport_ingest.decoding.lorawan import object_values
from techport_ingest.decoding.quantity_names import quantity
from techport_ingest.message import Ignored
from techport_pilots.quantities import builtin


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("air_humidity", "relative_humidity"),
        ("externalTemperature", "air_temperature.external"),
        ("externalTemperature2", "air_temperature.external_2"),
        ("Temp_SHT", "air_temperature.sht"),
        ("Air Temperature", "air_temperature"),
        ("Wind Direction Sensor", "wind_from_direction"),
        ("soil_moisture_at_depth_3", "soil_moisture.depth_3"),
        ("temperature_at_level_12", "air_temperature.level_12"),
        ("voltageL1", "voltage.l_1"),
        ("activePowerL2", "active_power.l_2"),
        ("distance_10th_percentile", "distance.10_percentile"),
        ("pm2_5_mass_concentration", "pm25"),
        ("co2_concentration", "co2"),
        ("internal_temperature", "device_temperature"),
        ("cumulative_precipitation", "precipitation_total"),
        ("magnet_status", "door_open"),
        ("leakage_status", "water_leak"),
        ("batteryLevelInPercentage", "battery_level"),
        ("smokeAlarmCounter", "event_counter.smoke_alarm"),
    ],
)
def test_words_that_are_understood(key: str, expected: str) -> None:
    assert quantity_in(key) == expected
    assert expected in builtin()


@pytest.mark.parametrize(
    "key",
    [
        *("temperature_threshold", "temperatureOutOfRange", "humidity_alarm", "report_interval", "co2_calibration"),
        *("door_open_duration", "battery_low", "level", "currentLimitFallback", "x", "", "deviceSerialNumber"),
    ],
)
def test_one_word_more_and_a_key_stays_what_it_is(key: str) -> None:
    assert quantity_in(key) is None
    assert quantity(key) == key


@pytest.mark.parametrize("key", ["fPort", "fCnt", "length", "err", "devEUI"])
def test_what_counts_on_the_way_is_no_reading(key: str) -> None:
    found = object_values("box", None, {key: 3, "co2": 500})
    assert [type(one) is Ignored for one in found] == [True, False]


@pytest.mark.parametrize("key", ["aB" * 50_000, "temperature_" * 5_000 + "temperature"], ids=["capitals", "phrases"])
def test_keys_that_are_no_names_are_not_taken_apart(key: str) -> None:
    """Every stretch of their words was looked up: hours, of a message of 64 kB."""
    assert quantity(key) == key

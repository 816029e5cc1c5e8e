"""Which field is the time, however a sender calls and writes it, and that no time becomes a reading."""

from __future__ import annotations

from typing import Any

import pytest

from techport_ingest.checking.time_names import is_epoch, may_be_time, time_key
from techport_ingest.decoding.lint import explain
from tests.ingest.explaining import NOW, read, reasons, stored, uplink

JSON = {"topic": "any/+", "format": "json"}
MEASURED = 1_777_897_790  # 2026-05-04T12:29:50Z
TEXT = "2026-05-04T12:29:50Z"


def times(explanation: Any) -> dict[str, int | None]:
    return {
        reading.quantity: None if reading.time is None else reading.time // 1_000_000
        for reading in explanation.readings
    }


@pytest.mark.parametrize(
    "message",
    [
        {"t": MEASURED, "pm10": 8},
        {"dt": MEASURED, "pm10": 8},
        {"uts": MEASURED * 1000, "pm10": 8},
        {"t": MEASURED * 1_000_000, "pm10": 8},
        {"rtc": MEASURED * 1_000_000_000, "pm10": 8},
        {"time": "14:29", "unixtime": MEASURED, "pm10": 8},  # a time of day alone is no time
        {"lastUpdated": TEXT, "pm10": 8},
        {"time": "20260504142950", "pm10": 8},
        {"time": 20260504142950, "pm10": 8},
        {"time": "2026/05/04T12:29:50z", "pm10": 8},
        {"time": "2026-05-04 12:29:50 GMT", "pm10": 8},
        {"time": "Mon, 04 May 2026 12:29:50 GMT", "pm10": 8},
        {"meta": {"time": TEXT}, "pm10": 8},
        {"header": {"ts": MEASURED, "id": "x"}, "data": {"pm10": 8}},
        {"data": {"ts": MEASURED, "pm10": 8}},
        {"pm10": {"value": 8, "unit": "µg/m³", "timestamp": TEXT}},
        {"pm10": {"type": "Property", "value": 8, "observedAt": TEXT}},
        {"dateObserved": {"type": "DateTime", "value": TEXT}, "pm10": {"type": "Number", "value": 8}},
        {"readings": [{"t": MEASURED, "pm10": 8}]},
    ],
)
def test_the_time_is_found(message: dict[str, Any]) -> None:
    explanation = read(JSON, "any/x", message)
    assert reasons(explanation) == []
    assert set(times(explanation).values()) == {MEASURED}
    assert [reading.value for reading in explanation.readings] == [8]


def test_each_value_may_have_its_own_time() -> None:
    hour = {
        "pm10": {"value": 8, "ts": MEASURED - 3600},
        "co2": {"value": 431, "ts": MEASURED},
        "ts": MEASURED + 1,
        "no": 2,
    }
    assert times(read(JSON, "any/x", hour)) == {"pm10": MEASURED - 3600, "co2": MEASURED, "raw.no": MEASURED + 1}
    assert times(read({**JSON, "time": "ts"}, "any/x", hour)) == dict.fromkeys(
        ("pm10", "co2", "raw.no"), MEASURED + 1
    )  # unless the source says where it is


def test_a_value_whose_own_time_cannot_be_read_costs_itself() -> None:
    explanation = read(JSON, "any/x", {"ts": MEASURED, "co2": 431, "pm10": {"value": 8, "timestamp": "soon"}})
    assert (times(explanation), reasons(explanation)) == ({"co2": MEASURED}, ["bad-time.text"])


@pytest.mark.parametrize(
    ("source", "payload"),
    [
        ({"unit": "s"}, MEASURED),
        ({"format": "%Y%m%d%H%M%S"}, 20260504142950),
        ({"format": "%Y%m%d%H%M"}, 202605041429),
        ({"format": "%m/%d/%Y %I:%M %p"}, "5/4/2026 2:29 PM"),
    ],
)
def test_a_source_says_how_its_time_is_written(source: dict[str, str], payload: object) -> None:
    (time,) = times(read({**JSON, "time": {"key": "when", **source}}, "any/x", {"when": payload, "pm10": 8})).values()
    assert time is not None
    assert time // 60 == MEASURED // 60


@pytest.mark.parametrize(
    "given", ["05/04/2026 12:29", "tomorrow", "Mon, 04 Nay 2026", "20261399000000", 20261399000000]
)
def test_a_time_that_may_be_two_is_asked_about(given: object) -> None:
    explanation = read(JSON, "any/x", {"time": given, "pm10": 8})
    assert (stored(explanation), reasons(explanation)) == ({}, ["bad-time.text"])


def test_a_native_device_may_call_its_time_t() -> None:
    explanation = explain(b'{"t": 1777897790, "pm10": 8}', "pilots/p/x/readings", NOW, "native")
    assert times(explanation) == {"pm10": MEASURED}


@pytest.mark.parametrize("key", ["t", "dt", "date_setup", "lastSync", "bootTs", "rtc", "systimestamp"])
def test_an_epoch_beside_the_time_is_no_reading(key: str) -> None:
    explanation = uplink({key: MEASURED, "pm10": 8})
    assert stored(explanation) == {"pm10": (8, "ug/m3")}
    assert [(part.rule, part.key) for part in explanation.ignored_parts] == [("time", key)]


@pytest.mark.parametrize("message", [{"t": 21.5}, {"octets": MEASURED}, {"last": 12}, {"count": MEASURED}])
def test_other_numbers_are_readings(message: dict[str, Any]) -> None:
    assert [value for value, _ in stored(read(JSON, "any/x", message)).values()] == list(message.values())


def test_what_an_epoch_is() -> None:
    assert [unit for unit in (1, 1e3, 1e6, 1e9) if is_epoch(MEASURED * unit)] == [1, 1e3, 1e6, 1e9]
    assert not any(
        is_epoch(value) for value in (0, 21.5, 86_400, 999_999_999, 4e9, -MEASURED, True, "1777897790", None)
    )
    assert may_be_time("startTime")
    assert not may_be_time("temperature")
    assert time_key({"time": None, "t": MEASURED}) == "t"
    assert time_key({"t": 21.5}) is None
    assert time_key({"time": "14:29"}) == "time"

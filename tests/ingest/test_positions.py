"""Where a device is, in every shape in which makers say it."""

from __future__ import annotations

from typing import Any

import pytest

from techport_ingest.decoding.lint import explain
from techport_ingest.decoding.positions import position_of
from tests.ingest.explaining import NOW, read, reasons, stored, uplink

JSON = {"topic": "any/+", "format": "json"}
HERE = {"latitude": (63.42, "deg"), "longitude": (10.39, "deg")}


@pytest.mark.parametrize(
    "where",
    [
        {"gps": {"latitude": 63.42, "longitude": 10.39}},
        {"location": {"lat": 63.42, "lon": 10.39}},
        {"location": {"type": "Point", "coordinates": [10.39, 63.42]}},
        {"place": {"position": {"lat": "63.42", "lng": "10.39"}}},
        {"lat": 63.42, "long": 10.39},
    ],
)
def test_a_position_is_read(where: dict[str, Any]) -> None:
    message = {**where, "temperature": 8}
    expected = {**HERE, "air_temperature": (8, "Cel")}
    assert stored(uplink(message)) == expected
    assert stored(read(JSON, "any/x", message)) == expected


def test_a_native_device_may_send_its_position_as_an_object() -> None:
    payload = b'[{"location": {"lat": 63.42, "lon": 10.39}, "pm10": 8}, {"pm10": 9, "time": "2026-05-04T12:00:00Z"}]'
    explanation = explain(payload, "pilots/p/x/readings", NOW, "native")
    assert reasons(explanation) == []
    assert [reading.quantity for reading in explanation.readings] == ["latitude", "longitude", "pm10", "pm10"]


def test_geojson_and_ngsi() -> None:
    feature = {
        "type": "Feature",
        "geometry": {"type": "Point", "coordinates": [10.39, 63.42, 12]},
        "properties": {"pm10": 8, "time": "2026-05-04T12:00:00Z"},
    }
    explanation = read(JSON, "any/x", feature)
    assert stored(explanation) == {**HERE, "altitude": (12, "m"), "pm10": (8, "ug/m3")}
    assert len({reading.time for reading in explanation.readings}) == 1
    assert stored(read(JSON, "any/x", {"where": {"type": "geo:point", "value": "63.42, 10.39"}})) == HERE


def test_where_gateways_stand_and_second_places_are_no_positions() -> None:
    message = {
        "rxInfo": [{"name": "gw", "latitude": 1.5, "longitude": 2.5}],
        "location": {"lat": 63.42, "lon": 10.39},
        "goal": {"lat": 63.5, "lon": 10.5},
    }
    assert {key: value for key, value in stored(read(JSON, "any/x", message)).items() if key in HERE} == HERE


@pytest.mark.parametrize(
    "record",
    [
        *({"lat": 12}, {"lat": 120, "lon": 10}, {"lat": 63, "latitude": 63, "lon": 1}, {"lat": "x", "lon": 1}),
        *({"type": "Point"}, {"type": "Point", "coordinates": [1]}, {"type": "geo:point", "value": "1"}, {"x": 1}, {}),
    ],
)
def test_half_a_position_is_none(record: dict[str, Any]) -> None:
    assert position_of(record) == {}


def test_a_receiver_without_a_position_sends_zeros() -> None:
    assert stored(uplink({"gps": {"latitude": 0, "longitude": 0}})) == {}
    assert stored(read(JSON, "any/x", {"lat": 0.0, "lon": 0.0, "temperature": 8})) == {"air_temperature": (8, "Cel")}


def test_a_source_may_still_map_its_parts() -> None:
    source = {**JSON, "fields": {"goal.lat": {"quantity": "latitude.goal"}, "goal.lon": "longitude.goal"}}
    explanation = read(source, "any/x", {"goal": {"lat": 63.42, "lon": 10.39}})
    assert stored(explanation) == {"latitude.goal": (63.42, "deg"), "longitude.goal": (10.39, "deg")}
    assert explanation.unmatched == []

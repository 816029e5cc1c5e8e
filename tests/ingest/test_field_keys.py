"""A source's fields are found by the key that stands in the message, and by the name that decode shows."""

from __future__ import annotations

import json

import pytest

from techport_ingest.decoding.lint import explain
from techport_ingest.decoding.reader import Reader
from techport_ingest.message import Message
from techport_pilots.definition.load import parse_definition
from techport_pilots.registry.view import IngestView

NOW = 1_777_897_900_000_000


def stored(source: str, topic: str, payload: bytes) -> dict[str, float]:
    """The values that one message becomes, by stream."""
    devices = 'devices: [{id: "a1"}]'
    pilot = parse_definition(f"id: house\ntitle: House\nquestion: Is it?\nsources:\n  - {source}\n{devices}\n")
    snapshot = IngestView.of(1, [pilot], [])
    reader = Reader()
    reader.use(snapshot)
    columns = reader.read([Message(topic, payload, NOW, 1)], snapshot)
    assert [part.rejection for part in columns.rejected] == []
    return {reading.quantity: reading.value for reading in columns.batch()}


UPLINK = json.dumps(
    {
        "deviceInfo": {"devEui": "a1"},
        "time": "2026-05-04T12:00:00+00:00",
        "data": "AQ==",
        "object": {"BatV": 3.6, "Hum": 41, "probe": {"Temp": 4.5}},
    }
).encode()


@pytest.mark.parametrize("key", ["Hum", "relative_humidity"])
def test_both_names_of_a_renamed_key_work(key: str) -> None:
    source = f"{{topic: application/+/device/+/event/up, format: chirpstack-v4, fields: {{{key}: soil_moisture}}}}"
    values = stored(source, "application/1/device/a1/event/up", UPLINK)
    assert values["soil_moisture"] == 41
    assert "relative_humidity" not in values


@pytest.mark.parametrize(
    ("format_name", "topic", "payload", "key"),
    [
        ("chirpstack-v4", "application/1/device/a1/event/up", UPLINK, "probe.Temp"),
        ("zigbee2mqtt", "zigbee2mqtt/a1", b'{"temperature": 4.5}', "temperature"),
        ("tasmota", "tele/a1/SENSOR", b'{"BME280": {"Temperature": 4.5}}', "BME280.Temperature"),
        ("ultralight", "/ul/k/a1/attrs", b"temperature|4.5", "temperature"),
        ("csv", "files/a1", b"time;temperature\n2026-05-04T12:00:00Z;4,5\n", "temperature"),
        ("line-protocol", "lines/a1", b"room,device=a1 temperature=4.5", "temperature"),
        ("homie", "homie/a1/room/temperature", b"4.5", "room.temperature"),
        ("senml", "packs/a1", b'[{"n": "temperature", "v": 4.5}]', "temperature"),
    ],
)
def test_every_format_keeps_the_makers_key(format_name: str, topic: str, payload: bytes, key: str) -> None:
    pattern = {"files/a1": "files/+", "lines/a1": "lines/+", "packs/a1": "packs/+"}.get(topic, topic)
    source = f'{{topic: "{pattern}", format: {format_name}, fields: {{"{key}": water_temperature}}}}'
    assert stored(source, topic, payload)["water_temperature"] == 4.5


@pytest.mark.parametrize("key", ["Hum", "relative_humidity"])
def test_both_names_can_be_ignored(key: str) -> None:
    source = f"{{topic: application/+/device/+/event/up, format: chirpstack-v4, ignore: [{key}]}}"
    assert "relative_humidity" not in stored(source, "application/1/device/a1/event/up", UPLINK)


def test_a_field_that_matches_nothing_is_told() -> None:
    text = """
id: house
title: House
question: Is it?
sources:
  - topic: application/+/device/+/event/up
    format: chirpstack-v4
    fields: {Hum: soil_moisture, BatVolt: battery_voltage}
devices: [{id: a1}]
"""
    explanation = explain(UPLINK, "application/1/device/a1/event/up", NOW, None, parse_definition(text))
    assert explanation.unmatched == ["BatVolt"]
    assert "soil_moisture" in {reading.quantity for reading in explanation.readings}

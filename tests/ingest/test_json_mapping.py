"""The mapping language: JSON of any shape becomes readings by a few lines of a source."""

from __future__ import annotations

import json
from textwrap import indent
from typing import Any

import pytest

from techport_ingest.decoding.flattening import is_identifier
from techport_ingest.decoding.json_paths import MISSING, parse_path
from techport_ingest.decoding.reader import Reader
from techport_ingest.message import Message
from techport_pilots.definition.load import parse_definition, to_yaml
from techport_pilots.errors import DefinitionError
from techport_pilots.model import DeviceDefinition, PilotDefinition
from techport_pilots.registry.view import IngestView
from techport_storage.model import Reading
from tests.ingest.explaining import read, reasons, stored

NOW = 1_777_897_900_000_000  # 2026-05-04T12:31:40Z
DEVICES = ["a1", "a2", "plc", "node", "168496141", "AcuRite-Tower-A-1234"]


def pilot_with(source: str) -> PilotDefinition:
    """A pilot that has the source, and every device that the tests name."""
    text = f"id: city\ntitle: City\nquestion: Is it?\nsources:\n  -\n{indent(source.strip(), '    ')}\n"
    pilot = parse_definition(text + f"devices: {json.dumps([{'id': name} for name in DEVICES])}\n")
    assert parse_definition(to_yaml(pilot)) == pilot
    return pilot


def readings(source: str, topic: str, payload: object) -> tuple[list[Reading], list[str]]:
    """What is stored of a message, and the reasons of what is rejected."""
    snapshot = IngestView.of(1, [pilot_with(source)], [])
    reader = Reader()
    reader.use(snapshot)
    raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    columns = reader.read([Message(topic, raw, NOW, 1)], snapshot)
    return list(columns.batch()), [part.reason for part in columns.rejected]


def values(source: str, topic: str, payload: object) -> dict[str, float]:
    """What is stored by `device quantity`; nothing is rejected."""
    stored, rejected = readings(source, topic, payload)
    assert rejected == []
    return {f"{reading.device} {reading.quantity}": reading.value for reading in stored}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/a/b/1", 2),
        ("a.b[1]", 2),
        ("a.b.1", 2),
        ("a.b[*]", 1),
        ("/x~1y/~0", "odd"),
        ("a.c", MISSING),
        ("a.b.9", MISSING),
        ("a.b.x", MISSING),
        ("", {"a": {"b": [1, 2]}, "x/y": {"~": "odd"}}),
    ],
)
def test_paths(text: str, expected: object) -> None:
    document = {"a": {"b": [1, 2]}, "x/y": {"~": "odd"}}
    assert parse_path(text).first(document, document) == expected


NESTED = """
topic: mesh/+
format: json
device: {pointer: /from}
within: /payload
time: /timestamp
"""


def test_nested_values_at_the_messages_time() -> None:
    message = {
        "from": 168496141,
        "rssi": -43,
        "timestamp": 1_777_890_000,
        "payload": {"temperature": 3.5, "relative_humidity": 41},
    }
    stored, rejected = readings(NESTED, "mesh/x", message)
    assert rejected == []
    assert {(r.device, r.quantity, r.value, r.time) for r in stored} == {
        ("168496141", "air_temperature", 3.5, 1_777_890_000_000_000),
        ("168496141", "relative_humidity", 41.0, 1_777_890_000_000_000),
    }


RECORDS = """
topic: plc/out
format: json
device: {id: plc}
records: /values
name: id
value: v
time: t
fields: {Tank.Level: {quantity: water_level, unit: cm}, Tank.Temp: water_temperature}
"""


def test_a_list_of_records_gives_name_value_and_time_of_each() -> None:
    entries = [
        {"id": "Tank.Level", "t": 1_777_890_001_000, "v": 7},
        {"id": "Tank.Temp", "t": 1_777_890_002_000, "v": 0},
    ]
    stored, rejected = readings(RECORDS, "plc/out", {"timestamp": 1_777_890_009_000, "values": entries})
    assert rejected == []
    assert [(r.quantity, r.value, r.time) for r in stored] == [
        ("water_level", 0.07, 1_777_890_001_000_000),
        ("water_temperature", 0.0, 1_777_890_002_000_000),
    ]


PLAIN = "topic: house/+/sensor/+/state\nformat: json\nname: {level: 4}"


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b"21.5", {"node air_temperature": 21.5}),
        (b"nan", {}),
        (b"unavailable", {}),
        (b"unknown", {}),
        (b"", {}),
        (b'{"value": 21.5, "unit": "\xc2\xb0C"}', {"node air_temperature": 21.5}),
    ],
)
def test_a_plain_value_is_named_by_its_topic(payload: bytes, expected: dict[str, float]) -> None:
    assert values(PLAIN, "house/node/sensor/temperature/state", payload) == expected


def test_a_number_in_text_is_set_aside_until_the_source_says_that_it_is_one() -> None:
    topic = "house/node/sensor/temperature/state"
    assert readings(PLAIN, topic, b'"21.5"') == ([], ["not-a-number"])
    fields = "fields: {temperature: {quantity: air_temperature, text: true}}"
    assert values(f"{PLAIN}\n{fields}", topic, b'"21,5"') == {"node air_temperature": 21.5}


def test_factors_units_and_constants() -> None:
    source = """
topic: doors/+
format: json
fields:
  vdd: {quantity: battery_voltage, unit: mV}
  level: {quantity: water_level, unit: cm, factor: 0.1}
constants: {street_cleaning: 1}
ignore: [fw]
"""
    message = {"vdd": 3100, "level": 25, "fw": 7}
    assert values(source, "doors/a1", message) == {
        "a1 battery_voltage": 3.1,
        "a1 water_level": 0.025,
        "a1 street_cleaning": 1.0,
    }


def test_typed_values_and_a_chosen_separator() -> None:
    source = "topic: ngsi/+\nformat: json\nseparator: _\nfields: {air_in: {quantity: air_temperature.in, unit: '°F'}}"
    message = {
        "co2": {"type": "Number", "value": 612, "metadata": {}},
        "air": {"in": {"value": 212, "type": "Number"}, "out": {"value": 5, "unit": "°C"}},
    }
    assert values(source, "ngsi/a1", message) == {"a1 co2": 612.0, "a1 air_temperature.in": 100.0, "a1 air_out": 5.0}


def test_records_below_the_names_of_devices() -> None:
    source = 'topic: gateway/telemetry\nformat: json\nrecords: "/{device}/*"\nwithin: values\ntime: {key: ts, unit: ms}'
    message = {"a1": [{"ts": 1_777_890_000_000, "values": {"co2": 500}}], "a2": [{"values": {"co2": 501}}]}
    assert values(source, "gateway/telemetry", message) == {"a1 co2": 500.0, "a2 co2": 501.0}


def test_a_device_of_several_fields_and_messages_of_one_kind() -> None:
    source = """
topic: rtl/events
format: json
device: {join: [model, channel, id]}
when: {mod: [ASK]}
ignore: [protocol]
"""
    message = {"model": "AcuRite-Tower", "channel": "A", "id": 1234, "mod": "ASK", "humidity": 41, "protocol": 40}
    assert values(source, "rtl/events", message) == {"AcuRite-Tower-A-1234 relative_humidity": 41.0}
    assert values(source, "rtl/events", {**message, "mod": "FSK"}) == {}


def test_levels_are_counted_from_either_end() -> None:
    source = "topic: rtl/#\nformat: json\ndevice: {level: 2, to: -2}\nname: {level: -1}"
    assert values(source, "rtl/AcuRite-Tower/A/1234/humidity", b"41") == {
        "AcuRite-Tower-A-1234 relative_humidity": 41.0
    }


def test_local_times_in_two_fields() -> None:
    source = 'topic: l/+\nformat: json\ntime: {key: kl, date: dato, format: "%d.%m.%Y %H:%M:%S", zone: Europe/Oslo}'
    stored, rejected = readings(source, "l/a1", {"dato": "04.05.2026", "kl": "13:00:00", "co2": 500})
    assert rejected == []
    assert [(r.quantity, r.time) for r in stored] == [("co2", 1_777_892_400_000_000)]


@pytest.mark.parametrize("key", ["time", "timestamp", "ts", "tst", "dateTime", "TimeInstant", "measuredAt"])
def test_usual_keys_of_times_are_times_and_never_readings(key: str) -> None:
    stored, _ = readings("topic: s/+\nformat: json", "s/a1", {key: 1_777_890_000_000, "co2": 500})
    assert [(r.quantity, r.time) for r in stored] == [("co2", 1_777_890_000_000_000)]


@pytest.mark.parametrize(
    ("source", "payload", "reason"),
    [
        ("topic: s/+\nformat: json", b"21.5", "wrong-shape"),
        ("topic: s/+\nformat: json", b"{", "truncated"),
        ("topic: s/+\nformat: json\ndevice: {pointer: meta.id}", b'{"co2": 1}', "no-device"),
        ("topic: s/+\nformat: json\nrecords: v\nname: n\nvalue: x", b'{"v": [{"x": 1}]}', "no-name"),
        ("topic: s/+\nformat: json\ntime: t", b'{"t": "in the morning", "co2": 1}', "bad-time"),
        ('topic: s/+\nformat: json\ntime: {key: t, format: "%H"}', b'{"t": "x", "co2": 1}', "bad-time"),
    ],
)
def test_what_does_not_fit_is_told(source: str, payload: bytes, reason: str) -> None:
    assert readings(source, "s/a1", payload) == ([], [reason])


def test_a_long_pilot_reads_back() -> None:
    pilot = pilot_with(RECORDS)
    assert DeviceDefinition(id="168496141") in pilot.devices


def test_words_and_numbers_in_text() -> None:
    source = """
topic: doors/+
format: json
fields:
  state: {quantity: door_open, words: {Åpen: 1, lukket: 0}}
  t: {quantity: air_temperature, text: true}
"""
    assert values(source, "doors/a1", {"state": "åpen", "t": "19,5"}) == {
        "a1 door_open": 1.0,
        "a1 air_temperature": 19.5,
    }
    assert values(source, "doors/a1", {"state": "unavailable", "t": "nan"}) == {}


def test_more_records_than_a_message_may_have_are_refused_not_left_out() -> None:
    source = "topic: plant/a1\nformat: json\nrecords: /list/*\nname: n\nvalue: v\ndevice: {id: a1}"
    records = [{"n": f"x{number}", "v": number} for number in range(10_001)]
    stored, rejected = readings(source, "plant/a1", {"list": records})
    assert (stored, rejected) == ([], ["too-many-values"])


def test_one_value_with_its_unit_and_no_name_is_called_value() -> None:
    assert values("topic: x/a1\nformat: json\ndevice: {id: a1}", "x/a1", {"value": 23.6, "unit": "Cel"}) == {
        "a1 value": 23.6
    }


@pytest.mark.parametrize(
    ("source", "topic", "payload", "expected"),
    [
        (  # the table of a family whose usual topic covers the source's
            {"topic": "msh/EU/2/json/Garden/+"},
            "msh/EU/2/json/Garden/!0a",
            {"from": 77, "type": "telemetry", "timestamp": 1777897000, "payload": {"temperature": 3.5}, "rssi": -70},
            {"air_temperature": 3.5},
        ),
        (
            {"topic": "line/4", "device": {"id": "77"}},
            "line/4",
            {"timestamp": 1777897800000, "values": [{"id": "Pump.Flow", "t": 1777897799000, "v": 7}]},
            {"values.Pump.Flow": 7.0},
        ),
        (
            {"topic": "hus/+/sensor/temperature/state"},
            "hus/77/sensor/temperature/state",
            "4.5",
            {"air_temperature": 4.5},
        ),
        ({"topic": "hus/+/sensor/temperature/state"}, "hus/77/sensor/temperature/state", "nan", {}),
        ({"topic": "hus/+/#"}, "hus/77/door/state", "OPEN", {"door_open": 1.0}),
        ({"topic": "tank/+/level"}, "tank/77/level", "3.2", {"level": 3.2}),
        ({"topic": "zigbee2mqtt/#"}, "zigbee2mqtt/77", {"temperature": 7}, {"air_temperature": 7.0}),
        ({"topic": "iot/+/evt"}, "iot/77/evt", {"d": {"temperature": 21.5}}, {"air_temperature": 21.5}),
    ],
)
def test_a_source_without_a_format(
    source: dict[str, Any], topic: str, payload: Any, expected: dict[str, float]
) -> None:
    explanation = read(source, topic, payload, "77")
    assert {name: value for name, (value, _) in stored(explanation).items()} == expected
    assert reasons(explanation) == []


def test_the_format_that_a_topic_has_is_written_into_the_definition() -> None:
    definition = "id: x\ntitle: X\nquestion: Y\ndevices: []\nsources:\n"
    for topic, form in (("rtl_433/+/events", "rtl-433"), ("pilots/x/+/csv", "csv"), ("pilots/x/+/readings", "native")):
        assert parse_definition(f"{definition}  - topic: {topic}\n").sources[0].format == form
    with pytest.raises(DefinitionError, match="format"):  # ChirpStack 3 and 4 have one topic
        parse_definition(definition + "  - topic: application/+/device/+/event/up\n")


@pytest.mark.parametrize(
    ("payload", "reason"),
    [('{"level": 3', "truncated.json"), ("[1, 2", "truncated.json"), ('"a": 1', "not-json.malformed")],
)
def test_damaged_json_is_no_plain_word(payload: str, reason: str) -> None:
    named = {"topic": "tank/+/level", "format": "json", "name": {"level": 3}}
    for source in ({"topic": "tank/+/level"}, named)[: 1 if payload.startswith('"') else 2]:
        assert reasons(read(source, "tank/77/level", payload, "77")) == [reason]


def test_a_plain_value_whose_topic_says_only_the_device_is_asked_about() -> None:
    assert reasons(read({"topic": "sensors/+"}, "sensors/77", "21.5", "77")) == ["wrong-shape.json"]


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        ({"payload": {"temperature": 1}}, "not-a-number.nested"),
        ({"values": [{"id": "a", "v": 1}]}, "not-a-number.nested"),
        ("21.5", "wrong-shape.source"),
    ],
)
def test_a_native_source_says_which_format_reads_other_shapes(payload: Any, reason: str) -> None:
    """A device below pilots/ is told what to send; of others the source has to say how they are read."""
    assert reasons(read({"topic": "plc/+/out", "format": "native"}, "plc/77/out", payload, "77")) == [reason]
    own = {"topic": "pilots/p/+/readings", "format": "native"}
    assert reason not in reasons(read(own, "pilots/p/77/readings", payload, "77"))


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (  # what is beside a value and its unit is no channel of it
            {"pm25": {"value": 7, "unit": "µg/m³", "sensorsId": 70084, "uncertainty": 2}},
            {"pm25": (7, "ug/m3"), "pm25_sensorsId": (70084, None), "pm25_uncertainty": (2, None)},
        ),
        (
            {
                "results": [
                    {"parameter": p, "value": v, "unit": "µg/m³", "locationId": 5} for p, v in (("pm25", 7), ("no2", 9))
                ]
            },
            {
                "pm25": (7, "ug/m3"),
                "no2": (9, "ug/m3"),
                "results.pm25.locationId": (5, None),
                "results.no2.locationId": (5, None),
            },
        ),
        ({"co2": {"current": 500, "limit": 1000}}, {"co2.current": (500, "[ppm]"), "co2_limit": (1000, None)}),
        (
            {"probes": [{"probe_id": 7, "x": 1}, {"probe_id": 9, "x": 2}]},
            {"probes.7.x": (1, None), "probes.9.x": (2, None)},
        ),
        ({"temperature": {"value": "21.5", "time": {"utc": "2026-05-04T12:30:00Z"}}}, {}),
    ],
)
def test_what_stands_beside_a_value_is_not_of_its_kind(payload: Any, expected: dict[str, Any]) -> None:
    assert stored(read({"topic": "a/+"}, "a/77", payload, "77")) == expected


def test_a_position_in_a_list_is_told_and_an_id_is_none() -> None:
    remarks = {
        reading.quantity: reading.remark and reading.remark.code
        for payload in ({"x": [{"v1": 1}]}, {"x": [{"lsid": 48308, "v1": 1}, {"lsid": 48309, "v1": 2}]})
        for reading in read({"topic": "a/+"}, "a/77", payload, "77").readings
    }
    assert remarks == {
        "x.0.v1": "remark.position",
        "x.48308.v1": "remark.unknown-quantity",
        "x.48309.v1": "remark.unknown-quantity",
    }


@pytest.mark.parametrize("form", ["json", "native"])
@pytest.mark.parametrize(
    "message",
    [
        {"date": "2026-05-04T12:30:00Z", "pm10": 7},
        {"dato": "04.05.2026 14:30", "pm10": 7},
        {"dato": "04.05.2026", "klokkeslett": "14:30", "pm10": 7},
        {"date": 1777897800, "pm10": 7},
    ],
)
def test_a_date_with_a_time_of_day_is_the_time(form: str, message: dict[str, Any]) -> None:
    [reading] = read({"topic": "a/+", "format": form}, "a/77", message, "77", timezone="Europe/Oslo").readings
    assert (reading.quantity, reading.time) == ("pm10", 1777897800000000)


def test_parts_that_a_list_names_are_channels_and_none_is_a_word_of_a_state() -> None:
    probes = {"probes": [{"addr": "28-03A1", "temperature": 21.5}, {"addr": "28-03A2", "temperature": 5.5}]}
    assert stored(read({"topic": "a/+"}, "a/77", probes | {"alarm": "none", "co2": "none"}, "77")) == {
        "air_temperature.28-03a1": (21.5, "Cel"),
        "air_temperature.28-03a2": (5.5, "Cel"),
        "alarm": (0, "1"),
    }


def test_records_of_a_list_within_a_list_are_named_and_their_ids_are_no_values() -> None:
    measured = [
        {"measurementId": "4097", "type": "Air Temperature", "measurementValue": 24.5},
        {"measurementId": "4098", "type": "Air Humidity", "measurementValue": 60},
    ]
    for message in ({"messages": [measured]}, {"messages": measured}, {"messages": [measured[:1]], "humidity": 60}):
        explanation = read({"topic": "a/+"}, "a/77", message, "77")
        assert stored(explanation) == {"air_temperature": (24.5, "Cel"), "relative_humidity": (60, "%")}
        assert reasons(explanation) == []


IDENTIFIERS = [
    "id",
    "lsid",
    "sensor_id",
    "sensorsId",
    "deviceid",
    "modelid",
    "rackID",
    "devEUI",
    "deveui",
    "MAC",
    "mac_address",
]
STATES = [
    "lid",
    "fuel_lid",
    "tankLid",
    "humid",
    "grid",
    "gridImport",
    "export",
    "energy.import",
    "paid",
    "slot",
    "port",
    "Solid",
]


@pytest.mark.parametrize(("key", "is_one"), [*((key, True) for key in IDENTIFIERS), *((key, False) for key in STATES)])
def test_a_text_is_an_identifier_by_the_last_word_of_its_key(key: str, is_one: bool) -> None:
    assert is_identifier(key) is is_one

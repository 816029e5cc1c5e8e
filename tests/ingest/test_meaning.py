"""What a value means: its unit, its time, whether it is one at all, and what becomes of what is no reading."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from techport_ingest.checking import written_values
from techport_ingest.checking.absence import is_absent_number
from techport_ingest.checking.time_names import is_time, time_key
from techport_ingest.decoding.lint import explain
from techport_ingest.decoding.time_fields import TimeReader
from techport_ingest.message import RejectedMessage
from techport_pilots import state_words
from techport_pilots.definition.load import parse_definition
from techport_pilots.model import Text, TimeRule
from tests.ingest.explaining import NOW, read, reasons, stored, uplink

OSLO = ZoneInfo("Europe/Oslo")


# -- Units


@pytest.mark.parametrize(
    ("decoded", "expected"),
    [
        ({"bat": 3.59}, {"battery_voltage": (3.59, "V")}),  # a lithium cell, whatever the name promises
        ({"battery": 3612}, {"battery_voltage": (3.612, "V")}),
        ({"battery": 87}, {"battery_level": (87, "%")}),
        ({"battery": 0}, {"battery_level": (0, "%")}),
        ({"battery": 4}, {"raw.battery": (4, None)}),  # four volts or four per cent
        ({"batteryLevel": 2.97}, {"battery_voltage": (2.97, "V")}),
        ({"BatV": 3.05}, {"battery_voltage": (3.05, "V")}),
        ({"vdd": 3566}, {"battery_voltage": (3.566, "V")}),
        ({"battery_mV": 2950}, {"battery_voltage": (2.95, "V")}),
        ({"active_power": 1200}, {"raw.active_power": (1200, None)}),
        ({"current": 5200}, {"raw.current": (5200, None)}),
        ({"tvoc": 0.37}, {"raw.tvoc": (0.37, None)}),
        ({"energy": 5}, {"raw.energy": (5, None)}),
        ({"water_level": 1.4}, {"raw.water_level": (1.4, None)}),
        ({"pressure": 1008.6}, {"air_pressure": (1008.6, "hPa")}),
        ({"pressure": 100860}, {"air_pressure": (1008.6, "hPa")}),
        ({"pressure": 100.86}, {"air_pressure": (1008.6, "hPa")}),
        ({"pressure": 3.2}, {"raw.pressure": (3.2, None)}),  # bar, in a pipe
        ({"temperature": 21.5, "humidity": 40}, {"air_temperature": (21.5, "Cel"), "relative_humidity": (40, "%")}),
        ({"temperature_F": 68}, {"air_temperature": (20, "Cel")}),
        ({"voltage_a": 230}, {"raw.voltage_a": (230, None)}),  # a phase, no amperes
        ({"people_in": 3, "uv_index": 2}, {"people_in": (3, "{person}"), "uv_index": (2, "1")}),
        ({"pm2_5": 8}, {"pm25": (8, "ug/m3")}),
        ({"glitter": 8}, {"glitter": (8, None)}),
    ],
)
def test_a_number_without_a_unit_gets_one_by_a_rule_or_none(
    decoded: dict[str, Any], expected: dict[str, tuple[float, str | None]]
) -> None:
    assert stored(uplink(decoded)) == expected


def test_what_nobody_knows_the_unit_of_is_said_to_need_one() -> None:
    (reading,) = uplink({"active_power": 1200}).readings
    assert reading.remark is not None
    assert "active_power" in str(reading.remark)
    assert "fields:" in str(reading.remark)


def test_a_makers_table_tells_units_by_brand_and_by_its_set_of_keys() -> None:
    plug = {"active_power": 640, "power_factor": 97, "power_consumption": 12500, "current": 2900, "voltage": 229.4}
    expected = {
        "active_power": (0.64, "kW"),
        "power_factor": (0.97, "1"),
        "energy_meter": (12.5, "kW.h"),
        "current": (2.9, "A"),
        "voltage": (229.4, "V"),
    }
    assert stored(uplink(plug)) == expected
    assert stored(uplink({"battery": 4}, brand="milesight-iot")) == {"battery_level": (4, "%")}
    assert stored(uplink({"pressure": 990}, brand="elsys")) == {"air_pressure": (990, "hPa")}


def test_the_definition_says_the_unit() -> None:
    fields = {"active_power": {"quantity": "active_power", "unit": "W"}}
    assert stored(uplink({"active_power": 1200}, fields)) == {"active_power": (1.2, "kW")}


def test_native_keys_are_the_vocabularys_and_so_are_those_that_senders_choose_for_us() -> None:
    assert stored(explain(b'{"active_power": 1.2}', "pilots/p/x/readings", NOW, "native")) == {
        "active_power": (1.2, "kW")
    }
    lines = {"topic": "pilots/p/+/lines", "format": "line-protocol"}
    assert stored(read(lines, "pilots/p/x/lines", "m active_power=1.2")) == {"active_power": (1.2, "kW")}
    foreign = {"topic": "telegraf/+", "format": "line-protocol"}
    assert stored(read(foreign, "telegraf/x", "m active_power=1.2")) == {"raw.active_power": (1.2, None)}


def test_a_unit_that_the_message_states_is_kept_for_what_nobody_described() -> None:
    assert stored(uplink({"stage": {"value": 812, "unit": "mm"}})) == {"stage": (812, "mm")}
    assert stored(uplink({"odd": {"value": 3, "unit": "wobbles"}})) == {"odd": (3, "wobbles")}


# -- Absence


@pytest.mark.parametrize(
    ("decoded", "rule"),
    [
        ({"temperature": "unavailable"}, "missing"),
        ({"temperature": "NaN"}, "missing"),
        ({"temperature": "n/a"}, "missing"),
        ({"temperature": None}, "null"),
        ({"temperature": -999}, "missing"),
        ({"temperature": -9999.0}, "missing"),
        ({"TempC_DS": 327.67}, "missing"),
        ({"battery": 255}, "missing"),
        ({"co2": 65535}, "missing"),
        ({"pm10": -999.9}, "missing"),
        ({"glitter": -999}, "missing"),
    ],
)
def test_marks_of_absence_are_no_readings(decoded: dict[str, Any], rule: str) -> None:
    explanation = uplink(decoded)
    assert (explanation.readings, reasons(explanation)) == ([], [])
    (ignored,) = explanation.ignored_parts
    assert (ignored.rule, ignored.key) == (rule, *decoded)


def test_numbers_that_can_be_values_are_no_marks() -> None:
    expected = {"illuminance": (255, "lx"), "people_count": (999, "{person}")}
    assert stored(uplink({"lux": 255, "people_count": 999})) == expected


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({"batteryLevel": 61.0}, {"battery_level": (61, "%")}),
        (
            {"batteryLevel": 61.0, "externalPowerSource": False, "batteryLevelUnavailable": False},
            {"battery_level": (61, "%")},
        ),
        ({"batteryLevel": 0.0, "externalPowerSource": True}, {}),
        ({"batteryLevel": 0.0, "batteryLevelUnavailable": True}, {}),
    ],
)
def test_chirpstack_says_beside_the_battery_that_there_is_none(
    status: dict[str, Any], expected: dict[str, tuple[float, str]]
) -> None:
    source = {"topic": "application/+/device/+/event/+", "format": "chirpstack-v4"}
    event = {"deviceInfo": {"devEui": "a1b2c3d4e5f60718"}, "margin": 7, **status}
    topic = "application/1/device/a1b2c3d4e5f60718/event/status"
    assert stored(read(source, topic, event, device="a1b2c3d4e5f60718")) == expected


# -- Text


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        ("21.50", 21.5, None),
        ("19,5", 19.5, None),
        ("2.7V", 2.7, "V"),
        ("1 013,2 hPa", 1013.2, "hPa"),
        ("-4 °C", -4.0, "°C"),
        ("0x1F", 31.0, None),
        ("1.5e3", 1500.0, None),
        ("\u22123", -3.0, None),
    ],
)
def test_numbers_that_are_written_as_text(text: str, value: float, unit: str | None) -> None:
    assert written_values.read(text) == (value, unit)
    fields = {"t": {"quantity": "glimmer", "text": True}}
    quantities = [{"name": "glimmer", "title": "Glimmer", "unit": "1", "range": [-1e9, 1e9]}]
    source = {"topic": "a/+", "format": "json", "fields": fields}
    if unit is None:
        assert stored(read(source, "a/x", {"t": text}, quantities=quantities)) == {"glimmer": (value, "1")}


@pytest.mark.parametrize(
    "text", ["", "open", "1.2.3", "v2.1", "4G", "0049123", "12:30", "2026-05-04", "1234567890123456789"]
)
def test_texts_that_are_no_numbers(text: str) -> None:
    assert written_values.read(text) is None


def test_a_number_in_text_of_a_foreign_format_is_set_aside_with_the_way_to_map_it() -> None:
    explanation = uplink({"Temp_probe": "18.25"})
    (part,) = explanation.rejected
    assert part.rejection.code == "not-a-number.as-text"
    assert "text: true" in part.rejection.hint()
    mapped = uplink({"Temp_probe": "18,25"}, {"Temp_probe": {"quantity": "air_temperature", "text": True}})
    assert stored(mapped) == {"air_temperature": (18.25, "Cel")}


@pytest.mark.parametrize(
    ("source", "topic", "payload"),
    [
        ({"topic": "z/#", "format": "zigbee2mqtt"}, "z/x", '{"t": "19,5"}'),
        ({"topic": "a/+", "format": "json"}, "a/x", '{"t": "19,5"}'),
        ({"topic": "a/+", "format": "native"}, "a/x", '{"t": "19,5"}'),
        ({"topic": "a/+", "format": "csv"}, "a/x", 't,u\n"19,5",1'),
        ({"topic": "a/+", "format": "line-protocol"}, "a/x", 'm t="19,5"'),
        ({"topic": "/ul/+/+/attrs", "format": "ultralight"}, "/ul/k/x/attrs", "t|19,5"),
        ({"topic": "a/+", "format": "senml", "device": {"level": 2}}, "a/x", '[{"n": "t", "vs": "19,5"}]'),
        ({"topic": "homie/#", "format": "homie"}, "homie/x/n/t", "19,5"),
    ],
)
def test_numbers_in_text_can_be_mapped_in_every_format(source: dict[str, Any], topic: str, payload: str) -> None:
    fields = {key: {"quantity": "air_temperature", "text": True} for key in ("t", "m_t", "n.t")}
    assert stored(read({**source, "fields": fields}, topic, payload))["air_temperature"] == (19.5, "Cel")


# -- States


@pytest.mark.parametrize(
    ("word", "value"),
    [("open", 1), ("CLOSED", 0), ("åpen", 1), ("lukket", 0), (True, 1), ("on", 1), ("No motion", 0), ("occupied", 1)],
)
def test_common_words_of_states_are_understood(word: object, value: float) -> None:
    assert stored(uplink({"lid": word}, {"lid": "door_open"})) == {"door_open": (value, "1")}


def test_other_words_are_explained_by_the_source_or_by_the_quantity() -> None:
    fields: dict[str, Any] = {"lid": {"quantity": "door_open", "words": {"Ajar": 1, "shut tight": 0}}}
    assert stored(uplink({"lid": "ajar"}, fields)) == {"door_open": (1, "1")}
    assert reasons(uplink({"lid": "yawning"}, fields)) == ["not-a-number.word"]
    window = {"name": "flap", "title": "Flap", "unit": "1", "kind": "state", "states": ["closed", "tilted", "open"]}
    assert stored(uplink({"w": "tilted"}, {"w": "flap"}, quantities=[window])) == {"flap": (1, "1")}
    assert stored(uplink({"w": "open"}, {"w": "flap"}, quantities=[window])) == {"flap": (2, "1")}
    own = {**window, "words": {"gekippt": 1}}
    assert stored(uplink({"w": "gekippt"}, {"w": "flap"}, quantities=[own])) == {"flap": (1, "1")}


def test_a_state_that_nobody_described_is_ignored_with_key_value_and_reason() -> None:
    (ignored,) = uplink({"valve": "half-way"}).ignored_parts
    assert (ignored.rule, ignored.key, ignored.value) == ("text", "valve", '"half-way"')
    assert "fields:" in str(ignored.why)


def test_what_people_read_for_a_state() -> None:
    titles = (Text(nb="lukket", en="closed"), Text(nb="åpen", en="open"))
    assert state_words.title_of(1.0, titles) == titles[1]
    assert state_words.title_of(0.4, titles) is None
    assert state_words.title_of(7.0, titles) is None
    assert state_words.title_of(1.0, ()) == Text(nb="ja", en="yes")


# -- Text that says what a device is


@pytest.mark.parametrize("key", ["fw", "firmware_version", "SerialNumber", "info.swVersion", "modelId"])
def test_what_a_device_is_is_a_property_and_no_quarantine_entry(key: str) -> None:
    for explanation in (
        explain(json.dumps({key: "1.2", "pm10": 3}).encode(), "pilots/p/x/readings", NOW, "native"),
        uplink({key.replace(".", "_"): "1.2", "pm10": 3}),
    ):
        assert reasons(explanation) == []
        assert [part.rule for part in explanation.ignored_parts] == ["property"]


# -- Times


@pytest.mark.parametrize(
    "key", ["timestamp", "ts", "tst", "TimeInstant", "dateTime", "measuredAt", "observed_at", "Timestamp", "tidspunkt"]
)
@pytest.mark.parametrize("form", ["native", "json"])
def test_the_time_stands_under_a_usual_key_and_is_never_a_reading(key: str, form: str) -> None:
    given = {key: 1_777_890_000_000, "pm10": 3}
    (reading,) = read({"topic": "a/+", "format": form}, "a/x", given).readings
    assert (reading.quantity, reading.time) == ("pm10", 1_777_890_000_000_000)


@pytest.mark.parametrize(
    ("source", "topic", "payload"),
    [
        ({"topic": "a/+", "format": "json"}, "a/x", '{"pm10": 3, "time": 1777890000, "created_at": 1777890000}'),
        ({"topic": "a/+", "format": "json"}, "a/x", '{"pm10": 3, "gps": {"timestamp": 1777890000}}'),
        ({"topic": "a/+", "format": "line-protocol"}, "a/x", "m pm10=3,timestamp=1777890000i"),
        ({"topic": "z/#", "format": "zigbee2mqtt"}, "z/x", '{"pm10": 3, "timestamp": 1777890000}'),
        ({"topic": "a/+", "format": "csv"}, "a/x", "time,pm10,measured_at\n1777890000,3,1777890000"),
    ],
)
def test_no_time_becomes_a_reading_in_any_format(source: dict[str, Any], topic: str, payload: str) -> None:
    assert [reading.quantity.rpartition("_")[2] for reading in read(source, topic, payload).readings] == ["pm10"]


@pytest.mark.parametrize(("key", "time"), [("a.ts", True), ("measured_at.0", True), ("uptime", False), ("tsp", False)])
def test_names_of_times(key: str, time: bool) -> None:
    assert is_time(key) is time


@pytest.mark.parametrize(
    ("rule", "given", "expected"),
    [
        ({"key": "t", "unit": "s"}, 1_777_890_000, "2026-05-04T10:20:00"),
        ({"key": "t", "unit": "ms"}, 1_777_890_000_000, "2026-05-04T10:20:00"),
        ({"key": "t", "unit": "us"}, 1_777_890_000_000_000, "2026-05-04T10:20:00"),
        ({"key": "t", "unit": "ns"}, 1_777_890_000_000_000_000, "2026-05-04T10:20:00"),
        ({"key": "t", "format": "%d.%m.%Y %H:%M"}, "04.05.2026 12:20", "2026-05-04T10:20:00"),
        ({"key": "t", "zone": "UTC"}, "2026-05-04 12:20:00", "2026-05-04T12:20:00"),
        (None, "2026-05-04 12:20:00", "2026-05-04T10:20:00"),
        (None, "04.05.2026 12:20", "2026-05-04T10:20:00"),
        (None, "1777890000", "2026-05-04T10:20:00"),
        (None, "2026-05-04T12:20:00+02:00", "2026-05-04T10:20:00"),
    ],
)
def test_times_as_the_source_says_them(rule: dict[str, Any] | None, given: object, expected: str) -> None:
    reader = TimeReader(OSLO, None if rule is None else TimeRule(**rule))
    instant = dt.datetime.fromtimestamp(reader.read(given, NOW) / 1e6, dt.UTC)
    assert instant.replace(tzinfo=None).isoformat() == expected


@pytest.mark.parametrize("form", ["json", "native", "csv"])
def test_date_and_time_of_day_in_two_places(form: str) -> None:
    payload: object = {"date": "2026-05-04", "time": "12:20", "pm10": 3}
    if form == "csv":
        payload = "date;time;pm10\n2026-05-04;12:20;3"
    (reading,) = read({"topic": "a/+", "format": form}, "a/x", payload).readings
    assert reading.time == 1_777_890_000_000_000


def test_the_sources_time_zone_goes_before_the_pilots() -> None:
    source = {"topic": "a/+", "format": "json", "timezone": "Etc/GMT-1"}
    (reading,) = read(source, "a/x", {"time": "2026-05-04 12:20:00", "pm10": 3}).readings
    assert reading.time == 1_777_893_600_000_000


def clock(text: str, received: str, previous: str | None = None) -> str:
    instants = [
        None if given is None else round(dt.datetime.fromisoformat(given).timestamp() * 1e6)
        for given in (received, previous)
    ]
    assert instants[0] is not None
    time = TimeReader(OSLO).read(text, instants[0], instants[1])
    return dt.datetime.fromtimestamp(time / 1e6, dt.UTC).strftime("%H:%M")


def test_the_double_hour_of_autumn() -> None:
    """25 October 2026: 03:00 is 02:00 again, at 01:00 UTC."""
    assert clock("2026-10-25 02:30", "2026-10-25T00:31Z") == "00:30"
    assert clock("2026-10-25 02:30", "2026-10-25T01:31Z") == "01:30"
    assert clock("2026-10-25 02:00", "2026-11-02T00:00Z", previous="2026-10-24T23:00Z") == "00:00"
    assert clock("2026-10-25 02:00", "2026-11-02T00:00Z", previous="2026-10-25T00:00Z") == "01:00"
    assert clock("2026-10-25 02:15", "2026-11-02T00:00Z", previous="2026-10-25T01:00Z") == "01:15"
    assert clock("2026-10-25 03:00", "2026-11-02T00:00Z", previous="2026-10-25T01:45Z") == "02:00"


def test_a_file_of_hours_keeps_both_hours_of_autumn() -> None:
    lines = "tid;pm10\n" + "\n".join(f"25.10.2025 {hour:02}:00;{n}" for n, hour in enumerate((0, 1, 2, 2, 3)))
    readings = read({"topic": "a/+", "format": "csv"}, "a/x", lines.replace("25.10.2025", "26.10.2025")).readings
    assert len({reading.time for reading in readings}) == 5


def test_the_hour_that_spring_leaves_out_cannot_be_shown_by_a_clock() -> None:
    with pytest.raises(RejectedMessage) as skipped:
        clock("2026-03-29 02:30", "2026-03-29T01:31Z")
    assert skipped.value.rejection.code == "local-time.skipped"
    assert clock("2026-03-29 01:59", "2026-03-29T01:31Z") == "00:59"
    assert clock("2026-03-29 03:00", "2026-03-29T01:31Z") == "01:00"


def test_a_buffered_value_with_an_unreadable_time_is_not_stored_at_its_arrival() -> None:
    records = [{"timestamp": "yesterday", "pm10": 3}]
    for form in ("native", "json"):
        explanation = read({"topic": "a/+", "format": form}, "a/x", records)
        assert explanation.readings == []
        assert reasons(explanation) == ["bad-time.text"]


@pytest.mark.parametrize("key", ["time_ms", "ts_ms", "reported_at", "Zeitstempel", "tidpunkt"])
def test_more_names_of_times_never_become_readings(key: str) -> None:
    assert is_time(key)
    assert time_key({key: 1_795_900_000_000, "pm10": 1}) == key


def test_a_thermometer_that_does_not_answer_gives_no_value() -> None:
    assert is_absent_number(-127.0, known_range=True)
    assert not is_absent_number(-127.0, known_range=False)


def test_a_table_of_periods_has_the_time_of_their_beginning() -> None:
    source = {"topic": "x/+", "format": "csv"}
    pilot = parse_definition(
        json.dumps({"id": "p", "title": "P", "question": "Is it?", "devices": [{"id": "x"}], "sources": [source]})
    )
    text = "Fra-tid;Til-tid;PM10\n04.05.2026 11:00;04.05.2026 12:00;2,5\n"
    (reading,) = explain(text.encode(), "x/x", NOW, pilot=pilot).readings
    assert reading.time is not None
    assert dt.datetime.fromtimestamp(reading.time / 1e6, dt.UTC).hour == 9


def test_records_of_a_kind_are_named_by_it() -> None:
    said = uplink({"readings": [{"kind": "co2", "val": 800}, {"kind": "temp", "val": 20}]})
    assert {reading.quantity: reading.value for reading in said.readings} == {"co2": 800.0, "air_temperature": 20.0}


def test_both_words_of_a_tamper_switch_are_known() -> None:
    assert [state_words.number_of(word, {}) for word in ("installed", "uninstalled")] == [0.0, 1.0]


def test_decode_shows_the_word_of_a_state() -> None:
    (door, level) = uplink({"magnet_status": "open", "battery": 90}).readings
    assert door.word is not None
    assert (door.word.get("en"), level.word) == ("open", None)
    gate = {
        "name": "gate",
        "title": {"en": "Gate"},
        "unit": "1",
        "kind": "state",
        "states": ["shut", "half open", "open"],
    }
    said = read({"topic": "x/+", "format": "json"}, "x/x", {"gate": "half open"}, quantities=[gate])
    assert [(reading.value, reading.word and reading.word.get("en")) for reading in said.readings] == [
        (1.0, "half open")
    ]


def test_parts_that_the_things_stack_makes_of_cayenne_have_their_meaning() -> None:
    position = {"latitude": 59.9, "longitude": 10.4, "altitude": 3}
    said = uplink({"gps_5": position, "accelerometer_2": {"x": 0, "y": 1, "z": 0}, "temperature_1": 20})
    assert {reading.quantity: (reading.value, reading.unit) for reading in said.readings} == {
        "latitude": (59.9, "deg"),
        "longitude": (10.4, "deg"),
        "altitude": (3.0, "m"),
        "acceleration.2-x": (0.0, "m/s2"),
        "acceleration.2-y": (pytest.approx(9.80665), "m/s2"),
        "acceleration.2-z": (0.0, "m/s2"),
        "air_temperature.1": (20.0, "Cel"),
    }

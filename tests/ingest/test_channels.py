"""Two values for one place: channels where the message tells them apart, quarantine where nothing does."""

from __future__ import annotations

import json

import cbor2
import pytest

from techport_ingest.checking.channels import channel_of
from techport_ingest.decoding.formats.sparkplug_b.sparkplug_b_pb2 import Payload
from techport_ingest.decoding.lint import explain
from techport_pilots.plugins import folder_names
from techport_storage.model import Quality
from tests.ingest.reading import TIME, Platform, Sent, definition, take

TASMOTA = definition("sources: [{topic: tele/+/SENSOR, format: tasmota}]", ("shed", "kitchen", "cellar"))
BOTH = {"Time": TIME, "BME280": {"Temperature": 20.5, "Humidity": 51}, "DS18B20": {"Temperature": 4.5}}
ONLY_SECOND = {"Time": TIME, "DS18B20": {"Temperature": 4.0}}
OTHER_WAY = {"Time": TIME, "DS18B20": {"Temperature": 3.5}, "BME280": {"Temperature": 20.0}}


def test_sensors_of_one_device_are_channels_and_stay_so() -> None:
    platform = take(TASMOTA, *[("tele/shed/SENSOR", payload) for payload in (BOTH, ONLY_SECOND, OTHER_WAY)])
    assert [row for row in platform.rows if "temperature" in row[1]] == [
        ("shed", "air_temperature", 20.5),
        ("shed", "air_temperature.ds18b20", 4.5),
        ("shed", "air_temperature.ds18b20", 4.0),
        ("shed", "air_temperature.ds18b20", 3.5),
        ("shed", "air_temperature", 20.0),
    ]
    assert platform.rejected == []


def test_who_comes_first_keeps_the_stream_without_a_channel() -> None:
    platform = take(TASMOTA, *[("tele/shed/SENSOR", payload) for payload in (ONLY_SECOND, BOTH)])
    assert platform.rows[0][1] == "air_temperature"
    assert ("shed", "air_temperature.bme280", 20.5) in platform.rows


def test_a_described_channel_is_the_parts_stream() -> None:
    text = TASMOTA.replace(
        '- {id: "shed"}',
        "- {id: shed, streams: [{quantity: air_temperature.bme280}, {quantity: air_temperature.ds18b20}]}",
    )
    platform = take(text, ("tele/shed/SENSOR", BOTH))
    assert [row[1] for row in platform.rows] == [
        "air_temperature.bme280",
        "relative_humidity",
        "air_temperature.ds18b20",
    ]
    assert [key for _, _, key in platform.origins if "temperature" in key] == []


def test_a_source_may_say_what_each_part_measures() -> None:
    fields = "{air_temperature.ds18b20: {quantity: soil_temperature}}"
    text = TASMOTA.replace("format: tasmota}", f"format: tasmota, fields: {fields}}}")
    platform = take(text, ("tele/shed/SENSOR", BOTH), ("tele/shed/SENSOR", ONLY_SECOND))
    assert [row[1:] for row in platform.rows if row[2] < 10] == [("soil_temperature", 4.5), ("soil_temperature", 4.0)]


def test_devices_behind_a_bridge_are_devices() -> None:
    def heard(address: str, name: str | None, value: float) -> Sent:
        said = {"Device": address, "Temperature": value, "LinkQuality": 90} | ({"Name": name} if name else {})
        return "tele/bridge/SENSOR", {"Time": TIME, "ZbReceived": {name or address: said}}

    platform = take(
        TASMOTA, heard("0x1122", "Kitchen", 21.0), heard("0x3344", "Cellar", 6.0), heard("0x5566", None, 1.0)
    )
    temperatures = [row for row in platform.rows if row[1] == "air_temperature"]
    assert temperatures == [("kitchen", "air_temperature", 21.0), ("cellar", "air_temperature", 6.0)]
    assert platform.rejected == [("0x5566", "unknown-device", 2)]
    tags = {"ATC-1a2b3c": {"mac": "a4c1381a2b3c", "Temperature": 1}, "MJ_HT_V1-aabbcc": {"Temperature": 2}}
    platform = take(TASMOTA, ("tele/shed/SENSOR", {"Time": TIME, **tags}))
    assert [part[0] for part in platform.rejected] == ["a4c1381a2b3c", "mj_ht_v1-aabbcc"]


def test_values_that_nothing_tells_apart_are_set_aside_together() -> None:
    text = definition("sources: [{topic: zigbee2mqtt/+, format: zigbee2mqtt}]")
    platform = take(text, ("zigbee2mqtt/a", {"temperature": 21.5, "temp": 5.5, "humidity": 50}))
    assert platform.rows == [("a", "relative_humidity", 50.0)]
    assert platform.rejected == [("a", "conflict", 2)]
    rejection = platform.last.rejected[0].rejection
    assert rejection.detail().startswith("temperature and temp all mean")
    assert "air_temperature.inside" in rejection.hint()
    platform = take(text, ("zigbee2mqtt/a", {"temperature": 21.5, "temp": 21.5}))
    assert platform.rows == [("a", "air_temperature", 21.5)] * 2  # the same twice: one row and a duplicate


def test_a_conflict_says_the_values_and_leaves_other_times_alone() -> None:
    records = [{"time": TIME, "pm10": 1}, {"time": "2026-11-29T20:01:00Z", "pm10": 2}, {"time": TIME, "pm10": 3}]
    platform = Platform(definition(""))
    columns = platform.read("pilots/kai/a/readings", records)
    assert [row[2] for row in platform.rows] == [2.0]
    rejection = columns.rejected[0].rejection
    assert rejection.detail() == '"pm10" has different values at one instant in one message: 1 and 3.'
    assert "time" in rejection.hint()


def test_rows_behind_a_conflict_keep_what_belongs_to_them() -> None:
    records = [{"pm10": 1}, {"pm10": 2}, {"pm25": -3000}]
    columns = Platform(definition("")).read("pilots/kai/a/readings", records)
    assert columns.untimed == [0]
    assert [(row.quantity, row.quality) for row in columns.batch()] == [("pm25", Quality.RANGE)]


@pytest.mark.parametrize(
    ("part", "channel"),
    [
        ("DS18B20", "ds18b20"),
        ("SHT3X-0x44", "sht3x-0x44"),
        ("Kjøkken nord", "kjøkken-nord"),
        ("a.b/c", "a-b-c"),
        ("-", ""),
    ],
)
def test_channels_are_named_after_parts(part: str, channel: str) -> None:
    assert channel_of(part) == channel


LINES = definition("sources: [{topic: lp/+, format: line-protocol, precision: s}]")


def test_tags_tell_the_series_of_a_device_apart() -> None:
    two = "air,location=hall temperature=21.5 1795900000\nair,location=loft temperature=4.5 1795900000\n"
    platform = take(LINES, ("lp/a", two), ("lp/a", "air,location=loft temperature=4 1795900060"))
    assert platform.rows == [
        ("a", "air_temperature", 21.5),
        ("a", "air_temperature.loft", 4.5),
        ("a", "air_temperature.loft", 4.0),
    ]
    described = "air,device=a,host=pi,fw=1 temperature=1 1795900000\nair,device=a,host=pi,fw=2 temperature=2 1795900060"
    assert [row[1] for row in take(LINES, ("lp/a", described)).rows] == ["air_temperature"] * 2


def test_columns_that_name_a_part_are_channels() -> None:
    text = definition("sources: [{topic: logs/+, format: csv}]")
    rows = f"time,device,sensor,temperature\n{TIME},a,bme,1\n{TIME},a,ds18,2\n"
    assert [row[1] for row in take(text, ("logs/x", rows)).rows] == ["air_temperature", "air_temperature.ds18"]


CAYENNE_TWICE = bytes.fromhex("0367011003670111")  # channel 3 has a temperature twice
SENML = [{"bn": "urn:dev:ow:a:", "n": "temperature", "v": 1}, {"n": "temperature", "v": 2}]


def metrics(*values: float) -> bytes:
    payload = Payload(timestamp=1_795_900_000_000)
    for name, value in zip(("temperature", "temp"), values, strict=True):
        payload.metrics.add(name=name, datatype=10, double_value=value)
    return payload.SerializeToString()


SAME_QUANTITY = {"temperature": 1, "temp": 2}
COLLISIONS: dict[str, Sent] = {
    "native": ("pilots/kai/a/readings", [{"pm10": 1}, {"pm10": 2}]),
    "senml": ("senml/a", SENML),
    "csv": ("csv/a", "time,temperature,temp\n2026-11-29T20:00:00Z,1,2\n"),
    "line-protocol": ("lp/a", "air temperature=1,temp=2"),
    "senml-cbor": ("cbor/a", cbor2.dumps([{-2: "a:", 0: "temperature", 2: 1}, {0: "temperature", 2: 2}])),
    "sparkplug-b": ("spBv1.0/group/NDATA/a", metrics(1, 2)),
    "json": ("json/a", SAME_QUANTITY),
    "lorawan-json": ("lorawan/x", {"devEUI": "a", "object": SAME_QUANTITY}),
    "ultralight": ("/ul/key/a/attrs", "temperature|1|temp|2"),
    "cayenne-lpp": ("lpp/a", CAYENNE_TWICE),
    "zigbee2mqtt": ("zigbee2mqtt/a", {"voc": 1, "tvoc": 2}),
    "tasmota": ("tele/a/SENSOR", {"SHT3X-0x44": {"Temperature": 1}, "SHT3X-0x45": {"Temperature": 2}}),
    "shelly-gen2": (
        "a/events/rpc",
        {"src": "a", "method": "NotifyStatus", "params": {"em:0": {"a_voltage": 1}, "em1:0": {"voltage": 2}}},
    ),
    "tts-v3": (
        "v3/app@ttn/devices/a/up",
        {"end_device_ids": {"device_id": "a"}, "uplink_message": {"decoded_payload": SAME_QUANTITY}},
    ),
    "chirpstack-v4": (
        "application/1/device/a/event/up",
        {"deviceInfo": {"devEui": "a"}, "time": TIME, "object": {"humidity": 1, "rh": 2}},
    ),
    "sensor-community": (
        "sc/a",
        {
            "sensordatavalues": [
                {"value_type": "temperature", "value": "1"},
                {"value_type": "BME280_temperature", "value": "2"},
            ]
        },
    ),
}


ONE_OF_EACH = {
    "homeassistant": "each entity has a name of its own",
    "homie": "a message is one value",
    "sensorthings": "a message is one observation, or a tuple of numbered ones",
    "ruuvi-gateway": "the data format has a place for each quantity, once",
}
"""Formats whose messages cannot hold two values for one place, and why."""


def test_every_format_is_asked() -> None:
    folders = {folder.replace("_", "-") for folder in folder_names()}
    assert folders == COLLISIONS.keys() | ONE_OF_EACH.keys()


@pytest.mark.parametrize("form", COLLISIONS)
def test_no_format_lets_one_value_overwrite_another(form: str) -> None:
    """Two values of one quantity in one message: two streams, or both in quarantine."""
    topic, payload = COLLISIONS[form]
    first = "/ul" if topic.startswith("/") else topic.partition("/")[0]
    more = ", options: {uplink: {object: [object]}}" if form == "lorawan-json" else ""
    source = "" if form == "native" else f"sources: [{{topic: '{first}/#', format: {form}{more}}}]"
    platform = take(definition(source), (topic, payload))
    places = [(row.stream, row.time) for row in platform.last.batch()]
    assert len(set(places)) == len(places)
    set_aside = sum(values for _, reason, values in platform.rejected if reason == "conflict")
    assert len(places) + set_aside >= 2
    assert {reason for _, reason, _ in platform.rejected} <= {"conflict"}


THINGS = definition("sources: [{topic: v3/#, format: tts-v3}]")


def uplink(tree: dict[str, object]) -> Sent:
    ids = {"end_device_ids": {"device_id": "a"}}
    return "v3/app@ttn/devices/a/up", ids | {"uplink_message": {"received_at": TIME, "decoded_payload": tree}}


def record(kind: str, number: str, value: float) -> dict[str, object]:
    return {"measurementId": number, "type": kind, "measurementValue": value}


def test_records_of_a_list_are_named_by_what_they_say_they_are() -> None:
    first = [[record("Air Temperature", "4097", 24.5), record("Air Humidity", "4098", 60)]]
    second = [[record("Wind Direction Sensor", "4104", 180), record("Air Temperature", "4097", 25)]]
    platform = take(THINGS, uplink({"messages": first}), uplink({"messages": second}))
    assert [row[1:] for row in platform.rows] == [
        ("air_temperature", 24.5),
        ("relative_humidity", 60.0),
        ("wind_from_direction", 180.0),
        ("air_temperature", 25.0),
    ]
    assert platform.rejected == []


def test_probes_of_a_list_are_channels_in_whatever_order_they_come() -> None:
    def probes(*values: tuple[int, float]) -> Sent:
        return uplink({"probes": [{"id": number, "temperature": value} for number, value in values]})

    platform = take(THINGS, probes((1, 10), (2, 20)), probes((2, 21)), probes((2, 22), (1, 12)))
    assert [row[1:] for row in platform.rows] == [
        ("air_temperature", 10.0),
        ("air_temperature.probes-2", 20.0),
        ("air_temperature.probes-2", 21.0),
        ("air_temperature.probes-2", 22.0),
        ("air_temperature", 12.0),
    ]


def test_a_list_without_names_is_named_by_position_and_that_is_said() -> None:
    platform = take(THINGS, uplink({"depths": [4, 5]}))
    assert [row[1:] for row in platform.rows] == [("depths.0", 4.0), ("depths.1", 5.0)]
    topic, payload = uplink({"depths": [4, 5]})
    understood = explain(json.dumps(payload).encode(), topic, 1_796_000_000_000_000, pilot=platform.pilot)
    assert {one.remark.code for one in understood.readings if one.remark is not None} == {"remark.position"}


def test_a_conflict_of_names_is_cured_by_a_mapping_of_one() -> None:
    text = definition("sources: [{topic: zigbee2mqtt/+, format: zigbee2mqtt}]")
    sent = ("zigbee2mqtt/a", {"temperature": 21.5, "temp": 5.5})
    platform = take(text, sent)
    field = platform.last.rejected[0].field
    assert field == "temp"
    mapped = text.replace("zigbee2mqtt}", f"zigbee2mqtt, fields: {{{field}: {{quantity: water_temperature}}}}}}")
    platform = take(mapped, sent)
    assert (platform.rejected, [row[1] for row in platform.rows]) == ([], ["air_temperature", "water_temperature"])

"""Two values for one place: channels where the message tells them apart, quarantine where nothing does."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from typing import Any

import pytest

from techport_ingest.checking.channels import channel_of
from techport_ingest.checking.check import Columns
from techport_ingest.decoding.reader import Reader
from techport_ingest.message import Message
from techport_pilots.definition.load import parse_definition
from techport_pilots.registry.view import IngestView, Origin
from techport_storage.model import Quality

NOW = 1_796_000_000_000_000
TIME = "2026-11-29T20:00:00Z"

Sent = tuple[str, "dict[str, Any] | list[Any] | str"]


def definition(sources: str, devices: Sequence[str] = ("a",), more: str = "") -> str:
    listed = "".join(f'  - {{id: "{device}"}}\n' for device in devices)
    return f"id: kai\ntitle: Kai\nquestion: Kai?\n{sources}\ndevices:\n{listed}{more}"


class Platform:
    """Reads messages one by one and remembers origins as the registry does."""

    def __init__(self, text: str) -> None:
        self.pilot = parse_definition(text, file="kai.yaml")
        self.origins: dict[tuple[str, str, str], str] = {}
        self.rows: list[tuple[str, str, float]] = []
        self.rejected: list[tuple[str, str, int]] = []
        self.reader = Reader()
        self.last = Columns(IngestView.of(0, [], []))

    def read(self, topic: str, payload: dict[str, Any] | list[Any] | str) -> Columns:
        body = payload if isinstance(payload, str) else json.dumps(payload)
        origins = [Origin(*place, origin) for place, origin in self.origins.items()]
        view = IngestView.of(len(origins), [self.pilot], [], origins=origins)
        self.reader.use(view)
        columns = self.reader.read([Message(topic, body.encode(), NOW, 1)], view)
        for claim in columns.claims:
            self.origins.setdefault(claim[:3], claim.origin)
        self.rows += [(row.device, row.quantity, row.value) for row in columns.batch()]
        self.rejected += [(part.device, part.reason, part.values) for part in columns.rejected]
        self.last = columns
        return columns


def take(text: str, *messages: Sent) -> Platform:
    platform = Platform(text)
    with contextlib.closing(platform.reader):
        for topic, payload in messages:
            platform.read(topic, payload)
    return platform


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
    assert set(platform.origins.values()) == {"bme280"}


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

"""One bad part costs only itself, and what is refused keeps the device that it names."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from tests.ingest.reading import TIME, Sent, definition, take

LATER = "2026-11-29T20:02:00Z"


def test_a_bad_record_of_an_array_costs_itself() -> None:
    records = [{"time": TIME, "pm10": 1}, {"time": "yesterday", "pm10": 2, "pm25": 3}, {"time": LATER, "pm10": 3}, 7]
    platform = take(definition(""), ("pilots/kai/a/readings", records))
    assert [row[2] for row in platform.rows] == [1.0, 3.0]
    assert platform.rejected == [("a", "bad-time", 2), ("a", "wrong-shape", 1)]
    detail = platform.last.rejected[0].rejection.detail()
    assert detail.startswith("Record 2: ")


def test_a_key_that_stands_twice_costs_its_record() -> None:
    text = f'[{{"time": "{TIME}", "pm10": 1}}, {{"time": "{LATER}", "pm10": 2, "pm10": 3}}]'
    platform = take(definition(""), ("pilots/kai/a/readings", text))
    assert [row[2] for row in platform.rows] == [1.0]
    assert platform.rejected == [("a", "duplicate-key", 1)]


def test_a_bad_line_of_a_table_costs_itself_and_is_named() -> None:
    text = f"time,pm10\n{TIME},1\n2026-11-29T20:01:00Z,2\nbad,3\n{LATER},4\n5\n"
    platform = take(definition("sources: [{topic: logs/+, format: csv}]"), ("logs/a", text))
    assert [row[2] for row in platform.rows] == [1.0, 2.0, 4.0]
    assert platform.rejected == [("a", "bad-time", 1), ("a", "not-csv", 1)]
    assert platform.last.rejected[0].rejection.detail().startswith("Line 4: ")
    assert "line 6" in platform.last.rejected[1].rejection.detail().lower()


def test_a_quote_that_does_not_end_costs_what_is_behind_it() -> None:
    text = f'time,pm10\n{TIME},1\n"{LATER},2\n'
    platform = take(definition("sources: [{topic: logs/+, format: csv}]"), ("logs/a", text))
    assert [row[2] for row in platform.rows] == [1.0]
    assert [part[1] for part in platform.rejected] == ["not-csv"]


def test_a_bad_line_of_line_protocol_costs_itself() -> None:
    text = "air pm10=1 1795900000\nair pm10= 1795900060\nair pm10=3 1795900120\n"
    platform = take(definition("sources: [{topic: lp/+, format: line-protocol, precision: s}]"), ("lp/a", text))
    assert [row[2] for row in platform.rows] == [1.0, 3.0]
    assert platform.rejected == [("a", "not-line-protocol", 1)]
    assert "2" in platform.last.rejected[0].rejection.detail()


def test_a_bad_name_of_a_pack_costs_its_record() -> None:
    text = definition("sources: [{topic: senml/+, format: senml}]")
    pack = [{"bn": "a:", "n": "pm10", "v": 1}, {"n": "pm 25", "v": 2}, {"n": "no2", "v": "3"}, {"n": "pm1", "v": 4}]
    platform = take(text, ("senml/a", pack))
    assert [row[1] for row in platform.rows] == ["pm10", "pm1"]
    assert platform.rejected == [("a", "bad-name", 1), ("a", "wrong-shape", 1)]
    spoilt = take(text, ("senml/a", [{"bn": "a:", "n": "pm10", "v": 1}, {"bt": "noon", "n": "pm1", "v": 2}]))
    assert (spoilt.rows, [part[1] for part in spoilt.rejected]) == ([], ["wrong-shape"])


def test_a_bad_group_of_ultralight_costs_itself() -> None:
    text = definition("sources: [{topic: /ul/#, format: ultralight}]")
    platform = take(text, ("/ul/key/a/attrs", "pm10|1#pm10#2026-11-29T20:00:00Z|pm25|2"))
    assert [row[1] for row in platform.rows] == ["pm10", "pm25"]
    assert platform.rejected == [("a", "not-ultralight", 1)]


def test_a_bad_record_of_a_history_costs_itself() -> None:
    history = [{"timestamp": 1_795_900_000, "temperature": 1}, {"timestamp": "?", "temperature": 2}]
    uplink = {"decoded_payload": {"history": history}}
    message = {"end_device_ids": {"device_id": "a"}, "uplink_message": uplink}
    text = definition("sources: [{topic: v3/#, format: tts-v3}]")
    platform = take(text, ("v3/app@ttn/devices/a/up", message))
    assert [row[2] for row in platform.rows] == [1.0]
    assert platform.rejected == [("a", "bad-time", 1)]


@pytest.mark.parametrize(
    ("source", "sent", "bad"),
    [
        (
            "format: json",
            [
                {"ts": TIME, "temperature": 1},
                {"ts": "?", "temperature": 2, "humidity": 5},
                {"ts": LATER, "temperature": 3},
            ],
            ("a", "bad-time", 2),
        ),
        ("format: json", [{"temperature": 1}, 7, {"ts": LATER, "temperature": 3}], ("a", "wrong-shape", 1)),
        (
            "format: json, records: /d, name: n, value: v, time: t",
            {"d": [{"n": "pm10", "v": 1, "t": TIME}, {"v": 2, "t": TIME}, {"n": "pm10", "v": 3, "t": LATER}]},
            ("a", "no-name", 1),
        ),
        (
            "format: json, device: {pointer: id}",
            [{"id": "a", "pm10": 1}, {"pm10": 2, "pm25": 4}, {"id": "a", "pm10": 3, "ts": LATER}],
            ("", "no-device", 2),
        ),
        (
            "format: json, within: v",
            [{"ts": TIME, "v": {"pm10": 1}}, {"ts": "x", "v": {"pm1": 2, "pm25": 2}}, {"ts": LATER, "v": {"pm10": 3}}],
            ("a", "bad-time", 2),
        ),
    ],
)
def test_a_bad_record_of_json_of_any_shape_costs_itself(source: str, sent: Any, bad: tuple[str, str, int]) -> None:
    topic = "x/1" if "pointer" in source else "x/a"
    platform = take(definition(f"sources: [{{topic: x/+, {source}}}]"), (topic, sent))
    assert [row[2] for row in platform.rows] == [1.0, 3.0]
    assert platform.rejected == [bad]
    assert platform.last.rejected[0].rejection.detail().startswith("Record 2: ")


def test_a_single_record_that_cannot_be_read_is_no_list() -> None:
    platform = take(definition("sources: [{topic: x/+, format: json}]"), ("x/a", {"ts": "?", "temperature": 2}))
    assert platform.rejected == [("a", "bad-time", 1)]
    assert not platform.last.rejected[0].rejection.detail().startswith("Record")


CAYENNE_GOOD = "016700d70268590367ffe7"


@pytest.mark.parametrize(
    ("rest", "reason"), [("047300", "truncated"), ("04", "not-cayenne"), ("04ff0000", "not-cayenne")]
)
def test_a_damaged_cayenne_payload_keeps_what_stands_before_the_damage(rest: str, reason: str) -> None:
    payload = bytes.fromhex(CAYENNE_GOOD + rest)
    own = take(definition("sources: [{topic: lpp/+, format: cayenne-lpp}]"), ("lpp/a", payload))
    uplink = {"f_port": 1, "frm_payload": base64.b64encode(payload).decode()}
    message = {"end_device_ids": {"device_id": "a"}, "uplink_message": uplink}
    source = "sources: [{topic: v3/#, format: tts-v3, codec: cayenne-lpp}]"
    as_codec = take(definition(source), ("v3/app@ttn/devices/a/up", message))
    for platform in (own, as_codec):
        assert [row[2] for row in platform.rows] == [21.5, 44.5, -2.5]
        assert platform.rejected == [("a", reason, 1)]


BROKEN: dict[str, tuple[str, Sent]] = {
    "chirpstack-v4": (
        "application/+/device/+/event/+",
        (
            "application/1/device/0807060504030201/event/up",
            {"deviceInfo": {"devEui": "0807060504030201"}, "data": "FA=="},
        ),
    ),
    "chirpstack-v4 cut short": (
        "application/+/device/+/event/+",
        ("application/1/device/0807060504030201/event/up", '{"deviceInfo": {"devEui": "08070605'),
    ),
    "tts-v3": (
        "v3/+/devices/+/up",
        (
            "v3/app@ttn/devices/x/up",
            {"end_device_ids": {"device_id": "0807060504030201"}, "uplink_message": {"frm_payload": "FA=="}},
        ),
    ),
    "sparkplug-b": ("spBv1.0/#", ("spBv1.0/plant/NDATA/0807060504030201", "not protobuf")),
    "ruuvi-gateway": ("ruuvi/+/+", ("ruuvi/gateway/08:07:06:05:04:03:02:01", {"data": "not hex"})),
    "zigbee2mqtt": ("zigbee2mqtt/#", ("zigbee2mqtt/0807060504030201", "{")),
    "tasmota": ("tele/+/SENSOR", ("tele/0807060504030201/SENSOR", "[]")),
    "shelly-gen2": (
        "+/events/rpc",
        ("x/events/rpc", {"src": "0807060504030201", "method": "NotifyStatus", "params": 1}),
    ),
    "ultralight": ("/ul/#", ("/ul/key/0807060504030201/attrs", "pm10")),
    "homie": ("homie/#", ("homie/0807060504030201/n/p", b"\xff")),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_message_that_is_refused_whole_keeps_its_device(case: str) -> None:
    topic, sent = BROKEN[case]
    text = definition(f"sources: [{{topic: '{topic}', format: {case.partition(' ')[0]}}}]", ("0807060504030201",))
    platform = take(text, sent)
    assert (platform.rows, [part[0] for part in platform.rejected]) == ([], ["0807060504030201"])


def test_a_rule_of_the_source_says_whose_a_refused_message_is() -> None:
    text = definition("sources: [{topic: box/#, format: tasmota, device: {id: a}}]")
    assert [part[0] for part in take(text, ("box/x/SENSOR", "{")).rejected] == ["a"]


def test_nobody_sends_nothing() -> None:
    text: Any = definition("sources: [{topic: lp, format: line-protocol}]")
    platform = take(text, ("lp", "air pm10=1"))
    assert platform.rejected == [("", "no-device", 1)]
    assert "device:" in platform.last.rejected[0].rejection.hint()


def test_a_bad_line_of_a_table_belongs_to_the_device_that_it_names() -> None:
    text = f"time,device,pm10\n{TIME},a,1\nbad,b,3\n"
    platform = take(definition("sources: [{topic: logs, format: csv}]", ("a", "b")), ("logs", text))
    assert platform.rejected == [("b", "bad-time", 1)]

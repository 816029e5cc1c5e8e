"""Whatever comes in, a decoder raises RejectedMessage or returns finite numbers, or numbers as the payload had them.

Time and memory are bounded too; benchmarks/fuzz_decoders.py looks for worse cases for as long as one lets it.
"""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Any

import cbor2
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from techport_ingest.decoding.common import MOST_VALUES
from techport_ingest.decoding.decoder import Decoder, make_decoder, make_decoders
from techport_ingest.decoding.formats.chirpstack_v4.decoder import ChirpStack
from techport_ingest.decoding.formats.homeassistant.decoder import HomeAssistant
from techport_ingest.decoding.formats.homie.decoder import Homie
from techport_ingest.decoding.formats.sparkplug_b.decoder import SparkplugB
from techport_ingest.decoding.formats.sparkplug_b.sparkplug_b_pb2 import Payload
from techport_ingest.decoding.formats.tts_v3.decoder import TheThingsStack
from techport_ingest.message import DeviceEvent, Found, Ignored, Message, Observed, RejectedMessage, Unreadable

TOPICS = {
    "tts-v3": "v3/app@tenant/devices/dev1/up",
    "chirpstack-v4": "application/a/device/0102030405060708/event/up",
    "tasmota": "tele/plug/SENSOR",
    "zigbee2mqtt": "zigbee2mqtt/hall/sensor",
    "shelly-gen2": "shelly-1/events/rpc",
    "sparkplug-b": "spBv1.0/group/DBIRTH/edge/pump",
    "homie": "homie/5/pump/$description",
    "ruuvi-gateway": "ruuvi/AA:BB:CC:DD:EE:FF/F4:1F:0C:28:CB:D6",
    "sensorthings": "v1.1/Datastreams(7)/Observations",
    "ultralight": "/ul/key/meter/attrs",
}
FEW = settings(max_examples=40, deadline=None)  # for each of sixteen formats
FORMATS = sorted(set(make_decoders()) - {"native"})


def check_contract(form: str, payload: bytes, topic: str = "") -> None:
    decode = make_decoder(form)
    given = Message(topic or TOPICS.get(form, "pilots/air/lamp-7/x"), payload, received=1_777_897_900_000_000, id=1)
    try:
        found = decode(given, "lamp-7")
    except RejectedMessage as problem:
        sound = bool(problem.reason and problem.detail and problem.hint and len(str(problem)) < 2_000)
    else:
        sound = bool(found) and all(is_sound(one) for one in found)  # every message has at least one fate
        assert decode(given, "lamp-7") == found  # the same again when a batch is decoded anew
    assert sound


def is_sound(one: Found) -> bool:
    if type(one.device) is not str or len(one.device) > 66_000:
        return False
    if isinstance(one, Ignored):
        return bool(one.rule) and type(one.key) is str
    if isinstance(one, Unreadable):
        return one.values > 0 and one.rejection.detail() != ""
    if one.time is not None and (type(one.time) is not int or abs(one.time) >= 2**63):
        return False
    if isinstance(one, DeviceEvent):
        return bool(one.kind) and len(one.text) <= 500
    assert isinstance(one, Observed)
    return type(one.key) is str and (
        type(one.value) in (int, str) or (type(one.value) is float and isfinite(one.value))
    )


BOMBS = [
    b'{"a":' * 50_000,
    b"[" * 100_000,
    b'{"a":"\\ud800"}',
    b"9" * 100_000,
    b"1e999",
    b"\x00" * 1_000,
    b"\xff" * 1_000,
    b'"' * 10_000,
    b"|" * 100_000,
    b"#" * 100_000,
    b";" * 100_000,
    b"," * 100_000 + b"\n" + b"," * 100_000,
    b"a;b\n" + b"c" * 140_000,
    b"a;" + b"b" * 140_000 + b"\nc;d\n1;2\n",
    b" " * 100_000,
    b"\n" * 100_000,
    b"m " + b"a=1," * 50_000,
    b'm v="' + b"\\" * 100_000,
    b"m," + b"a=b," * 50_000,
    b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\xbf" * 10_000,
    b"\x81" * 100_000,
    b"\xc2\x5a\x00\x01\x00\x00" + b"\xff" * 65_536,
    b"\x12\x02\x0a\x00" * 50_000,
    b"\x00\x88" * 2_000,
    json.dumps({str(i): i for i in range(20_000)}).encode(),
    json.dumps([{"n": f"d:{i}", "v": i} for i in range(20_000)]).encode(),
    json.dumps({"sensordatavalues": [{"value_type": "P1", "value": "9" * 5_000}] * 20}).encode(),
    b'{"a":1' + b"0" * 4_400 + b"}",
]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("number", range(len(BOMBS)))
def test_bombs(form: str, number: int) -> None:
    check_contract(form, BOMBS[number])


@pytest.mark.parametrize("form", FORMATS)
def test_memory_stays_near_the_size_of_the_message(form: str) -> None:
    """A few kilobytes that claim to be more than memory has room for must not get it."""
    tracemalloc.start()
    for payload in BOMBS:
        if len(payload) < 20_000:
            check_contract(form, payload)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 30_000_000


@pytest.mark.parametrize("form", FORMATS)
@FEW
@given(payload=st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_any_bytes(form: str, payload: bytes) -> None:
    check_contract(form, payload)


LEAVES = st.integers() | st.floats() | st.booleans() | st.none() | st.text(max_size=6) | st.just("2026-05-04T12:00:00Z")
DOCUMENTS = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
SHAPES: Mapping[str, list[tuple[str, ...]]] = {
    "tts-v3": [
        ("uplink_message", "decoded_payload"),
        ("uplink_message", "normalized_payload"),
        ("uplink_message",),
        ("uplink_message", "received_at"),
        ("uplink_message", "frm_payload"),
        ("uplink_message", "f_cnt"),
        ("received_at",),
        ("join_accept",),
        ("uplink_message", "decoded_payload", "history"),
    ],
    "chirpstack-v4": [("object",), ("time",), ("data",), ("batteryLevel",), ("level",), ("fCnt",)],
    "tasmota": [("Time",), ("Epoch",), ("BME280", "Temperature"), ("TempUnit",), ("StatusSNS",), ("ENERGY", "Voltage")],
    "zigbee2mqtt": [("last_seen",), ("action",), ("voltage",), ("battery",), ("update",), ("contact",)],
    "shelly-gen2": [
        ("method",),
        ("params", "ts"),
        ("params", "switch:0"),
        ("params", "em:0", "a_voltage"),
        ("params", "events"),
    ],
    "sensor-community": [("sensordatavalues",), ("esp8266id",)],
    "ruuvi-gateway": [("ts",), ("gwts",), ("data",), ("rssi",), ("coords",)],
    "sensorthings": [("phenomenonTime",), ("resultTime",), ("result",), ("Datastream",), ("Datastream", "@iot.id")],
    "homie": [("nodes",), ("nodes", "n", "properties"), ("nodes", "n", "properties", "p", "unit")],
}
STARTS: Mapping[str, dict[str, object]] = {
    "tts-v3": {"end_device_ids": {"device_id": "dev1"}},
    "chirpstack-v4": {"deviceInfo": {"devEui": "0102030405060708"}},
    "shelly-gen2": {"src": "shelly-1", "method": "NotifyStatus", "params": {}},
}


def placed(form: str, parts: Mapping[tuple[str, ...], object]) -> object:
    """A document of the format's shape with these parts in their places."""
    document = json.loads(json.dumps(STARTS.get(form, {})))
    for path, part in parts.items():
        inside = document
        for level in path[:-1]:
            if not isinstance(inside.get(level), dict):
                inside[level] = {}
            inside = inside[level]
        inside[path[-1]] = part
    return document


@pytest.mark.parametrize("form", sorted(SHAPES))
@FEW
@given(data=st.data())
def test_any_value_where_the_format_looks(form: str, data: st.DataObject) -> None:
    parts = data.draw(st.dictionaries(st.sampled_from(SHAPES[form]), DOCUMENTS, min_size=1))
    check_contract(form, json.dumps(placed(form, parts)).encode())


FIELDS = st.sampled_from(["bn", "bt", "bu", "bv", "bs", "bver", "n", "u", "v", "vs", "vb", "vd", "s", "t", "ut", "x_"])
RECORDS = st.dictionaries(FIELDS, LEAVES | st.sampled_from(["a:b", "urn:dev:ow:1", "/", 2**28, 1e300, 1.7e308]))


@given(pack=st.lists(RECORDS, max_size=5))
@example(pack=[{"bv": 1.7e308, "n": "a", "v": 1.7e308}])
@example(pack=[{"bt": 1e300, "n": "a", "v": 1}])
@example(pack=[{"n": "urn:dev:ow:", "v": 1}])
def test_any_senml_pack(pack: list[dict[str, object]]) -> None:
    check_contract("senml", json.dumps(pack).encode())


CBOR = st.recursive(
    LEAVES | st.binary(max_size=8) | st.decimals(allow_nan=False, allow_infinity=False) | st.fractions(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.integers(-8, 9) | st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=10,
)


@given(pack=CBOR | st.lists(st.dictionaries(st.integers(-6, 8), LEAVES | st.decimals(), max_size=5), max_size=4))
def test_any_cbor(pack: object) -> None:
    check_contract("senml-cbor", cbor2.dumps(pack))


METRICS = st.fixed_dictionaries(
    {},
    optional={
        "name": st.text(max_size=5),
        "alias": st.integers(0, 3),
        "timestamp": st.integers(0, 2**64 - 1),
        "datatype": st.integers(0, 40),
        "is_null": st.booleans(),
        "is_transient": st.booleans(),
        "int_value": st.integers(0, 2**32 - 1),
        "long_value": st.integers(0, 2**64 - 1),
        "float_value": st.floats(width=32),
        "double_value": st.floats(),
        "string_value": st.text(max_size=4),
        "bytes_value": st.binary(max_size=4),
    },
)


@pytest.mark.parametrize("kind", ["NBIRTH", "DBIRTH", "NDATA", "DDATA", "NDEATH", "DDEATH"])
@FEW
@given(
    metrics=st.lists(METRICS, max_size=4), timestamp=st.none() | st.integers(0, 2**64 - 1), junk=st.binary(max_size=6)
)
def test_any_sparkplug_message(kind: str, metrics: list[dict[str, Any]], timestamp: int | None, junk: bytes) -> None:
    payload = Payload(timestamp=timestamp)
    for metric in metrics:
        payload.metrics.add(**metric)
    check_contract("sparkplug-b", payload.SerializeToString() + junk, f"spBv1.0/group/{kind}/edge/pump")


WORDS = st.sampled_from([*'m,v= "\\\n\r#1i.e-', "\\ ", "\\,", "\\=", "value=", "=1", '="', " 1777897898"])


@given(text=st.lists(WORDS, max_size=30).map("".join))
def test_any_line_protocol(text: str) -> None:
    check_contract("line-protocol", text.encode())


@given(
    header=st.lists(st.sampled_from(["time", "device", "pm10", "quantity", "value", "unit", "", "1"]), max_size=5),
    rows=st.lists(
        st.lists(st.sampled_from(["1,5", "-", "", "x", "1777897898", '"', "2026-05-04T12:00:00Z", "1e999"])), max_size=4
    ),
    separator=st.sampled_from(";,\t|"),
)
def test_any_csv(header: list[str], rows: list[list[str]], separator: str) -> None:
    check_contract("csv", "\n".join(separator.join(row) for row in (header, *rows)).encode())


@given(value=st.text(max_size=10), datatype=st.sampled_from(["float", "integer", "boolean", "enum", "", "x"]))
@example(value="1_0", datatype="integer")
@example(value="１２", datatype="integer")
def test_any_homie_value(value: str, datatype: str) -> None:
    decode = make_decoder("homie")
    for topic, text in (("homie/d/n/p/$datatype", datatype), ("homie/d/n/p", value)):
        try:
            found = decode(Message(topic, text.encode(), received=0, id=1), "")
        except RejectedMessage:
            continue
        assert all(is_sound(one) for one in found)


@pytest.mark.parametrize("form", FORMATS)
def test_any_topic(form: str) -> None:
    for topic in (
        "",
        "/",
        "a",
        "a/b",
        "$SYS/x",
        "spBv1.0",
        "spBv1.0/STATE",
        "homie",
        "homie/5",
        "tele",
        "x/" * 500,
        "+/#",
        "ø/å",
    ):
        for payload in (b"", b"1", b"{}", b"on"):
            check_contract(form, payload, topic or "x")


@pytest.mark.parametrize(
    ("form", "decode"),
    [
        ("sparkplug-b", SparkplugB(births=100)),
        ("homie", Homie(devices=100)),
        ("tts-v3", TheThingsStack(devices=100)),
        ("chirpstack-v4", ChirpStack(devices=100)),
    ],
)
def test_what_a_decoder_remembers_is_bounded(form: str, decode: Decoder) -> None:
    """However many devices somebody makes up: of the names that are remembered for speed there are 8,192 at most."""
    birth = Payload(timestamp=1_777_897_898_000)
    birth.metrics.add(name="level", alias=1, datatype=10, double_value=1.0)
    tracemalloc.start()
    sizes = {}
    for i in range(18_001):
        decode(made_up(form, i, birth.SerializeToString()), "")
        if i in (10_000, 18_000):
            sizes[i] = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert sizes[18_000] - sizes[10_000] < 500_000  # 8,000 more would take at least twice that


def made_up(form: str, i: int, birth: bytes) -> Message:
    time = '"2026-05-04T12:00:00Z"'
    topic, payload = {
        "sparkplug-b": (f"spBv1.0/g/DBIRTH/edge/{i}", birth),
        "homie": (f"homie/{i}/n/p/$unit", b"W"),
        "tts-v3": (
            "v3/a@t/devices/d/up",
            f'{{"end_device_ids":{{"device_id":"d{i}"}},"uplink_message":{{"received_at":{time},"frm_payload":"AA==",'
            f'"decoded_payload":{{"a":1}}}}}}'.encode(),
        ),
        "chirpstack-v4": (
            "application/a/device/d/event/up",
            f'{{"deviceInfo":{{"devEui":"{i}"}},"time":{time},"fCnt":{i},"object":{{"a":1}}}}'.encode(),
        ),
    }[form]
    return Message(topic, payload, received=0, id=1)


def test_too_many_values_are_refused() -> None:
    payload = json.dumps([{"n": f"d:{i}", "v": i} for i in range(MOST_VALUES + 1)]).encode()
    with pytest.raises(RejectedMessage, match="too-many-values"):
        make_decoder("senml")(Message("x", payload, received=0, id=1), "")


def test_shared_payloads_are_read_or_refused(shared: Path) -> None:
    """Real captures of twenty formats: none may surprise the decoder of another."""
    files = [file for file in (shared / "payloads").rglob("*") if file.is_file() and file.stat().st_size < 100_000]
    assert len(files) > 50
    for file in files:
        for form in FORMATS:
            check_contract(form, file.read_bytes())


def test_descriptions_of_one_topic_are_bounded() -> None:
    """However many somebody makes up, a message of the topic is not multiplied without end."""
    decode = HomeAssistant()
    text = b'{"state_topic": "homeassistant/sensor/x/state", "value_template": "{{ value_json.t }}"}'
    for i in range(2_000):
        decode(Message(f"homeassistant/sensor/x/t{i}/config", text, 1, 1), "")
    assert 1 < len(decode(Message("homeassistant/sensor/x/state", b'{"t": 1}', 1, 1), "")) <= 500

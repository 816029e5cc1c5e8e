"""A source is proposed for captured messages: the best of the formats, and what a person has to add."""

from __future__ import annotations

import json

import pytest

from techport_ingest.decoding.proposing import propose
from techport_pilots.definition.load import parse_definition
from techport_pilots.devices.proposals import Captured, Proposal
from techport_pilots.formats import formats
from tests.ingest.test_decoder_cases import CASES, read_message

NOW = 1_777_897_900_000_000


def proposed(*messages: tuple[str, object]) -> Proposal:
    captured = [
        Captured(topic, payload if isinstance(payload, bytes) else json.dumps(payload).encode())
        for topic, payload in messages
    ]
    proposal = propose(captured, NOW)
    assert proposal is not None
    text = proposal.yaml()
    head = "id: house\ntitle: X\nquestion: Y\ndevices: []\n"
    assert parse_definition(head + text).sources == [proposal.source]
    return proposal


def test_nested_values_of_several_devices() -> None:
    proposal = proposed(
        ("plant/7f3a9c01/out", {"id": 1, "data": {"temperature": 8.5, "humidity": 71, "flow": 4.2}}),
        ("plant/7f3a9c02/out", {"id": 2, "data": {"temperature": 8.7, "humidity": 70, "flow": 4.1}}),
    )
    assert (proposal.source.format, proposal.source.topic) == ("json", "plant/+/out")
    assert proposal.source.within == "/data"
    assert set(proposal.fields) == {"air_temperature", "relative_humidity", "flow"}
    assert [(field.key, field.lacks) for field in proposal.open] == [("flow", "quantity")]
    assert proposal.rejected == 0


def test_lists_of_records() -> None:
    entries = [{"id": "co2", "v": 612, "t": 1_777_890_001_000}, {"id": "humidity", "v": 41, "t": 1_777_890_001_000}]
    proposal = proposed(("plc/out", {"stamp": 1_777_890_009_000, "values": entries}))
    source = proposal.source
    assert (source.format, source.records, source.value) == ("json", "/values", "v")
    assert set(proposal.fields) == {"co2", "relative_humidity"}


def test_plain_values_on_topics() -> None:
    proposal = proposed(
        ("house/loft/climate/temperature", b"21.5"),
        ("house/cellar/climate/humidity", b"71"),
    )
    assert proposal.source.format == "json"
    assert proposal.devices == ["cellar", "loft"]
    assert set(proposal.fields) == {"air_temperature", "relative_humidity"}


def test_units_are_asked_for_and_not_invented() -> None:
    proposal = proposed(("plug/kitchen/out", {"power": 41, "co2": 500, "mode": "eco"}))
    assert {(field.key, field.lacks) for field in proposal.open} == {("power", "unit"), ("mode", "words")}
    assert "power: {quantity: " in proposal.yaml()


def test_native_messages_below_the_pilots_own_topics() -> None:
    proposal = proposed(("pilots/house/box-1/readings", {"payload": {"temperature": 21.5, "humidity": 40}}))
    assert proposal.source.topic == "pilots/house/+/readings"
    assert proposal.source.format == "json"
    assert proposal.devices == ["box-1"]


@pytest.mark.parametrize(
    ("family", "case"),
    [
        ("chirpstack-v4", "cayenne"),
        ("zigbee2mqtt", ""),
        ("tasmota", ""),
        ("owntracks", "phone"),
        ("esphome", "temperature"),
        ("shelly-gen1", "ht-temperature"),
        ("meshtastic", "environment"),
        ("ams-reader", "list2"),
        ("disruptive-technologies", "temperature"),
    ],
)
def test_known_families_are_recognised(family: str, case: str) -> None:
    folders = [folder for folder in CASES if folder.parts[-2] == family and case in ("", folder.name)]
    readable = [folder for folder in folders if '"value"' in (folder / "expected.json").read_text()]
    message = read_message(readable[0])
    proposal = propose([Captured(message.topic, message.payload)], NOW)
    assert proposal is not None
    assert proposal.source.format == family
    assert proposal.source.topic == formats()[family].topic


def test_numbers_sent_as_text_are_read() -> None:
    proposal = proposed(("station/loft/out", {"temp": "21.5", "humidity": "44", "power": "41", "mystery": "7"}))
    assert {key: (field.quantity, field.text) for key, field in proposal.source.fields.items()} == {
        "temp": ("air_temperature", True),
        "humidity": ("relative_humidity", True),
    }
    assert {(field.key, field.lacks, field.text) for field in proposal.open} == {
        ("power", "unit", True),
        ("mystery", "quantity", True),
    }
    assert "mystery: {quantity: ..., unit: ..., text: true}" in proposal.yaml()
    assert proposal.rejected == 0


def test_a_network_servers_own_signal_is_not_taken_for_the_message() -> None:
    """A probe of the soil that sends its numbers as text, through The Things Stack."""
    up = {
        "end_device_ids": {"device_id": "lse01", "dev_eui": "A840410001810001"},
        "received_at": "2026-05-04T12:30:00Z",
        "uplink_message": {
            "decoded_payload": {"BatV": 3.295, "temp_SOIL": "12.30", "conduct_SOIL": 120},
            "rx_metadata": [{"gateway_ids": {"gateway_id": "roof"}, "rssi": -99, "snr": 5}],
        },
    }
    proposal = proposed(("v3/fields@ttn/devices/lse01/up", up))
    assert proposal.source.format == "tts-v3"
    assert {"soil_temperature", "battery_voltage"} <= set(proposal.fields)


@pytest.mark.parametrize("payload", [{"value": 21.3}, {"time": 1_777_890_001_000, "value": 21.3}, {"v": 21.3}])
def test_a_value_that_only_the_topic_names(payload: dict[str, object]) -> None:
    proposal = proposed(("zwave/kitchen/49/Air_temperature", payload))
    assert proposal.fields == ["air_temperature"]
    assert proposal.devices == ["kitchen"]


def test_a_plain_value_of_an_unknown_name_is_proposed_all_the_same() -> None:
    proposal = proposed(("solar/114182900001/0/yield", b"231.4"))
    assert [(field.key, field.lacks, field.value) for field in proposal.open] == [("yield", "quantity", "231.4")]
    assert proposal.devices == ["114182900001"]


def test_the_device_that_a_message_names_comes_before_the_topic_as_a_whole() -> None:
    proposal = proposed(("uplinks/json", {"device": "1D8A2F", "temp": 4.5}))
    assert proposal.devices == ["1D8A2F"]


@pytest.mark.parametrize(
    "time",
    [
        {"type": "Property", "value": {"@type": "DateTime", "@value": "2026-05-04T10:00:00Z"}},
        {"type": "DateTime", "value": "2026-05-04T10:00:00Z", "metadata": {}},
        {"$date": "2026-05-04T10:00:00Z"},
    ],
)
def test_a_time_within_an_object(time: dict[str, object]) -> None:
    entity = {"id": "urn:x:torvet", "dateObserved": time, "NO2": {"type": "Property", "value": 22.5, "unitCode": "GQ"}}
    assert "no2" in proposed(("fiware/out", entity)).fields


def test_nothing_is_proposed_for_what_nothing_reads() -> None:
    assert propose([Captured("a/b", b"\x00\xff\x00")], NOW) is None
    assert propose([], NOW) is None

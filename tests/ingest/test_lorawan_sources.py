"""LoRaWAN sources: codecs by device and by profile, codecs in files, and how well an uplink was heard."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from techport_ingest.decoding.reader import Reader
from techport_ingest.message import Message
from techport_pilots.definition.load import parse_definition, read_definition
from techport_pilots.errors import DefinitionError
from techport_pilots.model import PilotDefinition
from techport_pilots.registry.view import IngestView
from tests.ingest.explaining import read

NOW = 1_777_897_900_000_000
HEAD = "id: lora\ntitle: Lora\nquestion: Is it heard?\n"
DEVICES = 'devices: [{id: "0102030405060701"}, {id: "0102030405060702"}, {id: "0102030405060703"}]\n'
CHIRPSTACK = "sources:\n  - topic: application/+/device/+/event/up\n    format: chirpstack-v4\n"
TTS = "sources:\n  - topic: v3/+/devices/+/up\n    format: tts-v3\n"
SCRIPT = "function decodeUplink(i) { return {data: {%s: i.bytes[0]}}; }"


def chirpstack(eui: str, profile: str = "any", **more: object) -> Message:
    event = {
        "deviceInfo": {"devEui": eui, "deviceName": f"box-{eui[-1]}", "deviceProfileName": profile},
        "time": "2026-05-04T12:00:00+00:00",
        "fPort": 2,
        "data": "Bw==",
        **more,
    }
    return Message(f"application/1/device/{eui}/event/up", json.dumps(event).encode(), NOW, 1)


def tts(device: str, **more: object) -> Message:
    uplink = {"f_port": 2, "frm_payload": "Bw==", "received_at": "2026-05-04T12:00:00Z", **more}
    payload = {"end_device_ids": {"device_id": device, "dev_eui": device.upper()}, "uplink_message": uplink}
    return Message(f"v3/a@b/devices/{device}/up", json.dumps(payload).encode(), NOW, 1)


def stored(pilot: PilotDefinition, *messages: Message) -> dict[str, float]:
    snapshot = IngestView.of(1, [pilot], [])
    reader = Reader()
    reader.use(snapshot)
    columns = reader.read(messages, snapshot)
    reader.close()
    assert [part.rejection for part in columns.rejected] == []
    return {f"{reading.device[-1]} {reading.quantity}": reading.value for reading in columns.batch()}


def test_codecs_by_device_by_profile_and_for_the_others() -> None:
    text = f"""{HEAD}{CHIRPSTACK}    codec: "{SCRIPT % "co2"}"
    codecs:
      0102030405060702: "{SCRIPT % "pm10"}"
      Level sensor: "{SCRIPT % "water_level"}"
{DEVICES}"""
    euis = ("0102030405060701", "0102030405060702", "0102030405060703")
    messages = [chirpstack(eui, "Level sensor" if eui.endswith("3") else "any") for eui in euis]
    assert stored(parse_definition(text), *messages) == {"1 co2": 7, "2 pm10": 7, "3 raw.water_level": 7}


def test_a_codec_for_one_device_leaves_the_others_to_the_server() -> None:
    text = f"""{HEAD}{TTS}    codecs: {{0102030405060702: "{SCRIPT % "pm10"}"}}\n{DEVICES}"""
    messages = [
        tts("0102030405060701", decoded_payload={"co2": 500}),
        tts("0102030405060702", decoded_payload={"co2": 1}),
    ]
    assert stored(parse_definition(text), *messages) == {"1 co2": 500, "2 pm10": 7}


def test_a_codec_may_be_a_file_beside_the_definition(tmp_path: Path) -> None:
    (tmp_path / "codecs").mkdir()
    (tmp_path / "codecs/level.js").write_text(SCRIPT % "water_level")
    (tmp_path / "pilot.yaml").write_text(f"{HEAD}{CHIRPSTACK}    codec: codecs/level.js\n{DEVICES}")
    pilot = read_definition(tmp_path / "pilot.yaml")
    assert pilot.sources[0].codec == SCRIPT % "water_level"
    assert stored(pilot, chirpstack("0102030405060701")) == {"1 raw.water_level": 7}


@pytest.mark.parametrize("name", ["missing.js", "../outside.js"])
def test_a_codec_file_that_cannot_be_read_is_told(tmp_path: Path, name: str) -> None:
    (tmp_path / "outside.js").write_text(SCRIPT % "co2")
    folder = tmp_path / "definitions"
    folder.mkdir()
    (folder / "pilot.yaml").write_text(f"{HEAD}{CHIRPSTACK}    codecs: {{any: {name}}}\n{DEVICES}")
    with pytest.raises(DefinitionError) as caught:
        read_definition(folder / "pilot.yaml")
    assert [finding.field for finding in caught.value.findings] == ["sources[0].codecs.any"]


def test_a_codec_file_cannot_be_named_where_there_is_no_folder() -> None:
    with pytest.raises(DefinitionError, match="beside the definition"):
        parse_definition(f"{HEAD}{CHIRPSTACK}    codec: level.js\n{DEVICES}")


def test_how_well_an_uplink_was_heard_is_given_on_request() -> None:
    heard = [{"rssi": -109, "snr": -3.5}, {"rssi": -71, "snr": 9.2}, {"rssi": -120}]
    expected = {"1 co2": 500, "1 gateway_count": 3, "1 rssi": -71, "1 snr": 9.2}
    uplinks = (
        (CHIRPSTACK, chirpstack("0102030405060701", object={"co2": 500}, rxInfo=heard)),
        (TTS, tts("0102030405060701", decoded_payload={"co2": 500}, rx_metadata=heard)),
    )
    for source, message in uplinks:
        assert stored(parse_definition(f"{HEAD}{source}    signal: true\n{DEVICES}"), message) == expected
        assert stored(parse_definition(f"{HEAD}{source}{DEVICES}"), message) == {"1 co2": 500}


def test_a_server_that_names_one_gateway_beside_the_uplink_says_nothing_of_others() -> None:
    """Its numbers are texts; how many gateways there were is not known."""
    uplink = {"devEui": "0102030405060701", "timestamp": "2026-05-04T12:30:00Z", "fPort": "2", "fCntUp": "4"}
    heard = {"rssi": "-92", "snr": "8.5", "gatewayIdentifier": "126"}
    source = {"topic": "netmore/#", "format": "netmore", "signal": True}
    explanation = read(source, "netmore/up", [uplink | heard | {"decoded": {"co2": 500}}], "0102030405060701")
    values = {reading.quantity: reading.value for reading in explanation.readings}
    assert values == {"co2": 500, "rssi": -92, "snr": 8.5}

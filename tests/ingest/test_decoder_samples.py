"""Every sample of one of our formats under shared payloads is read, or refused for a reason that stands here.

The vectors test says what the values are; this one that no sample is passed over, and no part of one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from techport_ingest.decoding.decoder import make_decoder
from techport_ingest.message import Message, Observed, RejectedMessage

TOPICS = {
    "tts_v3": ("tts-v3", "v3/app1@tenant1/devices/dev1/up"),
    "chirpstack_v4": ("chirpstack-v4", "application/a/device/0102030405060708/event/{name}"),
    "cayenne_lpp": ("cayenne-lpp", "lpp/dev"),
    "tasmota": ("tasmota", "tele/plug/SENSOR"),
    "zigbee2mqtt": ("zigbee2mqtt", "zigbee2mqtt/hall"),
    "shelly_gen2": ("shelly-gen2", "shelly-1/events/rpc"),
    "senml": ("senml", "gateway"),
    "sensor_community": ("sensor-community", "airrohr"),
    "sensorthings": ("sensorthings", "v1.1/Observations"),
    "ruuvi": ("ruuvi-gateway", "ruuvi/C8:25:2D:8E:9C:2C/F4:1F:0C:28:CB:D6"),
    "sparkplug_b": ("sparkplug-b", "spBv1.0/plant/{name}/edge/pump"),
    "csv": ("csv", "vegvesen"),
    "influx_line": ("line-protocol", "telegraf"),
    "ultralight": ("ultralight", "/ul/key/dev/attrs"),
    "homie": ("homie", "homie/5/super-car/$description"),
}
OTHERS = {"ha_discovery", "lorawan_decoders", "meshtastic", "owntracks", "wot_td"}
"""Formats that techport does not read; JavaScript of lorawan_decoders has a test of its own."""

Outcome = tuple[int, int] | str
EXPECTED: dict[str, list[Outcome]] = {  # (values, events and ignored parts) of each message, or why it is refused
    "tts_v3/join.json": [(0, 1)],
    "tts_v3/uplink_docs_fixed.json": [(2, 0)],
    "tts_v3/uplink_docs_INVALID_JSON.json": ["not-json"],  # the documentation forgot a comma
    "tts_v3/uplink_no_decoded_payload.json": ["not-decoded"],  # nobody has set a formatter
    "tts_v3/uplink_real_2020_storage_wrapped.ndjson": ["not-decoded", "not-decoded"],
    "tts_v3/fragment_normalized_0.json": [(2, 2)],  # what is normalised is not taken twice
    "tts_v3/fragment_normalized_1.json": [(2, 0)],
    "tts_v3/fragment_normalized_2.json": [(3, 3)],
    "tts_v3/fragment_normalized_3.json": [(1, 0)],
    "tts_v3/normalized_payload_schema_annotated.jsonc": ["not-json"],  # a page of documentation, no message
    "chirpstack_v4/up.json": ["not-decoded"],
    "chirpstack_v4/status.json": [(1, 1)],
    "chirpstack_v4/join.json": [(0, 1)],
    "chirpstack_v4/log.json": [(0, 1)],
    "chirpstack_v4/location.json": [(3, 1)],
    "cayenne_lpp/baro_temp.hex": [(2, 0)],
    "cayenne_lpp/gps.hex": [(3, 0)],
    "cayenne_lpp/two_temps.hex": [(2, 0)],
    "tasmota/am2301_SENSOR.json": [(2, 0)],
    "tasmota/bme280_SENSOR.json": [(3, 0)],
    "tasmota/bme680_SENSOR.json": [(5, 0)],
    "tasmota/ds18b20_three_SENSOR.json": [(3, 3)],
    "tasmota/epoch_SENSOR.json": [(1, 0)],
    "tasmota/offset_SENSOR_retained.json": [(2, 0)],
    "tasmota/teleinfo_energy_SENSOR.json": [(15, 5)],
    "tasmota/teleinfo_no_time_SENSOR.json": [(7, 4)],
    "zigbee2mqtt/battery_mV.json": [(2, 0)],
    "zigbee2mqtt/event_button.json": [(1, 1)],
    "zigbee2mqtt/last_seen_epoch_ms.json": [(1, 0)],
    "zigbee2mqtt/last_seen_iso.json": [(1, 0)],
    "zigbee2mqtt/weather_sensor.json": [(3, 0)],
    "shelly_gen2/NotifyStatus_cloud.json": [(0, 1)],
    "shelly_gen2/NotifyStatus_switch.json": [(1, 1)],
    "shelly_gen2/status_plus1pm.json": [(0, 1)],  # a device's whole state, as an answer to a question: no notification
    "shelly_gen2/status_pro3em.json": [(0, 1)],
    "senml/ex1.json": [(1, 0)],
    "senml/ex2.json": [(2, 0)],
    "senml/ex2.resolved.json": [(2, 0)],
    "senml/ex3.json": [(7, 0)],
    "senml/ex3.cbor": [(7, 0)],
    "senml/ex3.resolved.json": [(7, 0)],
    "senml/ex5.json": [(13, 0)],
    "senml/ex5.cbor": [(13, 0)],
    "senml/ex5.resolved.json": [(13, 0)],
    "senml/ex6.json": [(4, 0)],
    "senml/ex6.resolved.json": [(4, 0)],
    "senml/ex8.json": [(2, 0)],
    "senml/ex10.json": [(2, 0)],
    "senml/ex11.json": [(2, 0)],
    "sensor_community/airrohr_0.json": [(2, 3)],
    "sensor_community/airrohr_1.json": [(2, 3)],
    "sensor_community/airrohr_2.json": [(4, 3)],
    "sensorthings/observation_mqtt.json": [(1, 0)],
    "sensorthings/observation_mqtt_full.json": [(1, 0)],
    "ruuvi/with_ts.json": [(11, 0)],
    "ruuvi/without_ts.json": [(11, 0)],
    "ruuvi/rawv2_vectors.json": ["wrong-shape"],  # vectors for the bytes inside a message
    "sparkplug_b/NBIRTH.bin": [(1, 4)],
    "sparkplug_b/DBIRTH.bin": [(4, 2)],
    "sparkplug_b/DDATA_alias.bin": ["unknown-alias"],  # on its own, without the birth
    "sparkplug_b/NBIRTH_spec.json": ["not-sparkplug"],  # the specification writes protobuf as JSON for people
    "sparkplug_b/DDATA_spec.json": ["not-sparkplug"],
    "sparkplug_b/sparkplug_b.proto": ["not-sparkplug"],  # the schema
    "csv/vegvesen_export_latin1.csv": [(2448, 1080)],
    "influx_line/telegraf_readme.lp": [(5, 0)],
    "influx_line/corpus.json": ["not-line-protocol"],  # a list of vectors; the vectors test goes through them
    "ultralight/measures.txt": [(1, 1), (3, 0), (1, 0), (3, 0), (3, 5), (2, 0)],
    "homie/homie4.txt": ["not-json"],  # a transcript of topics; the vectors test plays it
    "homie/homie5_description.json": [(0, 1)],
}


@pytest.fixture
def payloads(shared: Path) -> Path:
    return shared / "payloads"


def test_every_folder_is_a_format_of_ours_or_known_to_be_none(payloads: Path) -> None:
    assert {folder.name for folder in payloads.iterdir() if folder.is_dir()} == {*TOPICS, *OTHERS}


def test_every_sample_has_an_outcome_here(payloads: Path) -> None:
    there = {f"{folder}/{file.name}" for folder in TOPICS for file in (payloads / folder).iterdir()}
    assert there == set(EXPECTED)


@pytest.mark.parametrize("sample", EXPECTED)
def test_sample(payloads: Path, sample: str) -> None:
    assert [outcome(sample, payload) for payload in parts(payloads / sample)] == EXPECTED[sample]


def parts(file: Path) -> Iterator[bytes]:
    """The messages of a file: most hold one; some several, or the middle of one."""
    content = file.read_bytes()
    if file.suffix == ".hex":
        yield bytes.fromhex(content.decode())
    elif file.name == "measures.txt":
        yield from content.splitlines()
    elif file.suffix == ".ndjson":
        yield from (json.dumps(json.loads(line)["result"]).encode() for line in content.splitlines())
    elif file.name.startswith("fragment_"):
        yield json.dumps(enveloped(json.loads(content))).encode()
    else:
        yield content


def enveloped(fragment: dict[str, Any]) -> dict[str, Any]:
    inside = (
        fragment if "uplink_message" in fragment or "uplink_normalized" in fragment else {"uplink_message": fragment}
    )
    return {"end_device_ids": {"device_id": "dev1"}, **inside}


def outcome(sample: str, payload: bytes) -> Outcome:
    folder, _, name = sample.partition("/")
    form, topic = TOPICS[folder]
    form = "senml-cbor" if name.endswith(".cbor") else form
    named = topic.replace("{name}", name.partition(".")[0].partition("_")[0])
    try:
        found = make_decoder(form)(Message(named, payload, received=1_777_897_900_000_000, id=1), "dev")
    except RejectedMessage as problem:
        return problem.reason
    values = sum(isinstance(one, Observed) for one in found)
    return values, len(found) - values

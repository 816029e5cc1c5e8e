"""Published vectors and real captures, read from the developers' data folder; skipped where that is not."""

from __future__ import annotations

import base64
import json
import math
from pathlib import Path
from typing import Any

import msgspec
import pytest

from techport_ingest.decoding import senml
from techport_ingest.decoding.decoder import make_decoder, make_decoders
from techport_ingest.decoding.formats.cayenne_lpp import decoder as cayenne_lpp
from techport_ingest.decoding.formats.csv.decoder import CsvLines
from techport_ingest.decoding.formats.line_protocol.decoder import Point, parse
from techport_ingest.decoding.formats.ruuvi_gateway import decoder as ruuvi_gateway
from techport_ingest.decoding.lorawan import object_values
from techport_ingest.message import DeviceEvent, Found, Ignored, Message, Observed, RejectedMessage
from techport_pilots.model import CsvColumns

ARRIVED = 1_777_897_900_000_000


def message(topic: str, payload: bytes) -> Message:
    return Message(topic, payload, received=ARRIVED, id=1)


def values(found: Any) -> dict[str, object]:
    return {one.key: one.value for one in found if isinstance(one, Observed)}


@pytest.fixture
def payloads(shared: Path) -> Path:
    return shared / "payloads"


# SenML: the resolved records of RFC 8428 ------------------------------------------------------------------------------


def as_published(one: senml.Resolved) -> dict[str, object]:
    return {"n": one.n, "u": one.u, "t": one.t, "v": one.v}


@pytest.mark.parametrize(("name", "now"), [("ex2", 1_498_780_179.0), ("ex3", 0.0), ("ex5", 0.0), ("ex6", 0.0)])
def test_senml_resolves_to_the_records_of_the_rfc(payloads: Path, name: str, now: float) -> None:
    pack = json.loads((payloads / f"senml/{name}.json").read_bytes())
    expected = json.loads((payloads / f"senml/{name}.resolved.json").read_bytes())
    assert [as_published(one) for one in senml.resolve(pack, now)] == expected


@pytest.mark.parametrize("name", ["ex3", "ex5"])
def test_senml_in_cbor_is_the_same_pack(payloads: Path, name: str) -> None:
    in_json = make_decoder("senml")(message("x", (payloads / f"senml/{name}.json").read_bytes()), "gateway")
    in_cbor = make_decoder("senml-cbor")(message("x", (payloads / f"senml/{name}.cbor").read_bytes()), "gateway")
    assert in_cbor == in_json
    assert in_cbor


@pytest.mark.parametrize(
    ("name", "device", "keys"),
    [
        ("ex1", "10e2073a01080063", {"air_temperature"}),
        ("ex2", "10e2073a01080063", {"voltage", "current"}),
        ("ex5", "10e2073a01080063", {"relative_humidity", "longitude", "latitude", "battery_level"}),
        ("ex8", "10e2073a01080063", {"air_temperature", "relative_humidity"}),
        ("ex11", "10e2073a01080063", {"air_temperature"}),
    ],
)
def test_senml_names_device_and_quantity(payloads: Path, name: str, device: str, keys: set[str]) -> None:
    found = make_decoder("senml")(message("x", (payloads / f"senml/{name}.json").read_bytes()), "gateway")
    assert {one.device for one in found} == {device}
    assert set(values(found)) == keys


# Line protocol: InfluxData's corpus decides -------------------------------------------------------------------------


def corpus(payloads: Path) -> list[tuple[bytes, list[dict[str, Any]] | None]]:
    """(text, points or None where it has to be refused)."""
    decode = msgspec.json.decode((payloads / "influx_line/corpus.json").read_bytes())["decode"]
    return [(as_bytes(one["input"]["text"]), one["output"].get("result")) for one in decode.values()]


def as_bytes(text: str | dict[str, str]) -> bytes:
    return text.encode() if isinstance(text, str) else base64.b64decode(text["binary"])


def attempt(text: bytes) -> list[Point] | None:
    try:
        return parse(text.decode())
    except (RejectedMessage, UnicodeDecodeError):
        return None


def test_line_protocol_accepts_and_refuses_as_the_corpus_says(payloads: Path) -> None:
    cases = corpus(payloads)
    assert len(cases) > 6_000
    assert [text for text, points in cases if (attempt(text) is None) != (points is None)] == []


def test_line_protocol_reads_what_the_corpus_reads(payloads: Path) -> None:
    accepted = [(text, points) for text, points in corpus(payloads) if points is not None]
    assert len(accepted) > 300
    for text, points in accepted:
        mine = [(one.measurement, sorted(one.tags.items()), one.fields) for one in attempt(text) or ()]
        assert mine == [(point["name"], tags_of(point), fields_of(point)) for point in points]


def tags_of(point: dict[str, Any]) -> list[tuple[str, str]]:
    return sorted((tag["key"], tag["value"]) for tag in point.get("tags") or ())


def fields_of(point: dict[str, Any]) -> list[tuple[str, object]]:
    return [(field["key"], *field["value"].values()) for field in point["fields"]]


# Binary formats -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("two_temps", {"air_temperature.3": 27.2, "air_temperature.5": 25.5}),
        ("baro_temp", {"air_pressure.0": 1017.5, "air_temperature.0": 22.2}),
        ("gps", {"latitude.1": 42.3519, "longitude.1": -87.9094, "altitude.1": 10.0}),
    ],
)
def test_cayenne_vectors(payloads: Path, name: str, expected: dict[str, float]) -> None:
    raw = bytes.fromhex((payloads / f"cayenne_lpp/{name}.hex").read_text())
    assert {key: value for key, value, _ in cayenne_lpp.fields(raw)[0]} == expected


def test_ruuvi_vectors(payloads: Path) -> None:
    vectors = json.loads((payloads / "ruuvi/rawv2_vectors.json").read_bytes())
    found = {
        name: ruuvi_gateway.rawv2("tag", None, bytes.fromhex(vectors[name]))
        for name in ("valid", "max", "min", "invalid")
    }
    valid = values(found["valid"])
    assert valid["air_temperature"] == vectors["valid_expected"]["temperature"]
    assert valid["air_pressure"] == vectors["valid_expected"]["pressure"]
    assert valid["relative_humidity"] == vectors["valid_expected"]["humidity"]
    # The rest as the format's page lists them.
    rest = {"acceleration.x": 0.004, "acceleration.y": -0.004, "acceleration.z": 1.036, "battery_voltage": 2.977}
    assert {key: valid[key] for key in rest} == rest
    assert (valid["transmit_power"], valid["movement_counter"], valid["measurement_sequence"]) == (4, 66, 205)
    assert values(found["max"])["air_temperature"] == 163.835
    assert values(found["max"])["air_pressure"] == 115_534
    assert values(found["min"])["air_temperature"] == -163.835
    assert values(found["min"])["battery_voltage"] == 1.6
    assert values(found["invalid"]) == {}


@pytest.mark.parametrize(("name", "time"), [("with_ts", 1_653_668_027_000_000), ("without_ts", None)])
def test_ruuvi_gateway_messages(payloads: Path, name: str, time: int | None) -> None:
    given = message("ruuvi/C8:25:2D:8E:9C:2C/F4:1F:0C:28:CB:D6", (payloads / f"ruuvi/{name}.json").read_bytes())
    found = ruuvi_gateway.decode(given, "")
    assert {one.device for one in found} == {"f41f0c28cbd6"}
    assert {one.time for one in found if isinstance(one, Observed)} == {time}
    assert 20 < float(str(values(found)["air_temperature"])) < 35


def test_sparkplug_births_and_data_of_another_encoder(payloads: Path) -> None:
    decode = make_decoder("sparkplug-b")
    folder = payloads / "sparkplug_b"
    node = decode(message("spBv1.0/plant/NBIRTH/edge", (folder / "NBIRTH.bin").read_bytes()), "")
    assert values(node) == {"supply_voltage": pytest.approx(12.1)}
    born = decode(message("spBv1.0/plant/DBIRTH/edge/pump", (folder / "DBIRTH.bin").read_bytes()), "")
    assert values(born) == {"Inputs/A": 0.0, "air_temperature": 21.5, "event_counter": float(2**63 + 5), "signed": -5.0}
    data = decode(message("spBv1.0/plant/DDATA/edge/pump", (folder / "DDATA_alias.bin").read_bytes()), "")
    readings = [(one.key, one.value) for one in data if isinstance(one, Observed)]
    assert readings == [("air_temperature", 21.6), ("signed", -7.0), ("air_temperature", 20.0)]
    times = [one.time or 0 for one in data if isinstance(one, Observed)]
    assert times[-1] < times[0]  # the historical one


# Captures -------------------------------------------------------------------------------------------------------------

CAPTURES = [
    (
        "tts-v3",
        "v3/app1@tenant1/devices/dev1/up",
        "tts_v3/uplink_docs_fixed.json",
        {"air_temperature": 1, "illuminance": 0.64},
    ),
    (
        "tasmota",
        "tele/x/SENSOR",
        "tasmota/bme280_SENSOR.json",
        {"air_temperature": 21.7, "relative_humidity": 66.6, "air_pressure": 988.6},
    ),
    (
        "tasmota",
        "tele/x/SENSOR",
        "tasmota/ds18b20_three_SENSOR.json",
        {"air_temperature.1": 13.3, "air_temperature.2": 1.2, "air_temperature.3": 22.5},
    ),
    (
        "zigbee2mqtt",
        "zigbee2mqtt/w",
        "zigbee2mqtt/weather_sensor.json",
        # An example with made-up numbers: 2 hPa is no air's pressure, and could be a pipe's.
        {"air_temperature": 0.08, "relative_humidity": 0.01, "pressure": 2},
    ),
    ("zigbee2mqtt", "zigbee2mqtt/w", "zigbee2mqtt/battery_mV.json", {"battery_level": 93, "battery_voltage": 2990}),
    ("shelly-gen2", "s/events/rpc", "shelly_gen2/NotifyStatus_switch.json", {"output": 1.0}),
    ("shelly-gen2", "s/events/rpc", "shelly_gen2/NotifyStatus_cloud.json", {}),
    (
        "sensor-community",
        "s",
        "sensor_community/airrohr_2.json",
        {"pm10": 11.43, "pm25": 6.25, "air_temperature": 26.5, "relative_humidity": 52.9},
    ),
    ("sensorthings", "v1.1/Observations", "sensorthings/observation_mqtt_full.json", {"datastream.1": 8}),
    ("chirpstack-v4", "application/a/device/d/event/status", "chirpstack_v4/status.json", {"battery_level": 88.3}),
]


@pytest.mark.parametrize(("form", "topic", "file", "expected"), CAPTURES, ids=[c[2] for c in CAPTURES])
def test_capture(payloads: Path, form: str, topic: str, file: str, expected: dict[str, float]) -> None:
    assert values(make_decoder(form)(message(topic, (payloads / file).read_bytes()), "device")) == expected


def test_both_spellings_of_last_seen_are_one_instant(payloads: Path) -> None:
    decode = make_decoder("zigbee2mqtt")
    files = [payloads / f"zigbee2mqtt/last_seen_{name}.json" for name in ("epoch_ms", "iso")]
    found = [one for file in files for one in decode(message("zigbee2mqtt/remote", file.read_bytes()), "")]
    assert [one.time for one in found if isinstance(one, Observed)] == [1_000_000] * 2


def test_things_that_are_no_reading(payloads: Path) -> None:
    decoders = make_decoders()
    join = decoders["tts-v3"](message("v3/a@t/devices/dev1/join", (payloads / "tts_v3/join.json").read_bytes()), "")
    button = decoders["zigbee2mqtt"](
        message("zigbee2mqtt/button", (payloads / "zigbee2mqtt/event_button.json").read_bytes()), ""
    )
    assert [one.kind for one in [*join, *button] if isinstance(one, DeviceEvent)] == ["join", "button"]
    for name in ("join", "log", "location"):
        topic = f"application/a/device/d/event/{name}"
        found = decoders["chirpstack-v4"](message(topic, (payloads / f"chirpstack_v4/{name}.json").read_bytes()), "")
        assert [one.kind for one in found if isinstance(one, DeviceEvent)] == [name]


def test_uplinks_that_nobody_decoded_say_what_to_do(payloads: Path) -> None:
    for form, topic, file in (
        ("tts-v3", "v3/a@t/devices/dev1/up", "tts_v3/uplink_no_decoded_payload.json"),
        ("chirpstack-v4", "application/a/device/d/event/up", "chirpstack_v4/up.json"),
    ):
        with pytest.raises(RejectedMessage, match="formatter"):
            make_decoder(form)(message(topic, (payloads / file).read_bytes()), "")
    with pytest.raises(RejectedMessage, match="not-json"):
        make_decoder("tts-v3")(message("v3/a", (payloads / "tts_v3/uplink_docs_INVALID_JSON.json").read_bytes()), "")


def test_shelly_components_of_real_devices(payloads: Path) -> None:
    decode = make_decoder("shelly-gen2")
    status = json.loads((payloads / "shelly_gen2/status_pro3em.json").read_bytes())
    found: list[Found] = []
    for component, state in status.items():
        found += decode(message(f"shellypro3em-1/status/{component}", json.dumps(state).encode()), "")
    kept = values(found)
    assert (kept["active_power.a"], kept["active_power.total"], kept["energy_meter.b"]) == (375.5, 558.965, 185_686.89)
    assert kept["air_temperature"] == 46.6
    assert [one.key for one in found if isinstance(one, Ignored) and one.rule == "removed"] == ["em:0.n_current"]


def test_homie_transcript(payloads: Path) -> None:
    decode = make_decoder("homie")
    last: list[object] = []
    for line in (payloads / "homie/homie4.txt").read_text().splitlines():
        topic, _, text = line.partition(" → ")
        last = list(decode(message(topic, text.strip('"').encode()), ""))
    assert last == [Observed("super-car", None, "air_temperature.engine", 21.5, "°C", "engine.temperature")]


def test_makers_objects_as_they_are_published(payloads: Path) -> None:
    folder = payloads / "lorawan_decoders"
    decentlab = json.loads((folder / "decentlab_dl-atm41g2_decoded.json").read_bytes())
    found = object_values("d", None, decentlab)
    units = {one.key: one.unit for one in found if isinstance(one, Observed)}
    assert (units["air_pressure"], units["wind_speed"], units["lightning_count"]) == ("kPa", "m⋅s⁻¹", None)
    elsys = json.loads((folder / "elsys_ers-co2.json").read_bytes())["decoded"]
    assert values(object_values("d", None, elsys))["co2"] == 776
    milesight = [json.loads(part) for part in objects_of((folder / "vs350_examples.jsonc").read_text())]
    history = object_values("d", None, milesight[-1])
    assert [one.time for one in history if isinstance(one, Observed)] == [1_693_531_647_000_000] * 4


def objects_of(text: str) -> list[str]:
    """The JSON objects between the comments of a .jsonc file."""
    parts: list[str] = []
    for line in text.splitlines():
        if line.startswith("//"):
            parts.append("")
        elif parts:
            parts[-1] += line
    return [part for part in parts if part.strip()]


def test_lanes_and_totals_of_the_road_authority_stay_apart(payloads: Path) -> None:
    """156 vehicles in the first hour are 156 in the stream of the total, not three times as many in one stream."""
    columns = CsvColumns(
        time="Fra", device="Trafikkregistreringspunkt", channel="Felt", values=["Volum"], encoding="latin-1"
    )
    raw = (payloads / "csv/vegvesen_export_latin1.csv").read_bytes()
    found = CsvLines(columns)(message("files/traffic", raw), "")
    kept = [one for one in found if isinstance(one, Observed)]
    assert len({(one.key, one.time) for one in kept}) == len(kept)
    assert {one.device for one in kept} == {"44656v72812"}
    totals = [one for one in kept if one.key == "Volum.Totalt"]
    lanes = [one for one in kept if one.key in {f"Volum.{lane}" for lane in range(1, 5)}]
    assert totals
    assert math.fsum(float(str(one.value)) for one in lanes) == math.fsum(float(str(one.value)) for one in totals)

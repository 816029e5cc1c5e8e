"""What pilots name under `sources:`, from a real broker to the store: found, renamed, converted, rightly owned."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from paho.mqtt.client import Client

from techport_ingest.decoding.reader import Reader
from techport_ingest.decoding.router import Router
from techport_ingest.message import Message
from techport_ingest.sources.embedded import EmbeddedBroker, EmbeddedSettings
from techport_ingest.sources.mqtt5 import Mqtt5Source
from techport_pilots.accounting.ledger import events_of, ignored_by_rule
from techport_pilots.definition.load import parse_definition
from techport_pilots.model import PilotDefinition
from techport_pilots.registry.view import IngestView
from techport_pilots.topics import essential
from tests.ingest.running import Ingest, eventually, hang_up, mqtt_source, publisher
from tests.servers.mosquitto import free_port

CASES = Path(__file__).parent / "decoders"
NOW = 1_777_897_900_000_000

HOUSE = """
id: house
title: House
question: Does it save energy?
sources:
  - topic: v3/+/devices/+/up
    format: tts-v3
  - topic: tele/+/SENSOR
    format: tasmota
  - topic: +/events/rpc
    format: shelly-gen2
  - topic: zigbee2mqtt/#
    format: zigbee2mqtt
devices:
  - {id: bikepath-12, streams: [{quantity: air_temperature}]}
  - {id: plug, aliases: [plug-kjokken], streams: [{quantity: active_power}]}
  - {id: heater, aliases: [shellyplus1pm-a8032ab12345]}
  - {id: livingroom, aliases: [stue-værstasjon]}
"""


def house(uplinks: str = "v3/+/devices/+/up") -> PilotDefinition:
    return parse_definition(HOUSE.replace("v3/+/devices/+/up", uplinks))


def case(name: str) -> tuple[str, bytes]:
    folder = CASES / name
    return (folder / "topic").read_text().strip(), (folder / "message").read_bytes()


FOUR = ("tts-v3/normalized_first", "tasmota/energy", "shelly-gen2/switch", "zigbee2mqtt/weather")


def listens(ingest: Ingest, filters: int) -> bool:
    """Whether the worker has asked for so many filters, and the broker has read what it asked."""
    if ingest.pipeline is None or len(ingest.pipeline.listening) != filters:
        return False
    source = ingest._source
    if isinstance(source, Mqtt5Source):  # as it does before it leaves: the answer comes when all before it was read
        source._flushed.clear()
        return source._unsubscribe(["techport/nothing"]) and source._flushed.wait(10)
    return True


def check_house(ingest: Ingest) -> None:
    values = {(device, key): value for device, key, _, value, _ in ingest.rows()}
    assert values["bikepath-12", "air_temperature"] == 23.5
    assert values["plug", "active_power"] == pytest.approx(0.17)  # the device says W, the vocabulary kW
    assert values["plug", "energy_meter"] == 98.25
    assert values["heater", "energy_meter"] == pytest.approx(0.11025)  # Wh
    assert values["heater", "device_temperature"] == 40.5
    assert values["livingroom", "battery_voltage"] == pytest.approx(2.99)  # mV
    assert values["livingroom", "air_pressure"] == 1002
    total = ingest.total()
    assert total.quarantined == 0
    assert total.stored == len(ingest.rows())
    assert total.messages == 4
    rules = ignored_by_rule(ingest.registry.database, "house")
    assert sum(rules.values()) == total.ignored
    assert {rule for (device_day, rule) in rules if device_day.device == "heater"} == {"status"}


def test_four_formats_through_a_real_broker(port: int, device: Client, ingest: Ingest) -> None:
    ingest.start(mqtt_source(port))
    ingest.registry.import_pilot(house(), "", "test")  # while it runs: the subscription follows
    eventually(lambda: listens(ingest, 5), "the worker subscribes")
    for name in FOUR:
        topic, payload = case(name)
        device.publish(topic, payload, qos=1)
    eventually(lambda: ingest.total().messages == 4, "all four are kept")
    check_house(ingest)


def test_four_formats_through_the_embedded_broker(ingest: Ingest) -> None:
    port = free_port()
    ingest.registry.import_pilot(house(), "", "test")
    ingest.start(EmbeddedBroker(EmbeddedSettings(port=port)))
    eventually(lambda: listens(ingest, 5), "it knows its topics")
    device = publisher(port)
    for name in FOUR:
        topic, payload = case(name)
        device.publish(topic, payload, qos=1)
    eventually(lambda: ingest.total().messages == 4, "all four are kept")
    hang_up(device)
    check_house(ingest)


def test_events_are_kept_once(port: int, device: Client, ingest: Ingest) -> None:
    ingest.registry.import_pilot(house(uplinks="v3/#"), "", "test")
    ingest.start(mqtt_source(port))
    eventually(lambda: listens(ingest, 5), "the worker subscribes")
    topic, payload = case("tts-v3/join")
    for _ in range(2):
        device.publish(topic, payload, qos=1)
    eventually(lambda: ingest.total().messages == 2, "both are counted")
    assert [event.kind for event in events_of(ingest.registry.database, "house")] == ["join"]
    assert ingest.total().ignored == 2


def read(definition: PilotDefinition, topic: str, payload: bytes) -> tuple[dict[tuple[str, str], float], list[str]]:
    """Values by device and quantity, and the reasons of what was set aside."""
    snapshot = IngestView.of(1, [definition], [])
    reader = Reader()
    reader.use(snapshot)
    columns = reader.read([Message(topic, payload, NOW, 1)], snapshot)
    return {(r.device, r.quantity): r.value for r in columns.batch()}, [p.reason for p in columns.rejected]


MAPPED = """
id: lab
title: Lab
question: Does it map?
devices: [{id: kirka}, {id: lamp-1, aliases: ["AC:23:3F:00:00:01"]}]
sources:
  - topic: pilots/lab/+/readings
    format: native
    fields:
      temp: {quantity: air_temperature, text: true}
      p: {quantity: active_power, unit: W, factor: 10}
      f: {quantity: air_temperature.roof, unit: °F}
    ignore: [uptime]
  - topic: raw/+/+
    format: native
    device: {pointer: /meta/0/id}
    fields: {t: air_temperature}
    ignore: [meta]
  - topic: site/#
    format: native
    device: {level: 3}
  - topic: church
    format: native
    device: {id: kirka}
"""


@pytest.mark.parametrize(
    ("topic", "payload", "values"),
    [
        ("pilots/lab/kirka/readings", {"temp": "21,5"}, {("kirka", "air_temperature"): 21.5}),
        ("pilots/lab/kirka/readings", {"temp": " -3.25 "}, {("kirka", "air_temperature"): -3.25}),
        ("pilots/lab/kirka/readings", {"p": 250, "uptime": 7}, {("kirka", "active_power"): 2.5}),
        ("pilots/lab/kirka/readings", {"f": 68}, {("kirka", "air_temperature.roof"): 20.0}),
        ("pilots/lab/AC233F000001/readings", {"pm10": 1}, {("lamp-1", "pm10"): 1.0}),
        ("raw/a/b", {"meta": [{"id": "ac:23:3f:00:00:01"}], "t": 5}, {("lamp-1", "air_temperature"): 5.0}),
        ("site/7/lamp-1/x", {"pm10": 2}, {("lamp-1", "pm10"): 2.0}),
        ("church", {"pm10": 3}, {("kirka", "pm10"): 3.0}),
    ],
)
def test_fields_and_devices(topic: str, payload: dict[str, object], values: dict[tuple[str, str], float]) -> None:
    assert read(parse_definition(MAPPED), topic, json.dumps(payload).encode()) == (values, [])


@pytest.mark.parametrize(
    ("topic", "payload", "reason"),
    [
        ("pilots/lab/kirka/readings", {"temp": "warm"}, "not-a-number"),
        ("raw/a/b", {"t": 5}, "no-device"),
        ("site/7", {"pm10": 2}, "no-device"),
        ("site/7/stranger", {"pm10": 2}, "unknown-device"),
        ("elsewhere/7", {"pm10": 2}, "unknown-topic"),
    ],
)
def test_what_a_source_cannot_place_is_set_aside(topic: str, payload: dict[str, object], reason: str) -> None:
    assert read(parse_definition(MAPPED), topic, json.dumps(payload).encode()) == ({}, [reason])


def test_a_unit_that_cannot_be_is_set_aside() -> None:
    senml = json.dumps([{"n": "pm10", "u": "Cel", "v": 1}, {"n": "pm25", "u": "furlong", "v": 1}]).encode()
    assert read(parse_definition(MAPPED), "pilots/lab/kirka/readings", senml) == ({}, ["wrong-unit", "unknown-unit"])


def test_a_senml_pack_on_a_native_topic_is_the_topics_device() -> None:
    pack = json.dumps([{"bn": "urn:dev:mac:0024befffe804ff1/", "n": "voltage", "u": "mV", "v": 230_500}]).encode()
    assert read(parse_definition(MAPPED), "pilots/lab/kirka/readings", pack) == ({("kirka", "voltage"): 230.5}, [])


def test_two_pilots_that_listen_to_the_same_topics_each_get_their_devices() -> None:
    text = "title: T\nquestion: Q?\nsources: [{topic: tele/+/SENSOR, format: tasmota}]\n"
    pilots = [parse_definition(f"id: {name}\n{text}devices: [{{id: {name}-plug}}]") for name in ("north", "south")]
    snapshot = IngestView.of(1, pilots, [])
    reader = Reader()
    reader.use(snapshot)
    payload = b'{"Time":"2026-05-04T12:31:00Z","ENERGY":{"Voltage":230}}'
    topics = [f"tele/{name}/SENSOR" for name in ("south-plug", "north-plug", "nobody")]
    columns = reader.read([Message(topic, payload, NOW, i) for i, topic in enumerate(topics)], snapshot)
    assert [(r.pilot, r.device) for r in columns.batch()] == [("south", "south-plug"), ("north", "north-plug")]
    assert [(p.pilot, p.device, p.reason) for p in columns.rejected] == [("north", "nobody", "unknown-device")]


def test_nobody_reads_what_is_below_another_pilots_topic() -> None:
    wide = parse_definition(HOUSE.replace("topic: +/events/rpc", "topic: +/+/+/readings"))
    router = Router()
    router.use(IngestView.of(1, [wide, parse_definition(MAPPED)], []))
    route = router.route("pilots/lab/kirka/readings")
    assert route is not None
    assert (route.pilot, route.format) == ("lab", "native")


def test_what_a_decoder_remembers_outlives_another_pilots_import() -> None:
    router = Router()
    router.use(IngestView.of(1, [house()], []))
    before = router.route("tele/plug/SENSOR")
    assert not router.use(
        IngestView.of(2, [house(), parse_definition("id: x\ntitle: X\nquestion: X?\ndevices: []")], [])
    )
    after = router.route("tele/plug/SENSOR")
    assert before is not None
    assert after is not None
    assert before.decode is after.decode


def test_filters_that_others_cover_are_left_out() -> None:
    filters = ("pilots/#", "pilots/a/+/readings", "tele/+/SENSOR", "tele/#", "a/+", "a/b", "b/+", "b/#", "b/#")
    assert essential(filters) == ("pilots/#", "tele/#", "a/+", "b/#")

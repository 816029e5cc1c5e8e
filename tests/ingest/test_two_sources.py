"""Two devices never share a stream because a source or a server calls them by one name."""

from __future__ import annotations

from typing import Any

import pytest

from techport_ingest.decoding.formats.sparkplug_b.sparkplug_b_pb2 import Payload
from tests.ingest.reading import TIME, Sent, definition, take

DEVICES = ("gateway", "0807060504030201", "0807060504030202")


def uplink(eui: str, value: float) -> dict[str, Any]:
    return {"time": TIME, "deviceInfo": {"devEui": eui}, "object": {"temperature": value}, "fCnt": int(value)}


def webhook(kind: str) -> list[Sent]:
    topic = f"pilots/kai/gateway/push/chirpstack-v4{kind}"
    return [(topic, uplink(DEVICES[1], 20)), (topic, uplink(DEVICES[2], 3))]


READ = [(DEVICES[1], "air_temperature", 20.0), (DEVICES[2], "air_temperature", 3.0)]


@pytest.mark.parametrize("kind", ["/up", ""])
@pytest.mark.parametrize(
    "topic", ["pilots/kai/gateway/push/chirpstack-v4", "pilots/kai/gateway/push/#", "pilots/kai/+/push/chirpstack-v4"]
)
def test_a_webhooks_source_reads_whatever_the_server_puts_behind_it(topic: str, kind: str) -> None:
    text = definition(f"sources: [{{topic: '{topic}', format: chirpstack-v4}}]", DEVICES)
    platform = take(text, *webhook(kind))
    assert (platform.rows, platform.rejected) == (READ, [])


def test_what_is_posted_for_another_device_is_not_the_credentials() -> None:
    platform = take(definition("", DEVICES), *webhook("/up"))
    assert platform.rows == []
    assert platform.rejected == [(DEVICES[1], "other-device", 1), (DEVICES[2], "other-device", 1)]
    assert "pilots/kai/gateway/push/chirpstack-v4" in platform.last.rejected[0].rejection.hint()


def test_a_device_may_post_for_itself_under_any_of_its_names() -> None:
    text = definition("", ()) + "  - {id: meter, aliases: ['0807060504030201']}\n"
    platform = take(text, ("pilots/kai/meter/push/chirpstack-v4/up", uplink(DEVICES[1], 20)))
    assert platform.rows == [("meter", "air_temperature", 20.0)]


def node(value: float) -> bytes:
    payload = Payload(timestamp=1_795_900_000_000)
    payload.metrics.add(name="temperature", datatype=10, double_value=value)
    return payload.SerializeToString()


def things(app: str, value: float) -> dict[str, Any]:
    ids = {"device_id": "a", "application_ids": {"application_id": app}}
    return {"end_device_ids": ids, "uplink_message": {"received_at": TIME, "decoded_payload": {"temperature": value}}}


SAME_NAME: dict[str, tuple[str, list[Sent]]] = {
    "sparkplug-b": ("spBv1.0/#", [("spBv1.0/north/NDATA/a", node(1)), ("spBv1.0/south/NDATA/a", node(2))]),
    "tts-v3": (
        "v3/+/devices/+/up",
        [("v3/north@ttn/devices/a/up", things("north", 1)), ("v3/south@ttn/devices/a/up", things("south", 2))],
    ),
    "tts-v3 posted": (
        "pilots/kai/gateway/push/tts-v3",
        [
            ("pilots/kai/gateway/push/tts-v3", things("north", 1)),
            ("pilots/kai/gateway/push/tts-v3", things("south", 2)),
        ],
    ),
    "tasmota": (
        "+/tele/+/SENSOR",
        [
            (f"{site}/tele/a/SENSOR", {"Time": TIME, "T": {"Temperature": value}})
            for site, value in (("north", 1), ("south", 2))
        ],
    ),
    "zigbee2mqtt": ("+/+", [("north/a", {"temperature": 1}), ("south/a", {"temperature": 2})]),
}


@pytest.mark.parametrize("case", SAME_NAME)
def test_equal_names_of_two_groups_are_two_devices(case: str) -> None:
    """The first keeps the name; the other is asked for, and comes in under an alias."""
    topic, messages = SAME_NAME[case]
    text = definition(f"sources: [{{topic: '{topic}', format: {case.partition(' ')[0]}}}]", ("a", "gateway"))
    platform = take(text, *messages, *messages)
    assert platform.rows == [("a", "air_temperature", 1.0)] * 2
    assert platform.rejected == [("south/a", "unknown-device", 1)] * 2
    platform = take(text + "  - {id: b, aliases: [south/a]}\n", *messages)
    assert platform.rows == [("a", "air_temperature", 1.0), ("b", "air_temperature", 2.0)]
    assert platform.rejected == []


def test_what_names_the_device_is_no_reading_of_it() -> None:
    source = "sources:\n  - {topic: any/+, format: native, device: {pointer: /id}}"
    platform = take(definition(source, devices=("100",)), ("any/x", {"id": 100, "pm10": 8}))
    assert platform.rows == [("100", "pm10", 8.0)]
    assert [(part.rule, part.key) for part in platform.last.ignored] == [("identity", "id")]

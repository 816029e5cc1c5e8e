"""The sources that docs/devices.md gives for LoRaWAN servers, run as they stand there: two devices, each its own."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.ingest.reading import TIME, Sent, definition, take

DOCS = Path(__file__).parents[2] / "docs" / "devices.md"
FIRST, SECOND = "0102030405060708", "0102030405060709"


def recipe(way: str) -> str:
    found = re.search(rf"```yaml\n# lorawan: {way}\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert found is not None
    return found[1]


def tts(eui: str, value: float) -> dict[str, Any]:
    uplink = {"received_at": TIME, "decoded_payload": {"temperature": value}}
    return {"end_device_ids": {"device_id": eui}, "uplink_message": uplink}


def chirpstack_4(eui: str, value: float) -> dict[str, Any]:
    return {"time": TIME, "deviceInfo": {"devEui": eui}, "object": {"temperature": value}}


def chirpstack_3(eui: str, value: float) -> dict[str, Any]:
    return {"devEUI": eui, "publishedAt": TIME, "object": {"temperature": value}, "data": "AQ=="}


def thingpark(eui: str, value: float) -> dict[str, Any]:
    return {"DevEUI_uplink": {"DevEUI": eui, "Time": TIME, "payload_hex": "01", "payload": {"temperature": value}}}


def helium(eui: str, value: float) -> dict[str, Any]:
    return {"dev_eui": eui, "reported_at": 1_795_982_400_000, "decoded": {"payload": {"temperature": value}}}


def netmore(eui: str, value: float) -> list[Any]:
    return [{"devEui": eui, "timestamp": TIME, "payload": "01", "decoded": {"temperature": value}}]


SERVERS: dict[str, tuple[Callable[[str, float], Any], str, str]] = {
    "tts-v3": (tts, f"v3/app@ttn/devices/{FIRST}/up", ""),
    "chirpstack-v4": (chirpstack_4, f"application/7/device/{FIRST}/event/up", "/up"),
    "chirpstack-v3": (chirpstack_3, f"application/7/device/{FIRST}/event/up", "/up"),
    "thingpark": (thingpark, "thingpark/uplink", ""),
    "helium": (helium, "helium/app/rx", ""),
    "netmore": (netmore, "netmore/uplink", ""),
}


@pytest.mark.parametrize("way", ["MQTT", "HTTP"])
@pytest.mark.parametrize("server", SERVERS)
def test_each_device_of_a_server_gets_its_own_streams(server: str, way: str) -> None:
    message, topic, event = SERVERS[server]
    sources = recipe(way).replace("pilots/house/", "pilots/kai/")
    if way == "MQTT" and server == "chirpstack-v3":
        sources = sources.replace("chirpstack-v4", server)
    assert server in {source["format"] for source in yaml.safe_load(sources)["sources"]}
    if way == "HTTP":
        topic = f"pilots/kai/gateway/push/{server}{event}"
    sent: list[Sent] = [(topic, message(FIRST, 20.5)), (topic.replace(FIRST, SECOND), message(SECOND, -3.5))]
    platform = take(definition(sources, ("gateway", FIRST, SECOND)), *sent)
    assert platform.rejected == []
    assert platform.rows == [(FIRST, "air_temperature", 20.5), (SECOND, "air_temperature", -3.5)]


@pytest.mark.parametrize("server", SERVERS)
def test_without_the_source_nothing_becomes_the_gateways(server: str) -> None:
    message, _, event = SERVERS[server]
    platform = take(
        definition("", ("gateway", FIRST)), (f"pilots/kai/gateway/push/{server}{event}", message(FIRST, 20.5))
    )
    assert platform.rows == []
    assert platform.rejected == [(FIRST, "other-device", 1)]

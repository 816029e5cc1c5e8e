"""Erasing beside a running platform: what devices sent leaves every file of the data folder, the broker's too."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from techport_dashboards.api.accounting import Audited
from techport_ingest.brokers.mosquitto import find_mosquitto
from tests.conftest import unavailable
from tests.end_to_end.platforms import PILOT, Platform
from tests.ingest.running import eventually

CANARY = "kanari-4711"
MAC = "AC:23:3F:A4:C1:38"
PATH = "/api/v1/pilots/test-street/erasure"
SOURCE = 'sources: [{topic: "zigbee2mqtt/#", format: zigbee2mqtt}]\n'


def _posted(platform: Platform, path: str, body: object, token: bool = True) -> tuple[int, str]:
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {platform.token}"} if token else {})
    request = urllib.request.Request(f"http://{platform.http}{path}", json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=40) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def _erased(platform: Platform, part: dict[str, str]) -> None:
    """Erase it through the API, and wait until it is done."""
    status, counted = _posted(platform, f"{PATH}/count", part)
    assert status == 200
    assert any(json.loads(counted).values())
    job = json.loads(_posted(platform, PATH, {**part, "confirm": "test-street"})[1])
    eventually(lambda: platform.get(f"/api/v1/jobs/{job['id']}")["state"] != "running", "it is erased")
    assert platform.get(f"/api/v1/jobs/{job['id']}")["state"] == "done"


def _audited(platform: Platform) -> dict[str, Any]:
    answer: dict[str, Any] = platform.get("/api/v1/audit")
    return answer


def _holding(folder: Path, *texts: str) -> set[str]:
    """Files of the folder that hold one of the texts."""
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and any(text.encode() in path.read_bytes() for text in texts)
    }


def _retained(port: int) -> set[str]:
    """Topics with a retained message."""
    topics: set[str] = set()
    client = mqtt.Client(CallbackAPIVersion.VERSION2, "onlooker")
    client.on_message = lambda _, __, message: topics.add(message.topic) if message.retain else None
    client.on_connect = lambda c, *_: c.subscribe([("pilots/#", 0), ("zigbee2mqtt/#", 0)])
    client.connect("127.0.0.1", port)
    client.loop_start()
    time.sleep(1.5)
    client.disconnect()
    client.loop_stop()
    return topics


@pytest.mark.slow
@pytest.mark.parametrize("broker", ["mosquitto", "embedded"])
def test_what_a_text_occurs_in_is_erased_from_every_file(tmp_path: Path, broker: str) -> None:
    if broker == "mosquitto" and find_mosquitto() is None:
        unavailable("mosquitto is not installed: apt-get install mosquitto")
    definition = tmp_path / "test-street.yaml"
    definition.write_text(PILOT + SOURCE)
    with Platform(tmp_path, "up", "--broker", broker, "--pilot", str(definition)) as platform:
        device = mqtt.Client(CallbackAPIVersion.VERSION2, "device")
        device.connect("127.0.0.1", platform.mqtt_port)
        device.loop_start()
        bare = MAC.replace(":", "").lower()
        for topic, payload, retain in [
            ("pilots/test-street/lamp-1/readings", {"pm10": 1.5}, False),
            ("pilots/test-street/lamp-1/readings", {"pm10": f"of {CANARY}"}, False),
            ("pilots/test-street/lamp-1/status", {"owner": CANARY}, True),
            ("pilots/test-street/lamp-1/push/native", {"pm10": 2.5}, True),
            (f"pilots/test-street/{CANARY}/readings", {"pm10": 3.5}, True),
            (f"pilots/test-street/{bare}/readings", {"pm10": 4.5, "mac": MAC}, True),
            ("zigbee2mqtt/lamp-1", {"pm10": 5.5, "seen": CANARY}, True),
            ("zigbee2mqtt/of-somebody-else", {"pm10": 6.5, "seen": CANARY}, True),
        ]:
            device.publish(topic, json.dumps(payload), qos=1, retain=retain).wait_for_publish(30)
        device.disconnect()
        device.loop_stop()
        eventually(lambda: sum(row["messages"] for row in _audited(platform)["rows"]) == 8, "all are booked")
        assert {"registry.sqlite", "registry.sqlite-wal"} & _holding(platform.data, CANARY, bare), (
            "the test would notice"
        )
        told = platform.run("retention", "erase", "test-street", "--reference", CANARY, "--yes")
        assert ": 0 readings on 0 device-days, 0 messages" not in told
        _erased(platform, {"reference": MAC})
        assert _retained(platform.mqtt_port) == {
            "pilots/test-street/lamp-1/push/native",
            "zigbee2mqtt/of-somebody-else",
        }
        assert not any(json.loads(_posted(platform, f"{PATH}/count", {"reference": CANARY})[1]).values())
        assert Audited.model_validate(_audited(platform)).report.ok

        allowed = {"mosquitto/mosquitto.db"}  # has the retained message of somebody else
        eventually(lambda: _holding(platform.data, CANARY, MAC, bare) <= allowed, "no other file holds it")
        assert platform.get("/api/v1/readings?pilot=test-street&device=lamp-1")["items"], "the rest stays"

        assert _posted(platform, PATH, {"device": "lamp-1", "confirm": "test-street"}, token=False)[0] in (
            401,
            403,
            404,
        )
        for body in ({}, {"reference": "abc"}, {"device": ""}):
            assert _posted(platform, f"{PATH}/count", body)[0] == 400, body
        assert _posted(platform, PATH, {"device": "lamp-1", "confirm": "other"})[0] == 400
        _erased(platform, {"device": "lamp-1"})
        assert _retained(platform.mqtt_port) == {"zigbee2mqtt/of-somebody-else"}
        assert Audited.model_validate(_audited(platform)).report.ok

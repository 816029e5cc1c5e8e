"""Messages over HTTP: kept when they are answered, as the device that sends them, and counted like any other."""

from __future__ import annotations

import base64
import json
import re
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.end_to_end.platforms import PILOT, Platform, wait_until

WEBHOOK = """
sources:
  - topic: pilots/test-street/gateway/push/tts-v3
    format: tts-v3
"""
AIRROHR = json.dumps(
    {
        "esp8266id": "123456",
        "software_version": "NRZ-2024-135",
        "sensordatavalues": [
            {"value_type": "SDS_P1", "value": "11.43"},
            {"value_type": "BME280_temperature", "value": "4.25"},
            {"value_type": "samples", "value": "5035"},
        ],
    }
).encode()
UPLINK = json.dumps(
    {
        "end_device_ids": {"device_id": "lamp-1"},
        "uplink_message": {"received_at": "2026-05-04T12:00:00Z", "decoded_payload": {"air_temperature": 7.5}},
    }
).encode()


def post(platform: Platform, path: str, payload: bytes, who: tuple[str, str] | None) -> tuple[int, dict[str, object]]:
    request = urllib.request.Request(f"http://{platform.http}{path}", payload, method="POST")
    if who is not None:
        request.add_header("Authorization", "Basic " + base64.b64encode(":".join(who).encode()).decode())
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def credential(platform: Platform, device: str) -> tuple[str, str]:
    found = dict(
        re.findall(r"^(user name|password): +(\S+)$", platform.run("device", "add", "test-street", device), re.M)
    )
    return found["user name"], found["password"]


@pytest.mark.parametrize("broker", ["embedded", pytest.param("mosquitto", marks=pytest.mark.slow)])
def test_what_is_answered_is_kept(tmp_path: Path, broker: str) -> None:
    file = tmp_path / "pilot.yaml"
    file.write_text(PILOT + WEBHOOK, "utf-8")
    with Platform(tmp_path, "up", "--pilot", str(file), "--broker", broker) as platform:
        station, gateway = credential(platform, "station"), credential(platform, "gateway")
        status, said = post(platform, "/push/sensor-community", AIRROHR, station)
        assert (status, said["status"]) == (202, "kept")
        assert said["topic"] == "pilots/test-street/station/push/sensor-community"
        assert post(platform, "/push/tts-v3", UPLINK, gateway)[0] == 202
        assert post(platform, "/push/native", b"{", station)[0] == 202, "kept, in quarantine"
        if broker == "embedded":  # acknowledged when committed: nothing to wait for
            platform.kill()
            platform.start()

        def latest() -> dict[tuple[str, str], float]:
            items = platform.get("/api/v1/latest?pilot=test-street")["items"]
            return {(item["device"], item["quantity"]): item["value"] for item in items}

        wait_until(lambda: len(latest()) == 3)
        assert latest() == {
            ("station", "pm10"): 11.43,
            ("station", "air_temperature"): 4.25,
            ("lamp-1", "air_temperature"): 7.5,
        }
        assert "pilots/test-street/station/push/native" in platform.run("quarantine", "show", "1")
        assert "the sums agree" in platform.run("audit")

        lamp = credential(platform, "lamp-1")
        name = "properties/device%20eq%20%27lamp-1%27%20and%20properties/quantity%20eq%20%27pm10%27"
        [datastream] = platform.get(f"/sta/v1.1/Datastreams?$filter={name}")["value"]
        path = f"/sta/v1.1/Datastreams({datastream['@iot.id']})/Observations"
        status, said = post(platform, path, b'{"result": 7, "phenomenonTime": "2026-05-04T12:00:00Z"}', lamp)
        assert status == 201, said
        assert [one["@iot.id"] for one in platform.get(path)["value"]] == [said["@iot.id"]]
        assert post(platform, path, b'{"result": 7}', station)[0] == 404, "another device's"
        assert "the sums agree" in platform.run("audit")

        for wrong in (None, (station[0], "guess"), ("test-street/nobody", station[1]), ("", "")):
            status, said = post(platform, "/push/sensor-community", AIRROHR, wrong)
            assert (status, said["type"]) == (401, "/api/v1/problems/no-credential")
        assert post(platform, "/push/telex", AIRROHR, station)[0] == 404
        assert post(platform, "/push/csv", b"1" * 300_000, station)[0] == 413
        assert post(platform, "/push/chirpstack-v4?event=../up", UPLINK, station)[0] == 400

"""A device maker's ten minutes: credential, first message, a mistake, its mending, and "where is my message?"."""

from __future__ import annotations

import re
from pathlib import Path

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from tests.end_to_end.platforms import PILOT, Platform, wait_until

COMMA = """
sources:
  - topic: pilots/test-street/+/readings
    format: native
    fields: {temp: {quantity: air_temperature, text: true}}
"""


def publish(platform: Platform, user: str, password: str, payload: str) -> None:
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="box")
    client.username_pw_set(user, password)
    client.connect("127.0.0.1", platform.mqtt_port)
    client.loop_start()
    wait_until(client.is_connected)
    client.publish(f"pilots/{user}/readings", payload, qos=1).wait_for_publish(20)
    client.disconnect()
    client.loop_stop()


def test_from_a_credential_to_a_mended_message(tmp_path: Path) -> None:
    file = tmp_path / "pilot.yaml"
    file.write_text(PILOT, "utf-8")
    with Platform(tmp_path, "up", "--pilot", str(file)) as platform:
        said = platform.run("device", "add", "test-street", "box-1", "--for", "all")
        found = dict(re.findall(r"^(user name|password): +(\S+)$", said, re.MULTILINE))
        assert f"-p {platform.mqtt_port} -u 'test-street/box-1'" in said, "a snippet reaches the broker as it is"

        publish(platform, found["user name"], found["password"], '{"time": "2026-05-04T12:03:00Z", "temp": "21,5"}')
        seen = platform.run("device", "watch", "test-street", "box-1", "--timeout", "30")
        assert '"temp": "21,5"' in seen
        assert "Send 21.5 without quotes" in seen
        trace = ("trace", "test-street", "box-1", "2026-05-04T12:03+00:00")
        assert "nothing was received or observed then" in platform.run(*trace, expect=1)

        mended = platform.run("pilot", "show", "test-street", "--yaml")
        assert "box-1" in mended
        file.write_text(mended + COMMA, "utf-8")
        platform.run("pilot", "import", str(file))
        assert "1 entries are reprocessed" in platform.run("quarantine", "replay", "--device", "box-1")
        wait_until(lambda: platform.get("/api/v1/latest?pilot=test-street")["items"])
        wait_until(lambda: re.search(r"received .+ by \S+, visible since ", platform.run(*trace)))
        assert "stored: air_temperature = 21.5" in platform.run(*trace)
        assert "nothing is in quarantine" in platform.run("quarantine", "list")
        assert "the sums agree" in platform.run("audit")

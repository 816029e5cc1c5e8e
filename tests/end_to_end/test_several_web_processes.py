"""Several processes serve over one embedded store: what one of them stores, the others show, also after it was away."""

from __future__ import annotations

import json
import urllib.error
from pathlib import Path

import paho.mqtt.publish
import pytest

from tests.end_to_end.platforms import PILOT, Platform, Web, wait_until
from tests.servers.mosquitto import free_port


def test_a_second_web_process_shows_what_the_first_one_stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "pilot.yaml"
    file.write_text(PILOT, "utf-8")
    address = f"127.0.0.1:{free_port()}"
    store = f"shared://{address}?token_file={tmp_path / 'data' / 'token'}"
    monkeypatch.setenv("TECHPORT_STORE_ADDRESS", address)
    with Platform(tmp_path, "up", "--pilot", str(file), "--broker", "embedded") as first:

        def send(value: float) -> None:
            topic = "pilots/test-street/lamp-1/readings"
            paho.mqtt.publish.single(topic, json.dumps({"pm10": value}), 1, port=first.mqtt_port)

        send(21.5)
        with Web(tmp_path, "serve", "--store", store) as second:
            question = "/api/v1/readings?pilot=test-street&quantity=pm10&order=-time&limit=1"

            def newest(platform: Platform) -> float:
                return float(platform.get(question)["items"][0]["value"])

            assert newest(first) == newest(second) == 21.5
            send(22.5)
            assert wait_until(lambda: newest(second) == 22.5)
            assert second.get("/api/v1/audit") == first.get("/api/v1/audit"), (
                "the ledger is compared with the same rows"
            )
            first.kill()
            with pytest.raises(urllib.error.HTTPError) as away:
                second.get(question)
            assert away.value.code == 503
            assert "holds the store" in json.loads(away.value.read())["detail"]
            first.start()
            assert wait_until(lambda: _or_none(lambda: newest(second)) == 22.5)


def _or_none(answer: object) -> object:
    assert callable(answer)
    try:
        return answer()
    except urllib.error.HTTPError:
        return None

"""`techport up` as its users run it: one process, real brokers, real MQTT, over HTTP."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from techport_ingest.brokers.mosquitto import find_mosquitto
from tests.conftest import unavailable
from tests.end_to_end.platforms import PILOT, Device, Platform, wait_until

BROKERS = ("mosquitto", "embedded")
TOPIC = "pilots/test-street/lamp-1/readings"
START = 1_760_000_000  # s


@pytest.fixture(params=BROKERS)
def broker(request: pytest.FixtureRequest) -> str:
    if request.param == "mosquitto" and find_mosquitto() is None:
        unavailable("mosquitto is not installed: apt-get install mosquitto")
    return str(request.param)


@pytest.fixture
def pilot_file(tmp_path: Path) -> Path:
    file = tmp_path / "pilot.yaml"
    file.write_text(PILOT)
    return file


def test_a_reading_is_published_kept_and_queried(tmp_path: Path, pilot_file: Path, broker: str) -> None:
    with Platform(tmp_path, "up", "--pilot", str(pilot_file), "--broker", broker) as platform:
        device = Device(platform.mqtt_port)
        info = device.publish(TOPIC, {"time": START, "pm10": 17.25, "air_temperature": -3, "own_thing": 1})
        info.wait_for_publish(10)
        rows = wait_until(lambda: platform.get("/api/v1/latest?pilot=test-street")["items"])
        found = {row["quantity"]: (row["device"], row["time"], row["value"], row["unit"]) for row in rows}
        assert found == {
            "pm10": ("lamp-1", "2025-10-09T08:53:20.000000Z", 17.25, "ug/m3"),
            "air_temperature": ("lamp-1", "2025-10-09T08:53:20.000000Z", -3.0, "Cel"),
            "own_thing": ("lamp-1", "2025-10-09T08:53:20.000000Z", 1.0, ""),
        }
        metrics = platform.read("/metrics").decode()
        assert 'techport_ingest_values_total{outcome="stored"} 3.0' in metrics
        device.close()
        assert "the sums agree" in platform.run("audit")
        assert "ready" in platform.run("doctor")
        assert platform.interrupt() == 0
    assert "the sums agree" in platform.run("audit")
    assert "takes readings" in platform.run("doctor")


@pytest.mark.faults
def test_what_was_acknowledged_survives_kill_9_of_everything(tmp_path: Path, pilot_file: Path) -> None:
    """The embedded broker answers PUBACK after the commit, so even the broker may die with the rest."""
    total = 3_000
    platform = Platform(tmp_path, "up", "--pilot", str(pilot_file), "--broker", "embedded")
    with platform:
        device = Device(platform.mqtt_port)
        for number in range(total):
            device.publish(TOPIC, {"time": START + number, "pm10": number}, number)
            if number in (700, 1_500, 2_300):
                wait_until(lambda floor=number // 2: len(device.acknowledged) > floor)
                platform.kill()
                before = set(device.acknowledged)
                platform.start()
                assert before <= _stored(platform), "acknowledged, and not there"
        wait_until(lambda: len(device.acknowledged) == total)
        assert _stored(platform) == set(range(total))
        device.close()
        assert "the sums agree" in platform.run("audit")


def _stored(platform: Platform) -> set[int]:
    """The numbers that are in the store; fails when one is there twice or with another value than its time says."""
    numbers: list[int] = []
    path = (
        f"/api/v1/readings?pilot=test-street&quantity=pm10&start={_iso(START)}&end={_iso(START + 10_000)}&limit=50000"
    )
    answer = platform.get(path)
    assert answer["next"] is None
    for row in answer["items"]:
        assert row["time"].startswith(_iso(START + int(row["value"]))[:19])
        numbers.append(int(row["value"]))
    assert len(numbers) == len(set(numbers))
    return set(numbers)


def _iso(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def test_a_folder_in_use_and_a_port_in_use_say_what_to_do(tmp_path: Path, pilot_file: Path) -> None:
    with Platform(tmp_path, "up", "--broker", "embedded") as platform:
        message = _refused(platform, "up", "--data", str(platform.data))
        assert "in use by `techport up`" in message
        assert "--data" in message
        message = _refused(platform, "up", "--data", str(tmp_path / "other"), "--http", platform.http)
        assert "cannot listen on" in message
        assert "--http" in message
        with pytest.raises(urllib.error.HTTPError):
            platform.get("/api/v1/pilots/unknown")


def _devices(rows: list[dict[str, str]]) -> set[tuple[str, str]]:
    return {(row["pilot"], row["device"]) for row in rows}


def _refused(platform: Platform, *arguments: str) -> str:
    import subprocess

    from tests.end_to_end.platforms import TECHPORT

    result = subprocess.run([*TECHPORT, *arguments], capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 2, result.stderr
    return result.stderr


def test_starting_the_demo_again_keeps_the_data(tmp_path: Path) -> None:
    platform = Platform(tmp_path, "demo", "--broker", "embedded", "--no-history")
    with platform:
        rows = wait_until(lambda: len(_devices(items := platform.get("/api/v1/latest")["items"])) >= 40 and items)
        pilots = platform.get("/api/v1/portfolio")["items"]
        assert len(pilots) >= 5
        assert {pilot["state"] for pilot in pilots} == {"running"}
        assert platform.interrupt() == 0
        platform.start()
        one = next(row for row in rows if row["quantity"] == "pm10")
        stream = f"pilot={one['pilot']}&device={one['device']}&quantity=pm10"
        kept = platform.get(f"/api/v1/readings?{stream}&start=-PT1H&limit=50000")["items"]
        assert (one["time"], one["value"]) in [(row["time"], row["value"]) for row in kept]
        assert platform.interrupt() == 0
    assert "the sums agree" in platform.run("audit")

"""Whatever is killed, in whatever order: the same command brings everything back, and nothing is left behind."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from techport_ingest.brokers.mosquitto import find_mosquitto, left_behind
from techport_pilots.children import processes_with
from tests.conftest import unavailable
from tests.end_to_end.platforms import PILOT, Device, Platform, wait_until

pytestmark = pytest.mark.faults

TOPIC = "pilots/test-street/lamp-1/readings"
START = 1_760_000_000  # s


def _platform(platform: Platform) -> None:
    platform.kill()


def _broker(platform: Platform) -> None:
    for pid in left_behind(platform.data / "mosquitto"):
        os.kill(pid, signal.SIGKILL)


def _pause_broker(platform: Platform) -> None:
    for pid in left_behind(platform.data / "mosquitto"):
        os.kill(pid, signal.SIGSTOP)


ORDERS = (
    (_platform,),
    (_broker, _platform),
    (_platform, _broker),
    (_pause_broker, _platform),
)


def test_the_same_command_brings_everything_back(tmp_path: Path) -> None:
    if find_mosquitto() is None:
        unavailable("mosquitto is not installed: apt-get install mosquitto")
    file = tmp_path / "pilot.yaml"
    file.write_text(PILOT)
    with Platform(tmp_path, "up", "--pilot", str(file), "--broker", "mosquitto") as platform:
        stored = 0
        for order in ORDERS:
            for kill in order:
                kill(platform)
            platform.start()
            device = Device(platform.mqtt_port)
            for _ in range(20):
                device.publish(TOPIC, {"time": START + stored, "pm10": stored}).wait_for_publish(30)
                stored += 1
            wait_until(lambda expected=stored: _count(platform) == expected)
            device.close()
            assert len(left_behind(platform.data / "mosquitto")) == 1
        assert "the sums agree" in platform.run("audit")
        assert platform.interrupt() == 0
        assert left_behind(platform.data / "mosquitto") == []


def test_the_doctor_names_a_broker_that_was_left_behind(tmp_path: Path) -> None:
    if find_mosquitto() is None:
        unavailable("mosquitto is not installed: apt-get install mosquitto")
    with Platform(tmp_path, "up", "--broker", "mosquitto") as platform:
        [pid] = left_behind(platform.data / "mosquitto")
        _pause_broker(platform)  # so that it does not end with its parent
        platform.kill()
        told = platform.run("doctor", expect=1)
        assert f"process {pid}" in told
        assert "start techport again" in told
        os.kill(pid, signal.SIGCONT)
        wait_until(lambda: left_behind(platform.data / "mosquitto") == [])


def test_a_killed_demo_leaves_no_devices_behind(tmp_path: Path) -> None:
    with Platform(tmp_path, "demo", "--no-history") as platform:
        assert processes_with("--mqtt", f"127.0.0.1:{platform.mqtt_port}")
        platform.kill()
        wait_until(lambda: processes_with("--mqtt", f"127.0.0.1:{platform.mqtt_port}") == [])
        platform.start()


def _count(platform: Platform) -> int:
    """Rows of the device in the store."""
    window = "start=2025-10-09T00:00:00Z&end=2025-10-10T00:00:00Z"
    return len(platform.get(f"/api/v1/readings?pilot=test-street&quantity=pm10&{window}&limit=5000")["items"])

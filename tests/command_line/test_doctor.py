"""The doctor against a real broker, a full queue, and things that are wrong."""

from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from techport.commands.doctor import Check, examine
from techport.data_dir import FolderInUse, lock, owner
from techport.platform import stores
from techport.settings import load_settings
from techport_ingest.brokers.mosquitto import Mosquitto
from tests.end_to_end.platforms import wait_until
from tests.servers.mosquitto import free_port, mosquitto

__all__ = ["mosquitto"]


def _checks(folder: Path, **flags: str) -> dict[str, Check]:
    flags = {"http": f"127.0.0.1:{free_port()}", "mqtt": f"127.0.0.1:{free_port()}", **flags}
    return {check.name: check for check in examine(load_settings({"data": folder / "data", **flags}))}


def test_a_fresh_machine_is_in_order(tmp_path: Path) -> None:
    checks = _checks(tmp_path)
    assert {check.state for check in checks.values()} == {"ok"}
    assert checks.keys() >= {"disk", "store", "registry", "clock", "http port", "mqtt port", "broker"}


def test_a_taken_port_names_the_flag(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        checks = _checks(tmp_path, http=f"127.0.0.1:{other.getsockname()[1]}")
    assert checks["http port"].state == "warning"
    assert "--http" in checks["http port"].remedy


def test_store_and_registry_are_told_apart(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("t")
    checks = _checks(tmp_path, store=f"influxdb://127.0.0.1:{free_port()}/org/bucket?token_file={token}")
    assert (checks["store"].state, checks["registry"].state) == ("failed", "ok")
    assert checks["store"].remedy
    checks = _checks(tmp_path, registry=f"postgresql+psycopg://techport@127.0.0.1:{free_port()}/techport")
    assert (checks["store"].state, checks["registry"].state) == ("ok", "failed")
    assert checks["registry"].remedy


def test_what_is_no_broker_is_told_apart(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        checks = _checks(tmp_path, mqtt=f"127.0.0.1:{silent.getsockname()[1]}")
    assert checks["broker"].state == "failed"


@pytest.mark.slow
def test_a_session_with_a_queue_and_no_worker_is_noticed(tmp_path: Path, mosquitto: Mosquitto) -> None:
    port = mosquitto.settings.port
    keep = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    keep.SessionExpiryInterval = 3600
    worker = mqtt.Client(CallbackAPIVersion.VERSION2, "techport-gone", protocol=mqtt.MQTTv5)
    subscribed: list[int] = []
    worker.on_subscribe = lambda *_: subscribed.append(1)
    worker.connect("127.0.0.1", port, clean_start=False, properties=keep)
    worker.loop_start()
    worker.subscribe("pilots/#", qos=1)
    wait_until(lambda: subscribed)
    worker.disconnect()
    worker.loop_stop()
    device = mqtt.Client(CallbackAPIVersion.VERSION2)
    device.connect("127.0.0.1", port)
    device.loop_start()
    for number in range(400):
        info = device.publish("pilots/p/d/readings", json.dumps({"pm10": number}), qos=1)
    info.wait_for_publish(20)
    device.disconnect()
    device.loop_stop()
    # mosquitto renews its own figures every ten seconds
    sessions = wait_until(lambda: _checks(tmp_path, mqtt=f"127.0.0.1:{port}").get("sessions"))
    assert sessions.state == "warning"
    assert "drain" in sessions.remedy


def test_free_space_is_a_metric(tmp_path: Path) -> None:
    with stores(load_settings({"data": tmp_path / "data"})) as parts:
        free = parts.metrics.get_sample_value("techport_disk_free_bytes")
    assert free is not None
    assert 0 < free <= shutil.disk_usage(tmp_path).total


def test_a_folder_is_held_by_one(tmp_path: Path) -> None:
    with lock(tmp_path, "up", "127.0.0.1:1", None):
        running = owner(tmp_path)
        assert running is not None
        assert running.command == "up"
        with pytest.raises(FolderInUse, match="`techport up`"), lock(tmp_path, "ingest", None, None):
            pass
    assert owner(tmp_path) is None

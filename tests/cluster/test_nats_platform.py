"""The platform's own wiring with NATS servers as the broker: chosen by the address, asked by the doctor."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from techport import platform
from techport.commands.doctor import examine
from techport.settings import Settings, load_settings
from techport_ingest.brokers.mosquitto import BrokerError
from techport_pilots.accounting.worker_sessions import WorkerSessions
from techport_storage.model import Query
from tests.ingest.running import eventually, hang_up, pilot, publisher, reading
from tests.servers.nats import NatsCluster

pytestmark = pytest.mark.cluster


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsCluster]:
    cluster = NatsCluster(tmp_path / "nats", nodes=1)
    cluster.start()
    yield cluster
    cluster.stop()


@pytest.fixture
def settings(server: NatsCluster, tmp_path: Path) -> Settings:
    return load_settings({"data": tmp_path / "data", "mqtt": f"nats://{server.nodes[0].address}", "broker": "external"})


def doctor_on_broker(settings: Settings) -> list[tuple[str, str]]:
    return [(check.state, check.found) for check in examine(settings) if check.name == "broker"]


def test_readings_of_devices_and_of_http_are_stored(server: NatsCluster, settings: Settings) -> None:
    def failed() -> None:
        raise AssertionError("the pipeline stopped")

    settings.data.mkdir()
    [(state, found)] = doctor_on_broker(settings)
    assert state == "failed"
    assert "no worker" in found
    with platform.stores(settings) as parts:
        parts.registry.import_pilot(pilot(), "", "test")
        with (
            platform.broker(settings, parts, own=True) as reached,
            platform.ingesting(settings, parts, reached, failed),
        ):
            eventually(lambda: reached.source.connected and reached.relay.connected, "both are connected")
            device = publisher(server.nodes[0].mqtt)
            device.publish("pilots/air/lamp-1/readings", reading(1), qos=1).wait_for_publish(10)
            reached.relay.send("pilots/air/lamp-2/push/native", reading(2)).result(10)
            eventually(lambda: parts.readings.read(Query()).read_all().num_rows == 2, "both are stored")
            hang_up(device)
        assert not reached.own
        assert WorkerSessions(parts.registry.database).losses() == []
        with pytest.raises(BrokerError, match="nothing waits"), platform.broker(settings, parts, retire=True):
            pass
        inside = settings.model_copy(update={"broker": "auto"})
        with pytest.raises(BrokerError, match="--broker external"), platform.broker(inside, parts, own=True):
            pass
    assert doctor_on_broker(settings) == [
        ("ok", f"{settings.mqtt}: copies of each message: 1; messages that wait for a worker: 0")
    ]


def test_without_a_server_the_doctor_says_what_to_look_at(tmp_path: Path) -> None:
    settings = load_settings({"data": tmp_path / "data", "mqtt": "nats://127.0.0.1:1,127.0.0.1:2"})
    settings.data.mkdir()
    assert [state for state, _ in doctor_on_broker(settings)] == ["warning", "warning", "failed"]

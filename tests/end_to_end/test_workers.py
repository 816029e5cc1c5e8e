"""Workers share the load, any may be killed or paused, and one may leave for good: real mosquitto, InfluxDB and
PostgreSQL.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from techport_ingest.brokers.mosquitto import Mosquitto
from techport_pilots.accounting.audit import audit
from techport_pilots.accounting.ledger import Ledger
from techport_pilots.definition.load import parse_definition
from techport_pilots.registry.registry import Registry
from techport_storage.model import Query, Selection
from techport_storage.store import open_store
from tests.end_to_end.platforms import PILOT, TECHPORT, wait_until
from tests.servers.influxd import Influxd, influxd
from tests.servers.mosquitto import mosquitto
from tests.servers.postgres import Postgres, running
from tests.servers.postgres import find as find_postgres

__all__ = ["influxd", "mosquitto"]

TOPIC = "pilots/test-street/lamp-1/readings"
START = 1_760_000_000  # s
MESSAGES = 100_000
FAULTS = 7
REPEATS = 5
"""Every so many messages the device sends an earlier one again, which any worker may be dealt."""


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    from tests.conftest import unavailable

    programs = find_postgres()
    if programs is None:
        unavailable("PostgreSQL is not installed: apt-get install postgresql")
    with running(programs) as server:
        yield server


class Workers:
    """Worker processes that share one group, each with a name and a folder of its own."""

    def __init__(self, folder: Path, port: int, store: str, registry: str) -> None:
        self._folder = folder
        self._flags = ["--mqtt", f"127.0.0.1:{port}", "--store", store, "--registry", registry, "--share", "ingest"]
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> None:
        command = [*TECHPORT, "ingest", "--data", str(self._folder / name), "--worker", name, *self._flags]
        with (self._folder / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(command, stdout=log, stderr=log, cwd=self._folder)

    def is_connected(self, name: str, times: int = 1) -> bool:
        return (self._folder / f"{name}.log").read_text().count("connected to the broker") >= times

    def kill(self, name: str) -> None:
        self._running[name].kill()
        self._running.pop(name).wait()

    def pause(self, name: str, seconds: float) -> None:
        pid = self._running[name].pid
        os.kill(pid, signal.SIGSTOP)
        time.sleep(seconds)
        os.kill(pid, signal.SIGCONT)

    def drain(self, name: str) -> str:
        command = [*TECHPORT, "ingest", "--data", str(self._folder / "drain"), *self._flags, "drain", name]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def stop(self) -> None:
        for process in self._running.values():
            process.terminate()
        for process in self._running.values():
            process.wait(30)


@pytest.mark.slow
@pytest.mark.faults
def test_any_worker_may_be_killed_and_one_may_leave(
    tmp_path: Path,
    mosquitto: Mosquitto,
    influxd: Influxd,
    postgres: Postgres,
) -> None:
    store_url = influxd.url(influxd.new_bucket(), writers="several")
    registry_url = postgres.database()
    registry = Registry.open(registry_url)
    registry.import_pilot(parse_definition(PILOT), PILOT, "test")
    workers = Workers(tmp_path, mosquitto.settings.port, store_url, registry_url)
    names = ["w1", "w2", "w3"]
    try:
        for name in names:
            workers.start(name)
        for name in names:
            wait_until(lambda name=name: workers.is_connected(name))
        published = _publish_while_killing(mosquitto.settings.port, workers, names)
        workers.kill("w3")  # and it will not come back
        drained = workers.drain("w3")
        assert "its session at the broker is gone" in drained
        store = open_store(store_url)
        ledger = Ledger(registry.database)
        wait_until(lambda: _stored(store) == MESSAGES and _booked(ledger) >= published)
    finally:
        workers.stop()
    rows = store.read(Query(select=Selection(pilots=("test-street",)))).read_all()
    assert rows.num_rows == MESSAGES
    times = rows["time"].cast("int64").to_numpy() // 1_000_000 - START
    assert (times == range(MESSAGES)).all()
    assert (rows["value"].to_numpy() == times % 997).all()
    report = audit(ledger, store)
    assert report.ok, [(row.device_day, row.tally, row.counted, row.state) for row in report.off]
    store.close()
    registry.close()


def _publish_while_killing(port: int, workers: Workers, names: list[str]) -> int:
    """How many messages were published, those that were sent again too."""
    random.seed(7)
    published = 0
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.max_inflight_messages_set(500)
    client.connect("127.0.0.1", port)
    client.loop_start()
    for number in range(MESSAGES):
        reading = json.dumps({"time": START + number, "pm10": number % 997})
        info = client.publish(TOPIC, reading, qos=1)
        published += 1
        if number % REPEATS == 0:
            earlier = random.randrange(max(0, number - 2_000), number + 1)
            client.publish(TOPIC, json.dumps({"time": START + earlier, "pm10": earlier % 997}), qos=1)
            published += 1
        part = MESSAGES // (FAULTS + 1)
        if number % part == part - 1:
            name = random.choice(names)
            if number // part % 3 == 2:
                workers.pause(name, 2)
            else:
                workers.kill(name)
                time.sleep(1)
                workers.start(name)
        while number % 500 == 0 and not info.is_published():
            time.sleep(0.01)
    info.wait_for_publish(60)
    client.disconnect()
    client.loop_stop()
    return published


def _booked(ledger: Ledger) -> int:
    return sum(tally.received for tally in ledger.tallies().values())


def _stored(store: object) -> int:
    from techport_storage.model import BucketWidth

    query = Query(select=Selection(pilots=("test-street",)), every=BucketWidth(1, "y"), aggregates=("count",))
    return sum(store.read(query).read_all()["count"].to_pylist())  # type: ignore[attr-defined]

"""Many devices at the ingest endpoint, which is killed with everything behind it: nothing acknowledged is lost."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from pathlib import Path

import pytest

from techport_pilots.accounting.audit import audit
from tests.faults.rounds import Site, _Embedded
from tests.ingest.raw_client import RawClient, publish
from tests.ingest.running import NOON, Ingest
from tests.registries import registry_in

DEVICES = 60
READINGS = 40
PATIENCE = 240.0


class Device(threading.Thread):
    """Sends numbered readings, one after the other, each until it is acknowledged; over MQTT 5 or 3.1.1."""

    def __init__(self, port: int, number: int, begin: threading.Event) -> None:
        super().__init__(daemon=True)
        self._port = port
        self._number = number
        self._level = 5 if number % 2 else 4
        self._begin = begin
        self._connection: RawClient | None = None
        self.acknowledged: set[int] = set()  # seconds after NOON that its readings are of

    def run(self) -> None:
        self._begin.wait()
        deadline = time.monotonic() + PATIENCE
        while len(self.acknowledged) < READINGS and time.monotonic() < deadline:
            with contextlib.suppress(OSError, AssertionError):  # refused, cut off, or no CONNACK
                self._send_rest()
            time.sleep(0.1)

    def _send_rest(self) -> None:
        with RawClient(self._port, self._level, timeout=10, client_id=f"device-{self._number}") as connection:
            for number in range(len(self.acknowledged), READINGS):
                second = self._number * READINGS + number
                payload = b'{"time": %d, "pm10": %d}' % (NOON + second, second)
                connection.send(publish("pilots/air/lamp-1/readings", payload, number + 1, level=self._level))
                if connection.read() != b"\x40\x02" + (number + 1).to_bytes(2, "big"):
                    return
                self.acknowledged.add(second)


@pytest.mark.faults
@pytest.mark.slow
def test_killed_under_many_devices(tmp_path: Path) -> None:
    Ingest(tmp_path).close()
    site = Site(registry_in(tmp_path), f"duckdb:///{tmp_path / 'readings.duckdb'}")
    worker, dice, begin = _Embedded(tmp_path, site), random.Random(5), threading.Event()
    worker.start()
    devices = [Device(worker.port, number, begin) for number in range(DEVICES)]
    for device in devices:
        device.start()
    begin.set()
    try:
        for _ in range(3):
            had = sum(len(device.acknowledged) for device in devices)
            deadline = time.monotonic() + PATIENCE
            while sum(len(device.acknowledged) for device in devices) < had + DEVICES * READINGS // 8:
                assert time.monotonic() < deadline, "nothing is acknowledged"
                time.sleep(0.01)
            time.sleep(dice.uniform(0.0, 0.1))
            worker.kill_worker(worker.names[0])
            worker.start_worker(worker.names[0])
        for device in devices:
            device.join()
    finally:
        worker.end()
    acknowledged = set().union(*(device.acknowledged for device in devices))
    assert len(acknowledged) == DEVICES * READINGS
    ingest = Ingest(tmp_path)
    try:
        assert [(int(row[2]) - NOON, row[3]) for row in ingest.rows()] == [(n, float(n)) for n in sorted(acknowledged)]
        assert audit(ingest.ledger, ingest.store).ok
    finally:
        ingest.close()

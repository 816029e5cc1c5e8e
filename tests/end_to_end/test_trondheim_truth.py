"""A faulty city against the real ingest process: the store holds just what the truth log says it must."""

from __future__ import annotations

import datetime as dt
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from techport.settings import load_settings
from techport_ingest.brokers.mosquitto import Mosquitto
from techport_ingest.checking.absence import is_absent_number
from techport_pilots.accounting.ledger import Ledger
from techport_pilots.accounting.quarantine import Quarantine
from techport_pilots.definition.load import read_definition
from techport_pilots.quantities import builtin
from techport_pilots.registry.registry import Registry
from techport_simulators.city import CitySettings, Progress, run_city
from techport_simulators.demo import demo_definitions
from techport_simulators.devices import iso
from techport_simulators.faults import Faults
from techport_simulators.gateway import Broker
from techport_simulators.truth import read_truth
from techport_storage.model import Query
from techport_storage.store import open_store
from tests.servers.mosquitto import mosquitto  # noqa: F401 (a fixture)

pytestmark = pytest.mark.slow

DEFINITIONS = demo_definitions()[:3]

Row = tuple[str, str, str, int, float]
"""pilot, device, quantity, time, value"""


def troubled(pilot: str, device: str) -> Faults:
    return Faults(
        gap=0.1, reboot=0.1, stuck=0.1, drift=0.1, duplicate=0.03, late=0.05, spike=0.03, flip=0.1, broken=0.03
    )


def test_what_is_stored_is_what_the_truth_log_says(tmp_path: Path, mosquitto: Mosquitto) -> None:  # noqa: F811
    port, truth = mosquitto.settings.port, tmp_path / "truth.ndjson"
    settings = load_settings({"data": tmp_path / "data", "mqtt": f"127.0.0.1:{port}"})
    command = [sys.executable, "-m", "techport", "ingest", "--data", str(settings.data), "--mqtt", settings.mqtt]
    for path in DEFINITIONS:
        command += ["--pilot", str(path)]
    with (tmp_path / "ingest.log").open("wb") as log:
        ingest = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        wait_for_subscription(ingest, tmp_path / "ingest.log")
        live_for_a_while(port, truth)
        expected, bad = expectation(truth)
        wait_until_settled(settings.registry_url, sum(expected.values()), bad)
        ingest.send_signal(signal.SIGTERM)
        assert ingest.wait(60) == 0
    finally:
        ingest.kill()
        ingest.wait()

    store = open_store(settings.store_url)
    table = store.read(Query()).read_all()
    store.close()
    columns = [table[name].to_pylist() for name in ("pilot", "device", "quantity", "value")]
    columns.insert(3, table["time"].cast("int64").to_pylist())
    assert set(zip(*columns, strict=True)) == expected.keys()
    assert table.num_rows == len(expected)
    with looking(settings.registry_url) as look:
        assert look.quarantined() == bad


def wait_for_subscription(ingest: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 300
    while "connected to the broker" not in log.read_text():
        assert ingest.poll() is None, log.read_text()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def live_for_a_while(port: int, truth: Path) -> None:
    """Until all of the history and some live readings are out."""
    stop = threading.Event()

    def enough(progress: Progress) -> None:
        if progress.history_done == 1.0 and progress.live > 3 * progress.devices:
            stop.set()

    run_city(
        [read_definition(path) for path in DEFINITIONS],
        Broker(port=port),
        CitySettings(
            seed=7,
            interval=dt.timedelta(seconds=2),
            backfill=dt.timedelta(minutes=30),
            faults=troubled,
            truth_path=truth,
        ),
        stop_event=stop,
        progress=enough,
    )


def expectation(path: Path) -> tuple[dict[Row, int], set[bytes]]:
    """(row that must be in the store -> how often it was sent, payloads that must be in quarantine)."""
    rows: dict[Row, int] = {}
    bad: set[bytes] = set()
    for t in read_truth(path):
        sent = t.sent or {}
        if t.outcome == "quarantined":
            whole = msgspec.json.encode({"time": iso(t.sent_time or 0), **sent})
            bad.add(whole if t.payload is None else t.payload.encode())
        elif t.outcome == "stored":
            for quantity, value in sent.items():
                if says_no_value(quantity, value):
                    continue
                row = (t.pilot, t.device, quantity, t.sent_time or 0, float(value))
                rows[row] = rows.get(row, 0) + t.copies
    return rows, bad


def says_no_value(quantity: str, value: float) -> bool:
    """Whether a spike of the simulation happens to be a mark of absence, as a value out of range may be."""
    known = builtin().lookup(quantity)
    outside = known is not None and known.range is not None and not known.range[0] <= value <= known.range[1]
    return outside and is_absent_number(value, known_range=True)


class Look:
    """Into the ledger and the quarantine, while the ingest process writes them."""

    def __init__(self, registry: Registry) -> None:
        self._ledger = Ledger(registry.database)
        self._quarantine = Quarantine(registry.database)

    def kept(self) -> int:
        return sum(tally.stored + tally.duplicates for tally in self._ledger.tallies().values())

    def quarantined(self) -> set[bytes]:
        return {entry.payload for entry in self._quarantine.entries(limit=100_000).items}


@contextmanager
def looking(url: str) -> Iterator[Look]:
    registry = Registry.open(url)
    yield Look(registry)
    registry.close()


def wait_until_settled(url: str, values: int, bad: set[bytes]) -> None:
    deadline = time.monotonic() + 300
    with looking(url) as look:
        while look.kept() < values or not bad <= look.quarantined():
            assert time.monotonic() < deadline, f"{look.kept()} of {values} rows, {len(look.quarantined())} set aside"
            time.sleep(0.1)

"""All of the recorded Trondheim data, through a real broker and the real ingest process, down to the last bit.

Expected values are read from the CSV files with pandas, not with the code that publishes them. The data belongs to the
developers' folder ../shared; without it these tests skip.
"""

from __future__ import annotations

import datetime as dt
import math
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from techport.platform import mqtt_settings
from techport.settings import Settings, load_settings
from techport_ingest.brokers.mosquitto import Mosquitto
from techport_ingest.sources.connect import open_source
from techport_pilots.accounting.audit import AuditReport, audit
from techport_pilots.accounting.ledger import Ledger
from techport_pilots.accounting.worker_sessions import WorkerSessions
from techport_pilots.registry.registry import Registry
from techport_simulators.demo import REAL_PILOTS, definition_path, mapping_path
from techport_simulators.gateway import Broker
from techport_simulators.mapping import load_mapping
from techport_simulators.replay import Pace, Replayed, replay
from techport_storage.microseconds import HOUR
from techport_storage.model import Query, Selection, Stream
from techport_storage.store import open_store
from tests.servers.mosquitto import mosquitto  # noqa: F401 (a fixture)

pytestmark = pytest.mark.slow

MAPPINGS = ("air-quality", "traffic", "weather", "street-cleaning", "lecture-noise")
# The file's clock, hours ahead of UTC; None: the wall clock of Trondheim. docs/decisions/0005 says how this is known.
CLOCKS = {"air-quality": 1, "traffic": 1, "weather": 0, "street-cleaning": 1, "lecture-noise": None}
KILLS = 10
ROWS = 17_544 * (24 + 8 + 14 + 6) + (7_596 - 4) * 9  # 980,616
SEED = int(os.environ.get("TECHPORT_TEST_SEED", "1814"))


@dataclass(frozen=True)
class Column:
    """What a stream must hold: instants (µs, UTC, ascending) and values."""

    time: np.ndarray
    value: np.ndarray


def file_of(mapping: str, shared: Path) -> Path:
    return shared / "datasets" / "trondheim-ntnu" / str(load_mapping(mapping_path(mapping)).file)


def expected_columns(shared: Path) -> dict[Stream, Column]:
    """Every column of every file but the one of its stamps."""
    result: dict[Stream, Column] = {}
    for name in MAPPINGS:
        mapping = load_mapping(mapping_path(name))
        table = pd.read_csv(file_of(name, shared), dtype=str)
        stamps = pd.DatetimeIndex(table.pop(table.columns[0]))
        offset = CLOCKS[name]
        if offset is None:
            # 02:00 to 02:45 of 31 March 2019 are in the file and never were on a clock in Trondheim.
            instants = stamps.tz_localize("Europe/Oslo", nonexistent="NaT").tz_convert("UTC")
            was = ~instants.isna()
            assert list(stamps[~was].strftime("%d %H:%M")) == ["31 02:00", "31 02:15", "31 02:30", "31 02:45"]
            table, instants = table[was], instants[was]
        else:
            instants = (stamps - pd.Timedelta(hours=offset)).tz_localize("UTC")
        time_us = instants.as_unit("us").asi8
        assert {c.column for c in mapping.columns} == set(table.columns), "a column of the file is not mapped"
        for column in mapping.columns:
            stream = Stream(mapping.pilot, str(column.device), column.quantity)
            assert stream not in result
            result[stream] = Column(time_us, np.array([float(text) for text in table[column.column]]))
    return result


def stored_columns(settings: Settings) -> dict[Stream, Column]:
    store = open_store(settings.store_url)
    try:
        result = {}
        for stream in store.streams(Selection()):
            table = store.read(Query(select=Selection(streams=(stream,)))).read_all()
            result[stream] = Column(table["time"].cast("int64").to_numpy(), table["value"].to_numpy())
        return result
    finally:
        store.close()


def audited(settings: Settings) -> AuditReport:
    store, registry = open_store(settings.store_url), Registry.open(settings.registry_url)
    try:
        return audit(Ledger(registry.database), store)
    finally:
        store.close()
        registry.close()


def prove_equal(settings: Settings, shared: Path) -> None:
    """The store holds what the files hold: the same streams, rows, sums, instants and values, and the ledger agrees."""
    expected, stored = expected_columns(shared), stored_columns(settings)
    assert set(stored) == set(expected)
    assert sum(len(c.time) for c in stored.values()) == sum(len(c.time) for c in expected.values()) == ROWS
    for stream, column in expected.items():
        got = stored[stream]
        assert len(got.time) == len(np.unique(got.time)) == len(column.time), stream
        assert math.fsum(got.value) == math.fsum(column.value), stream
        assert np.array_equal(got.time, column.time), stream
        assert np.array_equal(got.value, column.value), stream
    spot_checks(stored)
    report = audited(settings)
    assert report.off == []
    assert report.open == []
    total = report.total
    assert total.stored == report.counted == ROWS
    assert total.quarantined == total.ignored == 0
    assert total.received == total.stored + total.duplicates


def micros(instant: str) -> int:
    return int(dt.datetime.fromisoformat(instant).timestamp()) * 1_000_000


def spot_checks(stored: dict[Stream, Column]) -> None:
    """Values known from elsewhere, at instants written out by hand."""

    def at(device: str, quantity: str, instant: str, pilot: str = "street-cleaning") -> float:
        column = stored[Stream(pilot, device, quantity)]
        (row,) = np.flatnonzero(column.time == micros(instant))
        return float(column.value[row])

    # The road authority's own export says: 2020-02-01T00:00+01:00, 420 vehicles.
    assert at("traffic-elgeseter", "vehicle_count", "2020-01-31T23:00Z") == 420
    assert at("elgeseter", "pm10", "2018-12-31T23:00Z") == 13.104349
    assert at("weather-voll", "air_temperature", "2019-01-01T00:00Z") == 2.6
    # The same quarter of the wall clock, before and in summer time.
    assert at("room", "hour", "2019-03-30T09:00Z", "lecture-noise") == 10
    assert at("room", "hour", "2019-04-01T08:00Z", "lecture-noise") == 10
    traffic = stored[Stream("street-cleaning", "traffic-elgeseter", "vehicle_count")]
    weather = stored[Stream("street-cleaning", "weather-lade", "air_temperature")]
    assert traffic.time[0] == micros("2018-12-31T23:00Z")
    assert traffic.time[-1] == micros("2020-12-31T22:00Z")
    assert weather.time[-1] == micros("2020-12-31T23:00Z")
    assert set(np.diff(traffic.time)) == {HOUR}


@contextmanager
def ingestor(settings: Settings, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`techport ingest` as a user starts it. Killed at the end if it has not been ended by then."""
    command = [sys.executable, "-m", "techport", "ingest", "--data", str(settings.data), "--mqtt", settings.mqtt]
    for name in REAL_PILOTS:
        command += ["--pilot", str(definition_path(name))]
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def end(process: subprocess.Popen[bytes], log: Path) -> None:
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=300) == 0, log.read_text()


def open_session(settings: Settings) -> None:
    """Let the broker know the ingestor's session, so that from now on it keeps what is published."""
    with closing(Registry.open(settings.registry_url)) as registry:
        session = WorkerSessions(registry.database).of(settings.worker)
    source = open_source(mqtt_settings(settings, session.client_id))
    try:
        wait_until(lambda: source.connected, 30, "the broker takes the subscription")
    finally:
        source.close()


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s for: {what}"
        time.sleep(0.02)


class LedgerReader:
    """Looks into the ledger while the ingestor writes them."""

    def __init__(self, settings: Settings) -> None:
        self._registry = Registry.open(settings.registry_url)
        self._ledger = Ledger(self._registry.database)

    def stored(self) -> int:
        return sum(tally.stored for tally in self._ledger.tallies().values())

    def close(self) -> None:
        self._registry.close()


@pytest.fixture
def settings(tmp_path: Path, mosquitto: Mosquitto) -> Settings:  # noqa: F811
    (tmp_path / "data").mkdir()
    return load_settings({"data": tmp_path / "data", "mqtt": f"127.0.0.1:{mosquitto.settings.port}"})


@pytest.fixture
def ledger(settings: Settings) -> Iterator[LedgerReader]:
    keeper = LedgerReader(settings)
    yield keeper
    keeper.close()


def test_every_row_of_every_file_is_stored(
    settings: Settings, ledger: LedgerReader, shared: Path, tmp_path: Path
) -> None:
    log = tmp_path / "ingest.log"
    open_session(settings)
    with ingestor(settings, log) as process:
        done = {
            name: replay(file_of(name, shared), mapping_path(name), Broker(port=settings.mqtt_address.port))
            for name in MAPPINGS
        }
        wait_until(lambda: ledger.stored() >= ROWS or process.poll() is not None, 120, "everything is stored")
        end(process, log)
    prove_equal(settings, shared)
    sums = {Stream(r.pilot, *key): total for r in done.values() for key, total in r.sums().items()}
    assert sums == {stream: math.fsum(column.value) for stream, column in expected_columns(shared).items()}
    assert [(r.rows, r.nonexistent, r.missing) for r in done.values()] == [(17_544, 0, 0)] * 4 + [(7_596, 4, 0)]


@pytest.mark.faults
def test_ten_kills_lose_nothing_and_store_nothing_twice(
    settings: Settings, ledger: LedgerReader, shared: Path, tmp_path: Path
) -> None:
    log = tmp_path / "ingest.log"
    chance = random.Random(SEED)
    open_session(settings)
    gate = Gate()
    with ThreadPoolExecutor(len(MAPPINGS)) as pool, closing(gate):
        publishing = [pool.submit(replay_through, gate, name, settings, shared) for name in MAPPINGS]
        for number in range(KILLS):
            gate.let_pass((number + 1) / (KILLS + 1))
            with ingestor(settings, log) as process:
                before = ledger.stored()
                wait_until(lambda: ledger.stored() > before or process.poll() is not None, 60, "a batch is stored")  # noqa: B023
                time.sleep(chance.uniform(0.0, 0.8))
                assert process.poll() is None, log.read_text()
                process.send_signal(signal.SIGKILL)
                process.wait()
                print(f"kill {number + 1} with {ledger.stored()} rows booked (seed {SEED})")  # noqa: T201
        assert ledger.stored() < ROWS, "everything was stored before the last kill: it proved nothing"
        gate.let_pass(1)
        with ingestor(settings, log) as process:
            wait_until(lambda: ledger.stored() >= ROWS or process.poll() is not None, 120, "everything is stored")
            end(process, log)
        assert all(future.result().complete for future in publishing)
    prove_equal(settings, shared)


class Gate:
    """Holds files back, so that something is left to publish at each kill however fast or busy the machine is."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._share = 0.0

    def let_pass(self, share: float) -> None:
        """Publish up to this share of every file."""
        with self._changed:
            self._share = share
            self._changed.notify_all()

    def wait(self, lines: int, total: int) -> None:
        with self._changed:
            self._changed.wait_for(lambda: lines <= self._share * total)

    def close(self) -> None:
        self.let_pass(math.inf)


def replay_through(gate: Gate, name: str, settings: Settings, shared: Path) -> Replayed:
    """Replay a file as fast as the gate lets it, an array a device and day."""
    return replay(
        file_of(name, shared),
        mapping_path(name),
        Broker(port=settings.mqtt_address.port),
        Pace(records_per_message=24),
        progress=gate.wait,
    )

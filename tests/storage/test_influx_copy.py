"""Copies between stores, and backups: everything arrives, an interrupted copy goes on, and a difference is found."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from techport_storage.copy import Copied, CopyDiffers, copy_readings
from techport_storage.errors import StoreUnavailable
from techport_storage.influxdb.backup import backup, restore
from techport_storage.microseconds import DAY, SECOND
from techport_storage.model import Batch, Micros, Query, Receipt, Replacing, Selection, Stream
from techport_storage.store import ReadingStore, open_store
from tests.servers.influxd import Influxd, influxd, own_influxd

__all__ = ["influxd", "own_influxd"]

START = 1_700_000_000 * SECOND
STREAMS = [Stream(pilot, device, "pm10") for pilot in ("luft", "støy") for device in ("a", "b", "c d")]


def readings(per_stream: int = 400) -> Batch:
    rng = np.random.default_rng(4)
    rows = per_stream * len(STREAMS)
    time = np.repeat(START + np.arange(per_stream) * 1800 * SECOND, len(STREAMS)) + rng.integers(0, 1000, rows)
    return Batch(
        streams=STREAMS,
        stream=np.tile(np.arange(len(STREAMS), dtype=np.int32), per_stream),
        time=time,
        value=rng.normal(10, 5, rows),
        received=time + rng.integers(0, 10**9, rows),
        quality=rng.choice([0, 0, 16], rows).astype(np.uint8),
    )


def everything(store: ReadingStore) -> pa.Table:
    return store.read(Query()).read_all().unify_dictionaries()


def assert_same(one: ReadingStore, other: ReadingStore) -> None:
    assert everything(one).to_pylist() == everything(other).to_pylist()


@pytest.fixture(params=["duckdb to influxdb", "influxdb to duckdb", "duckdb to duckdb"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[ReadingStore, ReadingStore]]:
    """A source with readings, and an empty target."""

    def opened(kind: str, name: str) -> ReadingStore:
        if kind == "duckdb":
            return open_store(f"duckdb:///{tmp_path}/{name}.duckdb")
        server: Influxd = request.getfixturevalue("influxd")
        return open_store(server.url(server.new_bucket()))

    source, target = (opened(kind, f"store{i}") for i, kind in enumerate(request.param.split(" to ")))
    source.write(readings())
    yield source, target
    source.close()
    target.close()


class Breaking:
    """A store that stops answering after some writes."""

    def __init__(self, store: ReadingStore, writes: int) -> None:
        self._store = store
        self._left = writes
        self.read: Callable[[Query], pa.RecordBatchReader] = store.read
        self.streams = store.streams
        self.latest = store.latest
        self.erase = store.erase
        self.probe = store.probe
        self.close = store.close

    def write(self, batch: Batch, replacing: Replacing | None = None) -> Receipt:
        if not self._left:
            raise StoreUnavailable("the cable was pulled")
        self._left -= 1
        return self._store.write(batch, replacing)


def test_everything_arrives_to_the_bit(pair: tuple[ReadingStore, ReadingStore]) -> None:
    source, target = pair
    seen: list[tuple[int, int]] = []
    copied = copy_readings(source, target, progress=lambda done, of: seen.append((done, of)))
    assert copied == Copied(streams=6, rows=2400, checked=2400)
    assert seen == [(i + 1, 6) for i in range(6)]
    assert_same(source, target)


def test_it_goes_on_where_it_stopped(pair: tuple[ReadingStore, ReadingStore]) -> None:
    source, target = pair
    with pytest.raises(StoreUnavailable):
        copy_readings(source, Breaking(target, writes=3))
    assert everything(target).num_rows == 1200
    assert copy_readings(source, target) == Copied(streams=6, rows=1200, checked=2400)
    assert copy_readings(source, target) == Copied(streams=6, rows=0, checked=2400)
    assert_same(source, target)


def test_days_that_are_missing_in_the_middle_are_found(pair: tuple[ReadingStore, ReadingStore]) -> None:
    source, target = pair
    copy_readings(source, target)
    gone = target.erase(Selection(devices=("a",)), START + 2 * DAY, START + 4 * DAY + 7)
    assert gone > 0
    assert copy_readings(source, target).rows == gone
    assert_same(source, target)


@pytest.mark.parametrize(
    ("start", "end"), [(START + DAY + 1, None), (None, START + 3 * DAY + 1), (START + DAY, START + 2 * DAY)]
)
def test_a_selection_and_a_range(
    pair: tuple[ReadingStore, ReadingStore], start: Micros | None, end: Micros | None
) -> None:
    source, target = pair
    select = Selection(pilots=("støy",))
    copied = copy_readings(source, target, select, start=start, end=end)
    query = Query(select=select, start=start, end=end)
    wanted = source.read(query).read_all().to_pylist()
    assert everything(target).to_pylist() == wanted
    assert copied.rows == copied.checked == len(wanted) > 0


def test_a_value_that_differs_is_found_and_repaired_on_request(pair: tuple[ReadingStore, ReadingStore]) -> None:
    source, target = pair
    copy_readings(source, target)
    batch = readings()
    changed = Batch(
        STREAMS, batch.stream[:1], batch.time[:1], batch.value[:1] + 1e-9, batch.received[:1], batch.quality[:1]
    )
    target.write(changed)
    with pytest.raises(CopyDiffers, match="luft/a/pm10: 400 rows"):
        copy_readings(source, target)
    assert copy_readings(source, target, again=True).checked == 2400
    assert_same(source, target)


def test_a_row_that_only_the_target_has_is_found(pair: tuple[ReadingStore, ReadingStore]) -> None:
    source, target = pair
    b = readings()
    target.write(Batch(STREAMS, b.stream[:1], b.time[:1] + 1, b.value[:1], b.received[:1], b.quality[:1]))
    with pytest.raises(CopyDiffers):
        copy_readings(source, target)


# Backups, as docs/influxdb.md and docs/operations.md tell


def test_duckdb_is_backed_up_by_copying_its_file(tmp_path: Path) -> None:
    store = open_store(f"duckdb:///{tmp_path}/readings.duckdb")
    store.write(readings())
    before = everything(store).to_pylist()
    store.close()
    shutil.copy(tmp_path / "readings.duckdb", tmp_path / "saved.duckdb")
    restored = open_store(f"duckdb:///{tmp_path}/saved.duckdb")
    assert everything(restored).to_pylist() == before
    restored.close()


def test_influxdb_is_backed_up_while_it_runs(influxd: Influxd, tmp_path: Path) -> None:
    bucket = influxd.new_bucket()
    url, other = influxd.url(bucket), influxd.url(f"{bucket}-restored")
    store = open_store(url)
    store.write(readings())
    before = everything(store).to_pylist()
    assert backup(url, influxd.token, tmp_path / "saved") == 2  # nine days: two weeks, a shard each
    store.erase(Selection())
    store.close()
    with pytest.raises(FileExistsError):
        backup(url, influxd.token, tmp_path / "saved")

    assert restore(tmp_path / "saved", other, influxd.token) == 2
    restored = open_store(other)
    assert everything(restored).to_pylist() == before
    assert restored.write(readings()).duplicates == len(readings())
    restored.close()
    with pytest.raises(StoreUnavailable):
        restore(tmp_path / "saved", other, influxd.token)


def test_influxdb_is_backed_up_by_copying_its_folder_when_it_is_stopped(own_influxd: Influxd, tmp_path: Path) -> None:
    bucket = own_influxd.new_bucket()
    store = open_store(own_influxd.url(bucket))
    store.write(readings())
    before = everything(store).to_pylist()
    store.close()
    own_influxd.stop()
    shutil.copytree(own_influxd.folder, tmp_path / "saved")
    other = Influxd(tmp_path / "saved", own_influxd.executable, token=own_influxd.token)
    other.start()
    restored = open_store(other.url(bucket))
    assert everything(restored).to_pylist() == before
    restored.close()
    other.stop()

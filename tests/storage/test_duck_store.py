"""What is particular to the store in a DuckDB file: its file, its upkeep, its slices."""

from __future__ import annotations

import contextlib
import itertools
import logging
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from techport_storage.duckdb import file as duck_file
from techport_storage.duckdb import read
from techport_storage.duckdb.file import columns_of
from techport_storage.duckdb.store import DuckStore
from techport_storage.errors import StoreBusy, StoreIncompatible, StoreUnavailable
from techport_storage.microseconds import SECOND
from techport_storage.model import Batch, BucketWidth, Cursor, Query, Selection, Stream
from techport_storage.store import open_store

A = Stream("p", "a", "t")
B = Stream("p", "b", "t")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "readings.duckdb"


@pytest.fixture
def store(path: Path) -> Iterator[DuckStore]:
    store = DuckStore.open(f"duckdb:///{path}")
    yield store
    store.close()


def batch(streams: list[Stream], rows: int, first: int = 0, value: float | None = None) -> Batch:
    """So many rows of each stream, a second apart."""
    time = np.tile(np.arange(first, first + rows) * SECOND, len(streams))
    return Batch(
        streams,
        np.repeat(np.arange(len(streams), dtype=np.int32), rows),
        time,
        time / SECOND if value is None else np.full(len(time), value),
        time + 100_000,
        np.zeros(len(time), np.uint8),
    )


# URL and file


def test_urls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for url, file in [
        ("duckdb:///here.duckdb", "here.duckdb"),
        ("duckdb:///a/new/folder/x.duckdb", "a/new/folder/x.duckdb"),
        (f"duckdb:///{tmp_path}/it's absolute.duckdb", "it's absolute.duckdb"),
    ]:
        open_store(url).close()
        assert (tmp_path / file).is_file()


@pytest.mark.parametrize(
    "url", ["duckdb:x", "duckdb://host/x", "duckdb:///", "sqlite:///x", "duckdb:///x?cats=3", "duckdb:///x?runs=0"]
)
def test_urls_that_name_no_store(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"duckdb|number|setting"):
        open_store(url)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.heavy
def test_a_file_that_another_process_has_open(path: Path) -> None:
    code = "import sys; from techport_storage.store import open_store; s = open_store(sys.argv[1]); print(1); input()"
    url = f"duckdb:///{path}"
    command = [sys.executable, "-u", "-c", code, url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(StoreUnavailable, match="another process has the store open"):
            open_store(url)
        other.communicate(b"\n")
    open_store(url).close()


def test_a_file_that_is_open_in_this_process(store: DuckStore, path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="this process has it open already"):
        open_store(f"duckdb:///{path}")


def test_a_file_that_is_not_one(path: Path) -> None:
    path.write_bytes(b"time,value\n" * 5000)
    with pytest.raises(StoreIncompatible, match="not a DuckDB file"):
        open_store(f"duckdb:///{path}")


def test_closed(path: Path) -> None:
    store = open_store(f"duckdb:///{path}")
    store.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        store.write(batch([A], 1))


# A full disk, played by a limit on the size of files

LIMITED = """
import resource, signal, sys
import numpy as np
from techport_storage.errors import StoreIncompatible, StoreUnavailable
from techport_storage.model import Batch, Query, Stream
from techport_storage.store import open_store

url, limit = sys.argv[1], int(sys.argv[2])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
rng = np.random.default_rng()
stored = 0

def write():
    global stored
    time = np.arange(stored, stored + 5000) * 1_000_000
    value = rng.normal(0, 1, 5000)
    receipt = store.write(
        Batch([Stream("p", "a", "t")], np.zeros(5000, np.int32), time, value, time, np.zeros(5000, np.uint8))
    )
    assert receipt.duplicates == 0, "rows of a write that failed were stored"
    stored += receipt.written

store = open_store(url)
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
refused = ""
for _ in range(2000):
    try:
        write()
    except StoreUnavailable as error:
        refused = str(error)
        break
assert "Raise the limit" in refused or "invalidated" in refused, refused
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
try:
    store.probe()
except StoreUnavailable:  # once, to notice that DuckDB gave the file up
    store.probe()
for _ in range(20):
    write()
assert store.read(Query()).read_all().num_rows == stored
store.close()
print(stored)
"""


@pytest.mark.parametrize(
    ("settings", "limit"),
    [
        ("", 3_000_000),  # the log cannot grow
        ("?log_bytes=1000000", 5_000_000),  # a checkpoint fails, after which DuckDB wants the file opened again
        ("?head_rows=40000&log_bytes=1000000", 5_000_000),
    ],
)
@pytest.mark.faults
def test_goes_on_after_the_disk_was_full(path: Path, settings: str, limit: int) -> None:
    url = f"duckdb:///{path}{settings}"
    run = subprocess.run([sys.executable, "-c", LIMITED, url, str(limit)], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    store = open_store(url)
    assert store.read(Query()).read_all().num_rows == int(run.stdout)
    store.close()


# Erasing


def found(path: Path, sought: bytes) -> int:
    log = path.with_name(f"{path.name}.wal")
    return sum(file.read_bytes().count(sought) for file in (path, log) if file.exists())


def test_nothing_of_what_was_erased_is_left_in_the_file(path: Path) -> None:
    """Neither names nor values: in blocks, in free blocks, in statistics or in the log."""
    secret, value = Stream("p", "hemmelig", "t"), 1234.56789012345
    url = f"duckdb:///{path}?head_rows=3000&log_bytes=100000"
    store = open_store(url)
    for i in range(10):
        store.write(batch([A, B], 500, first=500 * i))
        store.write(batch([secret], 500, first=500 * i, value=value))
    store.close()
    assert found(path, b"hemmelig") > 0
    assert found(path, struct.pack("<d", value)) > 0
    store = open_store(url)
    assert store.erase(Selection(devices=("hemmelig",))) == 5000
    for _ in range(2):
        assert found(path, b"hemmelig") == 0
        assert found(path, struct.pack("<d", value)) == 0
        store.close()
        store = open_store(url)
    assert store.read(Query()).read_all().num_rows == 10_000
    store.close()


def test_a_reader_of_what_is_erased_reads_to_its_end(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The rows leave the file when the reader has gone, at the latest when the store is opened and written to again."""
    monkeypatch.setattr(read, "SLICE", 100)
    monkeypatch.setattr(duck_file, "PATIENCE", 0.1)
    store = open_store(f"duckdb:///{path}")
    store.write(batch([Stream("p", "hemmelig", "t")], 1000))
    reader = store.read(Query())
    assert store.erase(Selection()) == 1000
    assert "leaves the file later" in caplog.text
    assert reader.read_all().num_rows == 1000
    store.close()
    store = open_store(f"duckdb:///{path}")
    store.write(batch([A], 1))
    store.close()
    assert found(path, b"hemmelig") == 0


# Upkeep


def test_upkeep_changes_nothing_that_is_read(path: Path) -> None:
    """Head, runs, merges and replaced rows: the same answers as from a store that never tidies up."""
    tidy = open_store(f"duckdb:///{path}?head_rows=700&runs=2&merge_rows=900&log_bytes=30000")
    plain = open_store("duckdb://")
    rng = np.random.default_rng(1)
    streams = [Stream("p", f"d{i:02}", "t") for i in range(12)]
    for number in range(40):
        time = rng.integers(number, number + 40, 200) * SECOND
        stream = rng.integers(0, 12, 200).astype(np.int32)
        new = Batch(streams, stream, time, np.full(200, float(number)), time + 5 * SECOND, np.zeros(200, np.uint8))
        receipts = [store.write(new) for store in (tidy, plain)]
        assert receipts[0].correction_rows.tolist() == receipts[1].correction_rows.tolist()
        assert receipts[0].replaced.tolist() == receipts[1].replaced.tolist()
    for query in (Query(), Query(every=BucketWidth(7, "s"), aggregates=("sum", "first", "last"))):
        assert tidy.read(query).read_all().to_pylist() == plain.read(query).read_all().to_pylist()
    assert tidy.latest(Selection()).equals(plain.latest(Selection()))
    tidy.close()
    plain.close()
    with duckdb.connect(str(path)) as con:
        runs, head, body = con.execute(
            "SELECT runs, (SELECT count(*) FROM head), (SELECT count(*) FROM body) FROM layout"
        ).fetchall()[0]
    assert runs >= 1
    assert head < 700
    assert body > 0


def test_the_log_stays_short(path: Path) -> None:
    store = open_store(f"duckdb:///{path}?log_bytes=100000")
    longest = 0
    for i in range(100):
        store.write(batch([A, B], 100, first=100 * i))
        log = path.with_name(f"{path.name}.wal")
        with contextlib.suppress(FileNotFoundError):  # a checkpoint has just removed it
            longest = max(longest, log.stat().st_size)
    store.close()
    assert longest > 0
    assert longest < 5 * 100_000
    assert not log.exists() or log.stat().st_size == 0


def test_a_checkpoint_that_meets_somebody_is_put_off_and_no_cause_for_alarm(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = DuckStore.open(f"duckdb:///{path}?log_bytes=1")
    with caplog.at_level(logging.INFO), store._file.transaction() as other:
        other.execute("CREATE TABLE beside (x INTEGER)")
        with pytest.raises(StoreBusy, match="nothing is wrong"):
            store._upkeep.checkpoint()
        store._upkeep._work()
    [said] = [record for record in caplog.records if "put off" in record.message]
    assert said.levelno == logging.INFO
    assert "disk" not in said.message
    store.close()


def test_late_rows_meet_a_compaction(path: Path) -> None:
    """Rows that replace others are written while upkeep moves those others."""
    store = open_store(f"duckdb:///{path}?head_rows=2000&runs=2&merge_rows=3000")
    names = [Stream("p", f"d{i}", "t") for i in range(4)]

    def redeliver(name: Stream) -> None:
        for turn in range(15):
            store.write(batch([name], 600, first=turn * 200, value=float(turn)))

    threads = [threading.Thread(target=redeliver, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = [float(min(second // 200, 14)) for second in range(14 * 200 + 600)]
    for name in names:
        assert store.read(Query(select=Selection(streams=(name,)))).read_all()["value"].to_pylist() == expected
    store.close()


@pytest.mark.heavy
def test_memory_has_a_limit(path: Path) -> None:
    """What does not fit goes through a folder beside the file, and leaves nothing there."""
    store = DuckStore.open(f"duckdb:///{path}?memory_mb=2")
    with pytest.raises(StoreUnavailable, match="Raise memory_mb"):
        store.write(batch([A], 200_000))
    store.close()
    store = DuckStore.open(f"duckdb:///{path}?memory_mb=64")
    for i in range(4):
        store.write(batch([A, B], 100_000, first=100_000 * i))
    store._upkeep.compact()
    store._upkeep.merge()
    assert store.read(Query()).read_all().num_rows == 800_000
    with store._file.cursor() as cursor:
        limit, beside = columns_of(
            cursor, "SELECT current_setting('memory_limit') l, current_setting('temp_directory') t"
        )
    assert (limit[0], beside[0]) == ("61.0 MiB", f"{path}.tmp")
    store.close()
    assert sorted(file.name for file in path.parent.iterdir()) == [path.name]


# Slices


def test_a_large_answer_comes_in_pieces(store: DuckStore) -> None:
    store.write(batch([A], 2_200_000))
    store.write(batch([Stream("p", f"d{i:04}", "t") for i in range(1000)], 3))
    sizes, last = [], (A, -1)
    for piece in store.read(Query()):
        sizes.append(piece.num_rows)
        time = piece["time"].cast(pa.int64()).to_numpy()
        if piece["device"][0].as_py() == "a" and piece["device"][-1].as_py() == "a":
            assert (np.diff(np.concatenate([[last[1]], time])) > 0).all()
            last = (A, int(time[-1]))
    assert sum(sizes) == 2_203_000
    assert max(sizes) <= 1_100_000


@pytest.mark.parametrize("every", [None, BucketWidth(5, "s"), BucketWidth(1, "d"), BucketWidth(1, "w")])
@pytest.mark.parametrize("after", [None, Cursor(B, 40 * SECOND), Cursor(B, 10**15), Cursor(Stream("p", "aa", ""), 0)])
def test_slices_of_any_size_make_the_same_answer(
    monkeypatch: pytest.MonkeyPatch, every: BucketWidth | None, after: Cursor | None
) -> None:
    store = open_store("duckdb://")
    step = SECOND if every is None or every.unit == "s" else 30_000 * SECOND
    for name, rows in ((A, 130), (B, 77), (Stream("p", "c", "t"), 1), (Stream("p", "c", "u"), 300)):
        new = batch([name], rows)
        store.write(Batch(new.streams, new.stream, new.time // SECOND * step, new.value, new.received, new.quality))
    query = Query(every=every, zone="Europe/Oslo", aggregates=("sum",), after=after, start=3 * step, end=280 * step)
    whole = store.read(query).read_all()
    for size, limit in itertools.product((5, 64), (None, 20)):
        for constant in ("SLICE", "SCANNED", "SMALLEST_SLICE", "MOST_SORTED_HERE"):
            monkeypatch.setattr(read, constant, size)
        pieces = store.read(Query(**{f: getattr(query, f) for f in query.__struct_fields__} | {"limit": limit}))
        assert pieces.read_all().to_pylist() == whole.slice(0, limit).to_pylist()
    store.close()

"""The archive: the same answers with it as without, whatever is written, cut short, erased, or read by others."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import polars
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from pyarrow import parquet
from typer.testing import CliRunner

from techport import archiving, platform
from techport.commands import doctor
from techport.commands.archive import app
from techport.settings import load_settings
from techport_pilots.registry.database import Database
from techport_pilots.registry.leases import Turn
from techport_storage.archive.rounds import Archiver, months_before
from techport_storage.archive.store import ArchivedStore
from techport_storage.archive.table import TABLE_SCHEMA, ArchiveTable, Place
from techport_storage.clock import now
from techport_storage.errors import StoreIncompatible, StoreUnavailable
from techport_storage.microseconds import DAY, HOUR, SECOND
from techport_storage.model import Batch, BucketWidth, Cursor, Query, Reading, Selection, Stream
from techport_storage.store import ReadingStore, open_store
from tests.cluster.archives import archived_store, in_this_process
from tests.conftest import ROOT
from tests.servers.s3 import ObjectStorage, object_storage

__all__ = ["object_storage"]

pytestmark = pytest.mark.cluster

STREAMS = [Stream(pilot, device, "pm10") for pilot in ("luft", "stoy") for device in ("a", "b")]
CANARY = "kanarifugl-4711"


def start() -> int:
    return months_before(now(), 3)


def readings(streams: list[Stream] = STREAMS, step: int = 3 * HOUR) -> list[Reading]:
    """Of three months and a bit, until now."""
    times = range(start() + 5 * HOUR, now(), step)
    return [
        Reading(
            *stream, time=at, value=(at // HOUR + number) % 97 / 7, received=at + SECOND, quality=at // HOUR % 5 // 4
        )
        for number, stream in enumerate(streams)
        for at in times
    ]


@pytest.fixture(params=["folder", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An archive that does not exist yet."""
    if request.param == "folder":
        return str(tmp_path / "archive")
    storage: ObjectStorage = request.getfixturevalue("object_storage")
    return storage.url(f"{tmp_path.name}/archive")


def opened(place: str, recent: ReadingStore) -> ArchivedStore:
    return ArchivedStore(recent, ArchiveTable.open(place), in_this_process)


def archive(store: ArchivedStore) -> None:
    """All that is closed, and out of the store what is older than last month."""
    Archiver(store, keep_months=1, grace_s=0).round()


def questions() -> Iterator[Query]:
    border, end = months_before(now(), 1), now() + DAY
    everywhere = Selection()
    luft = Selection(pilots=("luft",))
    for select in (everywhere, luft, Selection(streams=(STREAMS[3],))):
        for period in ({}, {"start": border - 9 * DAY, "end": border + 9 * DAY}, {"end": border - DAY}):
            yield Query(select=select, **period)
            yield Query(
                select=select, every=BucketWidth(1, "d"), zone="Europe/Oslo", aggregates=("mean", "p90"), **period
            )
    yield Query(start=border + DAY, end=end)
    for every in (
        BucketWidth(7, "h"),
        BucketWidth(6, "h"),
        BucketWidth(1, "w"),
        BucketWidth(1, "mo"),
        BucketWidth(1, "y"),
    ):
        yield Query(every=every, zone="America/St_Johns", aggregates=("sum", "first", "last", "std"))
    for quality in ("good", "flagged"):
        yield Query(quality=quality, limit=150)
        yield Query(quality=quality, every=BucketWidth(5, "d"), aggregates=("max", "share"))
    for limit in (1, 100, 1000):
        yield Query(limit=limit, after=Cursor(STREAMS[1], border - 2 * DAY))
        yield Query(limit=limit, every=BucketWidth(1, "d"), after=Cursor(STREAMS[1], (border - 2 * DAY) // DAY * DAY))


def same(store: ArchivedStore, truth: ReadingStore) -> None:
    """Both give the same answers to everything; on object storage, which is slow here, to some of it."""
    asked = list(questions())
    for query in asked if store.table.place.folder else random.Random(7).sample(asked, 5):
        answers = [plain(each.read(query).read_all()) for each in (store, truth)]
        assert answers[0].num_rows == answers[1].num_rows, query
        assert close(*answers), query
    assert plain(store.latest(Selection())).equals(plain(truth.latest(Selection())))
    since = now() - 40 * DAY
    assert plain(store.latest(Selection(), since)).equals(plain(truth.latest(Selection(), since)))
    assert store.streams(Selection()) == truth.streams(Selection())
    intervals = dict.fromkeys(STREAMS, HOUR)
    for first in (start(), months_before(now(), 1) - 3 * DAY, now() - 3 * DAY):
        assert store.coverage(intervals, first, now()) == truth.coverage(intervals, first, now())


def plain(table: pa.Table) -> pa.Table:
    names = [field.with_type(pa.string()) if field.name in Stream._fields else field for field in table.schema]
    return table.cast(pa.schema(names))


def close(left: pa.Table, right: pa.Table) -> bool:
    """Equal; sums to within the last digits, since rows are added up in another order."""
    return all(
        left[name].equals(right[name])
        if left.schema.field(name).type != pa.float64()
        else left[name].to_pandas().sub(right[name].to_pandas()).abs().fillna(0).max() < 1e-9
        and left[name].is_null().equals(right[name].is_null())
        for name in left.schema.names
        if left.num_rows
    )


def changes() -> list[Reading]:
    """What comes weeks and months late: new readings, duplicates, corrections, of old streams and new ones."""
    dice = random.Random(3)
    old = dice.sample(readings(), 40)
    corrected = [msgspec.structs.replace(one, value=one.value + 1, received=now()) for one in old[:20]]
    moved = [msgspec.structs.replace(one, time=one.time + 7 * SECOND, received=now()) for one in old[10:30]]
    new = [Reading("luft", "new", "no2", start() + 5 * DAY + number * HOUR, number, now()) for number in range(50)]
    older = [Reading("eldre", "x", "pm10", start() - 900 * DAY + number, number, now()) for number in range(9)]
    return [*old, *corrected, *moved, *new, *older, *corrected]


def test_nobody_who_asks_or_writes_sees_the_border(place: str) -> None:
    store, truth = opened(place, open_store("duckdb://")), open_store("duckdb://")
    for each in (store, truth):
        each.write(Batch.of(readings()))
    same(store, truth)
    archive(store)
    assert store.recent.extent(Selection(), end=months_before(now(), 1)).readings == 0, "taken out of the store"
    assert store.recent.streams(Selection()) == STREAMS, "the last months stay"
    same(store, truth)

    late = Batch.of(changes())
    receipts = [each.write(late) for each in (store, truth)]
    for name in ("written", "duplicate_rows", "correction_rows", "replaced"):
        assert str(getattr(receipts[0], name)) == str(getattr(receipts[1], name)), name
    same(store, truth)
    flagged = [msgspec.structs.replace(one, quality=32) for one in readings()[5:700:70]]
    assert store.flag(Batch.of(flagged)) == truth.flag(Batch.of(flagged)) == len(set(_keys(flagged)) - _corrected())
    same(store, truth)

    archive(store)
    assert store.recent.extent(Selection(), end=months_before(now(), 1)).readings == 0, "merged into the archive"
    # Clocks differ: minutes before midnight, what is written to the day that closes then is marked already.
    assert [(pilot, day) for pilot, day in store.table.late() if day * DAY < store.closed_before(now())] == []
    same(store, truth)
    again = opened(place, store.recent)  # as after a restart
    same(again, truth)

    weeks = (months_before(now(), 1) - 8 * DAY, months_before(now(), 1) + 8 * DAY)
    for part in ((Selection(streams=(STREAMS[0],)), *weeks), (Selection(devices=("b",)), None, weeks[0])):
        assert again.erase(*part) == truth.erase(*part) > 0
        same(again, truth)
    archive(again)
    same(again, truth)
    store.close()
    truth.close()


def _keys(rows: list[Reading]) -> list[tuple[Stream, int]]:
    return [(row.stream, row.time) for row in rows]


def _corrected() -> set[tuple[Stream, int]]:
    before = {(row.stream, row.time): row.value for row in readings()}
    return {key for row in changes() if (key := (row.stream, row.time)) in before and row.value != before[key]}


def test_every_day_is_archived_once_and_stays_in_the_store_unless_told(tmp_path: Path) -> None:
    store = archived_store(tmp_path)
    store.write(Batch.of(readings()))
    archiver = Archiver(store)
    closed = store.closed_before(now())
    expected = sum(row.time < closed for row in readings())
    assert archiver.round().archived == expected
    assert not archiver.round(), "nothing is left to do"
    assert (store.table.snapshot().archived, store.table.snapshot().moved) == (closed, None)
    tomorrow = archiver.round(now() + DAY)
    assert tomorrow.archived == sum(closed <= row.time < closed + DAY for row in readings())
    assert sum(batch.num_rows for batch in store.recent.read(Query())) == len(readings())


class Cut(Exception):
    """As if the process were killed here."""


def test_a_round_that_is_cut_short_anywhere_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before and after every step that changes something. Nothing is missing, nothing is there twice."""
    rows = readings(STREAMS[1:3], 12 * HOUR)
    late = [msgspec.structs.replace(row, value=row.value + 5, received=now()) for row in rows[3:60:9]]
    truth = open_store("duckdb://")
    truth.write(Batch.of([*rows, *late]))
    cuts = 0
    for when in ("before", "after"):
        for number in range(200):
            steps = Steps(number, when)
            store = archived_store(tmp_path / f"{when}-{number}")
            store.write(Batch.of(rows))
            archive(store)
            store.write(Batch.of(late))
            archiver = Archiver(store, keep_months=1, grace_s=0)
            with monkeypatch.context() as patched:
                for owner, name in (
                    (ArchiveTable, "write"),
                    (ArchiveTable, "commit"),
                    (ArchiveTable, "unmark_late"),
                    (ArchiveTable, "forget"),
                    (type(store.recent), "erase"),
                ):
                    patched.setattr(owner, name, steps.counted(getattr(owner, name)))
                try:
                    archiver.round(now() + DAY)
                    store.erase(Selection(devices=("nobody",)))
                except Cut:
                    cuts += 1
            opened_again = opened(str(tmp_path / f"{when}-{number}" / "archive"), store.recent)
            archive(opened_again)
            assert plain(opened_again.read(Query()).read_all()).equals(plain(truth.read(Query()).read_all()))
            if steps.left >= 0:
                break
    assert cuts > 10


class Steps:
    """Lets so many steps pass, and cuts before or after the next one."""

    def __init__(self, passing: int, when: str) -> None:
        self.left = passing
        self.when = when

    def counted(self, step: Callable[..., Any]) -> Callable[..., Any]:
        def counting(*arguments: Any, **options: Any) -> Any:
            self.left -= 1
            if self.left == -1 and self.when == "before":
                raise Cut
            done = step(*arguments, **options)
            if self.left == -1:
                raise Cut
            return done

        return counting


def test_late_readings_and_rounds_of_two_processes_do_not_meet(tmp_path: Path) -> None:
    """Two stores over the same engine and archive, kept apart by the registry as two processes are."""
    database = Database.open(f"sqlite:///{tmp_path}/registry.sqlite")
    recent = open_store("duckdb://")
    rows = readings(STREAMS[:2], 6 * HOUR)
    recent.write(Batch.of(rows))
    writer, keeper = (
        ArchivedStore(recent, ArchiveTable.open(str(tmp_path / "archive")), Turn(database, "archive")) for _ in "ab"
    )
    archiver = Archiver(keeper, keep_months=1, grace_s=0)
    archiver.round()
    late = [msgspec.structs.replace(row, value=row.value + 100, received=now()) for row in rows[::3]]
    random.Random(5).shuffle(late)
    failures: list[BaseException] = []

    def write() -> None:
        try:
            for begin in range(0, len(late), 10):
                receipt = writer.write(Batch.of(late[begin : begin + 10]))
                assert receipt.corrections == len(late[begin : begin + 10])
        except BaseException as failure:  # noqa: BLE001 - told by the test's own thread
            failures.append(failure)

    thread = threading.Thread(target=write)
    thread.start()
    while thread.is_alive():
        archiver.round()
    thread.join()
    archiver.round()
    assert failures == []
    truth = open_store("duckdb://")
    truth.write(Batch.of([*rows, *late]))
    for store in (writer, keeper):
        assert plain(store.read(Query()).read_all()).equals(plain(truth.read(Query()).read_all()))
    database.close()


# Others who read it


def test_duckdb_and_polars_read_it(place: str) -> None:
    store = opened(place, open_store("duckdb://"))
    store.write(Batch.of(readings()))
    store.write(Batch.of(changes()))
    archive(store)
    where = Place.parse(place)
    access = {name: value for name, value in where.options.items() if name.startswith("AWS_")}
    delta = DeltaTable(where.uri, storage_options=access)
    assert delta.metadata().partition_columns == ["pilot", "month"]
    expected = {
        (row["pilot"], row["device"]): (row["count"], row["sum"])
        for row in store.read(
            Query(end=store.table.snapshot().archived, every=BucketWidth(100, "y"), aggregates=("sum",))
        )
        .read_all()
        .to_pylist()
        if row["pilot"] in ("luft", "stoy")
    }
    readings_of_delta = delta.to_pyarrow_dataset()
    by_duckdb = duckdb.sql(
        "SELECT pilot, device, count(*), sum(value) FROM readings_of_delta "
        "WHERE month >= '2020' AND pilot <> 'eldre' GROUP BY ALL"
    ).fetchall()
    assert readings_of_delta is not None
    assert {(pilot, device): (count, pytest.approx(total)) for pilot, device, count, total in by_duckdb} == expected
    frame = (
        polars.scan_delta(where.uri, storage_options=access)
        .filter(polars.col("pilot") != "eldre")
        .group_by("pilot", "device")
        .agg(polars.len(), polars.col("value").sum())
        .collect()
    )
    assert {(row[0], row[1]): (row[2], pytest.approx(row[3])) for row in frame.rows()} == expected


def test_files_are_sorted_by_stream_and_time_and_closed_months_are_one_file(tmp_path: Path) -> None:
    store = archived_store(tmp_path)
    store.write(Batch.of(readings()))
    for days in range(40, -1, -9):  # as if the platform had run all the while
        Archiver(store).round(now() - days * DAY)
    snapshot = store.table.snapshot()
    months = [(file.pilot, file.month) for file in snapshot.files]
    closed = [month for month in months if month[1] < max(month for _, month in months)]
    assert len(closed) == len(set(closed))
    for file in snapshot.files:
        rows = parquet.read_table(tmp_path / "archive" / file.path).select(["device", "quantity", "time"])
        assert rows.equals(rows.sort_by([(name, "ascending") for name in rows.schema.names])), file.path


# Erasing


def traces(place: str, storage: ObjectStorage | None, name: str) -> list[str]:
    """Files with a name in their bytes, or in what they hold once it is unpacked."""
    if storage is None:
        files = {str(path): path.read_bytes() for path in Path(place).rglob("*") if path.is_file()}
    else:
        files = storage.objects(place.removeprefix(f"s3://{storage.bucket}/").partition("?")[0])
    found = []
    for path, content in files.items():
        told = name.encode() in content
        if path.endswith(".parquet"):
            told = told or name in str(parquet.read_table(pa.BufferReader(content)).to_pylist())
        if told:
            found.append(path)
    return found


def test_nothing_of_an_erased_device_is_left_in_any_file(place: str, request: pytest.FixtureRequest) -> None:
    storage = request.getfixturevalue("object_storage") if place.startswith("s3:") else None
    store = opened(place, open_store("duckdb://"))
    gone = Stream("luft", CANARY, "pm10")
    rows = readings([*STREAMS[:2], gone], 12 * HOUR)
    store.write(Batch.of(rows))
    archive(store)
    store.write(Batch.of([msgspec.structs.replace(row, value=9.0) for row in rows if row.stream == gone][::10]))
    archive(store)  # files that left the table at this moment still hold the device
    assert len(traces(place, storage, CANARY)) > 3, "the test would notice"
    others = plain(store.read(Query(select=Selection(devices=("a", "b")))).read_all())
    assert store.erase(Selection(devices=(CANARY,))) == sum(row.stream == gone for row in rows)
    assert traces(place, storage, CANARY) == []
    assert plain(store.read(Query()).read_all()).equals(others)
    archive(store)
    assert traces(place, storage, CANARY) == []


def test_days_that_are_copied_while_somebody_erases_do_not_bring_readings_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = archived_store(tmp_path)
    store.write(Batch.of(readings()))
    erased = Selection(devices=("a",))
    write = ArchiveTable.write

    def erase_meanwhile(table: ArchiveTable, *arguments: Any) -> Any:
        files = write(table, *arguments)
        if store.recent.extent(erased).readings:
            monkeypatch.setattr(ArchiveTable, "write", write)
            store.erase(erased)
        return files

    monkeypatch.setattr(ArchiveTable, "write", erase_meanwhile)
    archive(store)
    assert {stream.device for stream in store.streams(Selection())} == {"b"}
    assert {name for file in store.table.snapshot().files for name in file.contents.device} == {"b"}


# What is told


def test_a_file_of_another_program_is_refused(tmp_path: Path) -> None:
    store = archived_store(tmp_path)
    store.write(Batch.of(readings()[:500]))
    Archiver(store).round()
    others = pa.table([["x"], ["2026-01"], ["d"], ["q"], [0], [1.0], [0], [0]], schema=TABLE_SCHEMA)
    write_deltalake(tmp_path / "archive", others, mode="append")
    with pytest.raises(StoreIncompatible, match="written by another program"):
        store.read(Query())


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ("gs://bucket/folder", "use a folder or s3://bucket/folder"),
        ("s3://bucket/folder?regoin=x", "no option 'regoin'"),
    ],
)
def test_an_address_that_is_none(address: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Place.parse(address)


def test_credentials_are_named_and_not_shown(tmp_path: Path) -> None:
    file = tmp_path / "credentials"
    with pytest.raises(StoreUnavailable, match="cannot read the archive's credentials"):
        Place.parse(f"s3://bucket/folder?credentials_file={file}")
    file.write_text("aws_access_key_id = x\n")
    with pytest.raises(ValueError, match="needs a section"):
        Place.parse(f"s3://bucket/folder?credentials_file={file}")
    file.write_text("[default]\naws_access_key_id = x\naws_secret_access_key = hidden\n")
    place = Place.parse(f"s3://bucket/folder?credentials_file={file}&endpoint=http://127.0.0.1:9")
    assert place.options["AWS_SECRET_ACCESS_KEY"] == "hidden"
    assert "hidden" not in repr(place)


def test_the_command_archives_and_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TECHPORT_ARCHIVE", str(tmp_path / "archive"))
    monkeypatch.setenv("TECHPORT_ARCHIVE_KEEP_MONTHS", "1")
    store = open_store(f"duckdb:///{tmp_path}/data/readings.duckdb")
    store.write(Batch.of(readings()))
    store.close()
    told = CliRunner().invoke(app, ["run", "--data", str(tmp_path / "data")])
    assert told.exit_code == 0, told.output
    assert "readings archived" in told.output
    told = CliRunner().invoke(app, ["status", "--data", str(tmp_path / "data")])
    assert "are there alone" in told.output
    assert "0 days wait" in told.output


def test_without_the_library_the_error_names_it() -> None:
    code = "import sys; sys.modules['deltalake'] = None; import techport_storage.archive.table"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "pip install 'techport[archive]'" in told.stderr


# In the platform


def test_a_platform_keeps_its_archive_up_to_date_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TECHPORT_ARCHIVE", str(tmp_path / "archive"))
    monkeypatch.setattr(archiving, "FIRST_ROUND", 0.01)
    settings = load_settings({"data": tmp_path / "data"})
    with platform.stores(settings) as parts:
        parts.readings.write(Batch.of(readings()[:600]))
        table = ArchiveTable.open(str(tmp_path / "archive"))
        with archiving.archiving(settings, parts.registry.database, parts.readings):
            until = time.monotonic() + 300
            while table.snapshot().archived is None:
                assert time.monotonic() < until
                time.sleep(0.05)
        assert {file.pilot for file in table.snapshot().files} == {"luft"}
    told = {check.name: check for check in doctor._archive(settings)}
    assert told["archive"].state == "ok"
    assert "all days before 20" in told["archive"].found
    (tmp_path / "archive" / "_delta_log" / "00000000000000000000.json").write_text("?")
    (tmp_path / "archive" / "_delta_log" / "00000000000000000001.json").write_text("?")
    told = {check.name: check for check in doctor._archive(settings)}
    assert told["archive"].state == "failed"


ROUNDS = """
import sys
from techport_storage.archive.rounds import Archiver
from techport_storage.clock import now
from techport_storage.microseconds import DAY
from techport_storage.store import open_store
from tests.cluster.archives import archived_store

store = archived_store(sys.argv[1], f"duckdb:///{sys.argv[1]}/readings.duckdb")
print("begun", flush=True)
for day in range(60, -1, -1):
    Archiver(store, keep_months=1, grace_s=0).round(now() - day * DAY)
"""


@pytest.mark.slow
def test_rounds_of_a_process_that_is_killed_again_and_again(tmp_path: Path) -> None:
    """SIGKILL at any moment, five times; what was acknowledged is there once, in the store or the archive."""
    url = f"duckdb:///{tmp_path}/readings.duckdb"
    recent = open_store(url)
    recent.write(Batch.of(readings()))
    recent.close()
    dice = random.Random()
    for _ in range(5):
        command = [sys.executable, "-c", ROUNDS, str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"begun\n"
            time.sleep(dice.uniform(0, 3))
            process.kill()
    store = archived_store(tmp_path, url)
    archive(store)
    truth = open_store("duckdb://")
    truth.write(Batch.of(readings()))
    assert store.table.snapshot().moved is not None
    assert plain(store.read(Query()).read_all()).equals(plain(truth.read(Query()).read_all()))
    store.close()

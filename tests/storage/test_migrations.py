"""Files that older code made are opened, and nothing is lost on the way, whatever happens meanwhile."""

from __future__ import annotations

import gzip
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import duckdb
import pytest

from techport_storage.duckdb import migrations, sql
from techport_storage.errors import StoreIncompatible, StoreUnavailable
from techport_storage.model import Batch, Query, Reading, Selection
from techport_storage.store import open_store
from tests.storage.layouts.make import corrections, readings

LAYOUTS = Path(__file__).with_name("layouts")
OLD = [1, 2, 3]
EXPECTED = sorted(
    {(r.stream, r.time): r for r in (*readings(), *corrections())}.values(), key=lambda r: (r.stream, r.time)
)


def unpack(layout: int, path: Path) -> str:
    """The URL of a file that the code of that layout made."""
    path.write_bytes(gzip.decompress((LAYOUTS / f"layout-{layout}.duckdb.gz").read_bytes()))
    return f"duckdb:///{path}"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "readings [1].duckdb"  # what a pattern of file names would take for something else


def copies(path: Path) -> list[str]:
    return sorted(file.name.removeprefix(path.name) for file in path.parent.iterdir() if file != path)


def stored(url: str) -> list[Reading]:
    store = open_store(url)
    try:
        rows = store.read(Query()).read_all()
    finally:
        store.close()
    names, times = ("pilot", "device", "quantity"), ("time", "value", "received", "quality")
    columns = [rows[name].to_pylist() for name in names]
    columns += [(rows[n].cast("int64") if n in ("time", "received") else rows[n]).to_pylist() for n in times]
    return [Reading(*row) for row in zip(*columns, strict=True)]


def layout_of(path: Path) -> int:
    with duckdb.connect(str(path), read_only=True) as con:
        return int(con.execute("SELECT version FROM layout").fetchall()[0][0])


@pytest.mark.parametrize("layout", [*OLD, 4])
def test_a_file_of_every_layout_is_opened_with_all_its_readings(layout: int, path: Path) -> None:
    assert stored(unpack(layout, path)) == EXPECTED
    assert layout_of(path) == sql.VERSION
    assert copies(path) == []


@pytest.mark.parametrize("layout", OLD)
def test_an_upgraded_file_is_used_as_any_other(layout: int, path: Path) -> None:
    url = unpack(layout, path)
    store = open_store(url)
    rows = store.read(Query()).read_all().to_pylist()
    assert store.latest(Selection()).to_pylist() == rows[299::300]
    again = [Reading(*r.stream, r.time, 99.0, r.time + 2_000_000 * n) for n, r in enumerate(EXPECTED[7:9])]
    assert store.write(Batch.of(again)).corrections == 2
    store.close()
    assert stored(url) == [*EXPECTED[:7], *again, *EXPECTED[9:]]


@pytest.mark.parametrize("layout", OLD)
def test_the_old_file_is_kept_until_the_first_clean_close(layout: int, path: Path) -> None:
    url = unpack(layout, path)
    before = path.read_bytes()
    store = open_store(url)
    assert copies(path) == [f".layout-{layout}"]
    kept = path.with_name(f"{path.name}.layout-{layout}")
    assert layout_of(kept) == layout
    assert len(kept.read_bytes()) == len(before)
    store.close()
    assert copies(path) == []


def test_what_is_erased_is_not_left_in_the_copy(path: Path) -> None:
    store = open_store(unpack(3, path))
    assert copies(path) == [".layout-3"]
    assert store.erase(Selection(devices=("a",))) == 300
    assert copies(path) == []
    store.close()


KILLED = """
import os, signal, sys
import techport_storage.duckdb.migrations as migrations
from techport_storage.duckdb.file import DuckFile
from techport_storage.store import open_store

def die(*arguments):
    os.kill(os.getpid(), signal.SIGKILL)

moment, url = sys.argv[1:]
if moment == "copying":
    migrations.DuckFile.keep_copy.__globals__["_sync_folder"] = die
elif moment == "half copied":
    def part(source, target):
        with open(target, "wb") as file:
            file.write(open(source, "rb").read()[:5000])
        die()
    migrations.DuckFile.keep_copy.__globals__["shutil"].copyfile = part
elif moment == "in a step":
    last = migrations.STEPS[-1]
    def upgrade(cursor):
        last.upgrade(cursor)
        die()
    migrations.STEPS = (*migrations.STEPS[:-1], migrations.Step(last.version, upgrade))
else:
    real = DuckFile.transaction
    from contextlib import contextmanager
    @contextmanager
    def transaction(self):
        with real(self) as cursor:
            yield cursor
        die()
    DuckFile.transaction = transaction
open_store(url)
"""


@pytest.mark.parametrize("moment", ["half copied", "copying", "in a step", "after the commit"])
@pytest.mark.faults
def test_killed_at_any_moment_the_file_still_opens(moment: str, path: Path) -> None:
    url = unpack(3, path)
    done = subprocess.run([sys.executable, "-c", KILLED, moment, url], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    left = copies(path)
    assert left, "the old file, or a part of it"
    if ".layout-3" in left:
        shutil.copyfile(f"{path}.layout-3", path.with_name("old.duckdb"))
        assert stored(f"duckdb:///{path.with_name('old.duckdb')}") == EXPECTED
        path.with_name("old.duckdb").unlink()
    assert stored(url) == EXPECTED
    assert copies(path) == []


def test_without_room_for_a_copy_nothing_is_begun(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = unpack(3, path)
    with monkeypatch.context() as patch:
        patch.setattr(migrations.shutil, "disk_usage", lambda folder: SimpleNamespace(free=1_000_000))
        with pytest.raises(StoreUnavailable, match="free disk"):
            open_store(url)
    assert (layout_of(path), copies(path)) == (3, [])
    assert stored(url) == EXPECTED


@pytest.mark.parametrize(("layout", "enough"), [(3, True), (2, False), (1, False)])
def test_room_is_needed_for_a_copy_and_for_each_step(
    layout: int, enough: bool, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Measured: of layout 1 a file of 88 MB grew to 234 MB, beside its copy."""
    url = unpack(layout, path)
    monkeypatch.setattr(
        migrations.shutil, "disk_usage", lambda folder: SimpleNamespace(free=5 * path.stat().st_size // 2)
    )
    if enough:
        assert stored(url) == EXPECTED
    else:
        with pytest.raises(StoreUnavailable, match="free disk"):
            open_store(url)
        assert (layout_of(path), copies(path)) == (layout, [])


@pytest.mark.parametrize(("version", "said"), [(sql.VERSION + 1, "newer techport"), (-1, "newer techport")])
def test_a_layout_that_nobody_knows_is_incompatible(path: Path, version: int, said: str) -> None:
    url = unpack(4, path)
    with duckdb.connect(str(path)) as con:
        con.execute(f"UPDATE layout SET version = {version}")
    with pytest.raises(StoreIncompatible, match=said) as raised:
        open_store(url)
    assert not isinstance(raised.value, StoreUnavailable), "trying again does not help"
    assert copies(path) == []


@pytest.mark.parametrize("table", ["invoices (amount DOUBLE)", "layout (name VARCHAR)", "layout (version INTEGER)"])
def test_a_database_of_somebody_else_is_left_alone(path: Path, table: str) -> None:
    with duckdb.connect(str(path)) as con:
        con.execute(f"CREATE TABLE {table}")
    with pytest.raises(StoreIncompatible, match="not made by techport"):
        open_store(f"duckdb:///{path}")
    with duckdb.connect(str(path)) as con:
        assert con.execute("SELECT count(*) FROM duckdb_tables()").fetchall() == [(1,)]


def test_the_last_step_makes_the_layout_of_today() -> None:
    assert [step.version for step in migrations.STEPS] == list(range(2, sql.VERSION + 1))

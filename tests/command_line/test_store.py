"""techport store: moving and backing up, as commands."""

from __future__ import annotations

import subprocess
from pathlib import Path

import duckdb
import pytest

from techport.data_dir import lock
from techport_pilots.definition.load import parse_definition
from techport_pilots.registry.registry import Registry
from techport_storage.microseconds import SECOND
from techport_storage.model import Batch, Query, Reading
from techport_storage.store import open_store
from tests.end_to_end.platforms import PILOT, TECHPORT
from tests.servers.influxd import Influxd, influxd
from tests.servers.mosquitto import free_port

__all__ = ["influxd"]

READINGS = [
    Reading("test-street", "lamp-1", quantity, 1_760_000_000 * SECOND + number, number / 7, 1_760_000_001 * SECOND)
    for quantity in ("pm10", "air_temperature")
    for number in range(500)
]


def _fill(data: Path) -> str:
    data.mkdir(parents=True)
    url = f"duckdb:///{data}/readings.duckdb"
    store = open_store(url)
    store.write(Batch.of(READINGS))
    store.close()
    registry = Registry.open(f"sqlite:///{data}/registry.sqlite")
    registry.import_pilot(parse_definition(PILOT), PILOT, "test")
    registry.close()
    return url


def _rows(url: str) -> list[dict[str, object]]:
    store = open_store(url)
    rows: list[dict[str, object]] = store.read(Query()).read_all().to_pylist()
    store.close()
    return rows


def _run(*arguments: str, expect: int = 0) -> str:
    done = subprocess.run([*TECHPORT, "store", *arguments], capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == expect, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
def test_a_backup_comes_back_whole(tmp_path: Path) -> None:
    url = _fill(tmp_path / "data")
    photo = Path("photos", "test-street", "photo-1.jpg")
    (tmp_path / "data" / photo).parent.mkdir(parents=True)
    (tmp_path / "data" / photo).write_bytes(b"a picture")
    _run("backup", str(tmp_path / "backups"), "--data", str(tmp_path / "data"))
    (saved,) = (tmp_path / "backups").iterdir()
    _run("restore", str(saved), "--data", str(tmp_path / "new"))
    assert _rows(f"duckdb:///{tmp_path}/new/readings.duckdb") == _rows(url)
    registry = Registry.open(f"sqlite:///{tmp_path}/new/registry.sqlite")
    assert [pilot.id for pilot in registry.pilots()] == ["test-street"]
    registry.close()
    assert (tmp_path / "new" / photo).read_bytes() == b"a picture"


@pytest.mark.slow
def test_nothing_is_written_over_and_nothing_half_is_saved(tmp_path: Path) -> None:
    _fill(tmp_path / "data")
    _run("backup", str(tmp_path / "backups"), "--data", str(tmp_path / "data"))
    (saved,) = (tmp_path / "backups").iterdir()
    said = _run("restore", str(saved), "--data", str(tmp_path / "data"), expect=2)
    assert "restore into an empty --data folder" in " ".join(said.split())
    with lock(tmp_path / "data", "up", None, None):
        said = _run("backup", str(tmp_path / "backups"), "--data", str(tmp_path / "data"), expect=2)
    assert "in use by `techport up`" in " ".join(said.split())


@pytest.mark.slow
def test_from_duckdb_to_a_prepared_influxdb_and_back(tmp_path: Path, influxd: Influxd) -> None:
    source = _fill(tmp_path / "data")
    token = tmp_path / "token"
    bucket = influxd.url("prepared-by-command").partition("?")[0]
    target = f"{bucket}?token_file={token}"
    operator = ["--operator-token-file", str(influxd.token_file)]
    assert "bucket made" in _run("init", "--store", target, *operator)
    assert "was there" in _run("init", "--store", target, *operator)
    assert "1000 rows copied, 1000 rows compared" in _run("copy", source, target)
    assert "0 rows copied, 1000 rows compared" in _run("copy", source, target)
    _run("backup", str(tmp_path / "backups"), "--store", target, *operator)
    back = f"duckdb:///{tmp_path}/back.duckdb"
    assert "the same to the bit" in _run("copy", target, back)
    assert _rows(back) == _rows(source)


@pytest.mark.slow
@pytest.mark.parametrize("command", ["up", "ingest", "serve"])
def test_a_file_that_this_version_cannot_open_ends_the_command(tmp_path: Path, command: str) -> None:
    url = _fill(tmp_path / "data")
    with duckdb.connect(url.removeprefix("duckdb:///")) as con:
        con.execute("UPDATE layout SET version = 1000")
    done = subprocess.run(
        [*TECHPORT, command, "--data", str(tmp_path / "data"), "--http", f"127.0.0.1:{free_port()}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "a newer techport made this file" in " ".join(done.stderr.split())


@pytest.mark.slow
def test_an_export_is_imported_elsewhere(tmp_path: Path) -> None:
    url = _fill(tmp_path / "data")
    new = f"duckdb:///{tmp_path}/new/readings.duckdb"
    said = _run("export", str(tmp_path / "out"), "--data", str(tmp_path / "data"))
    assert "1000 readings of 2 streams in 1 file" in " ".join(said.split())
    assert "1000 readings imported" in _run("import", str(tmp_path / "out"), "--store", new)
    assert _rows(new) == _rows(url)
    assert "--resume" in _run("import", str(tmp_path / "out"), "--store", new, expect=2)
    assert "exists already" in _run("export", str(tmp_path / "out"), "--store", new, expect=2)
    assert "is not an export" in _run("import", str(tmp_path / "data"), "--store", new, expect=2)

"""techport store: moving and backing up, as commands."""

from __future__ import annotations

import subprocess
from pathlib import Path

from techport.data_dir import lock
from techport_pilots.definition.load import parse_definition
from techport_pilots.registry.registry import Registry
from techport_storage.microseconds import SECOND
from techport_storage.model import Batch, Query, Reading
from techport_storage.store import open_store
from tests.end_to_end.platforms import PILOT, TECHPORT
from tests.servers.influxd import Influxd, influxd

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


def test_a_backup_comes_back_whole(tmp_path: Path) -> None:
    url = _fill(tmp_path / "data")
    _run("backup", str(tmp_path / "backups"), "--data", str(tmp_path / "data"))
    (saved,) = (tmp_path / "backups").iterdir()
    _run("restore", str(saved), "--data", str(tmp_path / "new"))
    assert _rows(f"duckdb:///{tmp_path}/new/readings.duckdb") == _rows(url)
    registry = Registry.open(f"sqlite:///{tmp_path}/new/registry.sqlite")
    assert [pilot.id for pilot in registry.pilots()] == ["test-street"]
    registry.close()


def test_nothing_is_written_over_and_nothing_half_is_saved(tmp_path: Path) -> None:
    _fill(tmp_path / "data")
    _run("backup", str(tmp_path / "backups"), "--data", str(tmp_path / "data"))
    (saved,) = (tmp_path / "backups").iterdir()
    said = _run("restore", str(saved), "--data", str(tmp_path / "data"), expect=2)
    assert "restore into an empty --data folder" in " ".join(said.split())
    with lock(tmp_path / "data", "up", None, None):
        said = _run("backup", str(tmp_path / "backups"), "--data", str(tmp_path / "data"), expect=2)
    assert "in use by `techport up`" in " ".join(said.split())


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

"""Administration of a DuckDB store by its URL. InfluxDB: test_influx_copy.py and tests/command_line/test_store.py."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from techport.commands.store import app
from techport_storage.administration import CannotAdminister, backup, copy, prepare, restore
from techport_storage.export import CannotExport, export_readings, import_readings
from techport_storage.model import Batch, Query, Reading
from techport_storage.store import open_store

READINGS = [Reading("air", "st1", "pm10", number * 1_000_000, number / 7, 2_000_000_000) for number in range(300)]


def _rows(url: str) -> list[dict[str, object]]:
    store = open_store(url)
    try:
        rows: list[dict[str, object]] = store.read(Query()).read_all().to_pylist()
    finally:
        store.close()
    return rows


@pytest.fixture
def filled(tmp_path: Path) -> str:
    url = f"duckdb:///{tmp_path}/a name/readings-of-2026.duckdb"
    store = open_store(url)
    store.write(Batch.of(READINGS))
    store.close()
    return url


def test_a_file_is_restored_under_any_name(filled: str, tmp_path: Path) -> None:
    assert backup(filled, tmp_path / "saved") >= 1
    other = f"duckdb:///{tmp_path}/other/b.duckdb"
    restore(tmp_path / "saved", other)
    assert _rows(other) == _rows(filled)
    assert len(_rows(other)) == len(READINGS)


def test_nothing_is_written_over(filled: str, tmp_path: Path) -> None:
    backup(filled, tmp_path / "saved")
    with pytest.raises(FileExistsError):
        backup(filled, tmp_path / "saved")
    before = _rows(filled)
    with pytest.raises(CannotAdminister, match="exists already"):
        restore(tmp_path / "saved", filled)
    assert _rows(filled) == before


def test_what_is_no_backup_makes_no_store(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="not a backup"):
        restore(tmp_path / "empty", f"duckdb:///{tmp_path}/new.duckdb")
    told = CliRunner().invoke(app, ["import", str(tmp_path / "empty"), "--data", str(tmp_path / "data")])
    assert isinstance(told.exception, CannotExport)
    assert "not an export" in str(told.exception)
    assert not (tmp_path / "data" / "readings.duckdb").exists()


def test_a_store_that_is_not_there_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such store"):
        backup(f"duckdb:///{tmp_path}/none.duckdb", tmp_path / "saved")
    assert not (tmp_path / "saved").exists()


def test_exports_and_copies_hold_the_same_readings(filled: str, tmp_path: Path) -> None:
    with closing(open_store(filled)) as store:
        assert export_readings(store, tmp_path / "parquet").rows == len(READINGS)
    imported, copied = (f"duckdb:///{tmp_path}/{name}.duckdb" for name in ("imported", "copied"))
    with closing(open_store(imported)) as store:
        assert import_readings(tmp_path / "parquet", store).written == len(READINGS)
    assert copy(filled, copied).rows == len(READINGS)
    assert _rows(imported) == _rows(copied) == _rows(filled)


def test_the_error_says_what_an_operation_needs(filled: str, tmp_path: Path) -> None:
    server = "influxdb://127.0.0.1:9/org/bucket?token_env=TOKEN"
    with pytest.raises(CannotAdminister, match="only an InfluxDB store"):
        prepare(filled, "token")
    with pytest.raises(CannotAdminister, match="names no token_file="):
        prepare(server, "token")
    with pytest.raises(CannotAdminister, match="--operator-token-file"):
        backup(server, tmp_path / "saved")
    with pytest.raises(CannotAdminister, match="--operator-token-file"):
        restore(tmp_path / "saved", server)
    with pytest.raises(CannotAdminister, match="in memory"):
        backup("duckdb://", tmp_path / "saved")

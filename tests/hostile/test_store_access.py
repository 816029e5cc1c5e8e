"""SQL that got into the embedded store by mistake reads and writes no other file, and does not lift that rule."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from techport_storage.duckdb.file import DuckFile
from techport_storage.errors import StoreError


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_text('{outside}/secret.txt')",
        "SELECT * FROM read_csv('{outside}/secret.txt')",
        "COPY (SELECT 1) TO '{outside}/new.csv'",
        "ATTACH '{outside}/other.duckdb' AS other",
        "SET enable_external_access = true",
        "SET allowed_directories = ['/']",
        "INSTALL httpfs",
        "LOAD httpfs",
    ],
)
def test_the_store_reaches_only_its_own_folder(tmp_path: Path, sql: str) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    outside.mkdir()
    (outside / "secret.txt").write_text("secret")
    for path in (inside / "readings.duckdb", None):
        file = DuckFile(path, 100)
        try:
            with pytest.raises((duckdb.Error, StoreError)), file.cursor() as cursor:
                cursor.execute(sql.format(outside=outside)).fetchall()
        finally:
            file.close()
    assert not (outside / "new.csv").exists()
    assert not (outside / "other.duckdb").exists()

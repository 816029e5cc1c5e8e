"""Every store's readings as Parquet files and back, to the bit."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from techport_storage import export
from techport_storage.errors import StoreUnavailable
from techport_storage.export import CannotExport, export_readings, import_readings
from techport_storage.microseconds import SECOND
from techport_storage.model import Batch, Query, Reading, Receipt, Replacing, Selection, Stream
from techport_storage.store import ReadingStore, open_store
from tests.contract.readings import NOON, A, B, put, reading, series

ODD = Stream("luft", 'ø\'s \\ "1"', "wind.x, y=z")


@pytest.fixture
def filled(store: ReadingStore, monkeypatch: pytest.MonkeyPatch) -> ReadingStore:
    """900 readings, and files so small that a stream is in several of them."""
    monkeypatch.setattr(export, "_GROUPS_OF_FILE", 3)
    monkeypatch.setattr(export, "_ROWS_OF_GROUP", 100)
    monkeypatch.setattr(export, "_ROWS_OF_WRITE", 70)
    put(store, *series(A, 400), *series(B, 300))
    put(store, *(reading(ODD, NOON - i * SECOND, 0.1 * i, delay=i * 1000, quality=i % 5) for i in range(200)))
    return store


@pytest.fixture
def other(tmp_path: Path) -> ReadingStore:
    return open_store(f"duckdb:///{tmp_path}/other.duckdb")


def table(store: ReadingStore) -> pa.Table:
    return store.read(Query()).read_all().unify_dictionaries().combine_chunks()


def test_what_is_exported_is_imported(filled: ReadingStore, other: ReadingStore, tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    manifest = export_readings(filled, tmp_path / "out", progress=lambda *step: steps.append(step))
    assert (manifest.streams, manifest.rows) == (3, 900)
    assert len(manifest.files) > 2
    assert steps == sorted(steps)
    assert steps[-1] == (3, 3)
    steps.clear()
    imported = import_readings(tmp_path / "out", other, progress=lambda *step: steps.append(step))
    assert (imported.written, imported.duplicates) == (900, 0)
    assert steps[-1] == (900, 900)
    assert table(other).to_pylist() == table(filled).to_pylist()
    other.close()


def test_it_is_imported_into_any_store(filled: ReadingStore, other: ReadingStore, tmp_path: Path) -> None:
    put(other, reading(A, value=0.1 + 0.2), reading(ODD, NOON + 1, 1e-300))
    export_readings(other, tmp_path / "out")
    filled.erase(Selection())
    import_readings(tmp_path / "out", filled)
    assert table(filled).to_pylist() == table(other).to_pylist()
    other.close()


def test_pandas_reads_the_files(filled: ReadingStore, tmp_path: Path) -> None:
    export_readings(filled, tmp_path / "out")
    frame = pd.read_parquet(sorted((tmp_path / "out").glob("*.parquet")))
    assert frame.groupby("device", observed=True)["value"].count().to_dict() == {"a": 400, "b": 300, ODD.device: 200}


def test_an_empty_store_is_an_export_too(store: ReadingStore, other: ReadingStore, tmp_path: Path) -> None:
    assert export_readings(store, tmp_path / "out").rows == 0
    assert import_readings(tmp_path / "out", other).written == 0
    other.close()


class Breaking:
    """A store that stops answering after some writes."""

    def __init__(self, store: ReadingStore, writes: int) -> None:
        self.streams, self._store, self._writes = store.streams, store, writes

    def write(self, batch: Batch, replacing: Replacing | None = None) -> Receipt:
        self._writes -= 1
        if self._writes < 0:
            raise StoreUnavailable("gone")
        return self._store.write(batch, replacing)


def test_an_import_that_was_stopped_goes_on(filled: ReadingStore, other: ReadingStore, tmp_path: Path) -> None:
    export_readings(filled, tmp_path / "out")
    with pytest.raises(StoreUnavailable):
        import_readings(tmp_path / "out", Breaking(other, 4))  # type: ignore[arg-type]
    with pytest.raises(CannotExport, match="--resume"):
        import_readings(tmp_path / "out", other)
    imported = import_readings(tmp_path / "out", other, resume=True)
    assert imported.duplicates > 0
    assert imported.written + imported.duplicates == 900
    assert table(other).to_pylist() == table(filled).to_pylist()
    other.close()


def test_nothing_is_overwritten(filled: ReadingStore, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(CannotExport, match="exists already"):
        export_readings(filled, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_an_export_that_was_stopped_is_made_again(
    filled: ReadingStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*step: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_readings(filled, tmp_path / "out", progress=stop)
    assert not (tmp_path / "out").exists()
    with pytest.raises(CannotExport, match="not an export"):
        import_readings(tmp_path / "out.unfinished", filled)
    assert export_readings(filled, tmp_path / "out").rows == 900
    assert not (tmp_path / "out.unfinished").exists()


def test_a_damaged_export_is_noticed_before_anything_is_written(
    filled: ReadingStore, other: ReadingStore, tmp_path: Path
) -> None:
    manifest = export_readings(filled, tmp_path / "out")
    last = tmp_path / "out" / manifest.files[-1].name
    rows = parquet.read_table(last)
    parquet.write_table(rows.slice(1), last)
    with pytest.raises(CannotExport, match="damaged"):
        import_readings(tmp_path / "out", other)
    last.unlink()
    with pytest.raises(CannotExport, match="missing"):
        import_readings(tmp_path / "out", other)
    assert other.streams(Selection()) == []
    other.close()


def test_values_are_the_same_to_the_bit(store: ReadingStore, other: ReadingStore, tmp_path: Path) -> None:
    extremes = (0.1, -0.0, 5e-324, 1.7976931348623157e308, 1 / 3)
    put(store, *(Reading(*A, NOON + i, value, NOON + 1000 * i) for i, value in enumerate(extremes)))
    export_readings(store, tmp_path / "out")
    import_readings(tmp_path / "out", other)
    values = [table(one)["value"].to_numpy().tobytes() for one in (store, other)]
    assert values[0] == values[1]
    other.close()

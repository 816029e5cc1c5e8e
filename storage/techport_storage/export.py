"""A store's readings as a folder of Parquet files, and back: what pandas, R and any later techport can read.

    export_readings(store, FOLDER)   FOLDER/manifest.json and FOLDER/readings-00000.parquet, ..., stream by stream
    import_readings(FOLDER, store)   into a store that holds nothing yet

Both can be stopped and started again. An export appears under its name only when it is whole. An import that was
stopped goes on with `resume`: rows that the store has already are duplicates.
"""

from __future__ import annotations

import hashlib
import itertools
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
from pyarrow import parquet

from techport_storage.columns import batch_of, tables_of
from techport_storage.errors import StoreError
from techport_storage.model import RAW_SCHEMA, Query, Selection, Stream
from techport_storage.reading_store import ReadingStore

FORMAT = 1
"""Of the folder. Columns: RAW_SCHEMA."""

MANIFEST = "manifest.json"
_ROWS_OF_GROUP = 250_000  # what a reader of the file needs in memory
_GROUPS_OF_FILE = 16  # some 20 MB
_ROWS_OF_WRITE = 50_000

Progress = Callable[[int, int], None]
"""Called with what is done and with all there is: streams of an export, rows of an import."""


class CannotExport(StoreError):
    """The folder cannot be written or read as an export. Says what is wrong with it and what to do."""


class ExportedFile(msgspec.Struct, frozen=True):
    name: str
    rows: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """What is in an export."""

    format: int
    streams: int
    rows: int
    files: tuple[ExportedFile, ...]


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did: `written` rows were new, `duplicates` were there already."""

    written: int
    duplicates: int


def export_readings(store: ReadingStore, folder: Path, *, progress: Progress = lambda streams, of: None) -> Manifest:
    """Write all readings of a store into a new folder.

    Readings that arrive meanwhile may be in it or not. Stopped, it leaves `FOLDER.unfinished`, which the next call
    replaces.

    Parameters
    ----------
    store : ReadingStore
    folder : Path
        Must not exist yet.
    progress : callable
        Called with the number of streams done and of all.

    Returns
    -------
    Manifest

    Raises
    ------
    CannotExport
        The folder exists.
    StoreUnavailable
        The store stopped answering: the same call again starts over.
    """
    if folder.exists():
        raise CannotExport(f"{folder} exists already: name a new folder, or remove this one")
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    number = {stream: position for position, stream in enumerate(store.streams(Selection()))}
    files: list[ExportedFile] = []
    row_groups = tables_of(store.read(Query()), _ROWS_OF_GROUP)
    for first in row_groups:
        path = unfinished / f"readings-{len(files):05d}.parquet"
        rows = 0
        with parquet.ParquetWriter(path, RAW_SCHEMA, compression="zstd") as writer:
            for table in itertools.chain([first], itertools.islice(row_groups, _GROUPS_OF_FILE - 1)):
                writer.write_table(table.unify_dictionaries())
                rows += table.num_rows
                last = Stream(*(table[name][-1].as_py() for name in Stream._fields))
                progress(number.get(last, 0), len(number))
        files.append(ExportedFile(path.name, rows, _sha256(path)))
    manifest = Manifest(FORMAT, len(number), sum(file.rows for file in files), tuple(files))
    (unfinished / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=1))
    unfinished.rename(folder)
    progress(len(number), len(number))
    return manifest


def import_readings(
    folder: Path, store: ReadingStore, *, resume: bool = False, progress: Progress = lambda rows, of: None
) -> Imported:
    """Write the readings of an export into a store.

    Parameters
    ----------
    folder : Path
        What export_readings made, of any store.
    store : ReadingStore
        Must hold no readings, unless `resume`.
    resume : bool
        Go on with an import that was stopped. Rows that the store has already are counted as duplicates; where the
        values differ, the imported one is kept.
    progress : callable
        Called with the number of rows done and of all.

    Raises
    ------
    CannotExport
        The folder is not a whole export, a file in it is damaged, or the store already holds readings.
    StoreUnavailable
        The store stopped answering: go on with `resume`.
    """
    manifest = read_manifest(folder)
    if not resume and (held := len(store.streams(Selection()))):
        raise CannotExport(
            f"the store already holds readings of {held} streams: import into an empty one, or go on with an import "
            "that was stopped (--resume)"
        )
    for file in manifest.files:  # all of them before the first row is written
        if not (folder / file.name).is_file() or _sha256(folder / file.name) != file.sha256:
            raise CannotExport(f"{folder / file.name} is missing or damaged: make the export again")
    written = duplicates = 0
    for file in manifest.files:
        with parquet.ParquetFile(folder / file.name) as rows:
            for table in rows.iter_batches(_ROWS_OF_WRITE):
                receipt = store.write(batch_of(table.cast(RAW_SCHEMA)))
                if receipt.rejected:
                    row, reason = receipt.rejected[0]
                    raise CannotExport(f"the store rejects {table.slice(row, 1).to_pylist()[0]}: {reason}")
                written += receipt.written
                duplicates += receipt.duplicates + receipt.corrections
                progress(written + duplicates, manifest.rows)
    return Imported(written, duplicates)


def read_manifest(folder: Path) -> Manifest:
    """What is in an export. Raises CannotExport where it is not one, or of a newer techport."""
    try:
        manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    except OSError:
        raise CannotExport(f"{folder} is not an export: it has no {MANIFEST}") from None
    except msgspec.DecodeError as error:
        raise CannotExport(f"{folder / MANIFEST} cannot be read: {error}") from None
    if manifest.format > FORMAT:
        raise CannotExport(f"{folder} was exported by a newer techport (format {manifest.format}): import it with that")
    return manifest


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

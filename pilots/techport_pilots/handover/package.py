"""A pilot as one file to hand over: a zip that needs no platform to be read, and from which `open_package` restores it.

    readings.parquet, readings.csv   every reading, columns COLUMNS, ordered by stream and time
    devices.csv, streams.csv, events.csv, visits.csv
    photos.zip                       photos of devices, where there are any
    pilot.yaml                       the definition, with the events and exclusions of the registry
    evaluation.json, quality.json, history.json, entity-ids.json
    report-nb.html, report-en.html
    datapackage.json, dcat.ttl, ro-crate-metadata.json
    README.md, LICENCE.txt, SHA256SUMS

The comment of the zip is a signature of SHA256SUMS (signature.py).

Readings are streamed: memory does not grow with their number.
"""

from __future__ import annotations

import hashlib
import os
import uuid
import zipfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from io import RawIOBase
from pathlib import Path
from typing import IO, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv
import pyarrow.parquet as pq

from techport_pilots.model import PilotDefinition
from techport_storage.csv_cells import harmless_column
from techport_storage.model import RAW_SCHEMA, Micros, Query, Selection, Stream
from techport_storage.store import ReadingStore

COLUMNS = tuple(RAW_SCHEMA.names)
ROWS_AT_ONCE = 250_000  # of a row group
PART = ".part"  # ends the name of a package that is being written
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can say; the same data makes the same bytes

Progress = Callable[[str, int, int], None]
"""(what is under way, how much of it is done, out of how much; 0 when that is not known)."""


def no_progress(_step: str, _done: int, _total: int) -> None: ...


class PackageWriter:
    """Adds files to a package and remembers their sums. `rows` are the readings of the last series that was added."""

    def __init__(self, archive: zipfile.ZipFile, mode: int = 0o644) -> None:
        """`mode` is what the files are unpacked with."""
        self._archive = archive
        self._mode = mode
        self.sums: dict[str, str] = {}
        self.sizes: dict[str, int] = {}

    def add(self, name: str, content: str | bytes) -> None:
        data = content.encode() if isinstance(content, str) else content
        with self.opened(name) as file:
            file.write(data)

    @contextmanager
    def opened(self, name: str, compress: bool = True) -> Iterator[IO[bytes]]:
        """A file of the package to write to; one at a time."""
        entry = zipfile.ZipInfo(name, _EPOCH)
        entry.compress_type = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
        entry.external_attr = self._mode << 16
        with self._archive.open(entry, "w", force_zip64=True) as file:
            hashing = _Hashing(file)
            yield cast(IO[bytes], hashing)
        self.sums[name] = hashing.sum.hexdigest()
        self.sizes[name] = hashing.size


@contextmanager
def writing_package(
    path: Path, sign: Callable[[bytes], bytes] | None = None, private: bool = False
) -> Iterator[PackageWriter]:
    """A package that stands at `path` once this block is left without an exception, and not before.

    `sign` makes the comment of the zip from its SHA256SUMS. A `private` one and its files are for its owner's eyes only
    (mode 0600).

    Two that write it at once do not disturb each other: the one that is ready later replaces the other's.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}{PART}")
    try:
        mode = 0o600 if private else 0o644
        with open(part, "wb", opener=partial(os.open, mode=mode)) as file:
            with zipfile.ZipFile(file, "w") as archive:
                writer = PackageWriter(archive, mode)
                yield writer
                sums = "".join(f"{total}  {name}\n" for name, total in sorted(writer.sums.items()))
                writer.add("SHA256SUMS", sums)
                if sign is not None:
                    archive.comment = sign(sums.encode())
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_parquet(
    writer: PackageWriter, store: ReadingStore, select: Selection, progress: Progress, total: int = 0
) -> int:
    """readings.parquet; returns the number of rows. Raises StoreUnavailable."""
    rows = 0
    with (
        writer.opened("readings.parquet", compress=False) as file,
        pq.ParquetWriter(file, RAW_SCHEMA, compression="zstd") as parquet,
    ):
        for table in _tables(store, select):
            parquet.write_table(table, row_group_size=ROWS_AT_ONCE)
            rows += table.num_rows
            progress("readings.parquet", rows, total)
    return rows


def write_csv(writer: PackageWriter, store: ReadingStore, select: Selection, progress: Progress, total: int = 0) -> int:
    """readings.csv: times in UTC with microseconds, numbers that read back to the bit. Raises StoreUnavailable."""
    rows = 0
    with writer.opened("readings.csv") as file:
        file.write((",".join(COLUMNS) + "\n").encode())
        for table in _tables(store, select):
            pcsv.write_csv(_plain(table), file, pcsv.WriteOptions(include_header=False, quoting_style="needed"))
            rows += table.num_rows
            progress("readings.csv", rows, total)
    return rows


def write_photos(writer: PackageWriter, photos: Sequence[Path]) -> None:
    """photos.zip, as one file: a package has a bounded number of them. Nothing where there are no photos."""
    if not photos:
        return
    with writer.opened("photos.zip", compress=False) as file, zipfile.ZipFile(file, "w") as inner:
        for path in photos:
            inner.writestr(zipfile.ZipInfo(path.name, _EPOCH), path.read_bytes())


def selection_of(pilot: PilotDefinition, store: ReadingStore, lent: Collection[Stream]) -> Selection:
    """All streams of the pilot, and those that other pilots lend its KPIs: without them the numbers could not be
    worked out again."""
    own = store.streams(Selection(pilots=(pilot.id,)))
    return Selection(streams=(*own, *sorted(lent)))


def sums_of(text: str) -> Mapping[str, str]:
    """File: SHA-256, as SHA256SUMS says it."""
    return {name: total for total, name in (line.split("  ", 1) for line in text.splitlines() if "  " in line)}


class _Hashing(RawIOBase):
    """Writes on, and sums up what went through."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.sum = hashlib.sha256()
        self.size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        view = memoryview(data)  # type: ignore[arg-type]
        self.sum.update(view)
        self.size += view.nbytes
        self._file.write(view)
        return view.nbytes

    def tell(self) -> int:
        return self.size


def _tables(store: ReadingStore, select: Selection) -> Iterator[pa.Table]:
    """The readings in pieces of about ROWS_AT_ONCE."""
    if select.streams == ():
        return
    waiting: list[pa.RecordBatch] = []
    rows = 0
    with store.read(Query(select=select)) as reader:
        for batch in reader:
            waiting.append(batch)
            rows += batch.num_rows
            if rows >= ROWS_AT_ONCE:
                yield pa.Table.from_batches(waiting, RAW_SCHEMA).unify_dictionaries()
                waiting, rows = [], 0
    if rows:
        yield pa.Table.from_batches(waiting, RAW_SCHEMA).unify_dictionaries()


def _plain(table: pa.Table) -> pa.Table:
    """Names and times as text, names as a spreadsheet may have them."""
    columns = []
    for name in COLUMNS:
        column = table[name]
        if pa.types.is_dictionary(column.type):
            column = harmless_column(column.cast(pa.string()))
        elif pa.types.is_timestamp(column.type):
            column = pc.strftime(column.cast(pa.timestamp("us")), format="%Y-%m-%dT%H:%M:%SZ")
        columns.append(column)
    return pa.table(columns, list(COLUMNS))


def instant(time: Micros) -> str:
    """A time as readings.csv writes it."""
    scalar = pa.array([time], pa.int64()).cast(pa.timestamp("us"))
    return str(pc.strftime(scalar, format="%Y-%m-%dT%H:%M:%SZ")[0].as_py())

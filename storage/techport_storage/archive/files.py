"""One Parquet file of the archive: readings of one pilot and month, stream by stream, each in order of time.

Its footer says which streams it holds, how many rows of each and from when to when (under the key `techport`), so that
the rows of a stream are found by counting: nothing is searched, and no name is compared row by row.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet

from techport_storage.columns import group_by_stream
from techport_storage.errors import StoreIncompatible
from techport_storage.model import TIME, Micros, Stream

ROWS_OF_GROUP = 50_000  # what a reader of one stream has to decode at least: some milliseconds, 2 MB
ROWS_OF_FILE = 20_000_000

FILE_SCHEMA = pa.schema(
    [
        pa.field("device", pa.string()),
        pa.field("quantity", pa.string()),
        pa.field("time", TIME),
        pa.field("value", pa.float64()),
        pa.field("received", TIME),
        pa.field("quality", pa.int16()),  # Delta Lake has no unsigned numbers
    ]
)
"""Columns of a file; pilot and month are in the table's log."""

KEY = "techport"
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)


class Contents(msgspec.Struct):
    """The streams of a file in their order, as columns."""

    device: list[str] = []
    quantity: list[str] = []
    rows: list[int] = []
    first: list[Micros] = []
    last: list[Micros] = []

    def add(self, stream: Stream, time: NDArray[np.int64]) -> None:
        """Note the next rows of the file."""
        if self.device and (self.device[-1], self.quantity[-1]) == stream[1:]:
            self.rows[-1] += len(time)
            self.last[-1] = int(time[-1])
            return
        self.device.append(stream.device)
        self.quantity.append(stream.quantity)
        self.rows.append(len(time))
        self.first.append(int(time[0]))
        self.last.append(int(time[-1]))


@dataclass(frozen=True, slots=True)
class Piece:
    """The rows of one stream in one file."""

    begin: int
    rows: int
    first: Micros
    last: Micros


@dataclass(frozen=True)
class ArchivedFile:
    """A file that is part of the table."""

    path: str  # within the table
    pilot: str
    month: str
    size: int
    contents: Contents

    @cached_property
    def pieces(self) -> Mapping[Stream, Piece]:
        """Each stream's rows, in the order of the file."""
        begins = np.cumsum([0, *self.contents.rows])[:-1].tolist()
        columns = (begins, self.contents.rows, self.contents.first, self.contents.last)
        streams = zip(self.contents.device, self.contents.quantity, strict=True)
        return {
            Stream(self.pilot, *names): Piece(*piece)
            for names, piece in zip(streams, zip(*columns, strict=True), strict=True)
        }

    @property
    def rows(self) -> int:
        return sum(self.contents.rows)

    @property
    def first(self) -> Micros:
        return min(self.contents.first)

    @property
    def last(self) -> Micros:
        return max(self.contents.last)


class FileWriter:
    """Writes the rows of one pilot and month, in order, into one file."""

    def __init__(self, sink: Any) -> None:
        self._writer = parquet.ParquetWriter(
            sink,
            FILE_SCHEMA,
            compression="zstd",
            sorting_columns=[parquet.SortingColumn(column) for column in range(3)],
        )
        self._waiting: list[pa.RecordBatch] = []
        self._size = 0
        self.contents = Contents()
        self.rows = 0

    def write(self, rows: pa.RecordBatch) -> None:
        """Append rows of RAW_SCHEMA."""
        time = rows.column("time").cast(pa.int64()).to_numpy()
        for stream, part in group_by_stream(rows):
            self.contents.add(stream, time[part])
        columns = [rows.column(name).cast(FILE_SCHEMA.field(name).type) for name in FILE_SCHEMA.names]
        self._waiting.append(pa.RecordBatch.from_arrays(columns, schema=FILE_SCHEMA))
        self._size += rows.num_rows
        self.rows += rows.num_rows
        if self._size >= ROWS_OF_GROUP:
            self._flush()

    def close(self) -> None:
        self._flush()
        self._writer.add_key_value_metadata({KEY: msgspec.json.encode(self.contents).decode()})
        self._writer.close()

    def _flush(self) -> None:
        if self._size:
            self._writer.write_table(pa.Table.from_batches(self._waiting), row_group_size=ROWS_OF_GROUP)
        self._waiting, self._size = [], 0


def read_contents(metadata: parquet.FileMetaData, path: str) -> Contents:
    """What the footer of a file says. Raises StoreIncompatible for a file that another program wrote."""
    stated = (metadata.metadata or {}).get(KEY.encode())
    if stated is None:
        raise StoreIncompatible(
            f"{path} in the archive was written by another program: the archive is for other programs to read. Bring "
            "back the table as techport wrote it"
        )
    return msgspec.json.decode(stated, type=Contents)


@dataclass
class OpenFile:
    """A file that is being read; keeps the row group that was decoded last, since the next stream begins in it."""

    parquet_file: parquet.ParquetFile
    _group: int = -1
    _columns: pa.Table | None = None

    @cached_property
    def _edges(self) -> NDArray[np.int64]:
        metadata = self.parquet_file.metadata
        return np.cumsum([0, *(metadata.row_group(group).num_rows for group in range(metadata.num_row_groups))])

    def rows(self, piece: Piece, first: Micros, last: Micros) -> Iterator[pa.RecordBatch]:
        """Columns time, value, received, quality of the rows between two times, both included."""
        if piece.last < first or last < piece.first:
            return
        end = piece.begin + piece.rows
        edges = self._edges
        for group in range(int(np.searchsorted(edges, piece.begin, "right")) - 1, len(edges) - 1):
            if edges[group] >= end:
                return
            inside = piece.begin <= edges[group] and edges[group + 1] <= end
            if inside and not self._may_hold(group, first, last):
                continue
            table = self._load(group)
            low, high = max(piece.begin - int(edges[group]), 0), end - int(edges[group])
            part = table.slice(low, min(high, table.num_rows) - low)
            time = part["time"].cast(pa.int64()).to_numpy()
            begin, stop = (int(edge) for edge in np.searchsorted(time, [first, last + 1]))
            part = part.slice(begin, stop - begin)
            yield from part.to_batches()

    def _load(self, group: int) -> pa.Table:
        if self._group != group or self._columns is None:
            columns = self.parquet_file.read_row_group(group, ["time", "value", "received", "quality"])
            self._columns, self._group = columns.combine_chunks(), group
        return self._columns

    def _may_hold(self, group: int, first: Micros, last: Micros) -> bool:
        statistics = self.parquet_file.metadata.row_group(group).column(FILE_SCHEMA.names.index("time")).statistics
        if statistics is None or not statistics.has_min_max:
            return True
        low, high = ((edge - _EPOCH) // _MICROSECOND for edge in (statistics.min, statistics.max))
        return bool(first <= high and low <= last)

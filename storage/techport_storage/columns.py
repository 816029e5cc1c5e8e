"""The columns pilot, device and quantity of an answer: how they are made, and where in it each stream's rows are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, pairwise, starmap
from operator import ne

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from techport_storage.model import NAME, Batch, Stream


def name_columns(streams: Sequence[Stream], rows: NDArray[np.int32]) -> list[pa.DictionaryArray]:
    """Columns pilot, device and quantity of rows that belong to streams[rows[i]]."""
    columns = []
    for part in range(len(Stream._fields)):
        code: dict[str, int] = {}
        codes = np.array([code.setdefault(stream[part], len(code)) for stream in streams], np.int32)
        columns.append(pa.DictionaryArray.from_arrays(pa.array(codes[rows]), pa.array(list(code), NAME.value_type)))
    return columns


def group_by_stream(rows: pa.RecordBatch | pa.Table) -> Iterator[tuple[Stream, slice]]:
    """Each stream with the slice of its rows, in the order of the rows.

    The rows of a stream lie together in what a store answers, so each stream comes once. In rows of another order a
    stream comes once for each stretch of rows.
    """
    streams: list[Stream] = []
    firsts: list[int] = []
    offset = 0
    for batch in [rows] if isinstance(rows, pa.RecordBatch) else rows.to_batches():
        if batch.num_rows:
            names, starts = _stretches(batch)
            streams += names
            firsts += (starts + offset).tolist()
        offset += batch.num_rows
    changes = list(starmap(ne, pairwise(streams)))
    if not all(changes):  # stretches of one stream, side by side in two batches
        places = [0, *(place for place, changed in enumerate(changes, 1) if changed)]
        streams, firsts = [streams[place] for place in places], [firsts[place] for place in places]
    yield from zip(streams, starmap(slice, pairwise([*firsts, offset])), strict=True)


def reader_of(schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> pa.RecordBatchReader:
    """The batches as a reader. The first is made at once, so that what can fail then fails here, not while reading."""
    first = next(batches, None)
    return pa.RecordBatchReader.from_batches(schema, batches if first is None else chain([first], batches))


def tables_of(reader: pa.RecordBatchReader, rows: int) -> Iterator[pa.Table]:
    """What a reader brings, in tables of so many rows; the last may be shorter. Closes the reader."""
    gathered: list[pa.RecordBatch] = []
    size = 0
    with reader:
        for batch in reader:
            gathered.append(batch)
            size += batch.num_rows
            while size >= rows:
                table = pa.Table.from_batches(gathered)
                yield table.slice(0, rows)
                gathered = table.slice(rows).to_batches()
                size -= rows
    if size:
        yield pa.Table.from_batches(gathered)


def batch_of(rows: pa.RecordBatch | pa.Table) -> Batch:
    """Raw rows that a store answered (RAW_SCHEMA, stream by stream) as a batch that can be written."""
    groups = list(group_by_stream(rows))
    return Batch(
        streams=[stream for stream, _ in groups],
        stream=np.repeat(np.arange(len(groups), dtype=np.int32), [part.stop - part.start for _, part in groups]),
        time=rows.column("time").cast(pa.int64()).to_numpy(),
        value=rows.column("value").to_numpy(),
        received=rows.column("received").cast(pa.int64()).to_numpy(),
        quality=rows.column("quality").to_numpy(),
    )


def _stretches(batch: pa.RecordBatch) -> tuple[list[Stream], NDArray[np.int64]]:
    """The stream and the first row of each stretch of rows that belong to one stream."""
    columns = [batch.column(name) for name in Stream._fields]
    columns = [column if pa.types.is_dictionary(column.type) else column.dictionary_encode() for column in columns]
    codes = np.stack([column.indices.to_numpy(zero_copy_only=False) for column in columns])
    starts = np.append(0, np.flatnonzero((codes[:, 1:] != codes[:, :-1]).any(axis=0)) + 1)
    names = [
        column.dictionary.take(pa.array(column_codes)).to_pylist()
        for column, column_codes in zip(columns, codes[:, starts], strict=True)
    ]
    return list(map(Stream._make, zip(*names, strict=True))), starts

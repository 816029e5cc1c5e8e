"""Rows of several readers as one, in the order pilot, device, quantity, time, in constant memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from techport_storage.columns import group_by_stream, name_columns
from techport_storage.model import Stream

_BATCH = 16_384  # rows; streams with few rows share a record batch
_KEYS = len(Stream._fields)


class Stretch(NamedTuple):
    """Rows of one stream in order of time; `rows` has the columns behind the stream's, `time` first."""

    stream: Stream
    time: NDArray[np.int64]
    rows: pa.RecordBatch

    def part(self, begin: int, end: int) -> Stretch:
        return Stretch(self.stream, self.time[begin:end], self.rows.slice(begin, end - begin))


def stretches(batches: Iterable[pa.RecordBatch]) -> Iterator[Stretch]:
    """What a store answered, stream by stream. A stream may come in several stretches."""
    for batch in batches:
        time = batch.column("time").cast(pa.int64()).to_numpy()
        body = batch.select(batch.schema.names[_KEYS:])
        for stream, part in group_by_stream(batch):
            yield Stretch(stream, time[part], body.slice(part.start, part.stop - part.start))


def stretch(stream: Stream, rows: pa.RecordBatch) -> Stretch:
    """Rows whose columns begin with `time`."""
    return Stretch(stream, rows.column("time").cast(pa.int64()).to_numpy(), rows)


def merged(older: Iterator[Stretch], newer: Iterator[Stretch]) -> Iterator[Stretch]:
    """Both together, in order. Of two rows with the same stream and time the newer one counts."""
    left, right = next(older, None), next(newer, None)
    while left is not None and right is not None:
        if left.stream != right.stream:
            if left.stream < right.stream:
                yield left
                left = next(older, None)
            else:
                yield right
                right = next(newer, None)
            continue
        # As far as both reach: what comes behind may still have a row between from the other side.
        upto = min(left.time[-1], right.time[-1])
        cut_left, cut_right = (int(np.searchsorted(side.time, upto, "right")) for side in (left, right))
        yield _joined(left.part(0, cut_left), right.part(0, cut_right))
        left = left.part(cut_left, len(left.time)) if cut_left < len(left.time) else next(older, None)
        right = right.part(cut_right, len(right.time)) if cut_right < len(right.time) else next(newer, None)
    while left is not None:
        yield left
        left = next(older, None)
    while right is not None:
        yield right
        right = next(newer, None)


def record_batches(parts: Iterable[Stretch], schema: pa.Schema, limit: int | None = None) -> Iterator[pa.RecordBatch]:
    """Stretches as record batches of a schema, at most so many rows."""
    gathered: list[Stretch] = []
    size = 0
    for part in parts:
        if limit is not None:
            part = part.part(0, min(limit, len(part.time)))
            limit -= len(part.time)
        if len(part.time):
            gathered.append(part)
            size += len(part.time)
        if size >= _BATCH or limit == 0:
            if gathered:
                yield _batch(gathered, schema)
            gathered, size = [], 0
        if limit == 0:
            return
    if gathered:
        yield _batch(gathered, schema)


def _joined(older: Stretch, newer: Stretch) -> Stretch:
    if not len(older.time) or not len(newer.time):
        return newer if len(newer.time) else older
    time = np.concatenate([older.time, newer.time])
    order = np.argsort(time, kind="stable")  # of two rows of one time the newer one comes last
    time = time[order]
    last = np.append(time[1:] != time[:-1], True)
    rows = pa.concat_batches([older.rows, newer.rows.cast(older.rows.schema)])
    return Stretch(older.stream, time[last], rows.take(pa.array(order[last])))


def _batch(parts: Sequence[Stretch], schema: pa.Schema) -> pa.RecordBatch:
    number = np.repeat(np.arange(len(parts), dtype=np.int32), [len(part.time) for part in parts])
    body = schema.names[_KEYS:]
    target = pa.schema([schema.field(name) for name in body])
    rows = pa.concat_batches([part.rows.cast(target) for part in parts])
    columns = [*name_columns([part.stream for part in parts], number), *rows.columns]
    return pa.RecordBatch.from_arrays(columns, schema=schema)

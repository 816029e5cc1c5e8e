"""Rows as a server answers them, stream by stream, and how a query's streams and times become questions to it.

    query + streams (sorted) ─► spans: streams that share a range of time ─► the server ─► series ─► record batches

Nothing is held but what one record batch needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from techport_storage.columns import name_columns
from techport_storage.model import RAW_SCHEMA, TIME, Micros, Query, Stream

Column = NDArray[Any]  # int64 or float64
_BATCH = 16_384  # rows; streams with few rows share a record batch
_FIRST_PAGE = 4  # streams asked for at once when the number of rows is limited; then four times as many, and so on


@dataclass(frozen=True, slots=True)
class Series:
    """Rows of one stream, or some of them: others may follow in the next. `columns` begin with the time in µs."""

    stream: Stream
    columns: list[Column]

    def __len__(self) -> int:
        return len(self.columns[0])


@dataclass(frozen=True, slots=True)
class Span:
    """Streams, sorted, and the times that are asked of them, both ends included."""

    streams: Sequence[Stream]
    first: Micros
    last: Micros


def spans(query: Query, streams: Sequence[Stream], first: Micros, last: Micros) -> list[Span]:
    """What is left of the query behind its cursor, within the times that an engine can keep."""
    first = first if query.start is None else max(query.start, first)
    last = last if query.end is None else min(query.end - 1, last)
    if query.after is None:
        return [Span(streams, first, last)] if first <= last else []
    cursor = query.after
    # A bucket is named by its start: it has to be aggregated from there once more, and is then left out.
    rest = max(first, cursor.time + 1 if query.every is None else cursor.time)
    begun = [stream for stream in streams if stream == cursor.stream]
    remaining = [Span(begun, rest, last), Span([stream for stream in streams if stream > cursor.stream], first, last)]
    return [span for span in remaining if span.streams and span.first <= span.last]


def raw_batches(
    ask: Callable[[Span, int | None], Iterator[Series]], work: Sequence[Span], limit: int | None
) -> Iterator[pa.RecordBatch]:
    """The rows of a query without `every`, in record batches of RAW_SCHEMA.

    `ask` gives the rows of a span as [time, value, received in ms, quality], in order; of each stream it may leave out
    those behind the given number.
    """
    for span in _pages(work, limited=limit is not None):
        for batch in _batches(ask(span, limit)):
            if limit is not None:
                batch = batch.slice(0, limit)
                limit -= batch.num_rows
            yield batch
            if limit == 0:
                return


def table(rows: Sequence[Series]) -> pa.RecordBatch:
    """Series with the columns that raw_batches takes as one record batch of RAW_SCHEMA."""
    rank = np.repeat(np.arange(len(rows), dtype=np.int32), [len(part) for part in rows])
    time, value, received, quality = (np.concatenate(parts) for parts in zip(*(r.columns for r in rows), strict=True))
    columns = [
        *name_columns([part.stream for part in rows], rank),
        pa.array(time).cast(TIME),
        pa.array(value),
        pa.array(received * 1000).cast(TIME),
        pa.array(quality.astype(np.uint8)),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=RAW_SCHEMA)


def _batches(parts: Iterator[Series]) -> Iterator[pa.RecordBatch]:
    gathered: list[Series] = []
    size = 0
    for rows in parts:
        gathered.append(rows)
        size += len(rows)
        if size >= _BATCH:
            yield table(gathered)
            gathered, size = [], 0
    if gathered:
        yield table(gathered)


def _pages(remaining: Sequence[Span], limited: bool) -> Iterator[Span]:
    """A limited query needs few of its streams as a rule, so it begins with few."""
    size = _FIRST_PAGE
    for span in remaining:
        if not limited:
            yield span
            continue
        begin = 0
        while begin < len(span.streams):
            yield Span(span.streams[begin : begin + size], span.first, span.last)
            begin, size = begin + size, size * 4

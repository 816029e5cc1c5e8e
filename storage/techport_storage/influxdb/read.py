"""Raw rows of an InfluxStore, streamed.

    query + streams (sorted) ─► spans: streams that share a range of time ─► requests ─► series ─► record batches

InfluxDB sorts by device, pilot, quantity; with a statement for each pilot that is the order of the answer. One
statement sees one moment of the store, however slowly its answer is read; that of a later pilot may see a later one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from techport_storage.aggregate_sql import QUALITY_CONDITIONS
from techport_storage.columns import name_columns
from techport_storage.influxdb.connection import Connection, stream_bytes
from techport_storage.influxdb.query import COLUMNS, FIRST, KINDS, LAST, ql_conditions, ql_select, ql_times
from techport_storage.influxdb.responses import Series, series
from techport_storage.model import RAW_SCHEMA, TIME, Micros, QualityChoice, Query, Stream

_BATCH = 16_384  # rows; streams with few rows share a record batch
_FIRST_PAGE = 4  # streams asked for at once when the number of rows is limited; then four times as many, and so on


@dataclass(frozen=True, slots=True)
class Span:
    """Streams, sorted, and the times that are asked of them, both ends included."""

    streams: Sequence[Stream]
    first: Micros
    last: Micros


def spans(query: Query, streams: Sequence[Stream]) -> list[Span]:
    """What is left of the query behind its cursor."""
    first = FIRST if query.start is None else max(query.start, FIRST)
    last = LAST if query.end is None else min(query.end - 1, LAST)
    if query.after is None:
        return [Span(streams, first, last)] if first <= last else []
    cursor = query.after
    # A bucket is named by its start: it has to be aggregated from there once more, and is then left out.
    rest = max(first, cursor.time + 1 if query.every is None else cursor.time)
    begun = [stream for stream in streams if stream == cursor.stream]
    remaining = [Span(begun, rest, last), Span([stream for stream in streams if stream > cursor.stream], first, last)]
    return [span for span in remaining if span.streams and span.first <= span.last]


def raw(connection: Connection, query: Query, streams: Sequence[Stream]) -> Iterator[pa.RecordBatch]:
    """The rows of a query without `every`, in record batches of RAW_SCHEMA."""
    left = query.limit
    for span in _pages(spans(query, streams), limited=left is not None):
        for batch in _batches(raw_series(connection, span, query.quality, left)):
            if left is not None:
                batch = batch.slice(0, left)
                left -= batch.num_rows
            yield batch
            if left == 0:
                return


def raw_series(
    connection: Connection, span: Span, quality: QualityChoice, limit: int | None = None
) -> Iterator[Series]:
    """Rows as [time, value, received in ms, quality], in order; of each stream not more than `limit`."""
    asked_streams = frozenset(span.streams)
    ending = f" LIMIT {limit}" if limit is not None else ""
    times = ql_times(span.first, span.last)
    statements = [
        ql_select(COLUMNS, condition, QUALITY_CONDITIONS[quality], times, ending=ending)
        for condition in ql_conditions(span.streams)
    ]
    answer = connection.influxql(statements)
    for rows in series(stream_bytes(connection.address, answer), KINDS):
        if rows.stream in asked_streams and len(rows):
            yield rows


def table(rows: Sequence[Series]) -> pa.RecordBatch:
    """Series with the columns of raw_series() as one record batch of RAW_SCHEMA."""
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

"""Aggregates of an InfluxStore: where they are computed depends on what is asked.

    quality │ aggregates                          │ computed by
    all     │ mean min max sum count first last   │ Flux aggregateWindow, inside the storage engine: the fastest
    good    │ the same                            │ InfluxQL GROUP BY time(): Flux cannot filter one field by another
    any     │ all others; sums out of range;      │ here, over raw rows, by the SELECT that both engines share: equal
            │ local days that fit no quarter hour;│
            │ very short buckets over a long time │

InfluxDB's buckets have a fixed length; calendar buckets are put together here from hours or quarters of an hour.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from techport_storage.aggregate_sql import QUALITY_CONDITIONS
from techport_storage.buckets import bucket_edges, fixed_width
from techport_storage.influxdb.connection import Connection, stream_bytes
from techport_storage.influxdb.duplicates import bounds
from techport_storage.influxdb.query import (
    MEASUREMENT,
    flux_condition,
    name_of,
    ql_conditions,
    ql_select,
    ql_times,
    rfc3339,
)
from techport_storage.influxdb.read import Span, raw_series, spans
from techport_storage.influxdb.responses import Column, series, tables
from techport_storage.microseconds import HOUR
from techport_storage.model import Query, Stream
from techport_storage.query_check import check_zone
from techport_storage.row_aggregates import Buckets, aggregate_rows, bucket_batch

Int = NDArray[np.int64]


def aggregate_here(connection: Connection, query: Query, span: Span, calendar: Int | None) -> Iterator[Buckets]:
    """The buckets of a span, some at a time, in order. `calendar` are the edges of calendar buckets."""
    number = {stream: i for i, stream in enumerate(span.streams)}
    parts = raw_series(connection, span, query.quality)
    rows = ((number[part.stream], part.columns[0].astype(np.int64), part.columns[1]) for part in parts)
    return aggregate_rows(rows, query, calendar)


_PARTS = (HOUR, HOUR // 2, HOUR // 4)  # of which calendar buckets are put together
_PUSHED: frozenset[str] = frozenset({"mean", "min", "max", "sum", "count", "first", "last"})
_BUCKETS_PER_REQUEST = 500_000  # buckets of one request, all aggregates together: some 40 MB of text
_SMALLEST = 20_000
_SPARSE = 20_000_000  # more possible buckets of a stream than it has rows, as a rule

Calendar = NDArray[np.int64] | None


def aggregated(connection: Connection, query: Query, streams: Sequence[Stream]) -> Iterator[pa.RecordBatch]:
    """The rows of a query with `every`, as aggregate_schema(query.aggregates). Raises BadQuery."""
    left = query.limit
    work = spans(query, streams)
    if query.start is None or query.end is None or fixed_width(query.every) is None:  # type: ignore[arg-type]
        work = _clipped(connection, work)
    for span in work:
        for buckets in _answered(connection, query, span):
            behind = query.after.time if query.after is not None and query.after.stream in span.streams else None
            batch = bucket_batch(buckets, span.streams, query.aggregates, behind)
            if left is not None:
                batch = batch.slice(0, left)
                left -= batch.num_rows
            if batch.num_rows:
                yield batch
            if left == 0:
                return


def _clipped(connection: Connection, work: Sequence[Span]) -> list[Span]:
    """The spans, cut to where there are readings: a calendar of six centuries is long."""
    clipped = []
    for span in work:
        ends = bounds(connection, span.streams)
        if ends:
            first, last = min(low for low, _ in ends.values()), max(high for _, high in ends.values())
            cut = Span(span.streams, max(span.first, first), min(span.last, last))
            clipped += [cut] if cut.first <= cut.last else []
    return clipped


def _answered(connection: Connection, query: Query, span: Span) -> Iterator[Buckets]:
    assert query.every is not None
    width = fixed_width(query.every)
    calendar = None
    if width is None:
        calendar = bucket_edges(query.every, check_zone(query.zone), span.first, span.last)
        width = next((part for part in _PARTS if not (calendar % part).any()), None)
    sparse = width is None or (span.last - span.first) // width > _SPARSE
    if sparse or width is None or not _PUSHED.issuperset(query.aggregates):
        yield from aggregate_here(connection, query, span, calendar)
        return
    for part in _cut(span, width, calendar, query):
        pushed = _pushed(connection, query, part, width)
        if pushed is None:
            for buckets in aggregate_here(connection, query, part, calendar):
                yield _renumbered(buckets, part.streams, span.streams)
            continue
        whole = pushed if calendar is None else _put_together(pushed, calendar)
        yield _renumbered(whole, part.streams, span.streams)


def _cut(span: Span, width: int, calendar: Calendar, query: Query) -> Iterator[Span]:
    """Requests of bounded size: groups of streams, or one stream cut in time at the edges of buckets."""
    rows = _BUCKETS_PER_REQUEST if query.limit is None else min(_BUCKETS_PER_REQUEST, max(_SMALLEST, 2 * query.limit))
    rows //= len({*query.aggregates, "count"})
    buckets = (span.last - span.first) // width + 1
    if buckets <= rows:
        size = rows // buckets
        for begin in range(0, len(span.streams), size):
            yield Span(span.streams[begin : begin + size], span.first, span.last)
        return
    for stream in span.streams:
        first = span.first
        while first <= span.last:
            edge = first - first % width + rows * width
            if calendar is not None:
                edge = int(calendar[np.searchsorted(calendar, edge, "right") - 1])
                if edge <= first:
                    edge = int(calendar[np.searchsorted(calendar, first, "right")])
            yield Span([stream], first, min(edge - 1, span.last))
            first = edge


def _pushed(connection: Connection, query: Query, span: Span, width: int) -> Buckets | None:
    """Buckets of a fixed width as InfluxDB computes them. None where a sum went out of its range."""
    names = sorted({*query.aggregates, "count"})
    with np.errstate(invalid="ignore"):
        if query.quality == "all":
            buckets = _flux(connection, span, names, width)
        else:
            buckets = _influxql(connection, span, names, width, QUALITY_CONDITIONS[query.quality])
    return buckets if all(np.isfinite(column).all() for column in buckets.values.values()) else None


def _flux(connection: Connection, span: Span, names: Sequence[str], width: int) -> Buckets:
    """One aggregateWindow for each aggregate: on its own each is pushed down, as `reduce` would not be."""
    source = (
        f'from(bucket: "{_flux_text(connection.address.bucket)}")'
        f" |> range(start: {rfc3339(span.first * 1000)}, stop: {rfc3339(span.last * 1000 + 1)})"
        f' |> filter(fn: (r) => r._measurement == "{MEASUREMENT}" and r._field == "value"'
        f" and ({flux_condition(span.streams)}))"
    )
    script = "\n".join(
        f'{source} |> aggregateWindow(every: {width}us, fn: {name}, createEmpty: false, timeSrc: "_start")'
        f' |> drop(columns: ["_start", "_stop", "_field", "_measurement"]) |> yield(name: "{name}")'
        for name in names
    )
    answer = b"".join(stream_bytes(connection.address, connection.flux(script)))
    parts: dict[str, list[pa.Table]] = {name: [] for name in names}
    for name, rows in tables(answer, pa.float64()):
        parts[name].append(rows)
    number = {stream: i for i, stream in enumerate(span.streams)}
    columns = {name: _keyed(pa.concat_tables(rows), number, width) for name, rows in parts.items() if rows}
    if len(columns) < len(names):
        return Buckets(np.empty(0, np.int64), np.empty(0, np.int64), {name: np.empty(0) for name in names})
    return _joined(columns)


def _influxql(connection: Connection, span: Span, names: Sequence[str], width: int, quality: str) -> Buckets:
    columns = ", ".join(f"{name}(value)" for name in names)
    times = ql_times(span.first, span.last)
    statements = [
        ql_select(columns, condition, quality, times, bucket=f"time({width}u), ", ending=" fill(none)")
        for condition in ql_conditions(span.streams)
    ]
    answer = connection.influxql(statements)
    number = {stream: i for i, stream in enumerate(span.streams)}
    stream, time, values = [], [], []
    for rows in series(stream_bytes(connection.address, answer), [np.float64] * len(names)):
        if rows.stream in number and len(rows):
            stream.append(np.full(len(rows), number[rows.stream], np.int64))
            time.append(rows.columns[0])
            values.append(np.column_stack(rows.columns[1:]))
    if not stream:
        return Buckets(np.empty(0, np.int64), np.empty(0, np.int64), {name: np.empty(0) for name in names})
    table = np.concatenate(values)
    return Buckets(
        np.concatenate(stream),
        np.concatenate(time).astype(np.int64),
        {name: table[:, i] for i, name in enumerate(names)},
    )


def _keyed(rows: pa.Table, number: dict[Stream, int], width: int) -> tuple[Int, Int, NDArray[np.float64]]:
    """(stream, start of bucket, value), sorted, of the wanted streams."""
    keys = rows.select(list(Stream._fields)).combine_chunks()
    runs = np.flatnonzero(_changes(rows))
    names = keys.take(pa.array(runs)).to_pydict()
    names_of_runs = zip(*([name_of(tag) for tag in names[part]] for part in Stream._fields), strict=True)
    numbers = [number.get(Stream(*key), -1) for key in names_of_runs]
    stream = np.repeat(np.array(numbers, np.int64), np.diff(np.append(runs, rows.num_rows)))
    time = rows["time"].cast(pa.int64()).to_numpy()
    order = np.lexsort((time, stream))
    order = order[stream[order] >= 0]
    # Flux starts the first bucket where the range starts
    return stream[order], (time - time % width)[order], rows["value"].to_numpy()[order]


def _changes(rows: pa.Table) -> NDArray[np.bool_]:
    """Where a row belongs to another stream than the row above it."""
    changed = np.zeros(rows.num_rows, bool)
    changed[:1] = True
    for tag in Stream._fields:
        codes = rows[tag].combine_chunks().dictionary_encode().indices.to_numpy()
        changed[1:] |= codes[1:] != codes[:-1]
    return changed


def _joined(columns: dict[str, tuple[Int, Int, NDArray[np.float64]]]) -> Buckets:
    """Buckets that every aggregate has: one that a write began in between belongs to the next query."""
    stream, time, _ = columns["count"]
    if any(len(c[0]) != len(stream) or (c[0] != stream).any() or (c[1] != time).any() for c in columns.values()):
        common = set(zip(stream.tolist(), time.tolist(), strict=True))
        for other in columns.values():
            common &= set(zip(other[0].tolist(), other[1].tolist(), strict=True))
        for name, (s, t, v) in columns.items():
            in_common = np.array([key in common for key in zip(s.tolist(), t.tolist(), strict=True)], bool)
            columns[name] = (s[in_common], t[in_common], v[in_common])
        stream, time, _ = columns["count"]
    return Buckets(stream, time, {name: values for name, (_, _, values) in columns.items()})


def _put_together(parts: Buckets, calendar: Int) -> Buckets:
    """Calendar buckets from the shorter ones they consist of."""
    if not len(parts.time):
        return parts
    position = np.searchsorted(calendar, parts.time, "right") - 1
    starts = np.flatnonzero(np.append(True, (parts.stream[1:] != parts.stream[:-1]) | (position[1:] != position[:-1])))
    ends = np.append(starts[1:], len(position)) - 1
    count = parts.values["count"]
    values: dict[str, Column] = {}
    for name, column in parts.values.items():
        if name == "mean":
            values[name] = np.add.reduceat(column * count, starts) / np.add.reduceat(count, starts)
        elif name in ("first", "last"):
            values[name] = column[starts if name == "first" else ends]
        else:
            values[name] = {"min": np.minimum, "max": np.maximum}.get(name, np.add).reduceat(column, starts)
    return Buckets(parts.stream[starts], calendar[position[starts]], values)


def _renumbered(buckets: Buckets, part: Sequence[Stream], whole: Sequence[Stream]) -> Buckets:
    if not len(part) or part[0] == whole[0]:
        return buckets
    return Buckets(buckets.stream + whole.index(part[0]), buckets.time, buckets.values)


def _flux_text(name: str) -> str:
    return name.replace("\\", "\\\\").replace('"', '\\"').replace("${", "\\${")

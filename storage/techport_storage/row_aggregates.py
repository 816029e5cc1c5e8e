"""Aggregates over rows that come stream by stream, some at a time, by the SELECT that DuckStore's own come from.

For what an engine cannot compute itself, and for rows that come from two places at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from techport_storage.aggregate_sql import select
from techport_storage.buckets import fixed_width
from techport_storage.columns import name_columns
from techport_storage.model import TIME, Aggregate, Micros, Query, Stream, aggregate_schema

_ROWS_AT_ONCE = 1_000_000  # aggregated at once; a single bucket with more rows than that is gathered whole
_FIRST, _LAST = -(2**62), 2**62  # µs: before and after every time

Int = NDArray[np.int64]
Column = NDArray[Any]
Rows = tuple[int, Int, Column]
"""The number of a stream, times and values. Streams come in the order of their numbers, times ascend."""


@dataclass(frozen=True, slots=True)
class Buckets:
    """Aggregated rows, ordered by stream (its number in a list) and time, the start of the bucket."""

    stream: Int
    time: Int
    values: dict[str, Column]


def aggregate_rows(parts: Iterator[Rows], query: Query, calendar: Int | None) -> Iterator[Buckets]:
    """The buckets of the rows, some at a time, in order.

    Parameters
    ----------
    parts : iterator of Rows
        Of the quality that the query asks for, within its period. A stream may come in several parts.
    query : Query
        Its `every` and `aggregates` count, nothing else.
    calendar : array of int64, optional
        Edges of calendar buckets, µs, that cover all rows; None for buckets of a fixed width.
    """
    # One thread, so that the same rows give the same sums to the last digit, whoever adds them up first.
    with duckdb.connect(config={"enable_external_access": False, "lock_configuration": True, "threads": 1}) as con:
        if calendar is not None:
            con.register("calendar", pa.table([calendar[:-1]], ["bucket"]))
        for rows in _gathered(parts, query, calendar):
            yield _aggregate(con, query, rows)


def _gathered(parts: Iterator[Rows], query: Query, calendar: Int | None) -> Iterator[pa.Table]:
    """About _ROWS_AT_ONCE rows at once, never with one bucket in two of the tables."""
    gathered: list[pa.Table] = []
    size, enough = 0, _ROWS_AT_ONCE
    for number, time, value in parts:
        gathered.append(_table(np.full(len(time), number, np.int32), time, value))
        size += len(time)
        if size < enough:
            continue
        edge = _start(query, int(time[-1]), calendar)
        rows = pa.concat_tables(gathered)
        whole = (rows["stream"].to_numpy() != number) | (rows["time"].to_numpy() < edge)
        if whole.any():
            yield rows.filter(pa.array(whole))
        gathered = [rows.filter(pa.array(~whole))]
        size = gathered[0].num_rows
        enough = size + _ROWS_AT_ONCE
    if size:
        yield pa.concat_tables(gathered)


def _start(query: Query, time: int, calendar: Int | None) -> int:
    """Start of the bucket that `time` lies in."""
    if calendar is not None:
        return int(calendar[np.searchsorted(calendar, time, "right") - 1])
    assert query.every is not None
    return time - time % (fixed_width(query.every) or 1)


def _table(stream: NDArray[np.int32], time: Int, value: Column) -> pa.Table:
    """Laid out as a table of DuckStore; what aggregates do not look at is left at zero."""
    rest = {"delay": np.zeros(len(time), np.int64), "quality": np.zeros(len(time), np.uint8)}
    return pa.table({"stream": stream, "time": time, "value": value, **rest})


def _aggregate(con: duckdb.DuckDBPyConnection, query: Query, rows: pa.Table) -> Buckets:
    con.register("body", rows)
    streams = np.unique(rows["stream"].to_numpy())
    parameters = {
        "ids": streams.tolist(),
        "ranks": streams.tolist(),
        "low": int(streams[0]),
        "high": int(streams[-1]),
        "first": _FIRST,
        "last": _LAST,
        "after": _FIRST - 1,
        "rows": rows.num_rows,
    }
    every_row = msgspec.structs.replace(query, quality="all")  # rows came with the quality that is asked for
    stream, time, *values = con.sql(select(every_row, ("body",)), params=parameters).to_arrow_table().columns
    names = [*(name for name in query.aggregates if name != "count"), "count"]
    return Buckets(
        stream.to_numpy().astype(np.int64),
        time.to_numpy(),
        {name: column.to_numpy() for name, column in zip(names, values, strict=True)},
    )


def bucket_batch(
    buckets: Buckets, streams: Sequence[Stream], aggregates: Sequence[Aggregate], behind: Micros | None
) -> pa.RecordBatch:
    """Buckets as rows of aggregate_schema(aggregates); those that start behind a time, where one is given."""
    schema = aggregate_schema(aggregates)
    chosen = np.ones(len(buckets.time), bool) if behind is None else buckets.time > behind
    columns = [
        *name_columns(streams, buckets.stream[chosen].astype(np.int32)),
        pa.array(buckets.time[chosen]).cast(TIME),
    ]
    for field in list(schema)[4:]:
        column = buckets.values[field.name][chosen]
        columns.append(pa.array(column.astype(np.int64) if field.name == "count" else column, from_pandas=True))
    return pa.RecordBatch.from_arrays(columns, schema=schema)

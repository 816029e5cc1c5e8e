"""Aggregates computed beside the store, over raw rows as they stream in, by the very SQL that DuckStore runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from techport_storage import duck_sql
from techport_storage.buckets import fixed_width
from techport_storage.influx_answers import Column
from techport_storage.influx_http import Connection
from techport_storage.influx_query import FIRST, LAST
from techport_storage.influx_read import Span, raw_series
from techport_storage.model import Query

_ROWS = 1_000_000  # aggregated at once; a single bucket with more rows than that is gathered whole

Int = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Buckets:
    """Aggregated rows, ordered by stream (its number in a list) and time, the start of the bucket."""

    stream: Int
    time: Int
    values: dict[str, Column]


def aggregate_here(connection: Connection, query: Query, span: Span, calendar: Int | None) -> Iterator[Buckets]:
    """The buckets of a span, some at a time, in order. `calendar` are the edges of calendar buckets."""
    with duckdb.connect() as con:
        if calendar is not None:
            con.register("calendar", pa.table([calendar[:-1]], ["bucket"]))
        for rows in _rows(connection, query, span, calendar):
            yield _aggregate(con, query, rows)


def _rows(connection: Connection, query: Query, span: Span, calendar: Int | None) -> Iterator[pa.Table]:
    """Rows of the span, about _ROWS at once, never with one bucket in two of the tables."""
    number = {stream: i for i, stream in enumerate(span.streams)}
    gathered: list[pa.Table] = []
    size, enough = 0, _ROWS
    for found in raw_series(connection, span, query.quality == "good"):
        time, value, *_ = found.columns
        gathered.append(_table(np.full(len(time), number[found.stream], np.int32), time.astype(np.int64), value))
        size += len(time)
        if size < enough:
            continue
        edge = _start(query, int(time[-1]), calendar)
        rows = pa.concat_tables(gathered)
        whole = (rows["stream"].to_numpy() != number[found.stream]) | (rows["time"].to_numpy() < edge)
        if whole.any():
            yield rows.filter(pa.array(whole))
        gathered = [rows.filter(pa.array(~whole))]
        size = gathered[0].num_rows
        enough = size + _ROWS
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
        "first": FIRST,
        "last": LAST,
        "after": FIRST - 1,
        "rows": rows.num_rows,
    }
    stream, time, *values = con.sql(duck_sql.select(query, ("body",)), params=parameters).to_arrow_table().columns
    names = [*(name for name in query.aggregates if name != "count"), "count"]
    return Buckets(
        stream.to_numpy().astype(np.int64),
        time.to_numpy(),
        {name: column.to_numpy() for name, column in zip(names, values, strict=True)},
    )

"""Readings of several streams in the order of time, from one end on: the newest ten without reading a year.

A store gives rows stream by stream. Here a window of time at one end is read and sorted; each further window is wider
than the one before, until the reader has enough.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from techport_dashboards.problems import Problem
from techport_storage.columns import group_by_stream
from techport_storage.microseconds import MINUTE
from techport_storage.model import BucketWidth, Cursor, Micros, Query, Stream
from techport_storage.store import ReadingStore

MOST_SORTED = 5_000_000
"""Rows of one window."""
_WIDER = 4


def in_time_order(
    store: ReadingStore,
    query: Query,
    rows: int,
    interval: Micros | None,
    *,
    descending: bool,
    after: Cursor | None = None,
) -> Iterator[pa.Table]:
    """Raw rows as tables in RAW_SCHEMA, the oldest or the newest first; rows of one time in the order of their streams.

    Parameters
    ----------
    query : Query
        Which streams, from when to when; its limit and cursor are not used.
    rows : int
        How many the caller will want, for the width of the first window.
    interval : Micros or None
        About how often the streams together have a reading, in microseconds.
    after : Cursor, optional
        The last row that the caller has; rows behind it in the order are given.

    Raises
    ------
    Problem
        One window has more rows than can be sorted.
    StoreUnavailable
    """
    if after is not None:
        start, end = (query.start, after.time + 1) if descending else (after.time, query.end)
        query = _between(query, start, end)
    width = max(MINUTE, (interval or MINUTE) * (rows + 2))
    for first, last in _windows(store, query, width, descending):
        with store.read(_between(query, first, last, MOST_SORTED + 1)) as reader:
            table = reader.read_all()
        if table.num_rows > MOST_SORTED:
            raise Problem(
                "too-costly",
                "More than {n} readings lie in one stretch of time that has to be sorted.",
                n=f"{MOST_SORTED:,}",
                parameter="start",
                example="fewer streams, or order=stream",
            )
        if not table.num_rows:
            continue
        table = sorted_by_time(table, descending)
        if after is not None:
            table = behind(table, after, descending)
        if table.num_rows:
            yield table


def sorted_by_time(table: pa.Table, descending: bool) -> pa.Table:
    """Rows of the same time stay in the order of their streams."""
    time = times_of(table)
    order = np.argsort(-time if descending else time, kind="stable")
    return table.unify_dictionaries().combine_chunks().take(pa.array(order))


def behind(table: pa.Table, last: Cursor, descending: bool) -> pa.Table:
    """The rows of a sorted table that come after the last one that the caller has."""
    time = times_of(table)
    begin = int(np.searchsorted(-time if descending else time, -last.time if descending else last.time, "left"))
    end = int(np.searchsorted(-time if descending else time, -last.time if descending else last.time, "right"))
    same = sum(stream <= last.stream for stream in _streams(table.slice(begin, end - begin)))
    return table.slice(begin + same)


def times_of(table: pa.Table) -> NDArray[np.int64]:
    return np.asarray(table["time"].cast(pa.int64()).to_numpy(), np.int64)


def _streams(table: pa.Table) -> Iterator[Stream]:
    for batch in table.to_batches():
        for stream, rows in group_by_stream(batch):
            yield from [stream] * (rows.stop - rows.start)


def _windows(store: ReadingStore, query: Query, width: Micros, descending: bool) -> Iterator[tuple[Micros, Micros]]:
    """[first, last) after [first, last) over all the time that is asked for, each wider than the one before."""
    high = _behind_all(store, query)
    if descending and query.start is None:
        # The newest rows are what most ask for, and they are found without looking where all of them begin.
        yield high - width, high
        high, width = high - width, width * _WIDER
    low = max(query.start, _first(store, query, high)) if query.start is not None else _first(store, query, high)
    while low < high:
        first, last = (max(low, high - width), high) if descending else (low, min(high, low + width))
        yield first, last
        low, high = (low, first) if descending else (last, high)
        width *= _WIDER


def _first(store: ReadingStore, query: Query, high: Micros) -> Micros:
    """A time before the first row, or the end."""
    counting = Query(
        select=query.select, start=query.start, end=query.end, every=BucketWidth(1, "y"), aggregates=("count",)
    )
    with store.read(counting) as reader:
        years = [batch.column("time").cast(pa.int64()).to_numpy().min() for batch in reader if batch.num_rows]
    return int(min(years)) if years else high


def _behind_all(store: ReadingStore, query: Query) -> Micros:
    """The time behind the last row."""
    latest = store.latest(query.select)
    last = int(times_of(latest).max()) + 1 if latest.num_rows else 0
    return last if query.end is None else min(last, query.end)


def _between(query: Query, start: Micros | None, end: Micros | None, limit: int | None = None) -> Query:
    return Query(select=query.select, start=start, end=end, quality=query.quality, limit=limit)


def interval_of(intervals: list[Micros | None]) -> Micros | None:
    """About how often streams with these intervals together have a reading."""
    rates = [1 / interval for interval in intervals if interval]
    return max(1, int(1 / sum(rates))) if rates else None

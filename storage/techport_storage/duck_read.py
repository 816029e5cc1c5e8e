"""Reading a DuckStore in constant memory: a query is cut into slices of about a million rows, each one SELECT.

query ─► slices (groups of small streams, spans of large ones) ─► SELECT on one snapshot ─► record batches
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import duckdb
import numpy as np
import pyarrow as pa

from techport_storage import duck_sql
from techport_storage.duck_directory import FAR_FUTURE, FAR_PAST, Ids, names
from techport_storage.every import FIXED
from techport_storage.model import RAW_SCHEMA, TIME, Micros, Query, Stream, aggregate_schema

RAW_SLICE = 1_000_000  # rows that are sorted and handed over at once: some 40 MB
AGGREGATE_SLICE = 16_000_000  # rows that are scanned at once; what comes out is smaller
SMALLEST_SLICE = 20_000  # a page of few rows looks this far at least, so that a sparse stream takes few looks


@dataclass(frozen=True, slots=True)
class Slice:
    """Some streams (positions in the query's list of them) and a span of time, both ends included."""

    streams: range
    first: Micros
    last: Micros
    after: Micros = FAR_PAST  # aggregates: only buckets that start later


@dataclass(frozen=True, slots=True)
class Plan:
    """A query with what the directory knew about its streams when it was asked: arrays run parallel to `streams`."""

    query: Query
    streams: Sequence[Stream]
    ids: Ids
    rows: np.ndarray
    oldest: np.ndarray
    newest: np.ndarray

    @property
    def schema(self) -> pa.Schema:
        return RAW_SCHEMA if self.query.every is None else aggregate_schema(self.query.aggregates)

    def slices(self) -> Iterator[Slice]:
        """The whole query in the order of its answer."""
        query = self.query
        first = FAR_PAST if query.start is None else query.start
        last = FAR_FUTURE if query.end is None else query.end - 1
        begin = 0
        if query.after is not None:
            begin = sum(stream < query.after.stream for stream in self.streams)
            if begin < len(self.streams) and self.streams[begin] == query.after.stream:
                yield from self._rest_of_stream(begin, first, last, query.after.time)
                begin += 1
        yield from self._groups(begin, first, last)

    def _rest_of_stream(self, position: int, first: Micros, last: Micros, after: Micros) -> Iterator[Slice]:
        if self.query.every is None:
            yield from self._spans(position, max(first, after + 1), last)
        else:
            for slice in self._spans(position, max(first, after), last):
                yield replace(slice, after=after)

    def _groups(self, begin: int, first: Micros, last: Micros) -> Iterator[Slice]:
        size = self._slice_size()
        group, gathered = begin, 0.0
        for position in range(begin, len(self.streams)):
            expected = self._expected(position, first, last)
            if gathered + expected > size and position > group:
                yield from self._slices_of(range(group, position), first, last)
                group, gathered = position, 0.0
            gathered += expected
        if group < len(self.streams):
            yield from self._slices_of(range(group, len(self.streams)), first, last)

    def _slices_of(self, group: range, first: Micros, last: Micros) -> Iterator[Slice]:
        if len(group) == 1:
            yield from self._spans(group[0], first, last)
        else:
            yield Slice(group, first, last)

    def _spans(self, position: int, first: Micros, last: Micros) -> Iterator[Slice]:
        """One stream, cut in time as if its rows were spread evenly. Cuts fall on the edges of buckets."""
        parts = int(self._expected(position, first, last) // self._slice_size()) + 1
        low, high = max(first, int(self.oldest[position])), min(last, int(self.newest[position]))
        begin = first
        for part in range(1, parts):
            cut = self._edge(low + (high - low) * part // parts)
            if cut is not None and begin < cut <= last:
                yield Slice(range(position, position + 1), begin, cut - 1)
                begin = cut
        if begin <= last:
            yield Slice(range(position, position + 1), begin, last)

    def _edge(self, time: Micros) -> Micros | None:
        every = self.query.every
        if every is None:
            return time
        if every.unit not in FIXED:
            return None
        width = every.count * FIXED[every.unit]
        return time - time % width

    def _expected(self, position: int, first: Micros, last: Micros) -> float:
        low, high = int(self.oldest[position]), int(self.newest[position])
        covered = min(high, last) - max(low, first) + 1
        return float(self.rows[position]) * max(0, covered) / (high - low + 1)

    def _slice_size(self) -> int:
        if self.query.every is not None:
            return AGGREGATE_SLICE
        if self.query.limit is None:
            return RAW_SLICE
        return min(RAW_SLICE, max(SMALLEST_SLICE, 2 * self.query.limit))


def fetch(cursor: duckdb.DuckDBPyConnection, plan: Plan) -> Iterator[pa.RecordBatch]:
    """The rows of the plan, slice by slice, all of the state that the first SELECT saw."""
    sql = duck_sql.select(plan.query)
    left = plan.query.limit if plan.query.limit is not None else FAR_FUTURE
    for slice in plan.slices():
        ids = plan.ids[slice.streams.start : slice.streams.stop]
        parameters = {
            "ids": ids.tolist(),
            "ranks": list(slice.streams),
            "low": int(ids.min()),
            "high": int(ids.max()),
            "first": slice.first,
            "last": slice.last,
            "rows": left,
        }
        if plan.query.every is not None:
            parameters["after"] = slice.after
        table = cursor.sql(sql, params=parameters).to_arrow_table()
        if table.num_rows:
            yield from _named(table, plan).to_batches()
        left -= table.num_rows
        if left <= 0:
            return


def _named(table: pa.Table, plan: Plan) -> pa.Table:
    """The rows with the names of their streams for their ranks, in the types of the schema."""
    ranks = table.column(0).combine_chunks().to_numpy(zero_copy_only=False)
    columns = [*names(plan.streams, ranks), table.column(1).combine_chunks().cast(TIME)]
    for column, field in zip(table.columns[2:], list(plan.schema)[4:], strict=True):
        if field.name == "received":
            column = pa.array(column.to_numpy() * 1000)
        columns.append(
            column.combine_chunks().cast(field.type) if isinstance(column, pa.ChunkedArray) else column.cast(field.type)
        )
    return pa.Table.from_arrays(columns, schema=plan.schema)

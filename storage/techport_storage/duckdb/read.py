"""Reading a DuckStore in constant memory: a query is cut into slices of so many rows, each one SELECT.

query ─► slices (groups of small streams, spans of large ones) ─► SELECTs on one snapshot ─► tables
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from techport_storage.aggregate_sql import select
from techport_storage.buckets import bucket_edges, fixed_width
from techport_storage.columns import name_columns
from techport_storage.duckdb import sql
from techport_storage.duckdb.file import columns_of
from techport_storage.duckdb.index import FAR_FUTURE, FAR_PAST, Ids, StreamIndex
from techport_storage.model import RAW_SCHEMA, Micros, Query, Stream, aggregate_schema
from techport_storage.query_check import check_zone

Ints = NDArray[np.int32]

SLICE = 50_000  # rows that are sorted and handed over at once: some 15 MB while it is made
SCANNED = 4_000_000  # rows that are aggregated at once, where fewer come out
SMALLEST_SLICE = 20_000  # a page of few rows looks this far at least, so that sparse streams take few looks
MOST_SORTED_HERE = 1_000_000  # rows of a stream that is short enough to be sorted outside of DuckDB


@dataclass(frozen=True, slots=True)
class Slice:
    """Some of the query's streams, by rank, and a span of time, both ends included."""

    ranks: range
    first: Micros
    last: Micros
    after: Micros = FAR_PAST  # aggregates: only buckets that start later


@dataclass(frozen=True, slots=True)
class Plan:
    """A query, and what the directory knew of its streams when it was asked. The arrays run parallel to `streams`."""

    query: Query
    streams: Sequence[Stream]
    ids: Ids
    rows: NDArray[np.int64]
    oldest: NDArray[np.int64]
    newest: NDArray[np.int64]
    in_head: NDArray[np.int64]
    at_once: int | None = None  # rows of a slice; None: as an answer is handed over

    @classmethod
    def of(cls, query: Query, directory: StreamIndex) -> Plan:
        ids = directory.select(query.select)
        arrays = (directory.rows, directory.oldest, directory.newest, directory.in_head)
        rows, oldest, newest, in_head = (array[ids] for array in arrays)
        return cls(query, directory.names(ids), ids, rows, oldest, newest, in_head)

    @property
    def schema(self) -> pa.Schema:
        return RAW_SCHEMA if self.query.every is None else aggregate_schema(self.query.aggregates)

    def tables(self, section: Slice) -> Sequence[str]:
        """Those that may hold rows of the slice: the head is often behind its end."""
        behind = section.last < self.in_head[section.ranks.start : section.ranks.stop].min()
        return ("body",) if behind else ("body", "head")

    def calendar(self) -> NDArray[np.int64] | None:
        """Edges of the calendar buckets of all the streams. None where they are not needed. Raises BadQuery."""
        if self.query.every is None or fixed_width(self.query.every) is not None or not self.streams:
            return None
        first, last = self._asked()
        first, last = max(first, int(self.oldest.min())), min(last, int(self.newest.max()))
        if first > last:
            return None
        return bucket_edges(self.query.every, check_zone(self.query.zone), first, last)

    def slices(self, calendar: NDArray[np.int64] | None) -> Iterator[Slice]:
        """The whole query, in the order of its answer."""
        query = self.query
        first, last = self._asked()
        if calendar is not None:  # rows that arrived since would fall outside the calendar: they are the next query's
            first, last = max(first, int(calendar[0])), min(last, int(calendar[-1]) - 1)
        elif query.every is not None and fixed_width(query.every) is None:
            return
        begin = 0
        if query.after is not None:
            begin = sum(stream < query.after.stream for stream in self.streams)
            if begin < len(self.streams) and self.streams[begin] == query.after.stream:
                after = query.after.time
                rest = max(first, after + 1 if query.every is None else after)
                for section in self._spans(begin, rest, last, calendar):
                    yield replace(section, after=after)
                begin += 1
        yield from self._groups(begin, first, last, calendar)

    def _asked(self) -> tuple[Micros, Micros]:
        start, end = self.query.start, self.query.end
        return FAR_PAST if start is None else start, FAR_FUTURE if end is None else end - 1

    def _groups(self, begin: int, first: Micros, last: Micros, calendar: NDArray[np.int64] | None) -> Iterator[Slice]:
        group, gathered = begin, 0.0
        for rank in range(begin, len(self.streams) + 1):
            share = self._share(rank, first, last, calendar) if rank < len(self.streams) else np.inf
            if gathered + share > 1 and rank > group:
                if rank - group == 1:
                    yield from self._spans(group, first, last, calendar)
                else:
                    yield Slice(range(group, rank), first, last)
                group, gathered = rank, 0.0
            gathered += share

    def _spans(self, rank: int, first: Micros, last: Micros, calendar: NDArray[np.int64] | None) -> Iterator[Slice]:
        """One stream, cut in time as if its rows were spread evenly. Cuts fall on the edges of buckets."""
        parts = int(self._share(rank, first, last, calendar)) + 1
        low, high = max(first, int(self.oldest[rank])), min(last, int(self.newest[rank]))
        begin = first
        for part in range(1, parts):
            cut = self._edge(low + (high - low) * part // parts, calendar)
            if begin < cut <= last:
                yield Slice(range(rank, rank + 1), begin, cut - 1)
                begin = cut
        if begin <= last:
            yield Slice(range(rank, rank + 1), begin, last)

    def _edge(self, time: Micros, calendar: NDArray[np.int64] | None) -> Micros:
        if self.query.every is None:
            return time
        if calendar is not None:
            return int(calendar[np.searchsorted(calendar, time, "right") - 1])
        return time - time % (fixed_width(self.query.every) or 1)

    def _share(self, rank: int, first: Micros, last: Micros, calendar: NDArray[np.int64] | None) -> float:
        """How much of a slice the stream's part of the answer takes, as if its rows were spread evenly."""
        low, high = int(self.oldest[rank]), int(self.newest[rank])
        covered = max(0, min(high, last) - max(low, first) + 1)
        rows = float(self.rows[rank]) * covered / (high - low + 1)
        most = self.at_once or SLICE
        if self.query.limit is not None:
            most = min(most, max(SMALLEST_SLICE, 2 * self.query.limit))
        if self.query.every is None:
            return rows / most
        width = fixed_width(self.query.every)
        if width is None:
            width = 1 if calendar is None else int(calendar[-1] - calendar[0]) // (len(calendar) - 1)
        return max(rows / SCANNED, min(rows, covered / width + 1) / most)


class Fetch:
    """The answer to a plan, slice by slice, all from the state that its first SELECT saw."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection, plan: Plan) -> None:
        """The cursor must be in a transaction. Raises BadQuery."""
        self._cursor = cursor
        self._plan = plan
        self._left = FAR_FUTURE if plan.query.limit is None else plan.query.limit
        calendar = plan.calendar()
        if calendar is not None:
            cursor.register("calendar", pa.table([calendar[:-1]], ["bucket"]))
        self._slices = plan.slices(calendar)
        self._next = next(self._slices, None)
        self._following = next(self._slices, None)

    @property
    def done(self) -> bool:
        return self._next is None or self._left <= 0

    @property
    def is_one_select(self) -> bool:
        """Whether all of it comes from one SELECT, which sees one state by itself."""
        section = self._next
        if section is None or self._following is not None:
            return False
        return not self._is_sorted_here(section) or len(self._plan.tables(section)) == 1

    def _is_sorted_here(self, section: Slice) -> bool:
        single = len(section.ranks) == 1
        return single and self._plan.query.every is None and self._plan.rows[section.ranks.start] <= MOST_SORTED_HERE

    def table(self) -> pa.Table:
        """The rows of the next slice."""
        section = self._next
        assert section is not None
        self._next, self._following = self._following, next(self._slices, None)
        single = len(section.ranks) == 1
        if self._is_sorted_here(section):
            ranks, columns = self._of_one(section)
        else:
            ranks, columns = self._selected(section, not single)
        self._left -= len(ranks)
        return self._named(ranks, columns)

    def _selected(self, section: Slice, several: bool) -> tuple[Ints, list[NDArray[Any]]]:
        ids = self._plan.ids[section.ranks.start : section.ranks.stop]
        parameters: dict[str, object] = {
            "low": int(ids.min()),
            "high": int(ids.max()),
            "first": section.first,
            "last": section.last,
            "rows": self._left,
        }
        if several:
            parameters |= {"ids": ids.tolist(), "ranks": list(section.ranks)}
        if self._plan.query.every is not None:
            parameters["after"] = section.after
        columns = columns_of(self._cursor, select(self._plan.query, self._plan.tables(section), several), parameters)
        ranks = columns.pop(0) if several else np.full(len(columns[0]), section.ranks.start, np.int32)
        return ranks, columns

    def _of_one(self, section: Slice) -> tuple[Ints, list[NDArray[Any]]]:
        """Raw rows of a stream that has not more than can be held, so that nothing is lost by sorting them here."""
        query = self._plan.query
        parameters = {"low": int(self._plan.ids[section.ranks.start]), "first": section.first, "last": section.last}
        parts = [columns_of(self._cursor, sql.of_one(query, table), parameters) for table in self._plan.tables(section)]
        columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
        order = np.argsort(columns[0], kind="stable")[: self._left]
        time, value, delay, late, quality = (column[order] for column in columns)
        received = (time // 1000 + delay + late) * 1000
        return np.full(len(time), section.ranks.start, np.int32), [time, value, received, quality]

    def _named(self, ranks: Ints, columns: Sequence[NDArray[Any]]) -> pa.Table:
        """The rows with the names of their streams in place of the rank, in the types of the schema."""
        schema = self._plan.schema
        values = [pa.array(column).cast(field.type) for column, field in zip(columns, list(schema)[3:], strict=True)]
        return pa.Table.from_arrays([*name_columns(self._plan.streams, ranks), *values], schema=schema)

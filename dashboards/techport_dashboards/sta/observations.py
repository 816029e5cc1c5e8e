"""Observations: readings of the store under the names of SensorThings.

$filter ─► what narrows streams and times goes to the store │ what is left is asked of each row
$orderby time, id ─► from that end on, until the page is full; the next page begins behind its last row
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import pyarrow as pa

from techport_dashboards.problems import Problem
from techport_dashboards.query import times
from techport_dashboards.query.by_time import in_time_order, interval_of
from techport_dashboards.sta import old_links
from techport_dashboards.sta.entities import EntityGraph
from techport_dashboards.sta.filters import Resolve, conjuncts, evaluate, holds, names_in
from techport_dashboards.sta.odata import ast
from techport_dashboards.sta.options import Options
from techport_pilots.registry.entity_ids import observation_id
from techport_storage.columns import group_by_stream
from techport_storage.model import BucketWidth, Cursor, Micros, Query, Selection, Stream
from techport_storage.store import ReadingStore

MOST_LOOKED_AT = 200_000
"""Rows that one request may have looked at one by one."""
_ID = re.compile(r"([0-9]{1,10})([0-9]{16})")
_ODD_ID = re.compile(r"([0-9]{1,10})-(-?[0-9]{1,17})")
_TIME_NAMES = {"phenomenonTime", "resultTime"}


class Row(NamedTuple):
    stream: Stream
    time: Micros
    value: float
    received: Micros
    quality: int


@dataclass(frozen=True, slots=True)
class Asked:
    """Which Observations: streams, a range of time, and what every one of them has to satisfy besides."""

    streams: Sequence[Stream]
    start: Micros | None
    end: Micros | None
    rest: Sequence[Any]

    def query(self, **more: Any) -> Query:
        return Query(select=Selection(streams=tuple(self.streams)), start=self.start, end=self.end, **more)


def id_of(row: Row, world: EntityGraph) -> str:
    return observation_id(world.datastreams[row.stream], row.time)


def parse_id(text: str, world: EntityGraph) -> tuple[Stream, Micros] | None:
    """The stream and time that an id stands for; None for what is no id, or of a stream that there is not."""
    match = _ID.fullmatch(text) or _ODD_ID.fullmatch(text)
    stream = world.streams.get(int(match[1])) if match else None
    return (stream, int(match[2])) if match and stream else None


def find(text: str, world: EntityGraph, store: ReadingStore) -> Row | None:
    """The Observation of an id."""
    place = parse_id(text, world)
    row = _first_of(store, [place[0]], place[1], place[1] + 1) if place else None
    if row is None and text.isdecimal() and (old := old_links.observation_at(int(text), world)):
        return _first_of(store, old[0], old[1], old[1] + 1000)
    return row


def at(store: ReadingStore, stream: Stream, time: Micros) -> Row | None:
    """The reading of a stream at a time."""
    return _first_of(store, [stream], time, time + 1)


def _first_of(store: ReadingStore, streams: Sequence[Stream], start: Micros, end: Micros) -> Row | None:
    with store.read(Query(select=Selection(streams=tuple(streams)), start=start, end=end, limit=1)) as reader:
        return next(rows_of(reader.read_all()), None)


def rows_of(table: pa.Table) -> Iterator[Row]:
    for batch in table.to_batches():
        time, received = (batch.column(name).cast(pa.int64()).to_pylist() for name in ("time", "received"))
        value, quality = (batch.column(name).to_pylist() for name in ("value", "quality"))
        for stream, rows in group_by_stream(batch):
            for i in range(rows.start, rows.stop):
                yield Row(stream, time[i], value[i], received[i], quality[i])


def narrowed(
    streams: Sequence[Stream], options: Options, of_stream: Callable[[Stream], Resolve], world: EntityGraph
) -> Asked:
    """What of the filter the store can do, and what is left."""
    start: Micros | None = None
    end: Micros | None = None
    rest = []
    for term in conjuncts(options.filter):
        span = _span(term)
        if (text := _id_asked(term)) is not None:
            place = parse_id(text, world)
            streams = [stream for stream in streams if place is not None and stream == place[0]]
            span = (place[1], place[1] + 1) if place else (None, None)
        if span is not None:
            start = span[0] if start is None else start if span[0] is None else max(start, span[0])
            end = span[1] if end is None else end if span[1] is None else min(end, span[1])
        elif names_in(term) <= {"Datastream", "FeatureOfInterest"}:
            streams = [stream for stream in streams if holds(term, of_stream(stream))]
        else:
            rest.append(term)
    if start is not None and end is not None and end < start:
        end = start
    return Asked(sorted(streams), start, end, rest)


def _id_asked(term: Any) -> str | None:
    """The id in `id eq '...'`."""
    if not (isinstance(term, ast.Compare) and isinstance(term.comparator, ast.Eq)):
        return None
    left, right = term.left, term.right
    if isinstance(right, ast.Identifier):
        left, right = right, left
    if isinstance(left, ast.Identifier) and left.name == "id" and isinstance(right, ast.String):
        return str(right.val)
    return None


def _span(term: Any) -> tuple[Micros | None, Micros | None] | None:
    """[start, end) of a comparison of the time with a constant; None for any other term."""
    if not isinstance(term, ast.Compare):
        return None
    left, right, swap = term.left, term.right, False
    if isinstance(right, ast.Identifier):
        left, right, swap = right, left, True
    if not (
        isinstance(left, ast.Identifier)
        and left.name in _TIME_NAMES
        and isinstance(right, ast.DateTime | ast.Date | ast.Call)
    ):
        return None
    if isinstance(right, ast.Call) and names_in(right):
        return None
    value = evaluate(right, lambda name: None)
    if isinstance(right, ast.Date):
        value = dt.datetime.combine(value, dt.time(), dt.UTC)
    if not isinstance(value, dt.datetime):
        return None
    at = times.micros(value)
    kind = type(term.comparator)
    if swap:
        kind = {ast.Lt: ast.Gt, ast.Gt: ast.Lt, ast.LtE: ast.GtE, ast.GtE: ast.LtE}.get(kind, kind)
    spans: dict[type, tuple[Micros | None, Micros | None]] = {
        ast.Lt: (None, at),
        ast.LtE: (None, at + 1),
        ast.Gt: (at + 1, None),
        ast.GtE: (at, None),
        ast.Eq: (at, at + 1),
    }
    return spans.get(kind)


def page(
    store: ReadingStore,
    world: EntityGraph,
    asked: Asked,
    options: Options,
    resolver: Callable[[Row], Resolve],
    after: Cursor | None,
) -> tuple[list[Row], bool]:
    """The rows that the options ask for, and whether more follow."""
    if not asked.streams:
        return [], False
    most = options.skip + options.top + 1
    first = options.orderby[0] if options.orderby else None
    if first is None or (first.text in _TIME_NAMES and len(asked.streams) == 1 and not first.descending):
        rows = _streamed(store, asked, after, None if asked.rest else most)
    elif options.keyset and first.text in _TIME_NAMES:
        rows = _by_time(store, world, asked, most, first.descending, after)
    elif options.keyset:
        rows = _by_id(store, world, asked, most, first.descending, after)
    else:
        rows = None
    if rows is None:
        unsorted = list(_filtered(_streamed(store, asked, None, MOST_LOOKED_AT + 1), asked, resolver))
        matching = iter(_sorted(unsorted, options.orderby, resolver))
    else:
        matching = _filtered(rows, asked, resolver)
    some = list(islice(matching, options.skip, most))
    return some[: options.top], len(some) > options.top


def count(store: ReadingStore, asked: Asked, resolver: Callable[[Row], Resolve]) -> int:
    if not asked.streams:
        return 0
    if asked.rest:
        return sum(1 for _ in _filtered(_streamed(store, asked, None, None), asked, resolver))
    with store.read(asked.query(every=BucketWidth(1, "y"), aggregates=("count",))) as reader:
        return sum(sum(batch.column("count").to_pylist()) for batch in reader)


def last_of_each(store: ReadingStore, streams: Sequence[Stream]) -> dict[Stream, Row]:
    return {row.stream: row for row in rows_of(store.latest(Selection(streams=tuple(streams))))}


def span_of(store: ReadingStore, stream: Stream) -> tuple[Micros, Micros] | None:
    """Times of the first and the last reading."""
    select = Selection(streams=(stream,))
    with store.read(Query(select=select, limit=1)) as reader:
        first = next(rows_of(reader.read_all()), None)
    last = next(rows_of(store.latest(select)), None)
    return (first.time, last.time) if first and last else None


def _streamed(store: ReadingStore, asked: Asked, after: Cursor | None, limit: int | None) -> Iterator[Row]:
    with store.read(asked.query(limit=limit, after=after)) as reader:
        for batch in reader:
            for begin in range(0, batch.num_rows, 1000):  # most pages are short
                yield from rows_of(pa.Table.from_batches([batch.slice(begin, 1000)]))


def _by_time(
    store: ReadingStore, world: EntityGraph, asked: Asked, most: int, descending: bool, after: Cursor | None
) -> Iterator[Row]:
    """Rows of several streams in the order of time."""
    interval = interval_of([world.intervals.get(stream) for stream in asked.streams])
    tables = in_time_order(store, asked.query(), most, interval, descending=descending, after=after)
    for table in tables:
        for begin in range(0, table.num_rows, 1000):  # most pages are short
            yield from rows_of(table.slice(begin, 1000))


def _by_id(
    store: ReadingStore, world: EntityGraph, asked: Asked, most: int, descending: bool, after: Cursor | None
) -> Iterator[Row]:
    """Rows in the order of their ids as texts: Datastream by Datastream, each in the order of time."""
    streams = sorted(asked.streams, key=lambda stream: f"{world.datastreams[stream]}1", reverse=descending)
    begin = streams.index(after.stream) if after is not None and after.stream in streams else 0
    for place, stream in enumerate(streams[begin:]):
        of_stream = Asked([stream], asked.start, asked.end, asked.rest)
        after_in_stream = after if place == 0 else None
        if descending:
            yield from _by_time(store, world, of_stream, most, True, after_in_stream)
        else:
            yield from _streamed(store, of_stream, after_in_stream, None)


def _filtered(rows: Iterator[Row], asked: Asked, resolver: Callable[[Row], Resolve]) -> Iterator[Row]:
    if not asked.rest:
        yield from rows
        return
    for looked_at, row in enumerate(rows):
        if looked_at >= MOST_LOOKED_AT:
            raise _too_many()
        resolve = resolver(row)
        if all(holds(term, resolve) for term in asked.rest):
            yield row


def _sorted(rows: list[Row], orders: Sequence[Any], resolver: Callable[[Row], Resolve]) -> list[Row]:
    if len(rows) > MOST_LOOKED_AT:
        raise _too_many()
    for order in reversed(orders):
        rows.sort(key=lambda row: sort_key(evaluate(order.path, resolver(row))), reverse=order.descending)
    return rows


def sort_key(value: Any) -> tuple[int, Any]:
    """Nothing sorts first; numbers, times and texts each among themselves."""
    if value is None:
        return (0, 0)
    if isinstance(value, bool | int | float):
        return (1, value)
    return (2, value.timestamp()) if isinstance(value, dt.datetime) else (3, str(value))


def _too_many() -> Problem:
    return Problem(
        "too-costly",
        f"This filter or order would have to examine more than {MOST_LOOKED_AT:,} Observations one by one.",
        parameter="$filter",
        example="phenomenonTime ge 2026-11-01T00:00:00Z and result gt 5, of one Datastream; or /api/v1/readings",
    )

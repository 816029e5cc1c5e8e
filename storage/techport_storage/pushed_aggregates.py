"""Aggregates that a server computes where it can, and techport where it cannot: the same answer either way.

    aggregates                          │ computed by
    mean min max sum count first last   │ the server, in buckets of a fixed length
    all others; sums out of range;      │ here, over raw rows, by the SELECT that DuckStore's own come from
    local days that fit no quarter hour;│
    very short buckets over a long time │

Calendar buckets are put together here from hours or quarters of an hour.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from techport_storage.buckets import bucket_edges, fixed_width
from techport_storage.microseconds import HOUR
from techport_storage.model import Micros, QualityChoice, Query, Stream
from techport_storage.query_check import check_zone
from techport_storage.row_aggregates import Buckets, aggregate_rows, bucket_batch
from techport_storage.series import Column, Series, Span

Int = NDArray[np.int64]
Calendar = NDArray[np.int64] | None

_PARTS = (HOUR, HOUR // 2, HOUR // 4)  # of which calendar buckets are put together
_PUSHED: frozenset[str] = frozenset({"mean", "min", "max", "sum", "count", "first", "last"})
_BUCKETS_PER_REQUEST = 500_000  # buckets of one request, all aggregates together: some 40 MB of text
_SMALLEST = 20_000
_SPARSE = 20_000_000  # more possible buckets of a stream than it has rows, as a rule


class Server(Protocol):
    """What an engine computes itself."""

    def bounds(self, streams: Sequence[Stream]) -> Mapping[Stream, tuple[Micros, Micros]]:
        """Times of the oldest and the newest row of each of the (sorted) streams that has any."""

    def rows(self, span: Span, quality: QualityChoice) -> Iterator[Series]:
        """Raw rows in order; the columns begin with the time and the value."""

    def buckets(self, span: Span, names: Sequence[str], width: Micros, quality: QualityChoice) -> Buckets:
        """Buckets of a fixed width, counted from 1970, by stream (its number in the span) and time, in this order."""


def aggregated(server: Server, query: Query, work: Sequence[Span]) -> Iterator[pa.RecordBatch]:
    """The rows of a query with `every`, as aggregate_schema(query.aggregates). Raises BadQuery."""
    left = query.limit
    if query.start is None or query.end is None or fixed_width(query.every) is None:  # type: ignore[arg-type]
        work = _clipped(server, work)
    for span in work:
        for buckets in _answered(server, query, span):
            behind = query.after.time if query.after is not None and query.after.stream in span.streams else None
            batch = bucket_batch(buckets, span.streams, query.aggregates, behind)
            if left is not None:
                batch = batch.slice(0, left)
                left -= batch.num_rows
            if batch.num_rows:
                yield batch
            if left == 0:
                return


def no_buckets(names: Sequence[str]) -> Buckets:
    return Buckets(np.empty(0, np.int64), np.empty(0, np.int64), {name: np.empty(0) for name in names})


def _clipped(server: Server, work: Sequence[Span]) -> list[Span]:
    """The spans, cut to where there are readings: a calendar of six centuries is long."""
    clipped = []
    for span in work:
        ends = server.bounds(span.streams)
        if ends:
            first, last = min(low for low, _ in ends.values()), max(high for _, high in ends.values())
            cut = Span(span.streams, max(span.first, first), min(span.last, last))
            clipped += [cut] if cut.first <= cut.last else []
    return clipped


def _answered(server: Server, query: Query, span: Span) -> Iterator[Buckets]:
    assert query.every is not None
    width = fixed_width(query.every)
    calendar = None
    if width is None:
        calendar = bucket_edges(query.every, check_zone(query.zone), span.first, span.last)
        width = next((part for part in _PARTS if not (calendar % part).any()), None)
    sparse = width is None or (span.last - span.first) // width > _SPARSE
    if sparse or width is None or not _PUSHED.issuperset(query.aggregates):
        yield from _aggregate_here(server, query, span, calendar)
        return
    names = sorted({*query.aggregates, "count"})
    for part in _cut(span, width, calendar, query):
        pushed = _pushed(server, query.quality, part, names, width)
        if pushed is None:
            for buckets in _aggregate_here(server, query, part, calendar):
                yield _renumbered(buckets, part.streams, span.streams)
            continue
        whole = pushed if calendar is None else _put_together(pushed, calendar)
        yield _renumbered(whole, part.streams, span.streams)


def _aggregate_here(server: Server, query: Query, span: Span, calendar: Calendar) -> Iterator[Buckets]:
    """The buckets of a span, some at a time, in order. `calendar` are the edges of calendar buckets."""
    number = {stream: i for i, stream in enumerate(span.streams)}
    parts = server.rows(span, query.quality)
    rows = ((number[part.stream], part.columns[0].astype(np.int64), part.columns[1]) for part in parts)
    return aggregate_rows(rows, query, calendar)


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


def _pushed(server: Server, quality: QualityChoice, span: Span, names: Sequence[str], width: int) -> Buckets | None:
    """Buckets of a fixed width as the server computes them. None where a sum went out of its range."""
    with np.errstate(invalid="ignore"):
        buckets = server.buckets(span, names, width, quality)
    return buckets if all(np.isfinite(column).all() for column in buckets.values.values()) else None


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

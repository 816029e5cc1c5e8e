"""A store as others may see it: chosen streams under other names, as buckets of one width, within a period.

    question ─► streams by their other names ─► whole buckets of the source ─► rows ─► the question's own buckets

Nothing is kept: what is corrected or erased in the source is so here as well. Only buckets that are complete and lie
wholly within the period are given, each with one value, and every answer is made from these: whatever is asked, no
value, time or count is finer than a bucket.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import NoReturn

import duckdb
import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from techport_storage import clock
from techport_storage.aggregate_sql import select as aggregate_select
from techport_storage.buckets import bucket_edges, fixed_width
from techport_storage.columns import group_by_stream, name_columns, reader_of
from techport_storage.coverage import Coverage, coverage_by_reading
from techport_storage.microseconds import DAY, HOUR
from techport_storage.model import (
    RAW_SCHEMA,
    TIME,
    UNKNOWN_EXTENT,
    Aggregate,
    Batch,
    BucketWidth,
    Extent,
    Micros,
    Query,
    Receipt,
    Replacing,
    Selection,
    Stream,
    aggregate_schema,
)
from techport_storage.query_check import check_query, check_zone
from techport_storage.reading_store import ReadingStore

_MOST_AT_ONCE = 16  # streams that are read together
_ROWS_AT_ONCE = 200_000
_LONG: Micros = 3_650 * DAY  # how far back rows are thought to go where no beginning is asked for
_NEVER_NULL: frozenset[Aggregate] = frozenset({"mean", "sum", "share"})
_LATEST_FRESH_S = 15.0
_WIDER = 4
_FURTHEST = 12  # windows that are looked through for a stream's latest row; the last one has no beginning
_EARLIEST = -(2**55)  # µs, in the year 828: what is asked from before is asked from the beginning
_BEGINNING, _END = -(2**60), 2**60  # µs: before and after every time that is measured

Rows = tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64], NDArray[np.uint8]]
"""time, value, received and quality."""


@dataclass(frozen=True, slots=True)
class DerivedStream:
    """Where the rows of a stream come from: the source's stream, and what of it a bucket says."""

    source: Stream
    aggregate: Aggregate


@dataclass(frozen=True, slots=True)
class Derivation:
    """What is shown of the readings.

    Parameters
    ----------
    every : BucketWidth or None
        Width of the buckets; None shows each reading.
    zone : str
        For calendar buckets.
    start, end : Micros or None
        The period [start, end), µs; open where None.
    """

    every: BucketWidth | None
    zone: str
    start: Micros | None = None
    end: Micros | None = None


class DerivedStore:
    """A ReadingStore to read only. Safe to use from several threads."""

    def __init__(
        self, source: ReadingStore, derivation: Derivation, streams: Callable[[], Mapping[Stream, DerivedStream]]
    ) -> None:
        """`streams` gives the streams that there are now, by the names under which they are shown."""
        self._source = source
        self._derivation = derivation
        self._streams = streams
        self._zone = check_zone(derivation.zone)
        self._lock = threading.Lock()
        self._latest: tuple[object, float, pa.Table] | None = None

    # -- Reading

    def read(self, query: Query) -> pa.RecordBatchReader:
        """As ReadingStore.read, over the rows that are shown. Their quality is good and `received` is the end of the
        bucket, unless each reading is shown."""
        check_query(query)
        schema = RAW_SCHEMA if query.every is None else aggregate_schema(query.aggregates)
        return reader_of(schema, self._batches(query, schema))

    def latest(self, select: Selection, changed_since: Micros | None = None) -> pa.Table:
        """The row with the greatest time of each stream, at most a quarter of a minute old."""
        names = self._streams()
        high = self._behind(clock.now())
        with self._lock:
            cached = self._latest
            if cached is None or cached[0] != (high, tuple(names)) or time.monotonic() - cached[1] > _LATEST_FRESH_S:
                cached = self._latest = ((high, tuple(names)), time.monotonic(), self._find_latest(names, high))
        chosen = set(chosen_streams(names, select))
        selected = np.zeros(cached[2].num_rows, bool)
        for stream, part in group_by_stream(cached[2]):
            selected[part] = stream in chosen
        if changed_since is not None:
            selected &= cached[2].column("received").cast(pa.int64()).to_numpy() >= changed_since
        return cached[2].filter(pa.array(selected, pa.bool_()))

    def streams(self, select: Selection) -> list[Stream]:
        """The streams of the selection of which a row is shown."""
        return sorted(stream for stream, _ in group_by_stream(self.latest(select)))

    def coverage(self, intervals: Mapping[Stream, Micros], start: Micros, end: Micros) -> dict[Stream, Coverage]:
        """As ReadingStore.coverage, over the rows that are shown."""
        return coverage_by_reading(self, intervals, start, end)

    def extent(self, select: Selection, start: Micros | None = None, end: Micros | None = None) -> Extent:
        """Unknown: how many readings the source has, and when they change, is finer than what is shown."""
        return UNKNOWN_EXTENT

    def counts(self) -> dict[Stream, int] | None:
        """None, for the same reason."""
        return None

    def probe(self) -> None:
        """As the source's. Raises StoreUnavailable."""
        self._source.probe()

    def close(self) -> None:
        """Nothing to let go of: the source belongs to somebody else."""

    # -- Not for writing

    def write(self, batch: Batch, replacing: Replacing | None = None) -> Receipt:
        """Raises TypeError."""
        _refuse()

    def flag(self, batch: Batch) -> int:
        """Raises TypeError."""
        _refuse()

    def erase(self, select: Selection, start: Micros | None = None, end: Micros | None = None) -> int:
        """Raises TypeError."""
        _refuse()

    # -- Edges of buckets

    def _floor(self, at: Micros) -> Micros:
        """The last edge of a bucket that is not after this time."""
        every = self._derivation.every
        if every is None:
            return at
        width = fixed_width(every)
        return at - at % width if width is not None else int(bucket_edges(every, self._zone, at, at)[0])

    def _ceiling(self, at: Micros) -> Micros:
        """The first edge of a bucket that is not before this time."""
        edge = self._floor(at)
        every = self._derivation.every
        if edge == at or every is None:
            return at
        width = fixed_width(every)
        return edge + width if width is not None else int(bucket_edges(every, self._zone, at, at)[-1])

    def _ends(self, starts: NDArray[np.int64]) -> NDArray[np.int64]:
        """The end of each bucket."""
        every = self._derivation.every
        assert every is not None
        width = fixed_width(every)
        if width is not None or not len(starts):
            return starts + (width or 0)
        edges = bucket_edges(every, self._zone, int(starts.min()), int(starts.max()))
        return np.asarray(edges[np.searchsorted(edges, starts, "right")], np.int64)

    def _behind(self, now: Micros) -> Micros:
        """The edge behind the last bucket that is complete and within the period."""
        end = self._derivation.end
        every = self._derivation.every
        if every is None:
            return _END if end is None else end
        return self._floor(now if end is None else min(now, end))

    def _range(self, start: Micros | None, end: Micros | None) -> tuple[Micros | None, Micros]:
        """The range of the source that holds the whole buckets which begin in [start, end)."""
        behind = self._behind(clock.now())
        high = behind if end is None or end >= behind else self._ceiling(end)
        low = max((at for at in (start, self._derivation.start) if at is not None), default=None)
        if low is None or low < _EARLIEST:
            return None, high
        return (low if low >= high else self._ceiling(low)), high

    # -- Rows

    def _batches(self, query: Query, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        names = self._streams()
        chosen = [] if query.quality == "flagged" else chosen_streams(names, query.select)  # what is shown has no flag
        if query.after is not None:
            chosen = [stream for stream in chosen if stream >= query.after.stream]
        with ExitStack() as opened:
            if self._derivation.every is None:
                tables = self._readings(names, chosen, query)
            elif query.every is None:
                tables = self._buckets(names, chosen, query)
            else:
                con = opened.enter_context(
                    # Of two threads now one adds up first and now the other: the same question, another last digit.
                    duckdb.connect(config={"enable_external_access": False, "lock_configuration": True, "threads": 1})
                )
                tables = self._aggregates(con, names, chosen, query, schema)
            opened.enter_context(closing(tables))
            left = query.limit
            for table in tables:
                if left is not None:
                    table = table.slice(0, left)
                    left -= table.num_rows
                yield from table.cast(schema).combine_chunks().to_batches()
                if left == 0:
                    return

    def _readings(
        self, names: Mapping[Stream, DerivedStream], chosen: Sequence[Stream], query: Query
    ) -> Generator[pa.Table]:
        """Each reading, or buckets of the question's own, as the source gives them: stream by stream."""
        low, high = self._range(query.start, query.end)
        if low is not None and low >= high:
            return
        for stream in chosen:
            source = names[stream].source
            behind = query.after is not None and query.after.stream == stream
            asked = msgspec.structs.replace(
                query,
                select=Selection(streams=(source,)),
                start=low,
                end=high if high < _END else None,
                quality="good",
                after=query.after._replace(stream=source) if query.after is not None and behind else None,
            )
            with self._source.read(asked) as reader:
                for batch in reader:
                    rest = batch.select(batch.schema.names[len(Stream._fields) :])
                    named = name_columns([stream], np.zeros(batch.num_rows, np.int32))
                    yield pa.Table.from_arrays([*named, *rest.columns], names=batch.schema.names)

    def _buckets(
        self, names: Mapping[Stream, DerivedStream], chosen: Sequence[Stream], query: Query
    ) -> Generator[pa.Table]:
        """The rows that are shown, some streams at a time."""
        after = query.after
        if after is not None and chosen and chosen[0] == after.stream:
            start = after.time + 1 if query.start is None else max(query.start, after.time + 1)
            yield from self._rows({chosen[0]: names[chosen[0]]}, start, query.end, query.limit)
            chosen = chosen[1:]
        size = 1 if query.limit is not None else self._at_once(query.start, query.end)
        for begin in range(0, len(chosen), size):
            part = {stream: names[stream] for stream in chosen[begin : begin + size]}
            yield from self._rows(part, query.start, query.end, query.limit if size == 1 else None)

    def _aggregates(
        self,
        con: duckdb.DuckDBPyConnection,
        names: Mapping[Stream, DerivedStream],
        chosen: Sequence[Stream],
        query: Query,
        schema: pa.Schema,
    ) -> Generator[pa.Table]:
        """The question's own buckets over rows that are shown."""
        size = self._at_once(query.start, query.end)
        for begin in range(0, len(chosen), size):
            part = {stream: names[stream] for stream in chosen[begin : begin + size]}
            rows = pa.concat_tables([RAW_SCHEMA.empty_table(), *self._rows(part, query.start, query.end)])
            table = _aggregated(con, rows.unify_dictionaries(), query, schema)
            if query.after is not None and query.after.stream in part:
                table = _behind_row(table, query.after.stream, query.after.time)
            yield table

    def _at_once(self, start: Micros | None, end: Micros | None) -> int:
        """How many streams are read together, so that what is held at a time is bounded."""
        low, high = self._range(start, end)
        every = self._derivation.every
        width = DAY if every is None else fixed_width(every) or DAY
        buckets = (min(high, clock.now()) - (clock.now() - _LONG if low is None else low)) // width
        return max(1, min(_MOST_AT_ONCE, _ROWS_AT_ONCE // max(1, buckets)))

    def _rows(
        self,
        names: Mapping[Stream, DerivedStream],
        start: Micros | None,
        end: Micros | None,
        limit: int | None = None,
    ) -> Iterator[pa.Table]:
        """The buckets of these streams that are shown and begin in [start, end), in RAW_SCHEMA and in order: of one
        stream as the source gives them. Only of one stream there may be a limit."""
        low, high = self._range(start, end)
        if not names or (low is not None and low >= high):
            return
        shown = {derived.source: stream for stream, derived in names.items()}
        aggregates = tuple(sorted({derived.aggregate for derived in names.values()}))
        query = Query(
            select=Selection(streams=tuple(sorted(shown))),
            start=low,
            end=high,
            every=self._derivation.every,
            aggregates=aggregates,
            zone=self._derivation.zone,
            quality="good",
            limit=limit if _NEVER_NULL.issuperset(aggregates) else None,
        )
        with self._source.read(query) as reader:
            tables = (
                (pa.Table.from_batches([batch]) for batch in reader) if len(names) == 1 else iter([reader.read_all()])
            )
            for table in tables:
                pieces: dict[Stream, Rows] = {}
                for source, part in group_by_stream(table):
                    stream = shown[source]
                    rows = table.slice(part.start, part.stop - part.start)
                    pieces[stream] = self._bucket_rows(rows, names[stream])
                yield _table(pieces)

    def _bucket_rows(self, rows: pa.Table, derived: DerivedStream) -> Rows:
        begun = rows.column("time").cast(pa.int64()).to_numpy()
        value = rows.column(derived.aggregate).cast(pa.float64()).to_numpy()
        has_value = np.isfinite(value)  # decibels and directions may have none
        begun, value = begun[has_value], value[has_value]
        return begun, value, self._ends(begun), np.zeros(len(begun), np.uint8)

    # -- The latest row of each stream

    def _find_latest(self, names: Mapping[Stream, DerivedStream], high: Micros) -> pa.Table:
        """Looked for in windows that go further and further back."""
        holding = set(self._source.streams(Selection(streams=tuple(sorted(d.source for d in names.values())))))
        waiting = {stream: derived for stream, derived in names.items() if derived.source in holding}
        every = self._derivation.every
        behind, begin = min(high, clock.now() + HOUR), self._derivation.start
        width = 2 * (HOUR if every is None else behind - self._floor(behind - 1))
        latest: dict[Stream, Rows] = {}
        for step in range(_FURTHEST):
            if not waiting:
                break
            low = None if step == _FURTHEST - 1 else behind - width
            for first in range(0, len(waiting), _MOST_AT_ONCE):
                part = dict(list(waiting.items())[first : first + _MOST_AT_ONCE])
                look = self._last_buckets if every is not None else self._last_readings
                latest.update(look(part, low, behind))
            waiting = {stream: derived for stream, derived in waiting.items() if stream not in latest}
            if low is None or (begin is not None and low <= begin):
                break
            behind, width = low, width * _WIDER
        return _table(latest)

    def _last_buckets(
        self, names: Mapping[Stream, DerivedStream], low: Micros | None, high: Micros
    ) -> Iterator[tuple[Stream, Rows]]:
        for table in self._rows(names, low, high):
            yield from _last_rows(table)

    def _last_readings(
        self, names: Mapping[Stream, DerivedStream], low: Micros | None, high: Micros
    ) -> Iterator[tuple[Stream, Rows]]:
        """By the last hour that has readings, so that a long window is not read reading by reading."""
        counted = Query(every=BucketWidth(1, "h"), aggregates=("count",))
        for stream in names:
            select = msgspec.structs.replace(counted, select=Selection(streams=(stream,)), start=low, end=high)
            hour: Micros | None = None
            for batch in self.read(select):
                hour = int(batch.column("time").cast(pa.int64()).to_numpy()[-1]) if batch.num_rows else hour
            if hour is not None:
                begun = hour if low is None else max(hour, low)
                last = Query(select=Selection(streams=(stream,)), start=begun, end=min(hour + HOUR, high))
                yield from _last_rows(self.read(last).read_all())


def chosen_streams(names: Mapping[Stream, DerivedStream], select: Selection) -> list[Stream]:
    """The streams of the selection, sorted."""
    if select.streams is not None:
        return sorted(stream for stream in set(select.streams) if stream in names)
    asked = (select.pilots, select.devices, select.quantities)
    conditions = [(place, frozenset(name)) for place, name in enumerate(asked) if name is not None]
    return sorted(stream for stream in names if all(stream[place] in allowed for place, allowed in conditions))


def _reading_rows(rows: pa.Table) -> Rows:
    begun, received = (rows.column(name).cast(pa.int64()).to_numpy() for name in ("time", "received"))
    return begun, rows.column("value").to_numpy(), received, rows.column("quality").to_numpy()


def _table(pieces: Mapping[Stream, Rows]) -> pa.Table:
    """Rows of streams as a table in RAW_SCHEMA, in the order of the streams."""
    streams = sorted(stream for stream, rows in pieces.items() if len(rows[0]))
    if not streams:
        return RAW_SCHEMA.empty_table()
    numbers = np.repeat(np.arange(len(streams), dtype=np.int32), [len(pieces[stream][0]) for stream in streams])
    begun, value, received, quality = (np.concatenate([pieces[s][column] for s in streams]) for column in range(4))
    columns = [
        *name_columns(streams, numbers),
        pa.array(begun).cast(TIME),
        pa.array(value, pa.float64()),
        pa.array(received).cast(TIME),
        pa.array(quality, pa.uint8()),
    ]
    return pa.Table.from_arrays(columns, schema=RAW_SCHEMA)


def _last_rows(table: pa.Table) -> Iterator[tuple[Stream, Rows]]:
    begun, value, received, quality = _reading_rows(table)
    for stream, part in group_by_stream(table):
        last = slice(part.stop - 1, part.stop)
        yield stream, (begun[last], value[last], received[last], quality[last])


def _behind_row(table: pa.Table, stream: Stream, at: Micros) -> pa.Table:
    """The rows without those of the stream up to this time, which the reader has."""
    begun = table.column("time").cast(pa.int64()).to_numpy()
    keep = np.ones(table.num_rows, bool)
    for owner, part in group_by_stream(table):
        if owner == stream:
            keep[part] = begun[part] > at
    return table.filter(pa.array(keep, pa.bool_()))


def _aggregated(con: duckdb.DuckDBPyConnection, table: pa.Table, query: Query, schema: pa.Schema) -> pa.Table:
    """The question's buckets over rows that are shown, by the SELECT that every store shares."""
    if not table.num_rows:
        return schema.empty_table()
    groups = list(group_by_stream(table))
    streams = [stream for stream, _ in groups]
    numbers = np.repeat(np.arange(len(groups), dtype=np.int32), [part.stop - part.start for _, part in groups])
    rows = pa.table({"stream": numbers, "time": table.column("time").cast(pa.int64()), "value": table.column("value")})
    ids = list(range(len(groups)))
    parameters = {
        "ids": ids,
        "ranks": ids,
        "low": 0,
        "high": ids[-1],
        "first": _BEGINNING,
        "last": _END,
        "after": _BEGINNING - 1,
        "rows": rows.num_rows,
    }
    plain = msgspec.structs.replace(query, quality="all", select=Selection(), limit=None, after=None)
    assert query.every is not None
    if fixed_width(query.every) is None:
        at = rows.column("time").to_numpy()
        edges = bucket_edges(query.every, check_zone(query.zone), int(at.min()), int(at.max()))
        con.register("calendar", pa.table([edges[:-1]], ["bucket"]))
    con.register("body", rows)
    stream, begun, *values = con.sql(aggregate_select(plain, ("body",)), params=parameters).to_arrow_table().columns
    columns = [*name_columns(streams, stream.to_numpy().astype(np.int32)), begun.cast(TIME), *values]
    return pa.Table.from_arrays(columns, names=schema.names).cast(schema)


def _refuse() -> NoReturn:
    raise TypeError("a derived store is for reading only")

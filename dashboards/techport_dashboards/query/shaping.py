"""What becomes of rows behind the store: gaps filled, points picked for a drawing, a column for each stream.

These need the rows at once, so they take tables and refuse what is too large to hold; they add no reading: a filled
bucket has a count of zero, and a picked point is a reading as it came.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from tsdownsample import LTTBDownsampler, MinMaxDownsampler

from techport_dashboards.problems import Problem
from techport_dashboards.query.by_time import behind, sorted_by_time
from techport_dashboards.query.groups import CLASSES, Profile
from techport_dashboards.query.row_choice import Condition
from techport_dashboards.query.times import length
from techport_storage.buckets import bucket_edges, fixed_width
from techport_storage.columns import group_by_stream, name_columns
from techport_storage.model import TIME, Cursor, Micros, Query, Stream, aggregate_schema
from techport_storage.query_check import check_zone

Fill = Literal["none", "null", "previous", "linear"]
Order = Literal["stream", "time", "-time"]
Fitting = Callable[[Stream], str]
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

MOST_CELLS = 5_000_000
"""Numbers of one answer that is put together in memory: 40 MB, and some more while it is."""
MOST_CALENDAR = 500_000
"""Calendar buckets of one range: their edges are worked out one by one."""
MOST_COLUMNS = 2_000
_SHARE_OF_WINDOW = 0.75  # of the buckets of a window that must have readings
_CANCELLED = 1e-9  # length of a mean vector that is only rounding
MOST_POINTS = 20_000


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """How the rows are wanted. The default is: as the store gives them."""

    fill: Fill = "none"
    max_gap: Micros | None = None  # previous and linear: the longest time without readings that is filled
    wide: bool = False
    downsample: Literal["minmax", "lttb"] | None = None
    points: int = 1000
    order: Order = "stream"
    rolling: Micros | None = None  # width of the windows of running means
    asked_from: Micros | None = None  # with `rolling`: rows before are only what the first windows need
    fitting: bool = False  # each stream has the aggregate that fits its kind of quantity, and no other
    conditions: tuple[Condition, ...] = ()  # of the values of rows
    columns: tuple[str, ...] = ()  # in this order; all of them where there is none
    group: tuple[str, ...] = ()  # what the readings of several streams are put together by
    profile: Profile | None = None  # buckets are put together by the local clock or calendar
    time_weighted: bool = False  # each value counts for as long as it held
    hold: Micros | None = None  # and so long at most
    bucketed: bool = False  # with `group`: rows are buckets of time, too

    @property
    def regrouped(self) -> bool:
        """Whether rows are not a stream's own readings or buckets."""
        return bool(self.group) or self.profile is not None or self.time_weighted

    @property
    def timeless(self) -> bool:
        """Whether rows have no time: those of a profile, and groups over the whole range."""
        return self.profile is not None or self.one_range

    @property
    def one_range(self) -> bool:
        """Whether the whole range is one bucket."""
        return bool(self.group) and self.profile is None and not self.bucketed

    @property
    def _together(self) -> bool:
        return bool(self.wide or self.downsample or self.rolling or self.regrouped or self.fill != "none")

    @property
    def plain(self) -> bool:
        """Whether rows come in the order of the store, one by one."""
        return not self._together and self.order == "stream"

    @property
    def by_time(self) -> bool:
        """Whether only the order is another."""
        return not self._together and self.order != "stream"


def shaped(
    batches: Iterator[pa.RecordBatch],
    schema: pa.Schema,
    query: Query,
    streams: Sequence[Stream],
    shape: Shape,
    now: Micros,
    fitting: Fitting | None = None,
    label: Callable[[Stream], str] = "/".join,
) -> pa.Table:
    """The rows in that shape; `streams` are those that the query selects, also those that never sent. `fitting` names
    the one aggregate of each stream that a wide table shows; None: all. `label` names the columns of a wide table.
    Ask refuse_large first. Raises Problem."""
    table = picked(batches, schema, shape) if shape.downsample else gathered(batches, schema, shape)
    if shape.fill != "none":
        table = filled(table, query, streams, shape, now)
    if shape.rolling is not None:
        table = running(table, query, shape.rolling, fitting or (lambda _: query.aggregates[0]))
        if shape.asked_from is not None:
            table = table.filter(pc.greater_equal(table["time"].cast(pa.int64()), shape.asked_from))
    return ordered(widened(table, streams, fitting, label) if shape.wide else table, shape.order)


def refuse_large(query: Query, streams: Sequence[Stream], shape: Shape, now: Micros) -> None:
    """Raise a Problem where it is known before anything is read that the shape is too large, or cannot be."""
    if shape.fill != "none" or shape.time_weighted:
        numbers = len({"count", *query.aggregates})
        places = bucket_starts(query, now) if shape.time_weighted else places_of(query, shape, now)
        _refuse_above(len(places) * len(streams) * numbers, shape)


def places_of(query: Query, shape: Shape, now: Micros) -> Ints:
    """Every time that a stream can have a row of: starts of buckets, or the numbers of a profile's classes."""
    if shape.profile is not None:
        return np.array(CLASSES[shape.profile], np.int64)
    return np.zeros(1, np.int64) if shape.one_range else bucket_starts(query, now)


def gathered(batches: Iterator[pa.RecordBatch], schema: pa.Schema, shape: Shape) -> pa.Table:
    gathered_batches, cells = [], 0
    for batch in batches:
        cells += batch.num_rows * max(1, batch.num_columns - 4)
        _refuse_above(cells, shape)
        gathered_batches.append(batch)
    return pa.Table.from_batches(gathered_batches, schema)


def picked(batches: Iterator[pa.RecordBatch], schema: pa.Schema, shape: Shape) -> pa.Table:
    """Of each stream about `points` of its rows: those that make a line through them look as one through all.

    minmax keeps the lowest and highest of each stretch, lttb those that span the largest triangles.
    """
    tables: list[pa.Table] = []
    parts: list[pa.RecordBatch] = []
    cells, present = 0, None
    for stream, batch in _by_stream(batches):
        if stream != present:
            tables += [_pick(parts, shape)] if parts else []
            parts, present, cells = [], stream, 0
        cells += batch.num_rows * 2
        _refuse_above(cells, shape, MOST_CELLS * 10)  # of one stream: less than a GB
        parts.append(batch)
    tables += [_pick(parts, shape)] if parts else []
    return pa.concat_tables(tables) if tables else schema.empty_table()


def _by_stream(batches: Iterator[pa.RecordBatch]) -> Iterator[tuple[Stream, pa.RecordBatch]]:
    for batch in batches:
        for stream, rows in group_by_stream(batch):
            yield stream, batch.slice(rows.start, rows.stop - rows.start)


def _pick(parts: Sequence[pa.RecordBatch], shape: Shape) -> pa.Table:
    table = pa.Table.from_batches(parts).unify_dictionaries().combine_chunks()
    if table.num_rows <= shape.points:
        return table
    time, value = micros(table["time"]), table["value"].to_numpy()
    if shape.downsample == "minmax":
        chosen = MinMaxDownsampler().downsample(time, value, n_out=shape.points // 2 * 2)  # type: ignore[no-untyped-call]
    else:
        chosen = LTTBDownsampler().downsample(time, value, n_out=shape.points)  # type: ignore[no-untyped-call]
    return table.take(pa.array(np.unique(np.asarray(chosen, np.int64))))


def filled(table: pa.Table, query: Query, streams: Sequence[Stream], shape: Shape, now: Micros) -> pa.Table:
    """Every bucket of the range for every stream. Those that held nothing have a count of 0."""
    starts = places_of(query, shape, now)
    names = [name for name in query.aggregates if name != "count"]
    number = {stream: i for i, stream in enumerate(streams)}
    column = np.searchsorted(starts, micros(table["time"]))
    row = np.empty(table.num_rows, np.int64)
    for stream, rows in group_by_stream(table):
        row[rows] = number[stream]
    counts = np.zeros((len(streams), len(starts)), np.int64)
    counts[row, column] = table["count"].to_numpy()
    longest = shape.max_gap if shape.max_gap is not None else 3 * int(np.diff(starts).max(initial=0))
    columns = []
    for name in names:
        values = np.full(counts.shape, np.nan)
        values[row, column] = table[name].to_numpy()
        columns.append(pa.array(_completed(values, starts, shape.fill, longest).ravel(), from_pandas=True))
    ranks = np.repeat(np.arange(len(streams), dtype=np.int32), len(starts))
    keys = [*name_columns(streams, ranks), pa.array(np.tile(starts, len(streams))).cast(TIME)]
    return pa.Table.from_arrays([*keys, *columns, pa.array(counts.ravel())], schema=aggregate_schema(query.aggregates))


def running(table: pa.Table, query: Query, window: Micros, aggregate: Callable[[Stream], str]) -> pa.Table:
    """The table with a column `rolling`: of each bucket what the buckets of the window come to that ends with it.

    Means of means, as the limits of air quality directives are defined (2008/50/EC, annex XI: the highest 8-hour mean
    of a day, from running means of hourly ones); sums of sums; directions as unit vectors, sound levels as energy. Null
    where less than three quarters of the window's buckets have readings (the share that the directive asks for).
    """
    assert query.every is not None
    width = fixed_width(query.every) or length(query.every)
    buckets = round(window / width)
    needed = math.ceil(buckets * _SHARE_OF_WINDOW)
    result = np.full(table.num_rows, np.nan)
    counts = table["count"].to_numpy()
    times = micros(table["time"])
    for stream, rows in group_by_stream(table):
        name = aggregate(stream)
        values = table[name].slice(rows.start, rows.stop - rows.start).to_numpy(zero_copy_only=False)
        values = np.where(counts[rows] > 0, values, np.nan).astype(np.float64)
        index = pd.DatetimeIndex(times[rows].astype("datetime64[us]"))
        result[rows] = _running(pd.Series(values, index), pd.Timedelta(window, "us"), needed, name)
    return table.append_column("rolling", pa.array(result, from_pandas=True))


def _running(values: pd.Series[float], window: pd.Timedelta, needed: int, name: str) -> Floats:
    def mean(series: pd.Series[float]) -> Floats:
        return series.rolling(window, min_periods=needed).mean().to_numpy()

    match name:
        case "sum" | "count":
            return values.rolling(window, min_periods=needed).sum().to_numpy()
        case "energy_mean":
            with np.errstate(divide="ignore"):
                return np.asarray(10 * np.log10(mean(10 ** (values / 10))), np.float64)
        case "vector_mean":
            radians = np.radians(values)
            east, north = mean(pd.Series(np.sin(radians), values.index)), mean(pd.Series(np.cos(radians), values.index))
            cancelled = np.hypot(east, north) < _CANCELLED
            return np.where(cancelled, np.nan, np.degrees(np.arctan2(east, north)) % 360)
    return mean(values)


def bucket_starts(query: Query, now: Micros) -> Ints:
    """Starts of all buckets of the range, which ends now where no end is given. Raises Problem without a start."""
    if query.every is None or query.start is None:
        missing = "every" if query.every is None else "start"
        example = {"every": "PT1H", "start": "-P7D"}[missing]
        raise Problem("bad-parameter", f"`fill` requires {missing}.", parameter=missing, example=example)
    end = now if query.end is None else query.end
    if end <= query.start:
        return np.empty(0, np.int64)
    width = fixed_width(query.every)
    if width is None:
        _refuse_above((end - query.start) // length(query.every), Shape(fill="null"), MOST_CALENDAR)
        return bucket_edges(query.every, check_zone(query.zone), query.start, end - 1)[:-1]
    first = query.start - query.start % width
    _refuse_above((end - first) // width, Shape(fill="null"))
    return np.arange(first, end, width, dtype=np.int64)


def end_of_bucket(query: Query, starts: Ints) -> Micros:
    """Where the last of the buckets of a range ends."""
    assert query.every is not None
    if not len(starts):
        return query.start or 0
    last = int(starts[-1])
    width = fixed_width(query.every)
    return last + width if width else int(bucket_edges(query.every, check_zone(query.zone), last, last)[-1])


def _completed(values: Floats, starts: Ints, fill: Fill, longest: Micros) -> Floats:
    """The values with gaps filled that are not longer than that; a gap lasts as long as its empty buckets together."""
    if fill == "null" or not values.size:
        return values
    has_value = ~np.isnan(values)
    places = np.arange(values.shape[1])
    edges = np.append(starts, 2 * starts[-1] - starts[-2] if len(starts) > 1 else starts[-1])
    before = np.maximum.accumulate(np.where(has_value, places, -1), axis=1)
    after = np.minimum.accumulate(np.where(has_value, places, len(places))[:, ::-1], axis=1)[:, ::-1]
    empty = ~has_value & (before >= 0) & (edges[after] - edges[before + 1] <= longest)
    left, right = np.maximum(before, 0), np.minimum(after, len(places) - 1)
    low, high = (np.take_along_axis(values, index, axis=1) for index in (left, right))
    if fill == "previous":
        return np.where(empty, low, values)
    between = empty & (after < len(places))
    gap = starts[right] - starts[left]
    share = np.where(between, (starts[places] - starts[left]) / np.maximum(gap, 1), 0)
    return np.where(between, low + (high - low) * share, values)


def widened(
    table: pa.Table,
    streams: Sequence[Stream] = (),
    fitting: Fitting | None = None,
    label: Callable[[Stream], str] = "/".join,
) -> pa.Table:
    """A row for each time and a column for each stream, `pilot/device/quantity`; `:aggregate` behind it where several
    were asked for. Of `streams` without a row the column is empty. Flags and counts are left out."""
    names = [name for name in table.column_names[4:] if name not in ("count", "received", "quality", "completeness")]
    names = names or ["count"]
    times, row = np.unique(micros(table["time"]), return_inverse=True)
    parts: dict[Stream, list[slice]] = {stream: [] for stream in streams}
    for stream, rows in group_by_stream(table):
        parts.setdefault(stream, []).append(rows)
    per_stream = 1 if fitting else len(names)
    if len(parts) * per_stream > MOST_COLUMNS:
        raise Problem(
            "too-costly",
            f"A wide table can have at most {MOST_COLUMNS} columns; this one would have {len(parts) * per_stream}.",
            parameter="shape",
            example="long",
        )
    _refuse_above(len(times) * len(parts) * per_stream, Shape(wide=True))
    columns: dict[str, pa.Array] = {"time": pa.array(times).cast(TIME)}
    for stream in sorted(parts):
        for name in names if fitting is None else [fitting(stream)]:
            values = np.full(len(times), np.nan)
            for rows in parts[stream]:
                values[row[rows]] = table[name].slice(rows.start, rows.stop - rows.start).to_numpy()
            key = label(stream)
            columns[key if per_stream == 1 else f"{key}:{name}"] = pa.array(values, from_pandas=True)
    return pa.table(columns)


def ordered(table: pa.Table, order: Order) -> pa.Table:
    """Of all streams together, oldest or newest first; rows of the same time stay in the order of their streams."""
    return table if order == "stream" else sorted_by_time(table, order == "-time")


def place_behind(table: pa.Table, last: Cursor, order: Order) -> int:
    """Where in an ordered table the rows begin that come after the one that a page ended with."""
    time = micros(table["time"])
    if order != "stream":
        return int(table.num_rows - behind(table, last, order == "-time").num_rows)
    return sum(
        int(np.searchsorted(time[rows], last.time, "right")) if stream == last.stream else rows.stop - rows.start
        for stream, rows in group_by_stream(table)
        if stream <= last.stream
    )


def micros(column: pa.ChunkedArray) -> Ints:
    whole: Any = column.cast(pa.int64()).to_numpy()
    return np.asarray(whole, np.int64)


def _refuse_above(cells: int, shape: Shape, most: int | None = None) -> None:
    most = MOST_CELLS if most is None else most
    if cells <= most:
        return
    less = ["a shorter range"]
    less += ["wider buckets"] if shape.fill != "none" or shape.group or shape.rolling else []
    less += ["fewer streams"] if shape.downsample else []
    less += ["fill=none"] if shape.fill != "none" else []
    less += ["shape=long"] if shape.wide else []
    less += ["a limit, or order=stream"] if shape.order != "stream" else []
    raise Problem(
        "too-costly",
        f"This shape is assembled in memory and can hold at most {most:,} numbers; the query returns more.",
        example=", or ".join([", ".join(less[:-1]), less[-1]] if len(less) > 1 else less),
    )

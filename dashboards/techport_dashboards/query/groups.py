"""Several streams as one: groups by name and tag, profiles by local hour, weekday and month, and time-weighted means.

    readings ─► group and bucket of each row ─► aggregates over all rows of a group and bucket ─► rows of "streams"
                                                                                                  that are groups

What comes out has the columns that a store's buckets have, so that gaps, running means, wide tables and pages are made
of it as of those. A group stands in the place of a stream, with its names joined in the place of the device.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from techport_dashboards.problems import Problem
from techport_dashboards.query.limits import Deadline
from techport_dashboards.query.registry_cache import RegistryView
from techport_dashboards.query.row_choice import AGGREGATE_OF_KIND, aggregate_of, only_fitting
from techport_pilots.promises import Promise
from techport_pilots.quality.completeness import intervals_at, promised_windows
from techport_pilots.quantities import Kind
from techport_pilots.registry.registry import StreamInfo
from techport_storage.buckets import bucket_edges, fixed_width
from techport_storage.columns import group_by_stream, name_columns
from techport_storage.microseconds import DAY, MINUTE
from techport_storage.model import TIME, BucketWidth, Micros, Query, Stream, aggregate_schema
from techport_storage.pooling import POOLED_SCHEMA, pooled
from techport_storage.query_check import check_zone
from techport_storage.store import ReadingStore

Profile = Literal["hour", "weekday", "month"]
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

CLASSES: dict[Profile, range] = {"hour": range(24), "weekday": range(1, 8), "month": range(1, 13)}
"""The numbers of a profile's classes; Monday is 1."""
EVERY_OF_PROFILE: dict[Profile, str] = {"hour": "PT1H", "weekday": "P1D", "month": "P1D"}
"""The buckets that a profile is of, unless others are asked for."""
TIME_MEAN = "time_mean"
LONGEST_HOLD: Micros = DAY
"""How long the value of a stream without an interval holds, unless told."""
KEYS = ("pilot", "device", "quantity", "kind", "group")
_QUARTER: Micros = 15 * MINUTE
_LAST: Micros = 2**62  # behind every time
_LONGEST_PROFILE: Micros = 200 * 365 * DAY
_BETWEEN = "\x1f"  # sorts before every printable character
_MOST_NAMES = 6
_MOST_READINGS_OF_A_STREAM = 50_000_000


@dataclass(slots=True)
class Seen:
    """What was counted of the readings that rows without a time were made of."""

    readings: dict[tuple[Stream, int], int] = field(default_factory=dict)  # by group and number of its class
    first: Micros | None = None  # time of the earliest


@dataclass(frozen=True, slots=True)
class Groups:
    """Which group each stream belongs to, and what is known of the groups."""

    names: tuple[str, ...]  # what the rows of an answer are called by; empty where each stream is a group
    streams: Sequence[Stream]  # of the answer, sorted
    place: dict[Stream, int]  # of a stream of the store, the number of its group
    labels: dict[Stream, tuple[str | None, ...]]
    catalogue: RegistryView  # that knows the groups as streams
    seen: Seen = field(default_factory=Seen)

    def label(self, stream: Stream) -> str:
        """The name of a group's column in a wide table."""
        return "/".join(part or "" for part in self.labels[stream]) if self.names else "/".join(stream)

    def named(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch with the names that were asked for in place of pilot, device and quantity."""
        if not self.names:
            return batch
        streams = list(group_by_stream(batch))
        lengths = [rows.stop - rows.start for _, rows in streams]
        row = np.repeat(np.arange(len(streams), dtype=np.int32), lengths)
        columns = {}
        for number, name in enumerate(self.names):
            labels = pa.array([self.labels[stream][number] for stream, _ in streams], pa.string())
            columns[name] = labels.take(pa.array(row)).dictionary_encode()
        rest = {name: batch.column(name) for name in batch.schema.names if name not in Stream._fields}
        return pa.RecordBatch.from_pydict(columns | rest)


def group_names(texts: Iterable[str]) -> tuple[str, ...]:
    """`quantity,street` as names. What is of different quantities is never one group. Raises Problem."""
    names = tuple(dict.fromkeys(part.strip() for text in texts for part in text.split(",") if part.strip()))
    if len(names) > _MOST_NAMES:
        raise Problem(
            "bad-parameter",
            "At most {most} names make a group.",
            most=_MOST_NAMES,
            parameter="group",
            example="quantity,street",
        )
    return names if not names or "quantity" in names else (*names, "quantity")


def groups_of(names: tuple[str, ...], streams: Iterable[Stream], catalogue: RegistryView) -> Groups:
    """The groups of the streams by these names.

    Parameters
    ----------
    names : tuple of str
        Of KEYS, or tags of devices. Without any each stream is a group.
    streams : iterable of Stream
        All streams that the answer is about, whether they have readings or not.

    Raises
    ------
    Problem
        No device has a tag of that name, or a group would have two units.
    """
    present = sorted(set(streams))
    if not names:
        return Groups((), present, {stream: i for i, stream in enumerate(present)}, {}, catalogue)
    _check_names(names, present, catalogue)
    labels = {stream: tuple(_value(name, stream, catalogue) for name in names) for stream in present}
    members: dict[Stream, list[StreamInfo]] = {}
    for stream in present:
        joined = _BETWEEN.join(
            part or "" for name, part in zip(names, labels[stream], strict=True) if name != "quantity"
        )
        members.setdefault(Stream("", joined, stream.quantity), []).append(catalogue.stream(stream))
    described = {group: _together(group, infos, names) for group, infos in members.items()}
    ordered = sorted(members)
    number = {group: i for i, group in enumerate(ordered)}
    return Groups(
        names,
        ordered,
        {info.stream: number[group] for group, infos in members.items() for info in infos},
        {group: labels[infos[0].stream] for group, infos in members.items()},
        dataclasses.replace(catalogue, streams={**catalogue.streams, **described}),
    )


def _check_names(names: Sequence[str], streams: Sequence[Stream], catalogue: RegistryView) -> None:
    devices = {stream[:2] for stream in streams}
    tags = {tag for key in devices if key in catalogue.devices for tag in catalogue.devices[key].tags}
    for name in names:
        if name not in KEYS and name not in tags:
            near = difflib.get_close_matches(name[:80], [*KEYS, *sorted(tags)], n=3)
            raise Problem(
                "unknown-name",
                "No device has a tag {name}.",
                name=repr(name[:80]),
                parameter="group",
                example=", ".join(near or (*KEYS, *sorted(tags)[:5])),
            )


def _value(name: str, stream: Stream, catalogue: RegistryView) -> str | None:
    """What the name is of this stream; None where nobody has said."""
    if name in Stream._fields:
        return str(getattr(stream, name))
    device = catalogue.devices.get(stream[:2])
    if device is None:
        return None
    return {"kind": device.kind, "group": device.group}.get(name, device.tags.get(name))


def _together(group: Stream, infos: Sequence[StreamInfo], names: Sequence[str]) -> StreamInfo:
    """What is known of a group: what its streams share, and how often a reading of any of them is expected."""
    if len({(info.unit, info.kind) for info in infos}) > 1:
        units = " and ".join(sorted({info.unit or "no unit" for info in infos}))
        raise Problem(
            "bad-parameter",
            "The streams of {quantity} differ in unit or kind ({units}), so they cannot be one group.",
            quantity=group.quantity,
            units=units,
            parameter="group",
            example=",".join(dict.fromkeys(["pilot", *names])) if "pilot" not in names else "pilot,device,quantity",
        )
    changes = np.array(sorted({promise.until for info in infos for promise in info.earlier}), np.int64)
    moments = np.append(changes - 1, _LAST)  # within each time of one promise
    rates = np.zeros(len(moments))
    for info in infos:
        rates += 1 / intervals_at(moments, info.interval_us, info.earlier) if info.interval_us else np.nan
    *before, together = [None if np.isnan(rate) else max(1, round(1 / rate)) for rate in rates.tolist()]
    earlier = tuple(
        Promise(until, interval) for until, interval in zip(changes.tolist(), before, strict=True) if interval
    )
    return msgspec.structs.replace(
        infos[0], stream=group, interval_us=together, earlier=earlier, learned_interval_us=None
    )


def regrouped(
    store: ReadingStore, query: Query, groups: Groups, profile: Profile | None, deadline: Deadline
) -> pa.Table:
    """One row for each group and bucket, as a store answers them for streams.

    Parameters
    ----------
    query : Query
        With `every`: its buckets, or with a profile the buckets that it is of. Without: one bucket, the whole range.
        Its aggregates are those of the answer.
    profile : str or None
        hour, weekday or month: rows are of the buckets of each class, whose number stands as the `time`.

    Raises
    ------
    Problem
    StoreUnavailable
    """
    rows = (
        _of_buckets(store, query, groups, profile, deadline)
        if profile
        else _of_readings(store, query, groups, deadline)
    )
    names = [name for name in query.aggregates if name != "count"]
    try:
        result = pooled(rows, names)
    except MemoryError:
        raise Problem(
            "too-costly",
            "Percentiles of so many readings cannot be held in memory.",
            parameter="aggregate",
            example="mean, or fewer streams or a shorter range",
        ) from None
    place = result["place"].to_numpy().astype(np.int32)
    keys = [*name_columns(groups.streams, place), result["bucket"].cast(TIME)]
    values = [result[name].cast(pa.float64()) for name in names]
    return pa.Table.from_arrays(
        [*keys, *values, result["count"].cast(pa.int64())], schema=aggregate_schema(query.aggregates)
    )


def _of_readings(store: ReadingStore, query: Query, groups: Groups, deadline: Deadline) -> Iterator[pa.RecordBatch]:
    """Each reading with its group and the bucket that it lies in."""
    bucket_of = _bucketing(query)
    raw = msgspec.structs.replace(query, every=None, limit=None, after=None)
    for batch in deadline.batches(store.read(raw)):
        times = _whole(batch.column("time"))
        placed = _placed(batch, groups, bucket_of(times), times, batch.column("value"))
        if query.every is None:
            _count(groups, placed, np.ones(placed.num_rows, np.int64))
        yield placed


def _of_buckets(
    store: ReadingStore, query: Query, groups: Groups, profile: Profile, deadline: Deadline
) -> Iterator[pa.RecordBatch]:
    """Each bucket of each stream, its fitting aggregate, and the class that it lies in by the local clock."""
    fitting = partial(aggregate_of, groups.catalogue)
    needed = {fitting(stream) for stream in groups.place}
    first = tuple(name for name in AGGREGATE_OF_KIND.values() if name in needed) or ("mean",)
    buckets = msgspec.structs.replace(query, aggregates=first, limit=None, after=None)
    for batch in deadline.batches(store.read(buckets)):
        batch = only_fitting(batch, first, fitting)
        columns = [batch.column(name) for name in first]
        value = pc.coalesce(*columns) if len(columns) > 1 else columns[0]
        numbers = class_of(batch.column("time"), profile, query.zone)
        _count(groups, _placed(batch, groups, numbers, None, pc.fill_null(value, 0)), batch.column("count").to_numpy())
        yield _placed(batch, groups, numbers, None, value)


def _count(groups: Groups, placed: pa.RecordBatch, readings: Ints) -> None:
    """Add up the readings behind rows that are put together."""
    if not placed.num_rows:
        return
    place, number = placed.column("place").to_numpy(), placed.column("bucket").to_numpy()
    keys, inverse = np.unique(np.stack([place.astype(np.int64), number]), axis=1, return_inverse=True)
    counted, seen_counts = np.bincount(inverse.ravel(), readings), groups.seen.readings
    for i, count in enumerate(counted.astype(np.int64)):
        key = (groups.streams[int(keys[0, i])], int(keys[1, i]))
        seen_counts[key] = seen_counts.get(key, 0) + int(count)
    first = int(placed.column("time").to_numpy().min())
    groups.seen.first = first if groups.seen.first is None else min(first, groups.seen.first)


def expected_readings(
    groups: Groups, profile: Profile | None, zone: str, spans: Mapping[Stream, tuple[Micros, Micros]]
) -> dict[tuple[Stream, int], float]:
    """How many readings each class of each group would have, were nothing missing.

    Parameters
    ----------
    groups : Groups
        The streams of each group, and how often they come.
    profile : str or None
        hour, weekday or month by the local clock; None: all of the time is one class, 0.
    zone : str
        IANA time zone.
    spans : mapping of Stream to (Micros, Micros)
        From when and until when each stream is expected, [start, end), µs since the epoch.

    Returns
    -------
    dict of (Stream, int) to float
        By group and number of its class; a number of readings. Without groups of which a stream promises no interval.
    """
    lengths: dict[tuple[Micros, Micros], Floats] = {}
    expected: dict[tuple[Stream, int], float] = {}
    silent = set()
    for stream, place in groups.place.items():
        group, info = groups.streams[place], groups.catalogue.stream(stream)
        if not info.interval_us:
            silent.add(group)
        if not info.interval_us or stream not in spans:
            continue
        for start, end, interval in promised_windows(info.interval_us, info.earlier, *spans[stream]):
            if (start, end) not in lengths:
                lengths[start, end] = _lengths(profile, zone, start, end)
            for number, length in enumerate(lengths[start, end]):
                expected[group, number] = expected.get((group, number), 0.0) + float(length) / (interval or np.inf)
    return {key: number for key, number in expected.items() if key[0] not in silent}


def _lengths(profile: Profile | None, zone: str, start: Micros, end: Micros) -> Floats:
    """How long the time of each class of a profile is in [start, end), µs. Clocks change at quarters of an hour."""
    if profile is None or end - start > _LONGEST_PROFILE or end <= start:
        return np.array([max(0, end - start)], np.float64) if profile is None else np.empty(0)
    begins = np.append(start, np.arange(start - start % _QUARTER + _QUARTER, end, _QUARTER))
    lengths = np.bincount(class_of(pa.array(begins).cast(TIME), profile, zone), np.diff(np.append(begins, end)))
    return np.asarray(lengths, np.float64)


def class_of(time: pa.Array, profile: Profile, zone: str) -> Ints:
    """The local hour, weekday (Monday is 1) or month of each time."""
    local = pc.local_timestamp(time.cast(pa.timestamp("us", zone)))
    match profile:
        case "hour":
            number = pc.hour(local)
        case "weekday":
            number = pc.day_of_week(local, count_from_zero=False)
        case "month":
            number = pc.month(local)
    return np.asarray(number.to_numpy(zero_copy_only=False), np.int64)


def _placed(batch: pa.RecordBatch, groups: Groups, bucket: Ints, times: Ints | None, value: pa.Array) -> pa.RecordBatch:
    place = np.empty(batch.num_rows, np.int32)
    for stream, rows in group_by_stream(batch):
        place[rows] = groups.place[stream]
    time = _whole(batch.column("time")) if times is None else times
    placed = pa.RecordBatch.from_arrays(
        [pa.array(place), pa.array(bucket), pa.array(time), value], schema=POOLED_SCHEMA
    )
    return placed if not value.null_count else placed.filter(pc.is_valid(value))


def _bucketing(query: Query) -> Callable[[Ints], Ints]:
    """A function from times to starts of buckets; the whole range is one, called 0."""
    every = query.every
    if every is None:
        return np.zeros_like
    width = fixed_width(every)
    if width is not None:
        return lambda times: times - times % width
    return _Calendar(every, query.zone).starts


class _Calendar:
    """Starts of calendar buckets, of as long a stretch as rows are looked at."""

    def __init__(self, every: BucketWidth, zone: str) -> None:
        self._every = every
        self._zone = check_zone(zone)
        self._edges: Ints = np.empty(0, np.int64)

    def starts(self, times: Ints) -> Ints:
        if not len(times):
            return times
        first, last = int(times.min()), int(times.max())
        if not len(self._edges) or first < self._edges[0] or last >= self._edges[-1]:
            if len(self._edges):
                first, last = min(first, int(self._edges[0])), max(last, int(self._edges[-1]) - 1)
            self._edges = bucket_edges(self._every, self._zone, first, last)
        return np.asarray(self._edges[np.searchsorted(self._edges, times, "right") - 1], np.int64)


def _whole(column: pa.Array) -> Ints:
    return np.asarray(column.cast(pa.int64()).to_numpy(), np.int64)


# -- Time-weighted means


def time_weighted(
    store: ReadingStore,
    query: Query,
    groups: Groups,
    edges: Ints,
    hold: Micros | None,
    deadline: Deadline,
    profile: Profile | None = None,
) -> pa.Table:
    """Means in which each value counts for as long as it held: until the next reading of its stream.

    Parameters
    ----------
    query : Query
        With `start` and `end`, and `every`.
    edges : array of int64
        Starts of all buckets of the range, and the end of the last one, µs.
    hold : Micros or None
        The longest time that a value holds, µs. None: three intervals of streams that promise one, LONGEST_HOLD of
        others.
    profile : str, optional
        hour, weekday or month: all of the time of a class is one bucket, whose number stands as the `time`.

    Returns
    -------
    pyarrow.Table
        As of a store, with the column time_mean: levels by time, directions as unit vectors, sound levels as energy,
        states as the share of time in which they were not 0. `count` is of the readings in the bucket. Without rows
        for buckets in which no value held.

    Raises
    ------
    Problem
        Counts, which have no mean over time.
    """
    assert query.start is not None
    assert query.end is not None
    infos = {stream: groups.catalogue.stream(stream) for stream in groups.place}
    before = query.start - max((_longest_hold(info, hold) for info in infos.values()), default=0)
    raw = msgspec.structs.replace(query, start=before, every=None, limit=None, after=None)
    sums = np.zeros((len(groups.streams), 3, len(edges) - 1))  # weighted values (two of directions), and weights, in s
    counts = np.zeros((len(groups.streams), len(edges) - 1), np.int64)
    for stream, time, value in _whole_streams(deadline.batches(store.read(raw))):
        place, kind = groups.place[stream], infos[stream].kind
        lasting = np.minimum(np.append(time[1:], query.end), time + _holds_of(infos[stream], hold, time))
        begin, end = np.maximum(time, query.start), np.minimum(lasting, query.end)
        held = end > begin
        bucket, row, seconds = _pieces(begin[held], end[held], edges)
        for number, part in enumerate(_summands(value[held], kind)):
            sums[place, number] += np.bincount(bucket, part[row] * seconds, len(edges) - 1)
        sums[place, 2] += np.bincount(bucket, seconds, len(edges) - 1)
        inside = time[time >= query.start]
        counts[place] += np.bincount(np.searchsorted(edges, inside, "right") - 1, minlength=len(edges) - 1)
    starts = edges[:-1]
    if profile is not None:
        starts = np.array(CLASSES[profile], np.int64)
        number = class_of(pa.array(edges[:-1]).cast(TIME), profile, query.zone) - starts[0]
        in_buckets = np.append(sums, counts[:, None], axis=1)
        by_class = np.stack([in_buckets[..., number == i].sum(axis=-1) for i in range(len(starts))], axis=-1)
        sums, counts = by_class[:, :3], by_class[:, 3].astype(np.int64)
    place_, bucket_ = np.nonzero((sums[:, 2] > 0) | (counts > 0))
    means = np.full(len(place_), np.nan)
    for number, stream in enumerate(groups.streams):
        rows = place_ == number
        if rows.any():
            kind = groups.catalogue.stream(stream).kind
            means[rows] = _mean(sums[number][:, bucket_[rows]], kind)
    keys = [*name_columns(groups.streams, place_.astype(np.int32)), pa.array(starts[bucket_]).cast(TIME)]
    columns = [*keys, pa.array(means, from_pandas=True), pa.array(counts[place_, bucket_])]
    return pa.Table.from_arrays(columns, schema=aggregate_schema((TIME_MEAN,)))


def check_no_counts(groups: Groups) -> None:
    """Raises Problem where a time-weighted mean is asked of counts."""
    for stream in groups.streams:
        if groups.catalogue.stream(stream).kind == "count":
            raise Problem(
                "bad-parameter",
                "{quantity} is counted: its readings are summed, and do not hold until the next one.",
                quantity=stream.quantity,
                parameter="aggregate",
                example="sum, or another quantity",
            )


def _longest_hold(info: StreamInfo, hold: Micros | None) -> Micros:
    changes = np.array([promise.until - 1 for promise in info.earlier], np.int64)
    return int(_holds_of(info, hold, np.append(changes, _LAST)).max())


def _holds_of(info: StreamInfo, hold: Micros | None, times: Ints) -> Ints:
    """For how long values of these times hold, µs: by what the stream promised then."""
    if hold is None and info.interval_us:
        return 3 * intervals_at(times, info.interval_us, info.earlier)
    return np.full(len(times), LONGEST_HOLD if hold is None else hold, np.int64)


def _whole_streams(batches: Iterator[pa.RecordBatch]) -> Iterator[tuple[Stream, Ints, Floats]]:
    """Times and values of each stream, all of them together."""
    present: Stream | None = None
    parts: list[tuple[Ints, Floats]] = []
    rows_held = 0
    for batch in batches:
        times, values = _whole(batch.column("time")), batch.column("value").to_numpy()
        for stream, rows in group_by_stream(batch):
            if stream != present:
                if present is not None:
                    yield present, *_joined(parts)
                present, parts, rows_held = stream, [], 0
            rows_held += rows.stop - rows.start
            if rows_held > _MOST_READINGS_OF_A_STREAM:
                raise Problem(
                    "too-costly",
                    "{stream} has more than {n} readings in this range.",
                    stream="/".join(stream),
                    n=f"{_MOST_READINGS_OF_A_STREAM:,}",
                    parameter="start",
                    example="a shorter range",
                )
            parts.append((times[rows], values[rows]))
    if present is not None:
        yield present, *_joined(parts)


def _joined(parts: Sequence[tuple[Ints, Floats]]) -> tuple[Ints, Floats]:
    return np.concatenate([time for time, _ in parts]), np.concatenate([value for _, value in parts])


def _pieces(begin: Ints, end: Ints, edges: Ints) -> tuple[Ints, Ints, Floats]:
    """Spans cut at the edges of buckets: the bucket, the span and the length in seconds of each piece."""
    first = np.searchsorted(edges, begin, "right") - 1
    last = np.searchsorted(edges, end, "left") - 1
    number = last - first + 1
    row = np.repeat(np.arange(len(begin)), number)
    behind = np.arange(len(row)) - np.repeat(np.cumsum(number) - number, number)
    bucket = first[row] + behind
    length = np.minimum(end[row], edges[bucket + 1]) - np.maximum(begin[row], edges[bucket])
    return bucket, row, length / 1e6


def _summands(value: Floats, kind: Kind) -> list[Floats]:
    """What is added up, weighted with time: the value, or what stands for it where values cannot be added."""
    match kind:
        case "direction":
            return [np.sin(np.radians(value)), np.cos(np.radians(value))]
        case "energy-level":
            return [10 ** (np.clip(value, -3000, 3000) / 10)]
        case "state":
            return [(value != 0).astype(np.float64)]
    return [value]


def _mean(sums: Floats, kind: Kind) -> Floats:
    first, second, seconds = sums
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(seconds > 0, first / seconds, np.nan)
        if kind == "energy-level":
            return np.where(seconds > 0, 10 * np.log10(mean), np.nan)
        if kind == "direction":
            cancelled = np.hypot(mean, second / seconds) < 1e-9
            return np.where(cancelled | ~(seconds > 0), np.nan, np.degrees(np.arctan2(first, second)) % 360)
    return mean

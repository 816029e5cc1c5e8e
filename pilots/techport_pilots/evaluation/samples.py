"""From readings to slots: the values of a measure's sampling interval, for each device.

store ─► fixed slots (mean, energy mean, vector mean, sum, ...) ─► hours and weekdays ─► where asked: local days
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from techport_pilots.evaluation.statistics import energy_mean, lden, mean_direction
from techport_pilots.model import Measure
from techport_pilots.time import Local, day_starts, interval_micros, local, wanted
from techport_storage.columns import group_by_stream
from techport_storage.microseconds import HOUR
from techport_storage.model import Aggregate, BucketWidth, Micros, Query, Selection, Stream
from techport_storage.store import ReadingStore

# -- Fixed buckets of many streams out of a store: what a measure's slots are made from.

ROWS_AT_ONCE = 2_000_000

Which = Literal["all", "good"]


class BucketColumns(NamedTuple):
    """A stream's buckets that hold a reading: number of the bucket (ascending), value, number of readings."""

    slot: NDArray[np.int64]
    value: NDArray[np.float64]
    readings: NDArray[np.int64]


NOTHING = BucketColumns(np.empty(0, np.int64), np.empty(0), np.empty(0, np.int64))


def read_buckets(
    store: ReadingStore, streams: Sequence[Stream], begin: Micros, end: Micros, width: Micros, how: str, quality: Which
) -> dict[Stream, BucketColumns]:
    """Buckets of `width` µs in [begin, end), both whole multiples of it, of the streams that hold readings.

    `how` is a store's aggregate, or "energy" or "vector", which need every reading and are read stream by stream.
    """
    if end <= begin:
        return {}
    if how in ("energy", "vector"):
        return {stream: _from_raw(store, stream, begin, end, width, how, quality) for stream in streams}
    aggregate: Aggregate = how  # mean, sum, min or max: a Slot that is none of the above
    at_once = max(1, ROWS_AT_ONCE * width // (end - begin))
    found: dict[Stream, BucketColumns] = {}
    for some in (streams[i : i + at_once] for i in range(0, len(streams), at_once)):
        query = Query(
            select=Selection(streams=tuple(some)),
            start=begin,
            end=end,
            every=BucketWidth(width, "us"),
            aggregates=(aggregate,),
            quality=quality,
        )
        table = store.read(query).read_all().unify_dictionaries().combine_chunks()
        if not table.num_rows:
            continue
        slot = (micros(table, "time") - begin) // width
        value, count = table[aggregate].to_numpy(), table["count"].to_numpy()
        (batch,) = table.to_batches()
        for stream, rows in group_by_stream(batch):
            found[stream] = BucketColumns(slot[rows], value[rows], count[rows])
    return found


def micros(table: pa.Table, column: str) -> NDArray[np.int64]:
    """A column of times as µs."""
    return np.asarray(table[column].cast(pa.int64()).to_numpy(), np.int64)


def _from_raw(
    store: ReadingStore, stream: Stream, begin: Micros, end: Micros, width: Micros, how: str, quality: Which
) -> BucketColumns:
    query = Query(select=Selection(streams=(stream,)), start=begin, end=end, quality=quality)
    table = store.read(query).read_all()
    if not table.num_rows:
        return NOTHING
    values = table["value"].to_numpy()
    slot, first, count = np.unique((micros(table, "time") - begin) // width, return_index=True, return_counts=True)
    reduce = energy_mean if how == "energy" else mean_direction
    means = [reduce(values[i : i + n]) for i, n in zip(first.tolist(), count.tolist(), strict=True)]
    return BucketColumns(slot, np.array([np.nan if m is None else m for m in means], np.float64), count)


Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

COVER = (
    0.75  # of a slot's readings must be there, where the interval is known (2008/50/EC annex XI: 45 minutes of an hour)
)
FAR: Micros = 1 << 62  # the interval of a stream that promised none


@dataclass(frozen=True, slots=True)
class Samples:
    """Values of slots, by device and time. All arrays have the same length; `device` numbers `devices`.

    `expected` slots (of all devices) lie in the period within the measure's hours and weekdays; `per_day` of one device
    in an ordinary day.
    """

    devices: Sequence[str]
    device: Ints
    start: Ints  # µs, UTC
    day: Ints  # local dates, from 1970-01-01
    hour: Floats  # local time of day
    value: Floats
    expected: int
    per_day: float

    def __len__(self) -> int:
        return len(self.value)

    @property
    def completeness(self) -> float:
        return min(1.0, len(self) / self.expected) if self.expected else 0.0

    def keep(self, rows: NDArray[np.bool_]) -> Samples:
        return Samples(
            self.devices, self.device[rows], self.start[rows], self.day[rows], self.hour[rows], self.value[rows],
            self.expected, self.per_day,
        )  # fmt: skip


def samples_of(
    store: ReadingStore,
    streams: Mapping[str, Sequence[Stream]],
    measure: Measure,
    start: Micros,
    end: Micros,
    zone: str,
    *,
    how: str,
    intervals: Mapping[Stream, Micros] | None = None,
    without: Mapping[str, Sequence[tuple[Micros, Micros]]] | None = None,
    quality: Which = "good",
) -> Samples:
    """The measure's slots in [start, end).

    `streams` are each device's streams (their slots are added up); `how` is the measure's slot with "auto" resolved;
    `intervals` are the streams' expected intervals, where known; `without` are windows of a device that are neither
    used nor expected. Only slots that lie in the range as a whole count. Raises what the store raises.
    """
    daily = measure.interval == "P1D"
    width = HOUR if daily else interval_micros(measure.interval)
    first, last = -(-start // width) * width, end // width * width
    inner = {"lden": "energy", "max_8h": "mean"}.get(how, how) if daily else how
    grid: Ints = np.arange(first, last, width, dtype=np.int64)
    when = local(grid, zone)
    asked = wanted(when, measure.hours, measure.weekdays)
    counted = measure.statistic == "count"
    buckets = read_buckets(
        store,
        [s for names in streams.values() for s in names],
        first,
        last,
        width,
        "mean" if counted else inner,
        quality,
    )
    columns: list[tuple[Ints, Floats]] = []
    expected = 0
    for device, names in streams.items():
        here = asked & ~_inside(grid, (without or {}).get(device, ()))
        mine = [buckets.get(stream, NOTHING) for stream in names]
        if counted:
            total = _counts(mine, len(grid))
            total[~_alive(store, names[0], first, last, when, zone)] = np.nan
        else:
            whole = [width / (intervals or {}).get(stream, FAR) for stream in names]
            total = sum(
                (_filled(b, len(grid), n, inner) for b, n in zip(mine, whole, strict=True)), np.zeros(len(grid))
            )
        total[~here] = np.nan
        columns.append(_days(when, total, here, how) if daily else (grid, total))
        expected += len(np.unique(when.day[here])) if daily else int(here.sum())
    return _assembled(list(streams), columns, expected, daily, zone, when, asked)


def _assembled(
    devices: list[str],
    columns: list[tuple[Ints, Floats]],
    expected: int,
    daily: bool,
    zone: str,
    when: Local,
    asked: NDArray[np.bool_],
) -> Samples:
    present = [np.isfinite(values) for _, values in columns]
    device = _joined([np.full(int(there.sum()), i, np.int64) for i, there in enumerate(present)], np.int64)
    value = _joined([values[there] for (_, values), there in zip(columns, present, strict=True)], np.float64)
    begin = _joined([times[there] for (times, _), there in zip(columns, present, strict=True)], np.int64)
    if daily:
        return Samples(devices, device, day_starts(begin, zone), begin, np.zeros(len(begin)), value, expected, 1.0)
    index = _joined([np.flatnonzero(there) for there in present], np.int64)
    per_day = float(len(np.unique(when.hour[asked])))
    return Samples(devices, device, begin, when.day[index], when.hour[index], value, expected, per_day)


def joined(parts: Sequence[Samples]) -> Samples:
    """Slots of the same devices in several periods, one after the other."""
    device, start, day, hour, value = (
        _joined([getattr(part, name) for part in parts], kind)
        for name, kind in zip(("device", "start", "day", "hour", "value"), _KINDS, strict=True)
    )
    expected = sum(part.expected for part in parts)
    per_day = max((part.per_day for part in parts), default=0.0)
    return Samples(parts[0].devices if parts else (), device, start, day, hour, value, expected, per_day)


_KINDS = (np.int64, np.int64, np.int64, np.float64, np.float64)


def _inside(times: Ints, windows: Sequence[tuple[Micros, Micros]]) -> NDArray[np.bool_]:
    inside = np.zeros(len(times), bool)
    for start, end in windows:
        inside |= (times >= start) & (times < end)
    return inside


def _counts(buckets: Sequence[BucketColumns], slots: int) -> Floats:
    """Number of readings in each slot."""
    count = np.zeros(slots)
    for one in buckets:
        count[one.slot] += one.readings
    return count


def _alive(
    store: ReadingStore, stream: Stream, first: Micros, last: Micros, when: Local, zone: str
) -> NDArray[np.bool_]:
    """Slots on days when the device said anything at all: only then is silence a count of none."""
    device = Selection(pilots=(stream.pilot,), devices=(stream.device,))
    query = Query(select=device, start=first, end=last, every=BucketWidth(1, "d"), aggregates=("count",), zone=zone)
    return np.isin(when.day, local(micros(store.read(query).read_all(), "time"), zone).day)


def _joined(parts: Sequence[NDArray[Any]], kind: type[Any]) -> NDArray[Any]:
    return np.concatenate(parts) if parts else np.empty(0, kind)


def _filled(buckets: BucketColumns, slots: int, readings: float, how: str) -> Floats:
    """A stream's value in each slot, NaN where it has none or too few of the `readings` that a slot should hold."""
    answer = np.full(slots, np.nan)
    slot, value, count = buckets
    if how == "sum" and readings >= 1:
        value = value * np.maximum(1.0, readings / count)  # the missing readings were like the others of the slot
    enough = count >= COVER * readings if readings >= 1 else np.ones(len(slot), bool)
    answer[slot[enough]] = value[enough]
    return answer


def _days(when: Local, values: Floats, asked: NDArray[np.bool_], how: str) -> tuple[Ints, Floats]:
    """Local days from hours. A day counts with 75 % of the hours it was asked for (2008/50/EC annex XI)."""
    days, of = np.unique(when.day, return_inverse=True)
    if how == "max_8h":
        values = _running_mean(values)
    asked_hours = np.bincount(of, asked, len(days))
    there = np.isfinite(values)
    found = np.bincount(of, there, len(days))
    result = np.full(len(days), np.nan)
    for i in np.flatnonzero((found >= COVER * asked_hours) & (found > 0)).tolist():
        rows = _rows(of, i) & there
        result[i] = _one_day(values[rows], when.hour[rows], how, int(asked_hours[i]))
    return days, result


def _rows(of: Ints, i: int) -> NDArray[np.bool_]:
    rows = np.zeros(len(of), bool)
    rows[np.searchsorted(of, i) : np.searchsorted(of, i, "right")] = True  # days ascend with time
    return rows


def _one_day(values: Floats, hour: Floats, how: str, hours: int) -> float:
    match how:
        case "mean":
            return float(values.mean())
        case "sum":
            return float(values.mean() * hours)
        case "max" | "max_8h":
            return float(values.max())
        case "min":
            return float(values.min())
        case "energy":
            return energy_mean(values)
        case "vector":
            mean = mean_direction(values)
            return np.nan if mean is None else mean
    parts = [(hour >= 7) & (hour < 19), (hour >= 19) & (hour < 23), (hour >= 23) | (hour < 7)]
    if not all(part.any() for part in parts):
        return np.nan
    return lden(*(energy_mean(values[part]) for part in parts))


def _running_mean(values: Floats) -> Floats:
    """Mean of the eight hours that end with each hour, of at least six; a day's highest is the limit's (annex XI)."""
    there = np.isfinite(values)
    total = np.concatenate([np.zeros(8), np.cumsum(np.where(there, values, 0.0))])
    count = np.concatenate([np.zeros(8), np.cumsum(there)])
    n = len(values)
    sums, counts = total[8 : 8 + n] - total[:n], count[8 : 8 + n] - count[:n]
    return np.where(counts >= 6, sums / np.maximum(counts, 1), np.nan)

"""From readings to slots: the values of a measure's sampling interval, for each device.

store ─► fixed slots (mean, energy mean, vector mean, sum, ...) ─► hours and weekdays ─► where asked: local days
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from techport_pilots.durations import interval_micros
from techport_pilots.kpi_statistics import energy_mean, lden, mean_direction
from techport_pilots.kpi_time import HOUR, Local, day_starts, local, wanted
from techport_pilots.model import Measure
from techport_storage.model import Aggregate, Every, Micros, Query, Selection, Stream
from techport_storage.store import ReadingStore

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

COVER = (
    0.75  # of a slot's readings must be there, where the interval is known (2008/50/EC annex XI: 45 minutes of an hour)
)


@dataclass(frozen=True, slots=True)
class Slots:
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

    def keep(self, rows: NDArray[np.bool_]) -> Slots:
        columns = (c[rows] for c in (self.device, self.start, self.day, self.hour, self.value))
        return Slots(self.devices, *columns, self.expected, self.per_day)


def slots_of(
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
    quality: str = "good",
) -> Slots:
    """The measure's slots in [start, end).

    `streams` are each device's streams (their slots are added up); `how` is the measure's slot with "auto" resolved;
    `intervals` are the streams' expected intervals, where known; `without` are windows of a device that are neither
    used nor expected. Only slots that lie in the range as a whole count. Raises what the store raises.
    """
    daily = measure.interval == "P1D"
    width = HOUR if daily else interval_micros(measure.interval)
    first, last = -(-start // width) * width, end // width * width
    inner = {"lden": "energy", "max_8h": "mean"}.get(how, how) if daily else how
    grid = np.arange(first, last, width, np.int64)
    when = local(grid, zone)
    asked = wanted(when, measure.hours, measure.weekdays)
    columns: list[tuple[Ints, Floats]] = []
    expected = 0
    for device, names in streams.items():
        here = asked & ~_inside(grid, (without or {}).get(device, ()))
        if measure.statistic == "count":
            total = _counts(store, names, grid, width, when, zone, quality)
        else:
            known = intervals or {}
            total = sum(
                (_stream_slots(store, stream, grid, width, inner, known.get(stream), quality) for stream in names),
                np.zeros(len(grid)),
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
) -> Slots:
    present = [np.isfinite(values) for _, values in columns]
    device = _joined([np.full(int(there.sum()), i, np.int64) for i, there in enumerate(present)], np.int64)
    value = _joined([values[there] for (_, values), there in zip(columns, present, strict=True)], np.float64)
    begin = _joined([times[there] for (times, _), there in zip(columns, present, strict=True)], np.int64)
    if daily:
        return Slots(devices, device, day_starts(begin, zone), begin, np.zeros(len(begin)), value, expected, 1.0)
    index = _joined([np.flatnonzero(there) for there in present], np.int64)
    per_day = float(len(np.unique(when.hour[asked])))
    return Slots(devices, device, begin, when.day[index], when.hour[index], value, expected, per_day)


def joined(parts: Sequence[Slots]) -> Slots:
    """Slots of the same devices in several periods, one after the other."""
    device, start, day, hour, value = (
        _joined([getattr(part, name) for part in parts], kind)
        for name, kind in zip(("device", "start", "day", "hour", "value"), _KINDS, strict=True)
    )
    expected = sum(part.expected for part in parts)
    per_day = max((part.per_day for part in parts), default=0.0)
    return Slots(parts[0].devices if parts else (), device, start, day, hour, value, expected, per_day)


_KINDS = (np.int64, np.int64, np.int64, np.float64, np.float64)


def _inside(times: Ints, windows: Sequence[tuple[Micros, Micros]]) -> NDArray[np.bool_]:
    inside = np.zeros(len(times), bool)
    for start, end in windows:
        inside |= (times >= start) & (times < end)
    return inside


def _counts(
    store: ReadingStore, streams: Sequence[Stream], grid: Ints, width: Micros, when: Local, zone: str, quality: str
) -> Floats:
    """Number of readings in each slot. Silence is a count of none only on days when the device said anything at all."""
    if not len(grid):
        return np.zeros(0)
    begin, end = int(grid[0]), int(grid[-1]) + width
    count = np.zeros(len(grid))
    for stream in streams:
        slot, _, found = _from_store(store, stream, begin, end, width, "mean", quality)
        count[slot] += found
    device = Selection(pilots=(streams[0].pilot,), devices=(streams[0].device,))
    day = Query(select=device, start=begin, end=end, every=Every(1, "d"), aggregates=("count",), zone=zone)
    alive = np.unique(local(_micros(store.read(day).read_all(), "time"), zone).day)
    count[~np.isin(when.day, alive)] = np.nan
    return count


def _joined(parts: Sequence[NDArray[Any]], kind: type[np.generic]) -> NDArray[Any]:
    return np.concatenate(parts) if parts else np.empty(0, kind)


def _stream_slots(
    store: ReadingStore,
    stream: Stream,
    grid: Ints,
    width: Micros,
    how: str,
    interval: Micros | None,
    quality: str,
) -> Floats:
    """A stream's value in each slot of the grid, NaN where it has none."""
    answer = np.full(len(grid), np.nan)
    if not len(grid):
        return answer
    begin, end = int(grid[0]), int(grid[-1]) + width
    if how in ("energy", "vector"):
        slot, value, count = _from_raw(store, stream, begin, end, width, how, quality)
    else:
        aggregate: Aggregate = how  # type: ignore[assignment]  # mean, sum, min, max
        slot, value, count = _from_store(store, stream, begin, end, width, aggregate, quality)
    expected = width / interval if interval and interval <= width else 0.0
    whole = count >= COVER * expected
    if how == "sum" and expected:
        value = value * np.maximum(1.0, expected / count)  # the missing readings were like the others of the slot
    answer[slot[whole]] = value[whole]
    return answer


def _from_store(
    store: ReadingStore, stream: Stream, begin: Micros, end: Micros, width: Micros, how: Aggregate, quality: str
) -> tuple[Ints, Floats, Ints]:
    table = store.read(
        Query(
            select=Selection(streams=(stream,)),
            start=begin,
            end=end,
            every=Every(width, "us"),
            aggregates=(how,),
            quality="good" if quality == "good" else "all",
        )
    ).read_all()
    slot = (_micros(table, "time") - begin) // width
    return slot, table[how].to_numpy(), table["count"].to_numpy()


def _from_raw(
    store: ReadingStore, stream: Stream, begin: Micros, end: Micros, width: Micros, how: str, quality: str
) -> tuple[Ints, Floats, Ints]:
    query = Query(
        select=Selection(streams=(stream,)), start=begin, end=end, quality="good" if quality == "good" else "all"
    )
    table = store.read(query).read_all()
    values = table["value"].to_numpy()
    slot, first, count = np.unique((_micros(table, "time") - begin) // width, return_index=True, return_counts=True)
    reduce = energy_mean if how == "energy" else mean_direction
    means = [reduce(values[i : i + n]) for i, n in zip(first.tolist(), count.tolist(), strict=True)]
    return slot, np.array([np.nan if m is None else m for m in means], np.float64), count


def _micros(table: pa.Table, column: str) -> Ints:
    return np.asarray(table[column].cast(pa.int64()).to_numpy(), np.int64)


def _days(when: Local, values: Floats, asked: NDArray[np.bool_], how: str) -> tuple[Ints, Floats]:
    """Local days from hours. A day counts with 75 % of the hours it was asked for (2008/50/EC annex XI)."""
    days, of = np.unique(when.day, return_inverse=True)
    if how == "max_8h":
        values = _running_mean(values)
    asked_hours = np.bincount(of, asked, len(days))
    there = np.isfinite(values)
    found = np.bincount(of, there, len(days))
    result = np.full(len(days), np.nan)
    for i in np.flatnonzero((found >= COVER * asked_hours) & (found > 0)):
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

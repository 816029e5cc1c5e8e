"""From readings to samples: the values of a measure's sampling interval, for each device, as a table.

store ─► buckets of one width (mean, energy mean, vector mean, sum, ...) ─► the measure's hours and weekdays
      ─► where the measure asks for it: local days ─► Samples
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from techport_pilots.evaluation.statistics import energy_mean, lden, mean_direction, mean_vector, to_power
from techport_pilots.model import Measure
from techport_pilots.quality.completeness import MINIMUM_COVER, Earlier, enough_readings, intervals_at
from techport_pilots.time import Local, day_starts, interval_micros, local, wanted
from techport_storage.columns import group_by_stream
from techport_storage.microseconds import HOUR
from techport_storage.model import Aggregate, BucketWidth, Micros, Query, Selection, Stream
from techport_storage.store import ReadingStore

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
Window = tuple[Micros, Micros]
"""[start, end), µs since the epoch."""

ROWS_AT_ONCE = 2_000_000
"""Rows of a store's answer that are held in memory at once."""

_NO_INTERVAL: Micros = 1 << 62  # of a stream that promised none


@dataclass(frozen=True, slots=True)
class SamplePlan:
    """What to read for a measure: the streams of each device, which are added up, and how samples are made of them."""

    measure: Measure
    streams: Mapping[str, Sequence[Stream]]
    aggregation: str  # of the readings of a sample: the measure's slot with "auto" resolved
    intervals: Mapping[Stream, Micros] = field(default_factory=dict)  # expected time between readings, where known
    excluded: Mapping[str, Sequence[Window]] = field(default_factory=dict)  # by device: neither used nor expected
    earlier: Earlier = field(default_factory=dict)  # the same before it was changed

    def expected(self, stream: Stream, grid: Ints, width: Micros) -> Floats:
        """How many readings each bucket of `width` should hold, by the interval of its time."""
        interval = self.intervals.get(stream, _NO_INTERVAL)
        return np.asarray(width / intervals_at(grid, interval, self.earlier.get(stream, ())), np.float64)


class Period(NamedTuple):
    """What one of the periods holds that were read."""

    samples: int  # with a value
    expected: int  # of all devices, within the measure's hours and weekdays
    per_day: float  # of one device in an ordinary day


class PeriodDetail(NamedTuple):
    """What else one of the periods holds."""

    slots: int  # samples that one device is asked for
    days: float  # local days, by the clock on the wall: a day of 25 hours is one
    sparse: int  # buckets with some readings, but too few of those that the streams promise
    readings: int  # in those
    promised: float  # readings that one of those should hold


@dataclass(frozen=True, slots=True)
class Samples:
    """Values of samples, by period, device and time.

    The table has a row for each sample that has a value. Its index `time` is the start of the sample (UTC); its columns
    are

        device    categorical, with all devices of the plan as categories
        day       local date, datetime64[s]
        hour      local time of day, 0 to 24 with its fraction; 0 where a sample is a day
        value     in the unit of the quantity
    """

    frame: pd.DataFrame
    periods: Sequence[Period]
    details: Sequence[PeriodDetail] = ()

    def to_frame(self) -> pd.DataFrame:
        """The samples as a table of your own, to print, plot and check.

        Returns
        -------
        pandas.DataFrame
            Index `time` (UTC); columns `device`, `day`, `hour` and `value` as described above. Changing it changes
            nothing here.
        """
        return self.frame.copy()

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def completeness(self) -> float:
        """Samples with a value ÷ samples expected, 0..1."""
        return completeness_of(self.periods)

    @property
    def per_day(self) -> float:
        """Samples of one device in an ordinary day."""
        return max((period.per_day for period in self.periods), default=0.0)

    @property
    def value(self) -> Floats:
        """The values as an array."""
        return self.frame["value"].to_numpy()


def completeness_of(periods: Sequence[Period]) -> float:
    """Share of the expected samples that have a value.

    Parameters
    ----------
    periods : sequence of Period

    Returns
    -------
    float
        0..1; 0 where none is expected.
    """
    expected = sum(period.expected for period in periods)
    return min(1.0, sum(period.samples for period in periods) / expected) if expected else 0.0


class _Columns(NamedTuple):
    """Columns of a table of samples, as arrays of equal length."""

    device: Ints  # numbers the plan's devices
    time: Ints  # µs
    day: Ints  # as Local counts them
    hour: Floats
    value: Floats


def samples_frame(devices: Sequence[str], columns: Sequence[NDArray[Any]]) -> pd.DataFrame:
    """The table of Samples.

    Parameters
    ----------
    devices : sequence of str
    columns : sequence of five arrays of equal length
        Number of the device in `devices`, start (µs since the epoch), local day (as time.Local counts), hour, value.
    """
    device, time, day, hour, value = columns
    categories: Any = pd.Index(np.array([*devices], object))
    frame = {
        "device": pd.Categorical.from_codes(device, categories=categories, validate=False),
        "day": dates(day),
        "hour": hour,
        "value": value,
    }
    return pd.DataFrame(frame, pd.DatetimeIndex(time.view("datetime64[us]"), name="time", tz="UTC"), copy=False)


def device_codes(samples: pd.DataFrame) -> Ints:
    """Number the devices of samples by the categories of their column.

    Parameters
    ----------
    samples : DataFrame
        With the categorical column `device`.

    Returns
    -------
    array of int, one for each row
    """
    categorical: pd.Categorical = samples["device"].array
    return categorical.codes.astype(np.int64)


def dates(day: Ints) -> NDArray[np.datetime64]:
    """Local dates from days as Local counts them."""
    return day.astype("datetime64[D]").astype("datetime64[s]")


def day_numbers(days: pd.DatetimeIndex) -> Ints:
    """The opposite of dates."""
    return days.to_numpy().astype("datetime64[D]").astype(np.int64)


def read_samples(store: ReadingStore, plan: SamplePlan, periods: Sequence[Window], zone: str) -> Samples:
    """Read a measure's samples of good readings.

    A sample needs 75 % of the readings that its streams promise (quality.completeness.enough_readings), a local day
    75 % of the hours it is asked for.

    Parameters
    ----------
    store : ReadingStore
    plan : SamplePlan
        Which streams, and how their readings become samples.
    periods : sequence of (start, end)
        Half-open, µs since the epoch (UTC), in order of time. Only samples that lie in a period as a whole count.
    zone : str
        IANA time zone of local days and hours.

    Returns
    -------
    Samples
        Of all periods, in the unit of the quantity.

    Raises
    ------
    StoreError
        What the store raises.
    """
    if not periods:
        return Samples(samples_frame(list(plan.streams), [np.empty(0, kind) for kind in _KINDS]), ())
    if plan.measure.day == "utc+1":
        zone = _UTC_PLUS_1
    read = [_read_period(store, plan, start, end, zone) for start, end in periods]
    parts, counts, details = zip(*read, strict=True)
    columns = parts[0] if len(parts) == 1 else [np.concatenate(column) for column in zip(*parts, strict=True)]
    return Samples(samples_frame(list(plan.streams), columns), counts, details)


def exact_per_day(details: Sequence[PeriodDetail], ordinary: float) -> float:
    """Samples of one device in a mean local day of the periods: a day of 25 hours holds 25.

    Parameters
    ----------
    details : sequence of PeriodDetail
        Of the periods that are added up.
    ordinary : float
        Samples in an ordinary day; taken where the periods have no day.
    """
    days = sum(detail.days for detail in details)
    return sum(detail.slots for detail in details) / days if days > 0 else ordinary


_UTC_PLUS_1 = "Etc/GMT-1"  # of POSIX's inverted sign
_KINDS = (np.int64, np.int64, np.int64, np.float64, np.float64)


def _read_period(
    store: ReadingStore, plan: SamplePlan, start: Micros, end: Micros, zone: str
) -> tuple[_Columns, Period, PeriodDetail]:
    measure = plan.measure
    daily = measure.interval == "P1D"
    width = HOUR if daily else interval_micros(measure.interval)
    first, last = -(-start // width) * width, end // width * width
    grid: Ints = np.arange(first, last, width, dtype=np.int64)
    when = local(grid, zone)
    in_hours = wanted(when, measure.hours, measure.weekdays)
    asked = np.empty((len(grid), len(plan.streams)), bool)
    for column, device in enumerate(plan.streams):
        asked[:, column] = in_hours & ~_within(grid, plan.excluded.get(device, ()))
    values, thin = _bucket_values(store, plan, grid, width, when, zone)
    values[~asked] = np.nan
    if daily:
        columns, period = _daily(values, asked, when, plan.aggregation, zone)
        return (
            columns,
            period,
            PeriodDetail(period.expected // max(1, len(plan.streams)), float(period.expected), *thin),
        )
    device_number, row = np.nonzero(np.isfinite(values.T))
    columns = _Columns(device_number, grid[row], when.day[row], when.hour[row], values[row, device_number])
    per_day = float(len(np.unique(when.hour[in_hours])))
    slots = int(in_hours.sum())
    detail = PeriodDetail(slots, _wall_days(when, in_hours, width, measure, slots, per_day), *thin)
    return columns, Period(len(row), int(asked.sum()), per_day), detail


def _wall_days(when: Local, in_hours: Mask, width: Micros, measure: Measure, slots: int, per_day: float) -> float:
    """How many ordinary days the slots would make if no clock had been turned."""
    if not slots:
        return 0.0
    step = width / HOUR
    first, last = float(when.day[0]) * 24 + when.hour[0], float(when.day[-1]) * 24 + when.hour[-1]
    hours = first + step * np.arange(round((last - first) / step) + 1)
    day = np.floor(hours / 24 + 1e-9).astype(np.int64)
    wall = Local(day, np.round((hours - 24 * day) / step) * step, (day + 3) % 7)
    return float(wanted(wall, measure.hours, measure.weekdays).sum()) / per_day


def _bucket_values(
    store: ReadingStore, plan: SamplePlan, grid: Ints, width: Micros, when: Local, zone: str
) -> tuple[Floats, tuple[int, int, float]]:
    """The value of each bucket of the grid (rows) and device (columns), NaN where there is none; and of buckets that
    hold too few readings their number, their readings, and how many one should hold."""
    values = np.zeros((len(grid), len(plan.streams)))
    if not len(grid):
        return values, (0, 0, 0.0)
    sparse, sparse_readings, promised = 0, 0, 0.0
    start, end = int(grid[0]), int(grid[-1]) + width
    counting = plan.measure.statistic == "count"
    aggregation = plan.aggregation
    if plan.measure.interval == "P1D":
        aggregation = {"lden": "energy", "max_8h": "mean"}.get(aggregation, aggregation)
    streams = [stream for of_device in plan.streams.values() for stream in of_device]
    buckets = read_buckets(store, streams, (start, end), width, "mean" if counting else aggregation)
    for column, of_device in enumerate(plan.streams.values()):
        for stream in of_device:
            bucket = buckets.get(stream, NO_BUCKETS)
            if counting:
                values[bucket.place, column] += bucket.readings
            else:
                expected = plan.expected(stream, grid, width)[bucket.place]
                values[:, column] += _filled(bucket, len(grid), expected, aggregation)
                few = ~enough_readings(bucket.readings, expected)
                if few.any():
                    sparse += int(few.sum())
                    sparse_readings += int(bucket.readings[few].sum())
                    promised = max(promised, float(expected[few].max()))
        if counting:
            values[~_online(store, of_device[0], start, end, when, zone), column] = np.nan
    return values, (sparse, sparse_readings, promised)


def _daily(values: Floats, asked: Mask, when: Local, aggregation: str, zone: str) -> tuple[_Columns, Period]:
    """Local days from hours. A day counts with 75 % of the hours it is asked for (2008/50/EC annex XI)."""
    hours = pd.DataFrame(values)
    if aggregation == "max_8h":
        hours = _running_mean(hours)
    asked_hours = pd.DataFrame(asked).groupby(when.day).sum()
    found_hours = hours.notna().groupby(when.day).sum()
    # A day that the period covers only in part is a day where enough of it lies within.
    cut_off = np.zeros(asked_hours.shape, bool)
    cut_off[[0, -1]] = asked_hours.iloc[[0, -1]].lt(MINIMUM_COVER * asked_hours.max()).to_numpy()
    asked_hours = asked_hours.mask(cut_off, 0)
    enough = (found_hours >= MINIMUM_COVER * asked_hours) & (found_hours > 0) & ~cut_off
    levels = _day_values(hours, when, aggregation, asked_hours).where(enough)
    device, row = np.nonzero(levels.notna().to_numpy().T)
    day = asked_hours.index.to_numpy()[row]
    columns = _Columns(device, day_starts(day, zone), day, np.zeros(len(day)), levels.to_numpy()[row, device])
    return columns, Period(len(day), int((asked_hours > 0).to_numpy().sum()), 1.0)


def _day_values(hours: pd.DataFrame, when: Local, aggregation: str, asked_hours: pd.DataFrame) -> pd.DataFrame:
    """One value a local day (rows) and device (columns) from hours that may be NaN."""
    by_day = hours.groupby(when.day)
    match aggregation:
        case "mean":
            return by_day.mean()
        case "sum":
            return by_day.mean() * asked_hours
        case "max" | "max_8h":
            return by_day.max()
        case "min":
            return by_day.min()
        case "vector":
            radians = np.deg2rad(hours.to_numpy())
            parts = (np.sin(radians), np.cos(radians))
            east, north = (pd.DataFrame(part).groupby(when.day).mean() for part in parts)
            return pd.DataFrame(mean_vector(east.to_numpy(), north.to_numpy()), east.index, east.columns)
    if aggregation == "energy":
        return _energy_by_day(hours, when.day)
    times = [
        (when.hour >= 7) & (when.hour < 19),
        (when.hour >= 19) & (when.hour < 23),
        (when.hour >= 23) | (when.hour < 7),
    ]
    levels = [_energy_by_day(hours[rows], when.day[rows]).reindex(asked_hours.index) for rows in times]
    return pd.DataFrame(lden(*(level.to_numpy() for level in levels)), asked_hours.index, asked_hours.columns)


def _energy_by_day(hours: pd.DataFrame, day: Ints) -> pd.DataFrame:
    """Energy means of levels; the highest of each day is taken off meanwhile, so that nothing overflows."""
    by_day = hours.groupby(day)
    power: pd.DataFrame = to_power(hours - by_day.transform("max"))
    mean = power.groupby(day).mean()
    return by_day.max() + 10 * pd.DataFrame(np.log10(mean.to_numpy()), mean.index, mean.columns)


def _running_mean(hours: pd.DataFrame) -> pd.DataFrame:
    """Mean of the eight hours that end with each hour, of at least six; a day's highest is the limit's (annex XI)."""
    return hours.rolling(8, min_periods=6).mean()


def _within(times: Ints, windows: Sequence[Window]) -> Mask:
    within = np.zeros(len(times), bool)
    for start, end in windows:
        within |= (times >= start) & (times < end)
    return within


def _online(store: ReadingStore, stream: Stream, start: Micros, end: Micros, when: Local, zone: str) -> Mask:
    """Buckets on days when the device sent anything at all: only then is silence a count of none."""
    device = Selection(pilots=(stream.pilot,), devices=(stream.device,))
    query = Query(select=device, start=start, end=end, every=BucketWidth(1, "d"), aggregates=("count",), zone=zone)
    return np.isin(when.day, local(_micros(store.read(query).read_all()), zone).day)


def _filled(bucket: BucketColumns, buckets: int, expected: Floats, aggregation: str) -> Floats:
    """A stream's value in each bucket, NaN where it has none or too few of the `expected` readings."""
    values = np.full(buckets, np.nan)
    value = bucket.value
    if aggregation == "sum":  # the missing readings were like the others
        value = value * np.where(expected >= 1, np.maximum(1.0, expected / bucket.readings), 1.0)
    enough = enough_readings(bucket.readings, expected)
    values[bucket.place[enough]] = value[enough]
    return values


# -- Buckets of many streams out of a store: what samples are made of.


@dataclass(frozen=True, slots=True)
class BucketColumns:
    """A stream's buckets that hold a reading."""

    place: Ints  # number of the bucket since the start, ascending
    value: Floats
    readings: Ints


NO_BUCKETS = BucketColumns(np.empty(0, np.int64), np.empty(0), np.empty(0, np.int64))


def read_buckets(
    store: ReadingStore, streams: Sequence[Stream], window: Window, width: Micros, aggregation: str
) -> dict[Stream, BucketColumns]:
    """Buckets of good readings, of the streams that have any.

    Parameters
    ----------
    store : ReadingStore
    streams : sequence of Stream
    window : (start, end)
        µs since the epoch, both whole multiples of `width`.
    width : int
        Of a bucket, µs.
    aggregation : str
        One of the store's aggregates, or "energy" or "vector", which need every reading and are read stream by stream.

    Raises
    ------
    StoreError
        What the store raises.
    """
    start, end = window
    if aggregation in ("energy", "vector"):
        return {stream: _from_readings(store, stream, window, width, aggregation) for stream in streams}
    aggregate: Aggregate = aggregation  # mean, sum, min or max
    at_once = max(1, ROWS_AT_ONCE * width // (end - start))
    buckets: dict[Stream, BucketColumns] = {}
    for some in (streams[i : i + at_once] for i in range(0, len(streams), at_once)):
        query = Query(
            select=Selection(streams=tuple(some)),
            start=start,
            end=end,
            every=BucketWidth(width, "us"),
            aggregates=(aggregate,),
            quality="good",
        )
        table = store.read(query).read_all().unify_dictionaries().combine_chunks()
        if not table.num_rows:
            continue
        place = (_micros(table) - start) // width
        value, readings = table[aggregate].to_numpy(), table["count"].to_numpy()
        (batch,) = table.to_batches()
        for stream, rows in group_by_stream(batch):
            buckets[stream] = BucketColumns(place[rows], value[rows], readings[rows])
    return buckets


def _from_readings(
    store: ReadingStore, stream: Stream, window: Window, width: Micros, aggregation: str
) -> BucketColumns:
    start, end = window
    query = Query(select=Selection(streams=(stream,)), start=start, end=end, quality="good")
    table = store.read(query).read_all()
    if not table.num_rows:
        return NO_BUCKETS
    values = table["value"].to_numpy()
    place, first, count = np.unique((_micros(table) - start) // width, return_index=True, return_counts=True)
    mean = energy_mean if aggregation == "energy" else mean_direction
    means = [mean(values[i : i + n]) for i, n in zip(first.tolist(), count.tolist(), strict=True)]
    return BucketColumns(place, np.array([np.nan if m is None else m for m in means], np.float64), count)


def _micros(table: pa.Table) -> Ints:
    """The column of times as µs."""
    return np.asarray(table["time"].cast(pa.int64()).to_numpy(), np.int64)

"""The lines of a chart as columns: one a stream, broken where readings are missing, with a band of its extremes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from techport_dashboards.query import times
from techport_dashboards.query.registry_cache import RegistryView
from techport_pilots.evaluation.statistics import energy_mean
from techport_pilots.i18n import N_
from techport_pilots.promises import Promise
from techport_pilots.quality.completeness import earlier_promises, intervals_at
from techport_pilots.registry.registry import StreamInfo
from techport_pilots.time import micros_of
from techport_storage.columns import group_by_stream
from techport_storage.model import Aggregate, BucketWidth, Micros, Stream

GAP = 2.5  # expected intervals without a reading that break a line


@dataclass(frozen=True, slots=True)
class Presentation:
    """How a kind of quantity is drawn: what stands for a bucket, as what, and whether its extremes mean anything."""

    statistic: Aggregate
    form: str  # line, bar, steps, dots
    band: bool
    averaged: bool = True  # whether a mean over time says something
    energy: bool = False  # decibels, whose mean is that of their energies

    def mean(self, values: NDArray[np.float64]) -> float:
        return float(energy_mean(values) if self.energy else values.mean())


PRESENTATIONS = {
    "level": Presentation("mean", "line", band=True),
    "energy-level": Presentation("energy_mean", "line", band=True, energy=True),
    "count": Presentation("sum", "bar", band=False),
    "direction": Presentation("vector_mean", "dots", band=False, averaged=False),  # a mean of 350° and 10° is 0°
    "state": Presentation("last", "steps", band=False),
}

STATISTICS: dict[Aggregate, str] = {
    "mean": N_("mean"),
    "energy_mean": N_("energy mean"),
    "vector_mean": N_("vector mean"),
    "sum": N_("sum"),
    "last": N_("last"),
}


Column = list[float | None]
"""Values of a line; None is a gap."""


class Values(msgspec.Struct, frozen=True):
    """From lowest to highest at each time, to be drawn as a band."""

    x: list[str]
    low: Column
    high: Column


@dataclass(frozen=True, slots=True)
class Line:
    """One stream's points. `expected` is the usual distance between two."""

    view: StreamInfo
    time: NDArray[np.int64]
    value: NDArray[np.float64]
    low: NDArray[np.float64] | None
    high: NDArray[np.float64] | None
    count: int
    expected: Micros | None
    moved: Sequence[Micros] = ()  # when its device came to another place
    earlier: Sequence[Promise] = ()  # how often it came before its interval was changed

    @property
    def lowest(self) -> float:
        return float((self.value if self.low is None else self.low).min())

    @property
    def highest(self) -> float:
        return float((self.value if self.high is None else self.high).max())


def lines_of(
    table: pa.Table, registry: RegistryView, every: BucketWidth | None, presentation: Presentation
) -> list[Line]:
    """The table's rows as one line a stream.

    Parameters
    ----------
    table : pyarrow.Table
        Readings (`time`, `value`), or buckets (`time`, `count`, a column for each statistic); rows of a stream lie
        together, ascending by time.
    registry : RegistryView
        Where streams are described and devices were moved.
    every : BucketWidth or None
        Width of the buckets; None for readings.
    presentation : Presentation
        How the quantity is drawn, and so which statistic stands for a bucket.

    Returns
    -------
    list of Line
        Values in the stream's unit, times in µs since 1970 (UTC); streams without finite values are left out.
    """
    column = "value" if every is None else presentation.statistic
    table = table.filter(pc.is_finite(table.column(column)))  # directions of a bucket may cancel out
    if table.num_rows == 0:
        return []
    table = table.combine_chunks()
    time = table.column("time").cast(pa.int64()).to_numpy()
    value = table.column(column).to_numpy()
    low, high = (table.column(n).to_numpy() for n in ("min", "max")) if every and presentation.band else (None, None)
    counts = table.column("count").to_numpy() if every else None
    lines = []
    for stream, part in group_by_stream(table):
        info = registry.stream(stream)
        expected = max(info.interval_us or 0, times.length(every)) if every else info.interval_us
        if expected is None and part.stop - part.start > 2:  # nobody said how often it comes: see how often it does
            expected = int(np.median(np.diff(time[part])))
        lines.append(
            Line(
                info,
                time[part],
                value[part],
                None if low is None else low[part],
                None if high is None else high[part],
                part.stop - part.start if counts is None else int(counts[part].sum()),
                expected,
                _moves(registry, stream),
                _earlier(registry, stream),
            )
        )
    return lines


def _moves(registry: RegistryView, stream: Stream) -> list[Micros]:
    pilot = registry.pilots.get(stream.pilot)
    moved = [] if pilot is None else [e for e in pilot.events if e.kind == "moved" and e.device == stream.device]
    return [micros_of(event.time, pilot.timezone) for event in moved] if pilot else []


def _earlier(registry: RegistryView, stream: Stream) -> Sequence[Promise]:
    """What the stream promised before its interval was changed."""
    pilot = registry.pilots.get(stream.pilot)
    return () if pilot is None else earlier_promises(pilot).get(stream, ())


def with_gaps(line: Line) -> tuple[NDArray[np.int64], list[NDArray[np.float64] | None]]:
    """The line's columns with a NaN wherever readings are missing or the device was moved: no stroke is drawn there."""
    columns = [line.value, line.low, line.high]
    steps = np.diff(line.time)
    long = np.zeros(len(steps), bool)
    if line.expected is not None:
        long = steps > GAP * np.maximum(line.expected, intervals_at(line.time[:-1], 0, line.earlier))
    moves = np.searchsorted(line.time, np.asarray(line.moved, np.int64))
    holes = np.union1d(np.flatnonzero(long) + 1, moves[(moves > 0) & (moves < len(line.time))]).astype(np.int64)
    if not len(holes):
        return line.time, columns
    step = steps[holes - 1] // 2 if line.expected is None else np.minimum(steps[holes - 1] // 2, line.expected)
    time = np.insert(line.time, holes, line.time[holes - 1] + step)
    return time, [None if column is None else np.insert(column, holes, np.nan) for column in columns]


def coarser(line: Line, buckets: int, width: Micros) -> Line:
    """Lowest and highest value over so many neighbouring buckets, each as wide as `width` (µs): a band in fewer points.

    Its last point is the line's last, so that the band goes as far as the line.
    """
    if line.low is None or line.high is None or buckets <= 1 or not len(line.time):
        return line
    group = (line.time - line.time[0]) // (buckets * width)
    first = np.flatnonzero(np.diff(group, prepend=-1))
    low, high = np.fmin.reduceat(line.low, first), np.fmax.reduceat(line.high, first)
    time = line.time[first]
    if time[-1] != line.time[-1]:
        time, low, high = np.append(time, line.time[-1]), np.append(low, low[-1]), np.append(high, high[-1])
    expected = None if line.expected is None else max(line.expected, buckets * width)
    return replace(line, time=time, value=low, low=low, high=high, expected=expected)


def numbers(column: NDArray[np.float64] | None, decimals: int) -> Column:
    """With two digits more than are printed; NaN, a hole, as null."""
    if column is None:
        return []
    return [None if number != number else number for number in np.round(column, decimals + 2).tolist()]

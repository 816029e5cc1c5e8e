"""Figures that lay phases over each other: how values are distributed, the typical day and the typical week.

Numbers in, coordinates of an inline SVG out. A drawing is WIDTH × HEIGHT, its plot the rectangle LEFT, TOP, RIGHT,
BOTTOM; templates/phases.html draws axes and words around it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from techport_pilots.svg import Floats, Scale, band, decimals_of, polyline, round_step, stairs, ticks
from techport_storage.microseconds import DAY

Ints = NDArray[np.int64]
Mean = Callable[[Floats], float]

WIDTH, HEIGHT = 640.0, 250.0
LEFT, RIGHT, TOP, BOTTOM = 52.0, 632.0, 10.0, 222.0
BINS = 48
MOST_STEPS = 7  # between the ticks of an axis
ENOUGH = 3  # values that a mean of an hour rests on at least


@dataclass(frozen=True, slots=True)
class Group:
    """What one phase, or a control group in one, measured: hourly values with their place in the local week."""

    name: str  # baseline, intervention, control, other: also how it is drawn
    value: Floats
    hour: Ints  # of the local day, 0..23
    weekday: Ints  # 0 is Monday


@dataclass(frozen=True, slots=True)
class Spread:
    """How a group's values are distributed; None for one without values."""

    count: int
    mean: float
    low: float  # 5th percentile
    quarter: float
    median: float
    three_quarters: float
    high: float  # 95th percentile


@dataclass(frozen=True, slots=True)
class Axis:
    """Ticks as (value, coordinate)."""

    ticks: list[tuple[float, float]]
    decimals: int


@dataclass(frozen=True, slots=True)
class Box:
    """A box plot lying on its side: coordinates along x, the middle on y."""

    name: str
    low: float
    quarter: float
    median: float
    three_quarters: float
    high: float
    mean: float
    y: float


@dataclass(frozen=True, slots=True)
class Distribution:
    axis: Axis
    outlines: list[tuple[str, str]]  # group, path
    boxes: list[Box]
    height: float


@dataclass(frozen=True, slots=True)
class Pattern:
    """Curves over the hours of a day or a week. `bands` run between the quartiles."""

    axis: Axis  # of the values
    hours: list[tuple[int, float]]
    curves: list[tuple[str, str]]
    bands: list[tuple[str, str]]
    means: list[tuple[str, list[float | None]]]


@dataclass(frozen=True, slots=True)
class Days:
    """A value a day over a whole pilot. `phases` are (kind, left, width) of the areas behind it."""

    axis: Axis
    months: list[tuple[int, float]]  # the first of each month: its instant in µs, and where it is
    path: str
    phases: list[tuple[str, float, float]]
    lowest: float
    highest: float


def days(
    day: Ints, value: Floats, phases: Sequence[tuple[str, int, int]], start: int, end: int, months: Sequence[int] = ()
) -> Days | None:
    """One point a day, broken where more than a day and a half has none.

    Parameters
    ----------
    day : ndarray of int64
        When each local day begins, µs since 1970, ascending.
    value : ndarray of float64
        The value of each day, in the quantity's unit.
    phases : sequence of (kind, start, end)
        Areas behind the line, µs.
    start, end : int
        Ends of the axis, µs.
    months : sequence of int
        Where months begin, µs.

    Returns
    -------
    Days or None
        Coordinates in the drawing; None without any day.
    """
    if not len(value):
        return None
    lowest, highest = float(value.min()), float(value.max())
    pad = 0.08 * (highest - lowest) or 0.5
    low = 0.0 if 0 <= lowest < 0.35 * highest else lowest - pad  # a scale that nearly begins at zero begins there
    up, across = Scale(low, highest + pad, BOTTOM, TOP), Scale(start, end, LEFT, RIGHT)
    middle = np.minimum(day.astype(np.float64) + DAY / 2, end)  # today's is not over
    x, y = across.each(middle), up.each(value)
    holes = np.flatnonzero(np.diff(day) > 1.5 * DAY) + 1
    areas = [(kind, round(across(a), 1), round(across(b) - across(a), 1)) for kind, a, b in phases]
    return Days(
        _axis(low, highest + pad, up),
        [(month, round(across(month), 1)) for month in months if start <= month < end],
        polyline(np.insert(x, holes, np.nan), np.insert(y, holes, np.nan)),
        areas,
        lowest,
        highest,
    )


def spread(value: Floats, mean: Mean) -> Spread | None:
    if not len(value):
        return None
    low, quarter, median, three, high = np.percentile(value, [5, 25, 50, 75, 95]).tolist()
    return Spread(len(value), mean(value), low, quarter, median, three, high)


def distribution(groups: Sequence[Group], mean: Mean) -> Distribution | None:
    """Shares of the values in equal bins, a box plot of each group under them on the same axis.

    Bins run from the first to the last percentile of all: a few far values would press the rest together.
    """
    measured = [group for group in groups if len(group.value)]
    if not measured:
        return None
    low, high = np.percentile(np.concatenate([group.value for group in measured]), [1, 99]).tolist()
    low, high = (low - 0.5, high + 0.5) if low == high else (low, high)
    bins = [np.histogram(group.value, BINS, (low, high))[0] / len(group.value) for group in measured]
    top = max(float(shares.max()) for shares in bins) or 1.0
    floor = 150.0
    across = Scale(low, high, LEFT, RIGHT)
    edges = np.linspace(LEFT, RIGHT, BINS + 1)
    outlines = [
        (group.name, stairs(edges, floor - (floor - TOP) * shares / top))
        for group, shares in zip(measured, bins, strict=True)
    ]
    boxes = [_box(group, mean, across, floor + 34 + 30 * i) for i, group in enumerate(measured)]
    return Distribution(_axis(low, high, across), outlines, boxes, floor + 34 + 30 * len(measured))


def day(groups: Sequence[Group], mean: Mean) -> Pattern | None:
    """The mean of each hour of the day, with a band between the quartiles."""
    return _pattern(groups, lambda group: group.hour, 24, range(0, 24, 3), mean, bands=True)


def week(groups: Sequence[Group], mean: Mean) -> Pattern | None:
    """The mean of each hour of the week from Monday."""
    return _pattern(groups, lambda group: 24 * group.weekday + group.hour, 168, range(0, 168, 24), mean, bands=False)


def _pattern(
    groups: Sequence[Group], slot: Callable[[Group], Ints], slots: int, marks: range, mean: Mean, bands: bool
) -> Pattern | None:
    rows_of = [(group.name, _by_slot(group.value, slot(group), slots, mean)) for group in groups if len(group.value)]
    ends = [row[1:] if bands else row[:1] for _, row in rows_of]
    drawn = np.concatenate([part[np.isfinite(part)] for end in ends for part in end]) if rows_of else np.empty(0)
    if not len(drawn):
        return None
    low, high = float(drawn.min()), float(drawn.max())
    pad = 0.06 * (high - low) or 0.5
    up = Scale(low - pad, high + pad, BOTTOM, TOP)
    across = Scale(0, slots - 1 if slots == 24 else slots, LEFT, RIGHT)
    x = across.each(np.arange(slots))
    return Pattern(
        _axis(low - pad, high + pad, up),
        [(hour, across(hour)) for hour in marks],
        [(name, polyline(x, up.each(rows[0]))) for name, rows in rows_of],
        [(name, band(x, up.each(rows[1]), up.each(rows[2]))) for name, rows in rows_of] if bands else [],
        [(name, [None if math.isnan(v) else v for v in rows[0].tolist()]) for name, rows in rows_of],
    )


def _by_slot(value: Floats, slot: Ints, slots: int, mean: Mean) -> Floats:
    """Rows: mean, lower and upper quartile of each slot; NaN where there are too few values."""
    rows = np.full((3, slots), np.nan)
    order = np.argsort(slot, kind="stable")
    edges = np.searchsorted(slot[order], np.arange(slots + 1))
    for i in range(slots):
        in_slot = value[order[edges[i] : edges[i + 1]]]
        if len(in_slot) >= ENOUGH:
            rows[0, i] = mean(in_slot)
            rows[1:, i] = np.percentile(in_slot, [25, 75])
    return rows


def _box(group: Group, mean: Mean, across: Scale, y: float) -> Box:
    values = spread(group.value, mean)
    assert values is not None
    names = ("low", "quarter", "median", "three_quarters", "high", "mean")
    at = {name: round(across.within(getattr(values, name)), 1) for name in names}
    return Box(name=group.name, y=y, **at)


def _axis(low: float, high: float, scale: Scale) -> Axis:
    """Three to eight round values between the ends."""
    step = round_step(high - low, MOST_STEPS)
    return Axis([(value, round(scale(value), 1)) for value in ticks(low, high, step)], decimals_of(step))

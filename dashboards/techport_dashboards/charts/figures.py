"""Figures that a server draws as numbers for an inline SVG: they print, work without JavaScript, and have their table.

Each takes columns of equal length and gives what its template draws. Coordinates are of a drawing 100 units wide.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from techport_pilots.svg import Floats, Scale, decimals_of, ring_piece, round_step, ticks
from techport_storage.microseconds import HOUR

Ints = NDArray[np.int64]

BINS = 30
SECTORS = 16
WIDTH = 360 / SECTORS  # degrees of a sector
HALF = 0.42  # of it on each side of its middle that a petal fills
RADIUS = 46.0  # of the longest petal, around (50, 50)
SCATTERED = 3_000  # points beyond which every so many-th is drawn


@dataclass(frozen=True, slots=True)
class Bin:
    low: float
    high: float
    count: int
    height: float  # 0..1 of the highest


@dataclass(frozen=True, slots=True)
class Cell:
    """An hour of the week. `depth` is 0..1 between the lowest and the highest mean."""

    mean: float | None
    depth: float
    count: int


@dataclass(frozen=True, slots=True)
class Sector:
    """Where the wind comes from. `value` is the mean while it does, `share` how often."""

    degrees: float
    value: float | None
    share: float
    count: int
    path: str


@dataclass(frozen=True, slots=True)
class Scatter:
    points: list[tuple[float, float]]  # in a drawing 100 × 60
    x: tuple[float, float]  # lowest and highest
    y: tuple[float, float]
    count: int
    correlation: float | None  # Pearson's


@dataclass(frozen=True, slots=True)
class Axis:
    """Round values along a side of a drawing, and the coordinate of each."""

    ticks: list[tuple[float, float]]
    decimals: int


def axis(low: float, high: float, start: float, end: float, most: int) -> Axis:
    """From the value `low` at coordinate `start` to `high` at `end`, with about so many ticks at most."""
    if not high > low:
        return Axis([(low, start)], 2)
    step, place = round_step(high - low, most), Scale(low, high, start, end)
    return Axis([(value, round(place(value), 1)) for value in ticks(low, high, step)], decimals_of(step))


def distribution(value: Floats) -> list[Bin]:
    """Equal bins from the lowest to the highest value."""
    if not len(value):
        return []
    count, edges = np.histogram(value, bins=BINS if np.ptp(value) > 0 else 1)
    return [
        Bin(float(low), float(high), int(n), float(n / count.max()))
        for low, high, n in zip(edges[:-1], edges[1:], count, strict=True)
    ]


def week(local: Ints, value: Floats) -> list[list[Cell]]:
    """Seven days from Monday, 24 hours each. `local` are µs of the wall clock since 1970-01-01, a Thursday."""
    hours = local // HOUR
    slot = (hours + 3 * 24) % (7 * 24)
    count = np.bincount(slot, minlength=7 * 24)
    total = np.bincount(slot, weights=value, minlength=7 * 24)
    mean = np.divide(total, count, out=np.full(7 * 24, np.nan), where=count > 0)
    low, span = (float(np.nanmin(mean)), float(np.nanmax(mean) - np.nanmin(mean))) if count.any() else (0.0, 0.0)
    cells = [
        Cell(None, 0.0, 0) if math.isnan(m) else Cell(float(m), float((m - low) / span) if span else 0.0, int(n))
        for m, n in zip(mean.tolist(), count.tolist(), strict=True)
    ]
    return [cells[day * 24 : day * 24 + 24] for day in range(7)]


def rose(direction: Floats, value: Floats) -> list[Sector]:
    """The mean of a value by where the wind came from; petals as long as the mean is high."""
    if not len(value):
        return []
    sector = (np.round(direction / WIDTH) % SECTORS).astype(np.int64)
    count = np.bincount(sector, minlength=SECTORS)
    total = np.bincount(sector, weights=value, minlength=SECTORS)
    mean = np.divide(total, count, out=np.zeros(SECTORS), where=count > 0)
    highest = mean.max()
    return [
        Sector(
            i * WIDTH,
            float(mean[i]) if count[i] else None,
            float(count[i] / count.sum()),
            int(count[i]),
            ring_piece(i * WIDTH, HALF * WIDTH, 0, RADIUS * max(float(mean[i]), 0.0) / highest) if highest > 0 else "",
        )
        for i in range(SECTORS)
    ]


def scatter(x: Floats, y: Floats) -> Scatter | None:
    """Two quantities at the same times. None without any."""
    if not len(x):
        return None
    (x0, x1), (y0, y1) = ((float(c.min()), float(c.max())) for c in (x, y))
    step = -(-len(x) // SCATTERED)
    across = Scale(x0, x1 if x1 > x0 else x0 + 1, 0, 100).each(x[::step])
    down = Scale(y0, y1 if y1 > y0 else y0 + 1, 60, 0).each(y[::step])
    varied = len(x) > 2 and x0 < x1 and y0 < y1
    return Scatter(
        list(zip(np.round(across, 1).tolist(), np.round(down, 1).tolist(), strict=True)),
        (x0, x1),
        (y0, y1),
        len(x),
        float(np.corrcoef(x, y)[0, 1]) if varied else None,
    )

"""Roses stacked by classes: how often the wind comes from each side, and how strong it or how high a value is then."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from techport_dashboards.charts.figures import SECTORS, Floats

WIND_CLASSES = (1.6, 3.4, 5.5, 8.0, 10.8)
"""Where light air, light, gentle, moderate and fresh breeze of the Beaufort scale end, m/s."""
SHARES = (25, 50, 75, 90)  # percentiles that part the classes of any other quantity
RADIUS = 46.0
HALF = 0.42  # of a sector's width on each side of its middle


@dataclass(frozen=True, slots=True)
class Slice:
    """A class of a sector. `share` is of all the time."""

    path: str
    degrees: float
    level: int  # its class, from 0
    share: float


@dataclass(frozen=True, slots=True)
class Stacked:
    """`classes` are (low, high, share of the time); `rows` the shares of each sector by class; rings are (radius,
    share)."""

    slices: list[Slice]
    classes: list[tuple[float | None, float | None, float]]
    rows: list[tuple[float, list[float]]]
    rings: list[tuple[float, float]]
    count: int


def stacked(direction: Floats, value: Floats, bounds: Sequence[float]) -> Stacked | None:
    """Petals as long as the wind comes from there often, from the middle out by class; `bounds` part the classes."""
    if not len(value):
        return None
    sector = (np.round(direction / (360 / SECTORS)) % SECTORS).astype(np.int64)
    level = np.searchsorted(np.asarray(bounds), value, side="right")
    count = np.zeros((SECTORS, len(bounds) + 1))
    np.add.at(count, (sector, level), 1)
    shares = count / len(value)
    longest = float(shares.sum(axis=1).max())
    slices = [
        Slice(_ring_piece(i * 360 / SECTORS, inner / longest, outer / longest), i * 360 / SECTORS, k, outer - inner)
        for i in range(SECTORS)
        for k, (inner, outer) in enumerate(_steps(shares[i].tolist()))
        if outer > inner
    ]
    ends = [None, *bounds, None]
    classes = [(ends[k], ends[k + 1], float(shares[:, k].sum())) for k in range(len(bounds) + 1)]
    rows = [(i * 360 / SECTORS, shares[i].tolist()) for i in range(SECTORS)]
    rings = [(RADIUS * part, longest * part) for part in (1.0, 2 / 3, 1 / 3)]
    return Stacked(slices, classes, rows, rings, len(value))


def classes_of(value: Floats) -> list[float]:
    """Bounds at which a quarter, half, three quarters and nine tenths of the values lie below."""
    found = np.percentile(value, SHARES) if len(value) else np.empty(0)
    return [float(bound) for bound in np.unique(found)]


def _steps(shares: Sequence[float]) -> list[tuple[float, float]]:
    ends = np.concatenate([[0.0], np.cumsum(shares)]).tolist()
    return list(pairwise(ends))


def _ring_piece(middle: float, inner: float, outer: float) -> str:
    """A piece of a ring around (50, 50), north up; the radii are shares of RADIUS."""
    half = HALF * 360 / SECTORS
    r, s = RADIUS * inner, RADIUS * outer
    (x1, y1), (x2, y2) = _ends(middle, half, s)
    (x3, y3), (x4, y4) = _ends(middle, half, r)
    far = f"M{x1:.2f} {y1:.2f}A{s:.2f} {s:.2f} 0 0 1 {x2:.2f} {y2:.2f}"
    near = f"L{x4:.2f} {y4:.2f}A{r:.2f} {r:.2f} 0 0 0 {x3:.2f} {y3:.2f}Z" if inner else "L50 50Z"
    return far + near


def _ends(middle: float, half: float, radius: float) -> tuple[tuple[float, float], tuple[float, float]]:
    one, two = (math.radians(middle + turn) for turn in (-half, half))
    return (50 + radius * math.sin(one), 50 - radius * math.cos(one)), (
        50 + radius * math.sin(two),
        50 - radius * math.cos(two),
    )

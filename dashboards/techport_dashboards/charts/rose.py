"""Roses stacked by classes: how often the wind comes from each side, and how strong it or how high a value is then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from techport_dashboards.charts.figures import HALF, RADIUS, SECTORS, WIDTH
from techport_pilots.svg import Floats, ring_piece

WIND_CLASSES = (1.6, 3.4, 5.5, 8.0, 10.8)
"""Where light air, light, gentle, moderate and fresh breeze of the Beaufort scale end, m/s."""
SHARES = (25, 50, 75, 90)  # percentiles that part the classes of any other quantity


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
    sector = (np.round(direction / WIDTH) % SECTORS).astype(np.int64)
    level = np.searchsorted(np.asarray(bounds), value, side="right")
    count = np.zeros((SECTORS, len(bounds) + 1))
    np.add.at(count, (sector, level), 1)
    shares = count / len(value)
    longest = float(shares.sum(axis=1).max())
    slices = [
        Slice(
            ring_piece(i * WIDTH, HALF * WIDTH, RADIUS * inner / longest, RADIUS * outer / longest),
            i * WIDTH,
            k,
            outer - inner,
        )
        for i in range(SECTORS)
        for k, (inner, outer) in enumerate(_steps(shares[i].tolist()))
        if outer > inner
    ]
    ends = [None, *bounds, None]
    classes = [(ends[k], ends[k + 1], float(shares[:, k].sum())) for k in range(len(bounds) + 1)]
    rows = [(i * WIDTH, shares[i].tolist()) for i in range(SECTORS)]
    rings = [(RADIUS * part, longest * part) for part in (1.0, 2 / 3, 1 / 3)]
    return Stacked(slices, classes, rows, rings, len(value))


def classes_of(value: Floats) -> list[float]:
    """Bounds at which a quarter, half, three quarters and nine tenths of the values lie below."""
    percentiles = np.percentile(value, SHARES) if len(value) else np.empty(0)
    return [float(bound) for bound in np.unique(percentiles)]


def _steps(shares: Sequence[float]) -> list[tuple[float, float]]:
    ends = np.concatenate([[0.0], np.cumsum(shares)]).tolist()
    return list(pairwise(ends))

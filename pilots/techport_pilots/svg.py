"""Axes, paths and map projections of the pictures that are drawn as inline SVG, in reports and on pages.

Plain arithmetic: values, instants and positions in, coordinates and path texts out. Coordinates are rounded to a tenth
of a unit of the drawing, so that the same data draw the same picture, byte for byte.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ring = Sequence[tuple[float, float]]
"""(lon, lat) in WGS 84 degrees."""

NEAR = 0.4  # units of the drawing: a point of a map's outline that is nearer to the one before is left out
KILOMETRES_PER_DEGREE = 111.2  # of latitude
DISTANCES = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20)
"""Kilometres that a scale bar may show."""


# -- Axes


@dataclass(frozen=True, slots=True)
class Scale:
    """A straight axis: `low` lies at coordinate `start`, `high` at `end`, which may be the smaller of the two."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return self.start + (self.end - self.start) * (value - self.low) / (self.high - self.low)

    def each(self, values: ArrayLike) -> Floats:
        """The coordinates of many values; NaN stays NaN."""
        share = (np.asarray(values, np.float64) - self.low) / (self.high - self.low)
        return np.asarray(self.start + (self.end - self.start) * share, np.float64)

    def within(self, value: float) -> float:
        """The coordinate, of a value beyond the axis that of its nearer end."""
        return self(min(max(value, self.low), self.high))


def round_step(span: float, most: int) -> float:
    """The least of 1, 2 and 5 times a power of ten that divides `span` into at most so many parts."""
    least = span / most
    power = 10.0 ** math.floor(math.log10(least))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least * (1 - 1e-9))


def decimals_of(step: float) -> int:
    """How many digits after the decimal point tell multiples of a round step apart."""
    return max(0, -math.floor(math.log10(step) + 1e-9))


def ticks(low: float, high: float, step: float) -> list[float]:
    """The multiples of the step from `low` to `high`."""
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [step * i for i in range(first, last + 1)]


def lanes(spans: Sequence[tuple[int, int]]) -> tuple[list[int], int]:
    """A lane for each span, so that none overlaps another in its lane, and how many lanes there are.

    Spans are (start, end), ascending by start.
    """
    free_from: list[int] = []
    chosen = []
    for start, end in spans:
        lane = next((i for i, free in enumerate(free_from) if free <= start), len(free_from))
        free_from[lane : lane + 1] = [end]
        chosen.append(lane)
    return chosen, len(free_from)


# -- Paths


def polyline(x: Floats, y: Floats) -> str:
    """A line through the points, broken where y is NaN."""
    parts, pen_down = [], False
    for across, down in zip(x.tolist(), y.tolist(), strict=True):
        if math.isnan(down):
            pen_down = False
            continue
        parts.append(f"{'L' if pen_down else 'M'}{across:.1f} {down:.1f}")
        pen_down = True
    return "".join(parts)


def band(x: Floats, low: Floats, high: Floats) -> str:
    """The areas between two lines, one for each run of points that have both."""
    finite = np.isfinite(low) & np.isfinite(high)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], finite, [False]]).astype(np.int8)))
    areas = []
    for first, behind in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        forth = [f"{a:.1f} {b:.1f}" for a, b in zip(x[first:behind], low[first:behind], strict=True)]
        back = [f"{a:.1f} {b:.1f}" for a, b in zip(x[first:behind], high[first:behind], strict=True)][::-1]
        areas.append("M" + "L".join([*forth, *back]) + "Z")
    return "".join(areas)


def stairs(edges: Floats, heights: Floats) -> str:
    """The outline of a histogram: a level from each edge to the next."""
    parts = [f"H{right:.1f}V{up:.1f}" for right, up in zip(edges[1:-1].tolist(), heights[1:].tolist(), strict=True)]
    return f"M{edges[0]:.1f} {heights[0]:.1f}{''.join(parts)}H{edges[-1]:.1f}"


def dots(x: Floats, y: Floats) -> str:
    """A point at each place, for a stroke with round ends."""
    return "".join(f"M{across:.1f} {down:.1f}h0" for across, down in zip(x.tolist(), y.tolist(), strict=True))


def ring_piece(middle: float, half: float, inner: float, outer: float) -> str:
    """A piece of a ring around (50, 50), north up, from radius `inner` to `outer`.

    It reaches `half` degrees to each side of `middle`, degrees clockwise from the north; with `inner` 0 it is a slice.
    """
    (x1, y1), (x2, y2) = _ends(middle, half, outer)
    (x3, y3), (x4, y4) = _ends(middle, half, inner)
    far = f"M{x1:.2f} {y1:.2f}A{outer:.2f} {outer:.2f} 0 0 1 {x2:.2f} {y2:.2f}"
    near = f"L{x4:.2f} {y4:.2f}A{inner:.2f} {inner:.2f} 0 0 0 {x3:.2f} {y3:.2f}Z" if inner else "L50 50Z"
    return far + near


def _ends(middle: float, half: float, radius: float) -> tuple[tuple[float, float], tuple[float, float]]:
    left, right = (math.radians(middle + turn) for turn in (-half, half))
    return (50 + radius * math.sin(left), 50 - radius * math.cos(left)), (
        50 + radius * math.sin(right),
        50 - radius * math.cos(right),
    )


# -- Maps


@dataclass(frozen=True, slots=True)
class Projection:
    """Equirectangular about the middle of a drawing: true to within a hundredth over a city."""

    west: float  # degrees at the drawing's left edge
    north: float  # degrees at its upper edge
    per_lon: float  # units of the drawing in a degree
    per_lat: float
    width: float
    height: float

    @classmethod
    def fitting(
        cls, places: Ring, width: float, height: float, margin: float, least: tuple[float, float]
    ) -> Projection:
        """The largest that has all places at least `margin` from the edges.

        `least` are the degrees that the drawing shows at least within its margins: of latitude across its width, which
        are as long as so many of longitude on the equator, and of latitude down its height.
        """
        west, east = min(lon for lon, _ in places), max(lon for lon, _ in places)
        south, north = min(lat for _, lat in places), max(lat for _, lat in places)
        middle_lon, middle_lat = (west + east) / 2, (south + north) / 2
        squeeze = math.cos(math.radians(middle_lat))
        per_lat = min(
            (width - 2 * margin) / max((east - west) * squeeze, least[0]),
            (height - 2 * margin) / max(north - south, least[1]),
        )
        per_lon = per_lat * squeeze
        left, top = middle_lon - width / 2 / per_lon, middle_lat + height / 2 / per_lat
        return cls(left, top, per_lon, per_lat, width, height)

    @property
    def east(self) -> float:
        """Degrees at the drawing's right edge."""
        return self.west + self.width / self.per_lon

    @property
    def south(self) -> float:
        """Degrees at its lower edge."""
        return self.north - self.height / self.per_lat

    def __call__(self, lon: float, lat: float) -> tuple[float, float]:
        return round((lon - self.west) * self.per_lon, 1), round((self.north - lat) * self.per_lat, 1)

    def path(self, ring: Ring, closed: bool) -> str:
        """An outline without points that fall on the one before, cut far beyond the frame."""
        points = [self(*point) for point in ring]
        apart = [points[0], *(after for before, after in pairwise(points) if math.dist(before, after) >= NEAR)]
        places = (f"{_cut(x, self.width)} {_cut(y, self.height)}" for x, y in apart)
        return "M" + "L".join(places) + ("Z" if closed else "")

    def curve(self, line: Ring) -> str:
        """A smooth line through the middles between the points: what a river drawn with few points looks like."""
        points = [self(*point) for point in line]
        middles = [((a + c) / 2, (b + d) / 2) for (a, b), (c, d) in pairwise(points)]
        bends = "".join(
            f"Q{x} {y} {mx:.1f} {my:.1f}" for (x, y), (mx, my) in zip(points[1:-1], middles[1:], strict=True)
        )
        (x, y), (first_x, first_y), (last_x, last_y) = points[0], middles[0], points[-1]
        return f"M{x} {y}L{first_x:.1f} {first_y:.1f}{bends}L{last_x} {last_y}"

    def scale_bar(self, longest: float) -> tuple[float, str]:
        """Length in the drawing and name of the greatest round distance that is at most `longest` units long."""
        per_kilometre = self.per_lat / KILOMETRES_PER_DEGREE
        fitting = [distance for distance in DISTANCES if distance * per_kilometre <= longest]
        distance = max(fitting, default=DISTANCES[0])
        name = f"{distance:g} km" if distance >= 1 else f"{distance * 1000:.0f} m"
        return round(distance * per_kilometre, 1), name


def _cut(value: float, size: float) -> float:
    return min(max(value, -3 * size), 4 * size)


def free_place(point: tuple[float, float], taken: Sequence[tuple[float, float]], apart: float) -> tuple[float, float]:
    """The point itself, or the nearest place around it that is at least so far from all that are taken."""
    step = 10.0
    for ring in range(8):
        for turn in range(max(1, ring * 6)):
            angle = 2 * math.pi * turn / max(1, ring * 6)
            place = point[0] + step * ring * math.cos(angle), point[1] + step * ring * math.sin(angle)
            if all(math.dist(place, other) >= apart for other in taken):
                return place
    return point

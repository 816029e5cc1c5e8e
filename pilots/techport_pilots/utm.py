"""Positions in UTM, as Norwegian maps and surveyors give them: metres east and north in a zone.

Transverse Mercator by Krüger's series in the third flattening n, after IOGP Publication 373-7-2 (Geomatics Guidance
Note 7, part 2), method 9807. Up to n⁴ it is good for less than a millimetre within a zone (C. F. F. Karney, Transverse
Mercator with an accuracy of a few nanometers, doi:10.1007/s00190-011-0445-3). EUREF89 and WGS 84, which differ by less
than a metre, are not told apart.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from techport_pilots.model import Position


class Ellipsoid(NamedTuple):
    semi_major: float  # m
    inverse_flattening: float

    @property
    def third_flattening(self) -> float:
        flattening = 1 / self.inverse_flattening
        return flattening / (2 - flattening)

    @property
    def eccentricity(self) -> float:
        flattening = 1 / self.inverse_flattening
        return math.sqrt(flattening * (2 - flattening))

    @property
    def rectifying_radius(self) -> float:
        """Of the sphere whose meridians are as long, m."""
        n = self.third_flattening
        return self.semi_major / (1 + n) * (1 + n**2 / 4 + n**4 / 64)

    @property
    def forward(self) -> tuple[float, ...]:
        """h1 to h4."""
        n = self.third_flattening
        return (
            n / 2 - 2 / 3 * n**2 + 5 / 16 * n**3 + 41 / 180 * n**4,
            13 / 48 * n**2 - 3 / 5 * n**3 + 557 / 1440 * n**4,
            61 / 240 * n**3 - 103 / 140 * n**4,
            49_561 / 161_280 * n**4,
        )

    @property
    def reverse(self) -> tuple[float, ...]:
        """h1' to h4'."""
        n = self.third_flattening
        return (
            n / 2 - 2 / 3 * n**2 + 37 / 96 * n**3 - 1 / 360 * n**4,
            1 / 48 * n**2 + 1 / 15 * n**3 - 437 / 1440 * n**4,
            17 / 480 * n**3 - 37 / 840 * n**4,
            4_397 / 161_280 * n**4,
        )


class Projection(NamedTuple):
    ellipsoid: Ellipsoid
    latitude: float  # of the natural origin, degrees
    longitude: float
    scale: float
    false_easting: float  # m
    false_northing: float


class Grid(NamedTuple):
    """A place in a projection, m."""

    easting: float
    northing: float


GRS80 = Ellipsoid(6_378_137.0, 298.257222101)
_ITERATIONS = 8  # each gives two more digits


def utm(zone: int) -> Projection:
    """The projection of a zone, 1 to 60, north of the equator."""
    return Projection(GRS80, 0.0, 6.0 * zone - 183.0, 0.9996, 500_000.0, 0.0)


def from_utm(zone: int, easting: float, northing: float) -> Position:
    """Where a place in UTM is.

    Parameters
    ----------
    zone : int
        1 to 60, north of the equator.
    easting, northing : float
        Metres.

    Returns
    -------
    Position
        Degrees, rounded to 7 decimals: a centimetre.

    Raises
    ------
    ValueError
        For metres that no place in the zone or beside it has, as when the two are in the wrong order.
    """
    if not (0 <= easting <= 1_000_000 and 0 <= northing <= 9_400_000):
        raise ValueError("the easting lies between 0 and 1,000,000 m, the northing between 0 and 9,400,000 m")
    lat, lon = to_degrees(utm(zone), Grid(easting, northing))
    return Position(round(lat, 7), round(lon, 7))


def to_grid(projection: Projection, lat: float, lon: float) -> Grid:
    """Degrees in metres of the projection."""
    ellipsoid = projection.ellipsoid
    conformal = _conformal_latitude(ellipsoid, math.radians(lat))
    eta = math.atanh(math.cos(conformal) * math.sin(math.radians(lon - projection.longitude)))
    xi = math.asin(math.sin(conformal) * math.cosh(eta))
    terms = list(enumerate(ellipsoid.forward, start=1))
    north = xi + sum(h * math.sin(2 * k * xi) * math.cosh(2 * k * eta) for k, h in terms)
    east = eta + sum(h * math.cos(2 * k * xi) * math.sinh(2 * k * eta) for k, h in terms)
    metres = ellipsoid.rectifying_radius * projection.scale
    return Grid(
        projection.false_easting + metres * east,
        projection.false_northing + metres * (north - _origin(projection)),
    )


def to_degrees(projection: Projection, place: Grid) -> tuple[float, float]:
    """Latitude and longitude, in degrees, of a place."""
    ellipsoid = projection.ellipsoid
    metres = ellipsoid.rectifying_radius * projection.scale
    east = (place.easting - projection.false_easting) / metres
    north = (place.northing - projection.false_northing) / metres + _origin(projection)
    terms = list(enumerate(ellipsoid.reverse, start=1))
    xi = north - sum(h * math.sin(2 * k * north) * math.cosh(2 * k * east) for k, h in terms)
    eta = east - sum(h * math.cos(2 * k * north) * math.sinh(2 * k * east) for k, h in terms)
    isometric = math.asinh(math.tan(math.asin(math.sin(xi) / math.cosh(eta))))
    e, of_latitude = ellipsoid.eccentricity, isometric
    for _ in range(_ITERATIONS):
        of_latitude = isometric + e * math.atanh(e * math.tanh(of_latitude))
    lon = math.atan2(math.sinh(eta), math.cos(xi))
    return math.degrees(math.atan(math.sinh(of_latitude))), math.degrees(lon) + projection.longitude


def _conformal_latitude(ellipsoid: Ellipsoid, lat: float) -> float:
    e = ellipsoid.eccentricity
    return math.atan(math.sinh(math.asinh(math.tan(lat)) - e * math.atanh(e * math.sin(lat))))


def _origin(projection: Projection) -> float:
    """Where the natural origin lies along the meridian, radians of the rectifying sphere."""
    xi = _conformal_latitude(projection.ellipsoid, math.radians(projection.latitude))
    return xi + sum(h * math.sin(2 * k * xi) for k, h in enumerate(projection.ellipsoid.forward, start=1))

"""Areas as people ask for them: a box, a polygon, a circle. Positions are WGS 84 degrees, longitude first."""

from __future__ import annotations

import math
from collections.abc import Callable

import shapely
from shapely.errors import ShapelyError

from techport_dashboards.problems import Problem
from techport_pilots.model import Position

Inside = Callable[[Position], bool]

BBOX_EXAMPLE = "10.36,63.40,10.44,63.44 (west, south, east, north)"
NEAR_EXAMPLE = "10.4,63.43,500 (longitude, latitude, metres)"
WITHIN_EXAMPLE = '{"type":"Polygon","coordinates":[[[10.36,63.4],[10.44,63.4],[10.44,63.44],[10.36,63.4]]]}'
EARTH = 6_371_008.8
"""Mean radius in metres (IUGG)."""
MOST_CORNERS = 10_000


def area(bbox: str | None, within: str | None, near: str | None) -> Inside | None:
    """Is a position in all of the areas given? None where none is. Raises Problem with an example of a right one."""
    tests = [make(text) for text, make in ((bbox, box), (within, polygon), (near, circle)) if text is not None]
    return (lambda position: all(test(position) for test in tests)) if tests else None


def box(text: str) -> Inside:
    """West, south, east, north. West of more than east goes over the antimeridian (RFC 7946, 5.2)."""
    west, south, east, north = numbers("bbox", text, 4, BBOX_EXAMPLE)
    if south > north or not _on_earth(west, south) or not _on_earth(east, north):
        raise Problem(
            "bad-parameter",
            "The south edge must be below the north edge, with latitudes from -90 to 90.",
            parameter="bbox",
            example=BBOX_EXAMPLE,
        )

    def inside(position: Position) -> bool:
        between = west <= position.lon <= east if west <= east else position.lon >= west or position.lon <= east
        return between and south <= position.lat <= north

    return inside


def polygon(text: str) -> Inside:
    """A GeoJSON Polygon or MultiPolygon, its edge included."""
    try:
        shape = shapely.from_geojson(text)
    except (ShapelyError, ValueError) as error:
        raise _bad_polygon("It is not GeoJSON") from error
    if shape is None or shape.geom_type not in ("Polygon", "MultiPolygon") or shape.is_empty:
        raise _bad_polygon("It is not a Polygon or MultiPolygon")
    if shapely.get_num_coordinates(shape) > MOST_CORNERS:
        raise _bad_polygon(f"It has more than {MOST_CORNERS} corners")
    if not shape.is_valid:
        raise _bad_polygon(f"{shapely.is_valid_reason(shape)[:120]}")
    shapely.prepare(shape)
    return lambda position: bool(shapely.intersects_xy(shape, position.lon, position.lat))


def circle(text: str) -> Inside:
    longitude, latitude, metres = numbers("near", text, 3, NEAR_EXAMPLE)
    if not _on_earth(longitude, latitude) or metres < 0:
        raise Problem(
            "bad-parameter",
            "The point must be on the globe and the distance must not be negative.",
            parameter="near",
            example=NEAR_EXAMPLE,
        )
    return lambda position: distance(longitude, latitude, position.lon, position.lat) <= metres


def distance(lon: float, lat: float, other_lon: float, other_lat: float) -> float:
    """Metres along the great circle (haversine; wrong by at most 0.6 % as the earth is no sphere)."""
    a, b = math.radians(lat), math.radians(other_lat)
    h = math.sin((b - a) / 2) ** 2 + math.cos(a) * math.cos(b) * math.sin(math.radians(other_lon - lon) / 2) ** 2
    return 2 * EARTH * math.asin(min(1.0, math.sqrt(h)))


def numbers(parameter: str, text: str, count: int, example: str) -> list[float]:
    try:
        parsed = [float(part) for part in text.split(",")]
    except ValueError:
        parsed = []
    if len(parsed) != count or not all(map(math.isfinite, parsed)):
        raise Problem(
            "bad-parameter",
            f"{text[:80]!r} is not {count} numbers separated by commas.",
            parameter=parameter,
            example=example,
        )
    return parsed


def _on_earth(lon: float, lat: float) -> bool:
    return -180 <= lon <= 180 and -90 <= lat <= 90


def _bad_polygon(problem: str) -> Problem:
    return Problem("bad-parameter", f"{problem}.", parameter="within", example=WITHIN_EXAMPLE)

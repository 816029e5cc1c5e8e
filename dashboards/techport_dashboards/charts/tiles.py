"""Map tiles of a server that the operator names, as pictures for the inline SVG. Without one, nobody is asked."""

from __future__ import annotations

import math
from dataclasses import dataclass

from techport_dashboards.settings import Tiles
from techport_pilots.svg import Projection

TILE = 256  # pixels of a tile's side, as tile servers draw them


@dataclass(frozen=True, slots=True)
class Tile:
    href: str
    x: float
    y: float
    width: float
    height: float


def covering(tiles: Tiles, view: Projection) -> list[Tile]:
    """The tiles (Web Mercator, as `z/x/y` names them) that cover a drawing whose units are pixels.

    Over a city its equirectangular projection and a tile's Mercator differ by less than a pixel within a tile, and
    tiles meet at their corners.
    """
    zoom = min(tiles.deepest, max(0, math.ceil(math.log2(360 / (view.east - view.west) * view.width / TILE))))
    first_x, first_y = _number(view.west, view.north, zoom)
    last_x, last_y = _number(view.east, view.south, zoom)
    covered = []
    for column in range(first_x, last_x + 1):
        for row in range(first_y, last_y + 1):
            left, top = view(*_corner(column, row, zoom))
            right, bottom = view(*_corner(column + 1, row + 1, zoom))
            href = tiles.template.replace("{z}", str(zoom)).replace("{x}", str(column)).replace("{y}", str(row))
            covered.append(Tile(href, left, top, round(right - left, 1), round(bottom - top, 1)))
    return covered


def _number(lon: float, lat: float, zoom: int) -> tuple[int, int]:
    """Column and row of the tile that holds the place."""
    side = 2**zoom
    column = int((lon + 180) / 360 * side)
    row = int((1 - math.asinh(math.tan(math.radians(lat))) / math.pi) / 2 * side)
    return min(max(column, 0), side - 1), min(max(row, 0), side - 1)


def _corner(column: int, row: int, zoom: int) -> tuple[float, float]:
    """Longitude and latitude of a tile's north-western corner."""
    side = 2**zoom
    return column / side * 360 - 180, math.degrees(math.atan(math.sinh(math.pi * (1 - 2 * row / side))))

"""Maps over the tiles of a server that the operator names."""

from __future__ import annotations

import re

import pytest

from techport.settings import SettingsError, load_settings
from techport_dashboards.charts.map import HEIGHT, WIDTH, outline
from techport_dashboards.services.basemap import Basemap
from techport_dashboards.settings import Tiles
from techport_dashboards.web.middleware import content_policy
from techport_pilots.model import Position

GROUND = Basemap([[(10.3, 63.4), (10.5, 63.4), (10.4, 63.5)]], [], [], "our own")
TILES = Tiles("https://tiles.example.org/{z}/{x}/{y}.png", "© Example")
SCHOOLS = [Position(63.4291, 10.3668), Position(63.4319, 10.4149)]


def test_tiles_cover_the_map_and_meet() -> None:
    drawn = outline(SCHOOLS, GROUND, TILES)
    assert (drawn.land, drawn.attribution) == ([], "© Example")
    assert min(t.x for t in drawn.tiles) <= 0
    assert min(t.y for t in drawn.tiles) <= 0
    assert max(t.x + t.width for t in drawn.tiles) >= WIDTH
    assert max(t.y + t.height for t in drawn.tiles) >= HEIGHT
    assert len(drawn.tiles) <= 42
    by_name = {tuple(map(int, re.findall(r"\d+", t.href))): t for t in drawn.tiles}
    for (zoom, column, row), tile in by_name.items():
        right, below = by_name.get((zoom, column + 1, row)), by_name.get((zoom, column, row + 1))
        assert right is None or right.x == pytest.approx(tile.x + tile.width, abs=0.2)
        assert below is None or below.y == pytest.approx(tile.y + tile.height, abs=0.2)


def test_a_place_lies_on_the_tile_that_others_say_it_is_on() -> None:
    """Nidaros cathedral (63.4269, 10.3969) is on 14/8665/4428, by the formula that tile servers publish."""
    drawn = outline([Position(63.4269, 10.3969)], GROUND, TILES)
    (x, y), zoom = drawn.dots[0], int(re.findall(r"\d+", drawn.tiles[0].href)[0])
    under = next(t for t in drawn.tiles if t.x <= x < t.x + t.width and t.y <= y < t.y + t.height)
    column, row = (int(n) >> (zoom - 14) if zoom >= 14 else int(n) for n in re.findall(r"\d+", under.href)[1:])
    shift = max(0, 14 - zoom)
    assert (column, row) == (8665 >> shift, 4428 >> shift)


def test_without_a_server_nobody_else_is_asked() -> None:
    assert outline(SCHOOLS, GROUND).tiles == []
    assert "https:" not in content_policy()
    assert "img-src 'self' data: blob: https://tiles.example.org;" in content_policy(tiles=TILES)


@pytest.mark.parametrize(
    "wrong", ["tiles", "https://tiles.example.org/{z}/{x}.png", "https://a;script-src */{z}/{x}/{y}"]
)
def test_an_address_that_is_none_is_refused(wrong: str) -> None:
    with pytest.raises(SettingsError, match="map_tiles"):
        load_settings({"map_tiles": wrong})

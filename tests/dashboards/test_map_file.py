"""Maps with tiles from a PMTiles file: served to anybody, as deep as the file goes, and wrong files named."""

from __future__ import annotations

import io
from pathlib import Path

import httpx
import pytest
from PIL import Image
from pmtiles.tile import Compression, TileType, zxy_to_tileid
from pmtiles.writer import Writer

from techport.errors import CannotRun
from techport.settings import Settings
from techport.web import _map_file, _tiles
from techport_dashboards import WebSettings
from techport_dashboards.map_file import MapFile, NoMapFile
from tests.dashboards.web import City

pytestmark = pytest.mark.anyio


def written(path: Path, kind: TileType = TileType.PNG, deepest: int = 12) -> Path:
    """A file with the tile over Trondheim at each zoom, in a colour of its own."""
    with path.open("wb") as file:
        writer = Writer(file)
        for zoom in range(deepest + 1):
            side = 2**zoom
            column, row = int((10.4 + 180) / 360 * side), int(0.2723 * side)
            picture = io.BytesIO()
            Image.new("RGB", (256, 256), (zoom, 0, 0)).save(picture, "PNG")
            writer.write_tile(zxy_to_tileid(zoom, column, row), picture.getvalue())
        header = {
            "tile_type": kind,
            "tile_compression": Compression.NONE,
            "min_zoom": 0,
            "max_zoom": deepest,
            "min_lon_e7": 0,
            "min_lat_e7": 0,
            "max_lon_e7": 0,
            "max_lat_e7": 0,
            "center_zoom": 0,
            "center_lon_e7": 0,
            "center_lat_e7": 0,
        }
        writer.finalize(header, {"attribution": "© Kommunen"})
    return path


async def test_tiles_of_a_file_are_the_ground_of_maps(city: City, tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, map_file=written(tmp_path / "city.pmtiles"))
    map_file = _map_file(settings)
    tiles = _tiles(settings, map_file)
    assert tiles is not None
    assert (tiles.attribution, tiles.deepest) == ("© Kommunen", 12)
    app = city.app(WebSettings(map_tiles=tiles, map_file=map_file))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
        page = await client.get("/")
        assert "img-src 'self' data: blob:; " in page.headers["content-security-policy"], "nobody else is asked"
        assert 'href="/map-tiles/12/' in page.text, "no deeper than the file goes"
        assert "/map-tiles/13/" not in page.text
        assert "© Kommunen" in page.text
        client.cookies.clear()
        side = 2**11
        answer = await client.get(f"/map-tiles/11/{int((10.4 + 180) / 360 * side)}/{int(0.2723 * side)}")
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
        with Image.open(io.BytesIO(answer.content)) as picture:
            assert picture.getpixel((0, 0)) == (11, 0, 0)
        assert (await client.get("/map-tiles/11/0/0")).status_code == 204
        for beyond in ("/map-tiles/13/0/0", "/map-tiles/3/8/0", "/map-tiles/0/0/1"):
            assert (await client.get(beyond)).status_code == 204, beyond
        assert (await client.get("/map-tiles/31/0/0")).status_code == 400
        assert (await client.get("/map-tiles/1/-1/0")).status_code == 400


@pytest.mark.parametrize(
    ("content", "said"), [(b"", "PMTiles"), (b"PK\x03\x04" * 100, "PMTiles"), (b"PMTiles\x03", "PMTiles")]
)
def test_what_is_no_such_file_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "city.pmtiles"
    path.write_bytes(content)
    with pytest.raises(NoMapFile, match=said):
        MapFile(path)
    with pytest.raises(CannotRun, match="map_file: "):
        _map_file(Settings(data=tmp_path, map_file=path))


def test_vector_tiles_are_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NoMapFile, match="tiles of type MVT, and maps here need pictures"):
        MapFile(written(tmp_path / "vector.pmtiles", TileType.MVT))


async def test_without_a_file_there_are_no_tiles(city: City) -> None:
    app = city.app(signed_in=False)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
        assert (await client.get("/map-tiles/1/0/0")).status_code == 204

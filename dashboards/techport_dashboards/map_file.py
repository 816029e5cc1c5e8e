"""Map tiles from a PMTiles file of the operator, so that maps have streets and no other server is asked.

The file is mapped into memory, not read: a city's few hundred megabytes cost what is looked at. Its tiles are pictures;
vector tiles would have to be drawn in the browser (decision 21).
"""

from __future__ import annotations

from pathlib import Path

from pmtiles.reader import MmapSource, Reader
from pmtiles.tile import TileType

MEDIA_TYPES = {
    TileType.PNG: "image/png",
    TileType.JPEG: "image/jpeg",
    TileType.WEBP: "image/webp",
    TileType.AVIF: "image/avif",
}
ADDRESS = "/map-tiles/{z}/{x}/{y}"
"""Of a tile, as a Tiles template has it."""


class NoMapFile(ValueError):
    """The file cannot be used as a map."""


class MapFile:
    """A PMTiles file (https://github.com/protomaps/PMTiles, version 3) with pictures. Its methods may be called from
    several threads.
    """

    def __init__(self, path: Path) -> None:
        """Raises NoMapFile with what is wrong and how to get a file that can be used."""
        try:
            with path.open("rb") as file:
                self._reader = Reader(MmapSource(file))
            header = self._reader.header()
        except Exception as error:  # whatever the library raises on bytes of something else
            raise NoMapFile(f"{path} is not a PMTiles file of version 3 that can be read: {error}") from error
        kind = header["tile_type"]
        if kind not in MEDIA_TYPES:
            raise NoMapFile(
                f"{path} has tiles of type {TileType(kind).name}, and maps here need pictures: use a file of PNG, "
                "JPEG, WebP or AVIF tiles, such as one that `pmtiles convert` makes of an MBTiles file of pictures"
            )
        self.media_type = MEDIA_TYPES[kind]
        self.deepest = int(header["max_zoom"])
        metadata = self._reader.metadata()
        self.attribution = str(metadata.get("attribution", "")) if isinstance(metadata, dict) else ""

    def tile(self, zoom: int, column: int, row: int) -> bytes | None:
        """The picture; None where the file has none."""
        if not (0 <= zoom <= self.deepest and 0 <= column < 2**zoom and 0 <= row < 2**zoom):
            return None
        picture: bytes | None = self._reader.get(zoom, column, row)
        return picture

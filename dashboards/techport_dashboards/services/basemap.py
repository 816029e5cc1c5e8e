"""The land under a map: outlines from GeoJSON files, or our own of Trondheim where there are none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

Ring = list[tuple[float, float]]
"""(lon, lat) in WGS 84 degrees."""


@dataclass(frozen=True)
class Basemap:
    land: list[Ring]
    districts: list[Ring]
    rivers: list[Ring]
    attribution: str


def _line(text: str) -> Ring:
    """Points written as in WKT: `longitude latitude`, with commas between them."""
    return [(float(lon), float(lat)) for lon, lat in (point.split() for point in text.split(","))]


# Drawn by hand from where well-known places lie: Flakk, Trolla, Ila, the harbour at Brattøra, Ladehammeren,
# Leangenbukta, Ranheim and Hommelvik. Good to about half a kilometre: enough to know where one is.
_SOUTH_SHORE = _line(
    "10.020 63.405, 10.080 63.418, 10.130 63.432, 10.200 63.450, 10.240 63.452, 10.280 63.450, 10.310 63.450, "
    "10.330 63.444, 10.352 63.436, 10.366 63.4325, 10.376 63.4335, 10.384 63.4345, 10.386 63.4385, 10.396 63.4405, "
    "10.407 63.4405, 10.4105 63.4380, 10.4135 63.4385, 10.4160 63.4420, 10.424 63.4425, 10.4225 63.4465, "
    "10.418 63.4495, 10.420 63.4535, 10.432 63.4545, 10.443 63.4580, 10.455 63.4575, 10.462 63.4520, "
    "10.459 63.4470, 10.466 63.4430, 10.474 63.4370, 10.490 63.4385, 10.508 63.4365, 10.530 63.4330, "
    "10.552 63.4330, 10.580 63.4345, 10.610 63.4330, 10.640 63.4320, 10.680 63.4330, 10.720 63.4290, "
    "10.760 63.4220, 10.800 63.4130, 10.840 63.4210, 10.900 63.4350"
)
_MUNKHOLMEN = _line("10.3815 63.4508, 10.3835 63.4521, 10.3862 63.4519, 10.3858 63.4507")
_NIDELVA = _line(
    "10.4060 63.3300, 10.4010 63.3420, 10.3900 63.3520, 10.3840 63.3640, 10.3930 63.3740, 10.4010 63.3820, "
    "10.4080 63.3900, 10.4040 63.3975, 10.3965 63.4030, 10.3935 63.4090, 10.3870 63.4140, 10.3825 63.4180, "
    "10.3790 63.4225, 10.3765 63.4262, 10.3795 63.4288, 10.3850 63.4277, 10.3910 63.4255, 10.3965 63.4248, "
    "10.4010 63.4268, 10.4025 63.4295, 10.4065 63.4325, 10.4095 63.4355, 10.4120 63.4392"
)
_FAR_SOUTH = 62.5


def outline_of_trondheim() -> Basemap:
    """What we draw where no basemap folder is given."""
    west, east = _SOUTH_SHORE[0][0], _SOUTH_SHORE[-1][0]
    mainland = [(west, _FAR_SOUTH), *_SOUTH_SHORE, (east, _FAR_SOUTH)]
    return Basemap([mainland, _MUNKHOLMEN], [], [_NIDELVA], "")


@lru_cache(maxsize=4)
def load_basemap(folder: Path | None) -> Basemap:
    """Outlines from the folder's `*land*.geojson` and `*bydeler*.geojson` or, where it has none, our own."""
    land = [ring for path in _files(folder, "*land*.geojson") for ring in _rings(path)]
    districts = [ring for path in _files(folder, "*bydeler*.geojson") for ring in _rings(path)]
    if not land:
        return outline_of_trondheim()
    return Basemap(land, districts, [_NIDELVA], "© Kartverket (CC BY 4.0), SSB")


def _files(folder: Path | None, pattern: str) -> list[Path]:
    return sorted(folder.glob(pattern)) if folder is not None and folder.is_dir() else []


def _rings(path: Path) -> Iterator[Ring]:
    """Outer rings of a file's polygons; holes do not matter at this size."""
    collection: dict[str, Any] = msgspec.json.decode(path.read_bytes())
    for feature in collection["features"]:
        geometry = feature["geometry"]
        polygons = geometry["coordinates"] if geometry["type"] == "MultiPolygon" else [geometry["coordinates"]]
        for polygon in polygons:
            yield [(lon, lat) for lon, lat, *_ in polygon[0]]

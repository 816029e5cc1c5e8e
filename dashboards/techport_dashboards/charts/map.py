"""Devices on a map, as numbers for an inline SVG: it prints, works without JavaScript, and each device is a link."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec

from techport_dashboards.charts.tiles import Tile, Tiles, covering
from techport_dashboards.services.device_status import DeviceNow, StreamNow
from techport_pilots.model import Position
from techport_storage.model import Stream

# -- The ground of the map: outlines of land from GeoJSON files, or our own of Trondheim where there are none.

Ring = list[tuple[float, float]]
"""(lon, lat) in WGS 84 degrees."""


@dataclass(frozen=True)
class Basemap:
    land: list[Ring]
    districts: list[Ring]
    rivers: list[Ring]
    attribution: str


# Drawn by hand from where well-known places lie: Flakk, Trolla, Ila, the harbour at Brattøra, Ladehammeren,
# Leangenbukta, Ranheim and Hommelvik. Good to about half a kilometre: enough to know where one is.
_SOUTH_SHORE: Ring = [
    (10.020, 63.405), (10.080, 63.418), (10.130, 63.432), (10.200, 63.450), (10.240, 63.452), (10.280, 63.450),
    (10.310, 63.450), (10.330, 63.444), (10.352, 63.436), (10.366, 63.4325), (10.376, 63.4335), (10.384, 63.4345),
    (10.386, 63.4385), (10.396, 63.4405), (10.407, 63.4405), (10.4105, 63.4380), (10.4135, 63.4385), (10.4160, 63.4420),
    (10.424, 63.4425), (10.4225, 63.4465), (10.418, 63.4495), (10.420, 63.4535), (10.432, 63.4545), (10.443, 63.4580),
    (10.455, 63.4575), (10.462, 63.4520), (10.459, 63.4470), (10.466, 63.4430), (10.474, 63.4370), (10.490, 63.4385),
    (10.508, 63.4365), (10.530, 63.4330), (10.552, 63.4330), (10.580, 63.4345), (10.610, 63.4330), (10.640, 63.4320),
    (10.680, 63.4330), (10.720, 63.4290), (10.760, 63.4220), (10.800, 63.4130), (10.840, 63.4210), (10.900, 63.4350),
]  # fmt: skip
_MUNKHOLMEN: Ring = [(10.3815, 63.4508), (10.3835, 63.4521), (10.3862, 63.4519), (10.3858, 63.4507)]
_NIDELVA: Ring = [
    (10.4060, 63.3300), (10.4010, 63.3420), (10.3900, 63.3520), (10.3840, 63.3640), (10.3930, 63.3740),
    (10.4010, 63.3820), (10.4080, 63.3900), (10.4040, 63.3975), (10.3965, 63.4030), (10.3935, 63.4090),
    (10.3870, 63.4140), (10.3825, 63.4180), (10.3790, 63.4225), (10.3765, 63.4262), (10.3795, 63.4288),
    (10.3850, 63.4277), (10.3910, 63.4255), (10.3965, 63.4248), (10.4010, 63.4268), (10.4025, 63.4295),
    (10.4065, 63.4325), (10.4095, 63.4355), (10.4120, 63.4392),
]  # fmt: skip
_FAR_SOUTH = 62.5


def own() -> Basemap:
    """What we draw where no basemap folder is given."""
    west, east = _SOUTH_SHORE[0][0], _SOUTH_SHORE[-1][0]
    mainland = [(west, _FAR_SOUTH), *_SOUTH_SHORE, (east, _FAR_SOUTH)]
    return Basemap([mainland, _MUNKHOLMEN], [], [_NIDELVA], "")


@lru_cache(maxsize=4)
def load(folder: Path | None) -> Basemap:
    """Outlines from the folder's `*land*.geojson` and `*bydeler*.geojson` or, where it has none, our own."""
    land = [ring for path in _files(folder, "*land*.geojson") for ring in _rings(path)]
    districts = [ring for path in _files(folder, "*bydeler*.geojson") for ring in _rings(path)]
    if not land:
        return own()
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


WIDTH, HEIGHT = 800.0, 520.0
MARGIN = 70.0
TRONDHEIM = (10.36, 63.398, 10.44, 63.442)  # the least that is shown: west, south, east, north
REACH = 0.5  # degrees of latitude around the city that the map stretches to; what lies beyond is listed
LABEL_HEIGHT, LETTER_WIDTH = 15.0, 6.6
BESIDE = 1.45  # lettering of a map that has half a page


@dataclass(frozen=True, slots=True)
class Mark:
    """A device at a place of the drawing; `value` is the stream to print beside it, `labelled` if there is room."""

    device: DeviceNow
    x: float
    y: float
    value: StreamNow | None
    labelled: bool


@dataclass(frozen=True, slots=True)
class Drawing:
    land: list[str]
    districts: list[str]
    rivers: list[str]
    marks: list[Mark]
    devices: Sequence[DeviceNow]  # all of them, also those without a place
    beyond: list[DeviceNow]
    scale: tuple[float, str]  # length in the drawing, and what it stands for
    attribution: str
    tiles: list[Tile]  # instead of land, districts and rivers
    lettering: float = 1.0  # how much larger its letters are than on the map of all pilots
    width: float = WIDTH
    height: float = HEIGHT


@dataclass(frozen=True, slots=True)
class Projection:
    """Equirectangular about the middle: true to within a hundredth over a city."""

    west: float
    north: float
    per_lon: float
    per_lat: float

    def __call__(self, lon: float, lat: float) -> tuple[float, float]:
        return round((lon - self.west) * self.per_lon, 1), round((self.north - lat) * self.per_lat, 1)

    def path(self, ring: Ring, closed: bool) -> str:
        """An SVG path, without points that fall on the one before and far beyond the frame."""
        points = [self(*point) for point in ring]
        kept = [points[0], *(b for a, b in pairwise(points) if math.dist(a, b) >= 0.4)]
        return "M" + "L".join(f"{_clip(x, WIDTH)} {_clip(y, HEIGHT)}" for x, y in kept) + ("Z" if closed else "")

    def curve(self, line: Ring) -> str:
        """A smooth SVG path through the middles between the points: what a river drawn with few points looks like."""
        points = [self(*point) for point in line]
        middles = [((a + c) / 2, (b + d) / 2) for (a, b), (c, d) in pairwise(points)]
        bends = "".join(
            f"Q{x} {y} {mx:.1f} {my:.1f}" for (x, y), (mx, my) in zip(points[1:-1], middles[1:], strict=True)
        )
        (x, y), (first_x, first_y), (last_x, last_y) = points[0], middles[0], points[-1]
        return f"M{x} {y}L{first_x:.1f} {first_y:.1f}{bends}L{last_x} {last_y}"


def _clip(value: float, size: float) -> float:
    return min(max(value, -3 * size), 4 * size)


@dataclass(frozen=True, slots=True)
class Outline:
    """The ground with plain dots on it, for those who may know where and nothing else."""

    land: list[str]
    districts: list[str]
    rivers: list[str]
    dots: list[tuple[float, float]]
    scale: tuple[float, str]
    attribution: str
    tiles: list[Tile]
    width: float = WIDTH
    height: float = HEIGHT


def outline(places: Sequence[Position], ground: Basemap, tiles: Tiles | None = None) -> Outline:
    near = [at for at in places if _is_near(at)]
    view = _fit(near)
    dots = [view(at.lon, at.lat) for at in near]
    thanks = tiles.attribution if tiles else ground.attribution
    return Outline(*_ground(view, ground, tiles), dots, _scale(view), thanks, _tiles(view, tiles))


def draw(
    devices: Sequence[DeviceNow],
    ground: Basemap,
    tiles: Tiles | None = None,
    remarks: Mapping[Stream, str] | None = None,
    lettering: float = 1.0,
) -> Drawing:
    """All devices that have a position, the frame fitted to those around the city; `remarks` stand behind values."""
    placed = [(device, device.device.position) for device in devices if device.device.position]
    near = [(device, at) for device, at in placed if _is_near(at)]
    view = _fit([at for _, at in near])
    taken: list[tuple[float, float, float, float]] = []
    spots = [(device, *view(at.lon, at.lat)) for device, at in near]
    taken += [(x - 8, y - 8, x + 8, y + 8) for _, x, y in spots]
    land, districts, rivers = _ground(view, ground, tiles)
    return Drawing(
        land=land,
        districts=districts,
        rivers=rivers,
        marks=[_mark(device, x, y, taken, remarks or {}, lettering) for device, x, y in spots],
        devices=devices,
        beyond=[device for device, at in placed if not _is_near(at)],
        scale=_scale(view),
        attribution=tiles.attribution if tiles else ground.attribution,
        tiles=_tiles(view, tiles),
        lettering=lettering,
    )


def _tiles(view: Projection, tiles: Tiles | None) -> list[Tile]:
    if tiles is None:
        return []
    east, south = view.west + WIDTH / view.per_lon, view.north - HEIGHT / view.per_lat
    return covering(tiles, view, view.west, view.north, east, south, WIDTH)


def _ground(view: Projection, ground: Basemap, tiles: Tiles | None) -> tuple[list[str], list[str], list[str]]:
    """Land, districts and rivers as paths; none where tiles show them."""
    if tiles is not None:
        return [], [], []
    return (
        [view.path(ring, closed=True) for ring in ground.land],
        [view.path(ring, closed=True) for ring in ground.districts],
        [view.curve(line) for line in ground.rivers],
    )


def _is_near(at: Position) -> bool:
    west, south, east, north = TRONDHEIM
    return south - REACH < at.lat < north + REACH and west - 2 * REACH < at.lon < east + 2 * REACH


def _fit(positions: Sequence[Position]) -> Projection:
    west, south, east, north = TRONDHEIM
    if positions:
        west, east = min(p.lon for p in positions), max(p.lon for p in positions)
        south, north = min(p.lat for p in positions), max(p.lat for p in positions)
    middle_lat, middle_lon = (south + north) / 2, (west + east) / 2
    squeeze = math.cos(math.radians(middle_lat))
    least = TRONDHEIM[3] - TRONDHEIM[1]
    per_lat = min(
        (WIDTH - 2 * MARGIN) / max((east - west) * squeeze, least * 0.6),
        (HEIGHT - 2 * MARGIN) / max(north - south, least * 0.4),
    )
    per_lon = per_lat * squeeze
    return Projection(middle_lon - WIDTH / 2 / per_lon, middle_lat + HEIGHT / 2 / per_lat, per_lon, per_lat)


def _mark(
    device: DeviceNow,
    x: float,
    y: float,
    taken: list[tuple[float, float, float, float]],
    remarks: Mapping[Stream, str],
    lettering: float,
) -> Mark:
    """The device's first value, printed to its right where nothing is printed yet."""
    value = next((stream for stream in device.streams if stream.last is not None), None)
    if value is None or value.last is None:
        return Mark(device, x, y, None, labelled=False)
    text = f"{value.last.value:.{value.view.decimals}f} {value.view.unit_label}"
    if remark := remarks.get(value.view.stream):
        text += f"   {remark}"
    width, height = lettering * LETTER_WIDTH * len(text), lettering * LABEL_HEIGHT
    box = (x + 10, y - height / 2, x + 12 + width, y + height / 2)
    free = box[2] < WIDTH and not any(
        box[0] < other[2] and other[0] < box[2] and box[1] < other[3] and other[1] < box[3]
        for other in taken
        if other != (x - 8, y - 8, x + 8, y + 8)
    )
    if free:
        taken.append(box)
    return Mark(device, x, y, value, labelled=free)


def _scale(view: Projection) -> tuple[float, str]:
    """The longest round distance that fits a sixth of the drawing."""
    per_km = view.per_lat / 111.2
    lengths = [
        (0.1, "100 m"),
        (0.2, "200 m"),
        (0.5, "500 m"),
        (1, "1 km"),
        (2, "2 km"),
        (5, "5 km"),
        (10, "10 km"),
        (20, "20 km"),
    ]
    fitting = [(round(km * per_km, 1), name) for km, name in lengths if km * per_km <= WIDTH / 6]
    return fitting[-1] if fitting else (round(0.1 * per_km, 1), "100 m")

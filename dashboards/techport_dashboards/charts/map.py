"""Devices on a map, as numbers for an inline SVG: it prints, works without JavaScript, and each device is a link."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from techport_dashboards.charts.tiles import Tile, covering
from techport_dashboards.services.basemap import Basemap
from techport_dashboards.services.device_status import DeviceNow, StreamNow
from techport_dashboards.settings import Tiles
from techport_pilots.model import Position
from techport_pilots.svg import Projection
from techport_storage.model import Stream

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
    return Outline(*_ground(view, ground, tiles), dots, view.scale_bar(WIDTH / 6), thanks, _tiles(view, tiles))


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
        scale=view.scale_bar(WIDTH / 6),
        attribution=tiles.attribution if tiles else ground.attribution,
        tiles=_tiles(view, tiles),
        lettering=lettering,
    )


def _tiles(view: Projection, tiles: Tiles | None) -> list[Tile]:
    if tiles is None:
        return []
    return covering(tiles, view)


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
    places = [(at.lon, at.lat) for at in positions] or [(west, south), (east, north)]
    return Projection.fitting(places, WIDTH, HEIGHT, MARGIN, (0.6 * (north - south), 0.4 * (north - south)))


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

"""Devices on a map, as numbers for an inline SVG: it prints, works without JavaScript, and each device is a link."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from techport_dashboards.charts.tiles import Tile, covering
from techport_dashboards.services.basemap import Basemap
from techport_dashboards.services.device_status import DeviceNow, StreamNow, severity
from techport_dashboards.settings import Tiles
from techport_pilots.model import Position, Text
from techport_pilots.registry.registry import StreamInfo
from techport_pilots.svg import Projection
from techport_storage.model import Stream

Json = dict[str, Any]

WIDTH, HEIGHT = 800.0, 520.0
MARGIN = 70.0
TRONDHEIM = (10.36, 63.398, 10.44, 63.442)  # the least that is shown: west, south, east, north
REACH = 0.5  # degrees of latitude around the city that the map stretches to; what lies beyond is listed
LABEL_HEIGHT, LETTER_WIDTH = 15.0, 6.6
BESIDE = 1.45  # lettering of a map that has half a page


@dataclass(frozen=True, slots=True)
class Mark:
    """A device at a place of the drawing; `value` is its stream of the quantity that the map shows, printed beside it
    if there is room (`labelled`)."""

    device: DeviceNow
    x: float
    y: float
    value: StreamNow | None
    labelled: bool


@dataclass(frozen=True, slots=True)
class Choice:
    """A quantity whose values the map can show."""

    quantity: str
    title: Text
    unit_label: str


@dataclass(frozen=True, slots=True)
class Drawing:
    land: list[str]
    districts: list[str]
    rivers: list[str]
    marks: list[Mark]  # the worst last, and so on top
    choices: list[Choice]  # what most devices measure first
    chosen: str | None
    devices: Sequence[DeviceNow]  # all of them, also those without a place
    beyond: list[DeviceNow]
    scale: tuple[float, str]  # length in the drawing, and what it stands for
    attribution: str
    tiles: list[Tile]  # instead of land, districts and rivers
    closer: Json | None  # where a page finds finer tiles when it zooms; None without a tile server
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
    edges: Json  # where the drawing lies
    closer: Json | None  # as of a Drawing
    width: float = WIDTH
    height: float = HEIGHT


def outline(
    places: Sequence[Position], ground: Basemap, tiles: Tiles | None = None, *, whole_city: bool = False
) -> Outline:
    """The ground around the places; with `whole_city` never less than the city, so that others can be found on it."""
    near = [at for at in places if _is_near(at)]
    west, south, east, north = TRONDHEIM
    corners = [Position(south, west), Position(north, east)] if whole_city else []
    view = _fit([*near, *corners])
    dots = [view(at.lon, at.lat) for at in near]
    thanks = tiles.attribution if tiles else ground.attribution
    return Outline(
        *_ground(view, ground, tiles),
        dots=dots,
        scale=view.scale_bar(WIDTH / 6),
        attribution=thanks,
        tiles=_tiles(view, tiles),
        edges=_edges(view),
        closer=None if tiles is None else _closer(view, tiles),
    )


def draw(
    devices: Sequence[DeviceNow],
    ground: Basemap,
    tiles: Tiles | None = None,
    remarks: Mapping[Stream, str] | None = None,
    lettering: float = 1.0,
    quantity: str | None = None,
) -> Drawing:
    """All devices that have a position, the frame fitted to those around the city.

    Values are of one `quantity`, of what most devices measure where it is None or nobody measures it; `remarks` stand
    behind them.
    """
    placed = [(device, device.device.position) for device in devices if device.device.position]
    near = [(device, at) for device, at in placed if _is_near(at)]
    near.sort(key=lambda pair: severity(pair[0]), reverse=True)
    choices = _choices([device for device, _ in near])
    quantities = [choice.quantity for choice in choices]
    chosen = quantity if quantity in quantities else quantities[0] if quantities else None
    view = _fit([at for _, at in near])
    taken: list[tuple[float, float, float, float]] = []
    spots = [(device, *view(at.lon, at.lat)) for device, at in near]
    taken += [(x - 8, y - 8, x + 8, y + 8) for _, x, y in spots]
    land, districts, rivers = _ground(view, ground, tiles)
    return Drawing(
        land=land,
        districts=districts,
        rivers=rivers,
        marks=[
            _mark(device, x, y, _value_of(device, chosen), taken, remarks or {}, lettering) for device, x, y in spots
        ],
        choices=choices,
        chosen=chosen,
        devices=devices,
        beyond=[device for device, at in placed if not _is_near(at)],
        scale=view.scale_bar(WIDTH / 6),
        attribution=tiles.attribution if tiles else ground.attribution,
        tiles=_tiles(view, tiles),
        closer=None if tiles is None else _closer(view, tiles),
        lettering=lettering,
    )


def _closer(view: Projection, tiles: Tiles) -> Json:
    """Where the drawing lies, and the tiles' address, for static/js/map.js."""
    return {**_edges(view), "template": tiles.template, "deepest": tiles.deepest}


def _edges(view: Projection) -> Json:
    return {"west": view.west, "north": view.north, "per_lon": view.per_lon, "per_lat": view.per_lat}


def _choices(devices: Sequence[DeviceNow]) -> list[Choice]:
    """Quantities of which there are values, those of most devices first; a device's own health last."""
    counts: Counter[str] = Counter()
    infos: dict[str, StreamInfo] = {}
    for device in devices:
        for stream in device.streams:
            if stream.last is not None:
                infos.setdefault(stream.view.stream.quantity, stream.view)
        counts.update({stream.view.stream.quantity for stream in device.streams if stream.last is not None})
    ordered = sorted(counts, key=lambda name: (infos[name].group == "device", -counts[name], list(infos).index(name)))
    return [Choice(name, infos[name].title, infos[name].unit_label) for name in ordered]


def _value_of(device: DeviceNow, quantity: str | None) -> StreamNow | None:
    values = (stream for stream in device.streams if stream.last is not None)
    return next((stream for stream in values if stream.view.stream.quantity == quantity), None)


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
    value: StreamNow | None,
    taken: list[tuple[float, float, float, float]],
    remarks: Mapping[Stream, str],
    lettering: float,
) -> Mark:
    """The value is printed to the device's right where nothing is printed yet."""
    if value is None or value.last is None:
        return Mark(device, x, y, None, labelled=False)
    word = value.view.word(value.last.value)
    text = f"{value.last.value:.{value.view.decimals}f} {value.view.unit_label}" if word is None else word.nb or word.en
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

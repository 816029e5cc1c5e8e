"""Where a device is, as objects of a message say it.

    {"latitude": 63.4, "longitude": 10.4, "altitude": 2}      {"lat": 63.4, "lon": 10.4}, also lng or long
    {"type": "Point", "coordinates": [10.4, 63.4, 2]}         GeoJSON, longitude first
    {"type": "geo:point", "value": "63.4, 10.4"}              NGSI

A pair of 0 and 0 is how receivers say that they have no position. Where a gateway stands is no position of the device.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from techport_ingest.checking.key_cache import remembered
from techport_ingest.decoding.common import number

_LATITUDES = ("latitude", "lat", "lati", "gps_lat", "gps_latitude")
_LONGITUDES = ("longitude", "lon", "lng", "long", "gps_lon", "gps_lng", "gps_long", "gps_longitude")
_ALTITUDES = ("altitude", "alt", "alti", "elevation", "ele", "gps_alt", "gps_altitude")
_NAMES = MappingProxyType(
    {
        **dict.fromkeys(_LATITUDES, "latitude"),
        **dict.fromkeys(_LONGITUDES, "longitude"),
        **dict.fromkeys(_ALTITUDES, "altitude"),
    }
)
UNITS = MappingProxyType({"latitude": "deg", "longitude": "deg", "altitude": "m"})

OF_GATEWAYS = frozenset(
    ("rxinfo", "rx_metadata", "txinfo", "gateway", "gateways", "gw", "gws", "gwinfo", "hotspots", "receptions", "lrrs")
)
"""Objects, in lower case, that say where somebody else is."""


class Located(NamedTuple):
    """A part of a position: which one, and the number; None where the receiver had none."""

    quantity: str
    value: float | None


_NOWHERE: dict[tuple[str, ...], Located] = {}


def position_of(record: Mapping[str, Any]) -> dict[tuple[str, ...], Located]:
    """The parts of a position that an object holds, by their paths in it.

    Parameters
    ----------
    record : mapping of str to JSON value
        An object of a message.

    Returns
    -------
    dict of path to Located
        Latitude, longitude and, where it is there, altitude. Empty where the object holds no position: both halves are
        needed, and both must be possible.
    """
    named = names_position(tuple(record))
    if named:
        return _pair({(key,): (name, _number(record[key])) for key, name in named})
    if "type" not in record:
        return _NOWHERE
    kind = record["type"]
    if kind == "Point" and type(points := record.get("coordinates")) is list and 2 <= len(points) <= 3:
        names = ("longitude", "latitude", "altitude")
        parts = enumerate(zip(names, points, strict=False))
        return _pair({("coordinates", str(at)): (name, _number(value)) for at, (name, value) in parts})
    if kind == "geo:point" and type(text := record.get("value")) is str:
        halves = text.split(",")
        parts = enumerate(zip(("latitude", "longitude"), halves, strict=False))
        return (
            _pair({("value", str(at)): (name, number(half)) for at, (name, half) in parts}) if len(halves) == 2 else {}
        )
    return {}


@remembered(4096)
def names_position(keys: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """The keys that name parts of a position, with those; none where they are not one position's."""
    named = {name: key for key in keys if (name := _NAMES.get(key.lower())) is not None}
    if not named.keys() >= {"latitude", "longitude"} or len(named) < sum(key.lower() in _NAMES for key in keys):
        return ()
    return tuple((key, name) for name, key in named.items())


def _pair(parts: dict[tuple[str, ...], tuple[str, float | None]]) -> dict[tuple[str, ...], Located]:
    """The parts, where they are a possible position."""
    values = dict(parts.values())
    latitude, longitude = values.get("latitude"), values.get("longitude")
    if latitude is None or longitude is None or not (abs(latitude) <= 90 and abs(longitude) <= 180):
        return {}
    nowhere = latitude == 0 and longitude == 0
    return {
        path: Located(name, None if nowhere else value) for path, (name, value) in parts.items() if value is not None
    }


def _number(value: Any) -> float | None:
    if type(value) is int or type(value) is float:
        return float(value)
    return number(value) if type(value) is str else None

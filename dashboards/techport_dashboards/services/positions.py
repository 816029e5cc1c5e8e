"""Positions as people write them: decimal degrees, or metres in a UTM zone."""

from __future__ import annotations

import math
import re
from typing import NamedTuple

from techport_dashboards.problems import Problem
from techport_pilots.model import Position
from techport_pilots.utm import from_utm

DEGREES = "degrees"
UTM: dict[str, int] = {"utm32": 32, "utm33": 33}
"""Zones that are offered: UTM 32 for southern Norway, UTM 33 for the whole country."""

_PAIR = re.compile(r"([+-]?\d+(?:[.,]\d+)?)\s*°?\s*[Nn]?\s*[,;\s]\s*([+-]?\d+(?:[.,]\d+)?)\s*°?\s*[EeØø]?")
_ONE_NUMBER = re.compile(r"[+-]?\d+,\d+")
_SPACES = re.compile(r"[\s\u00a0\u202f°]")


class Written(NamedTuple):
    """What stands in the fields of a form; all of them empty: nobody knows where it is."""

    system: str  # DEGREES, or one of UTM
    north: str  # latitude or northing; both numbers of degrees may stand here, as maps copy them
    east: str
    height: str = ""


def position_of(written: Written) -> Position | None:
    """The position. Raises Problem for what is none."""
    north, east = written.north.strip(), written.east.strip()
    if not (north or east):
        if written.height.strip():
            raise Problem("bad-parameter", "A height needs a position.", parameter="height")
        return None
    if written.system == DEGREES and not east and (pair := pair_of(north)):
        north, east = pair
    height = _number("height", written.height, "2.5") if written.height.strip() else None
    if written.system == DEGREES:
        return Position(_number("north", north, "63.4305"), _number("east", east, "10.3951"), height)
    if written.system not in UTM:
        raise Problem("bad-parameter", "The form is not complete.", parameter="system")
    zone = UTM[written.system]
    northing, easting = _number("north", north, "7034310"), _number("east", east, "569400")
    try:
        place = from_metres(zone, easting, northing)
    except ValueError as error:
        raise Problem(
            "bad-parameter",
            "These are not metres in UTM zone {zone}: the northing has seven digits, the easting six.",
            zone=zone,
            parameter="north",
            example="7034310, 569400",
        ) from error
    return Position(place.lat, place.lon, height)


def from_metres(zone: int, easting: float, northing: float) -> Position:
    """Where a place in a UTM zone is. Raises ValueError where the northing has no seven digits or the easting no six:
    degrees would lie in the sea off Africa."""
    if easting < 100_000 or northing < 1_000_000:
        raise ValueError("these are not metres")
    return from_utm(zone, easting, northing)


def pair_of(text: str) -> tuple[str, str] | None:
    """Latitude and longitude that stand in one text, as maps copy them; None for anything else. A comma between two
    numbers without a space is a decimal comma: “63,43” is one number."""
    text = " ".join(text.split())  # also so that the pattern cannot try long spaces in many ways
    match = None if _ONE_NUMBER.fullmatch(text) else _PAIR.fullmatch(text)
    return None if match is None else (match[1], match[2])


def _number(parameter: str, text: str, example: str) -> float:
    """A number with a decimal point or comma, and with spaces between thousands. Raises Problem."""
    try:
        number = float(_SPACES.sub("", text).replace(",", "."))
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise Problem(
            "bad-parameter", "{given} is not a number.", given=repr(text[:40]), parameter=parameter, example=example
        )
    return number

"""Lists of records that say themselves what they measure: keyed by that, never by their position.

    [{"measurementId": "4097", "type": "Air Temperature", "measurementValue": 24.6}]    air_temperature, part 4097
    {"probes": [{"id": 2, "temperature": 5.2}, ...]}                                    air_temperature, part probes-2

A position means nothing from one message to the next: makers leave out what has not changed. Only elements without any
such field are named by it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from techport_ingest.decoding.common import DEEPEST, MOST_VALUES, too_many
from techport_ingest.decoding.quantity_names import quantity, quantity_of_path
from techport_ingest.message import RejectedMessage

_TYPES = ("type", "name", "quantity", "parameter", "measurement", "variable", "label", "key", "n", "kind")
"""Fields that say what a record measures, or which sensor it is of."""
_IDS = ("measurementId", "id", "channel", "sensor", "probe", "address", "port", "index", "tag", "addr")
"""Fields that number the parts of a device."""
_VALUES = ("value", "measurementValue", "v", "val", "reading", "measured")
_UNITS = ("unit", "units", "u", "uom")
_CONTAINERS = frozenset(
    ("messages", "data", "values", "measurements", "readings", "records", "list", "payload", "object", "items")
)
"""Names of lists that say nothing about what is in them."""
_BESIDE_A_QUANTITY = re.compile(r"[ _-]*(?:sensor|measurement|value|reading)s?$")
_NOT_IN_NAMES = re.compile(r"[^a-z0-9.]+")


class TreeValue(NamedTuple):
    """One value within nested objects and lists."""

    key: str
    value: Any
    maker: str
    unit: str | None = None
    part: str = ""


class _Place(NamedTuple):
    """Where a value stands: its path below the nearest record of a list, and what that record says of itself."""

    path: tuple[str, ...]
    part: tuple[str, ...]
    depth: int


def tree_values(tree: Mapping[str, Any]) -> Iterator[TreeValue]:
    """The values of nested objects and lists, in order. Empty ones give nothing. Raises RejectedMessage."""
    count = 0
    start = _Place((), (), 0)
    waiting: list[tuple[_Place, Any]] = [(start, dict(tree))]
    while waiting:
        place, value = waiting.pop()
        if isinstance(value, dict | list):
            if place.depth > DEEPEST:
                raise RejectedMessage("too-deep.levels", limit=DEEPEST)
            inside = _members(place, value) if isinstance(value, dict) else _elements(place, value)
            waiting.extend(reversed(inside))
            continue
        count += 1
        if count > MOST_VALUES:
            raise too_many()
        if isinstance(value, TreeValue):
            yield value
        else:
            maker = ".".join((*place.part, *place.path))
            yield TreeValue(quantity_of_path(place.path), value, maker, None, "-".join(place.part))


def _members(place: _Place, tree: dict[str, Any]) -> list[tuple[_Place, Any]]:
    return [(_Place((*place.path, key), place.part, place.depth + 1), value) for key, value in tree.items()]


def _elements(place: _Place, elements: list[Any]) -> list[tuple[_Place, Any]]:
    inside: list[tuple[_Place, Any]] = []
    outer = tuple(name for name in place.path if name.lower() not in _CONTAINERS and not name.isdecimal())
    for position, element in enumerate(elements):
        named = _named(element) if type(element) is dict else None
        if named is None:
            inside.append((_Place((*place.path, str(position)), place.part, place.depth + 1), element))
            continue
        kind, number = named
        value = next((key for key in _VALUES if key in element), None)
        if value is not None and kind and type(element[value]) not in (dict, list):
            part = "-".join((*place.part, *outer, *([number] if number else [])))
            unit = next((element[key] for key in _UNITS if type(element.get(key)) is str), None)
            inside.append((place, TreeValue(_quantity(kind), element[value], kind, unit, part)))
            continue
        rest = {key: one for key, one in element.items() if key not in _TYPES and key not in _IDS}
        part_names = (*place.part, *outer, *(name for name in (kind, number) if name))
        inside.append((_Place((), part_names, place.depth + 1), rest))
    return inside


def _named(element: dict[str, Any]) -> tuple[str, str] | None:
    """What a record measures or is of, and its number; None where it says neither."""
    kind = next((element[key] for key in _TYPES if type(element.get(key)) is str and element[key].strip()), "")
    number = next((str(element[key]) for key in _IDS if type(element.get(key)) in (str, int)), "")
    return (kind.strip()[:60], number.strip()[:60]) if kind or number else None


def _quantity(kind: str) -> str:
    """The key of what a record calls itself: "Wind Direction Sensor" is wind_from_direction."""
    plain = _BESIDE_A_QUANTITY.sub("", kind.lower())
    name = _NOT_IN_NAMES.sub("_", plain).strip("_")
    known = quantity(name)
    return known if name else quantity(kind)

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
from techport_ingest.decoding.flattening import unit_of, value_key
from techport_ingest.decoding.positions import UNITS, position_of
from techport_ingest.decoding.quantity_names import CONTAINERS, quantity, quantity_of_path
from techport_ingest.message import RejectedMessage
from techport_pilots.quantities import builtin

_TYPES = ("type", "name", "quantity", "parameter", "measurement", "variable", "label", "key", "n", "kind")
"""Fields that say what a record measures, or which sensor it is of."""
_IDS = ("measurementId", "id", "channel", "sensor", "probe", "address", "port", "index", "tag", "addr")
"""Fields that number the parts of a device."""
_VALUES = ("value", "measurementValue", "v", "val", "reading", "measured")
_UNITS = ("unit", "units", "u", "uom")
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
        named = value_key(value) if isinstance(value, dict) and place.path else None
        if named is not None:
            key, maker = quantity_of_path(place.path), ".".join((*place.part, *place.path))
            value = TreeValue(key, value[named], maker, unit_of(value), "-".join(place.part))
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
    located = position_of(tree)
    inside: list[tuple[_Place, Any]] = []
    for path, part in located.items():
        maker = ".".join((*place.part, *place.path, *path))
        inside.append((place, TreeValue(part.quantity, part.value, maker, UNITS[part.quantity], "-".join(place.part))))
    if ("coordinates", "0") in located:
        return inside
    for key, value in tree.items():
        if (key,) not in located:
            inside.append((_Place((*place.path, key), place.part, place.depth + 1), value))
    return inside


def _elements(place: _Place, elements: list[Any]) -> list[tuple[_Place, Any]]:
    inside: list[tuple[_Place, Any]] = []
    outer = tuple(name for name in place.path if name.lower() not in CONTAINERS and not name.isdecimal())
    measured = _measured(outer)
    for position, element in enumerate(elements):
        named = _named(element) if type(element) is dict else None
        value = next((key for key in _VALUES if key in element), None) if type(element) is dict else None
        plain = value is not None and type(element[value]) not in (dict, list)
        if named is None:
            if plain and outer and len(elements) == 1:
                maker = ".".join((*place.part, *place.path))
                leaf = TreeValue(quantity_of_path(outer), element[value], maker, _unit(element), "-".join(place.part))
                inside.append((place, leaf))
            else:
                inside.append((_Place((*place.path, str(position)), place.part, place.depth + 1), element))
            continue
        kind, number = named
        if plain and kind:
            key = _quantity(kind)
            of_a_part = bool(measured) and key not in builtin()  # a list of temperatures, each of its own place
            names = [kind, number] if of_a_part else [number]
            part = "-".join((*place.part, *outer[: -1 if of_a_part else None], *(name for name in names if name)))
            leaf = TreeValue(quantity(measured) if of_a_part else key, element[value], kind, _unit(element), part)
            inside.append((place, leaf))
            continue
        rest = {key: inner for key, inner in element.items() if key not in _TYPES and key not in _IDS}
        part_names = (*place.part, *outer[: -1 if measured else None], *(name for name in (kind, number) if name))
        inside.append((_Place((measured,) if measured else (), part_names, place.depth + 1), rest))
    return inside


def _measured(outer: tuple[str, ...]) -> str:
    """The quantity that a list is called by in the plural: "temperatures"; "" where it is called otherwise."""
    name = outer[-1].lower() if outer else ""
    singular = f"{name[:-3]}y" if name.endswith("ies") else name[:-1]
    return singular if name.endswith("s") and quantity(singular) in builtin() else ""


def _unit(element: dict[str, Any]) -> str | None:
    return next((element[key] for key in _UNITS if type(element.get(key)) is str), None)


def _named(element: dict[str, Any]) -> tuple[str, str] | None:
    """What a record measures or is of, and its number; None where it says neither."""
    kind = next((element[key] for key in _TYPES if type(element.get(key)) is str and element[key].strip()), "")
    number = next((str(element[key]) for key in _IDS if type(element.get(key)) in (str, int)), "")
    return (kind.strip()[:60], number.strip()[:60]) if kind or number else None


def _quantity(kind: str) -> str:
    """The key of what a record calls itself: "Wind Direction Sensor" is wind_from_direction."""
    plain = _BESIDE_A_QUANTITY.sub("", kind.lower())
    name = _NOT_IN_NAMES.sub("_", plain).strip("_")
    of_name = quantity(name)
    return of_name if name else quantity(kind)

"""Nested JSON as names and values: keys joined by a separator, values that carry their unit, lists by names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from techport_ingest.decoding.common import DEEPEST, MOST_VALUES, too_many
from techport_ingest.message import RejectedMessage

Leaf = tuple[tuple[str, ...], Any, str | None]
"""(path, value, unit where the message says it)"""

_UNITS = ("unit", "unitCode", "uom", "unit_of_measurement", "units")
_BESIDE_A_VALUE = frozenset(
    (
        *(
            *_UNITS,
            "type",
            "value",
            "displayName",
            "name",
            "label",
            "description",
            "metadata",
            "quality",
            "status",
            "q",
        ),
        *("time", "timestamp", "ts", "t", "updateTime", "observedAt", "updated_at", "lastUpdated"),
    )
)
"""Keys that say something about a value: an object with `value` and nothing but these is that value."""

_NAMING = ("id", "name", "type", "key", "n", "tag", "sensor", "channel", "measurementId", "parameter")
"""Keys by which the records of a list are told apart, the first that all of them have and that differs among them."""

_LONGEST_NAME = 60


def flattened(tree: Any, path: tuple[str, ...] = ()) -> Iterator[Leaf]:
    """Every value of a JSON tree with its path, in order. Empty objects and lists give nothing.

    Parameters
    ----------
    tree : JSON value
        An object, a list, or a plain value, whose path is `path`.
    path : tuple of str
        Where the tree stands.

    Yields
    ------
    Leaf
        Path, value, and unit. {"temperature": {"value": 21.5, "unit": "°C"}} is one value called temperature;
        {"list": [{"id": "a", "v": 1}]} is list.a.v.

    Raises
    ------
    RejectedMessage
        Too deep, or too many values.
    """
    count = 0
    waiting: list[tuple[tuple[str, ...], Any]] = [(path, tree)]
    while waiting:
        path, value = waiting.pop()
        kind = type(value)
        unit = None
        if kind is dict and "value" in value and type(value["value"]) not in (dict, list) and _is_typed(value):
            unit = next((value[key] for key in _UNITS if type(value.get(key)) is str), None)
            value = value["value"]
        elif kind is dict or kind is list:
            if len(path) >= DEEPEST:
                raise RejectedMessage("too-deep.levels", limit=DEEPEST)
            inside = list(value.items()) if kind is dict else _named(value)
            waiting.extend(((*path, key), part) for key, part in reversed(inside))
            continue
        count += 1
        if count > MOST_VALUES:
            raise too_many()
        yield path, value, unit


def _is_typed(value: dict[str, Any]) -> bool:
    return all(key in _BESIDE_A_VALUE for key in value)


def _named(elements: list[Any]) -> list[tuple[str, Any]]:
    """The elements of a list under names: by a key that tells them apart where they are records that have one."""
    if elements and all(type(element) is dict for element in elements):
        for key in _NAMING:
            names = [_text(element.get(key)) for element in elements]
            if all(names) and len(set(names)) == len(names):
                without = [{name: inner for name, inner in element.items() if name != key} for element in elements]
                return list(zip(names, without, strict=True))
    return [(str(position), element) for position, element in enumerate(elements)]


def _text(value: object) -> str:
    return str(value)[:_LONGEST_NAME] if type(value) in (str, int) and value != "" else ""

"""Nested JSON as names and values: keys joined by a separator, values that carry their unit, lists by names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import MappingProxyType
from typing import Any

from techport_ingest.checking.key_cache import remembered
from techport_ingest.checking.time_names import date_beside, time_key
from techport_ingest.decoding.common import DEEPEST, MOST_VALUES, too_many
from techport_ingest.decoding.positions import OF_GATEWAYS, Located, names_position, position_of
from techport_ingest.decoding.quantity_names import quantity
from techport_ingest.message import RejectedMessage
from techport_pilots.quantities import builtin

Leaf = tuple[tuple[str, ...], Any, str | None, Any]
"""(path, value, unit where the message says it, time of the nearest object around it that has one)"""

UNECE = MappingProxyType(
    {
        "CEL": "Cel",
        "FAH": "°F",
        "KEL": "K",
        "P1": "%",
        "C62": "1",
        "GQ": "ug/m3",
        "GP": "mg/m3",
        "M1": "mg/L",
        "59": "ppm",
        "61": "ppb",
        "A97": "hPa",
        "KPA": "kPa",
        "PAL": "Pa",
        "MBR": "mbar",
        "BAR": "bar",
        "MTS": "m/s",
        "KMH": "km/h",
        "MMT": "mm",
        "CMT": "cm",
        "MTR": "m",
        "KMT": "km",
        "H67": "mm/h",
        "DD": "deg",
        "LUX": "lx",
        "D54": "W/m2",
        "2N": "dB",
        "HTZ": "Hz",
        "VLT": "V",
        "2Z": "mV",
        "AMP": "A",
        "WTT": "W",
        "KWT": "kW",
        "WHR": "Wh",
        "KWH": "kWh",
        "LTR": "L",
        "MTQ": "m3",
        "MQH": "m3/h",
        "KGM": "kg",
        "SEC": "s",
        "MIN": "min",
        "HUR": "h",
    }
)
"""Codes of UN/CEFACT's recommendation 20, which NGSI has under unitCode."""

_UNITS = ("unit", "unitCode", "uom", "unit_of_measurement", "units", "u")
_BESIDE_A_VALUE = frozenset(
    (
        *(
            *_UNITS,
            "type",
            "value",
            "v",
            "u",
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

_IDENTIFIERS = re.compile(
    r"(?:^|[_\-. ])(?i:(?:ls|model|device|sensor|node|station|gateway|channel|object|client)?id"
    r"|uid|uuid|(?:dev|device|gateway)?eui|mac|serial|sn|(?:mac)?addr(?:ess)?)$"
    r"|[a-z0-9](?:I[dD]|U[iI][dD]|E[uU][iI]|M[aA][cC]|SN|Addr(?:ess)?)$"
)
"""Keys of ids and addresses: sensor_id, devEUI, device_address. Whole words only: a lid or a grid is none."""
_PLACES = re.compile(r"(?:^|[_\-. ]|(?<=[a-z0-9])(?=[A-Z]))(?i:probe|port|slot|node)$")
"""Other keys that tell the records of a list apart."""

_MEASURED = ("parameter", "quantity", "variable", "measurement", "measurand", "metric", "observedProperty")
_VALUES = frozenset(("value", "val", "reading", "measurementValue"))
_LONGEST_NAME = 60


def time_keys(record: Any) -> tuple[str, ...]:
    """The keys of a record that are its time by their usual names, that of the date first; empty where none are."""
    if type(record) is not dict:
        return ()
    key = time_key(record)
    if key is None:
        return ()
    date = date_beside(record, key)
    return (key,) if date is None else (date, key)


def time_of(record: Any) -> Any:
    """What a record has under a usual name of a time, with the date beside it; None where it has none."""
    keys = time_keys(record)
    if not keys:
        return None
    given = _plain(record[keys[0]])
    return given if len(keys) == 1 else f"{given} {_plain(record[keys[1]])}"


def _plain(value: Any) -> Any:
    """The value of {"type": "DateTime", "value": "2026-05-04T12:30:00Z"} and {"utc": ..., "local": ...}; others as they
    are.
    """
    if type(value) is not dict:
        return value
    return next((value[key] for key in ("value", "utc", "UTC") if key in value), value)


def flattened(tree: Any, taken: tuple[str, ...] = (), *, timed: bool = True) -> Iterator[Leaf]:
    """Every value of a JSON tree with its path, in order. Empty objects and lists give nothing.

    Parameters
    ----------
    tree : JSON value
        An object, a list, or a plain value, whose path is empty.
    taken : tuple of str
        Keys of the tree that are its time, and no values.
    timed : bool
        Whether objects within the tree may have times of their own.

    Yields
    ------
    Leaf
        Path, value, unit, and the time of the nearest object within the tree. {"temperature": {"value": 21.5, "unit":
        "°C"}} is one value called temperature; {"list": [{"id": "a", "v": 1}]} is list.a.v. Parts of the first position
        of the tree are Located.

    Raises
    ------
    RejectedMessage
        Too deep, or too many values.
    """
    count = 0
    placed = False  # a message says once where its device is; further places are somebody else's
    waiting: list[tuple[tuple[str, ...], Any, Any]] = [((), tree, None)]
    while waiting:
        path, value, time = waiting.pop()
        kind = type(value)
        unit = None
        if kind is list:
            _check_depth(path)
            if len(value) == 1 and type(value[0]) is list:  # a list of one list names nothing
                waiting.append((path, value[0], time))
                continue
            waiting.extend(((*path, key), part, time) for key, part in reversed(_named(value)))
            continue
        if kind is dict:
            keys: tuple[str, ...] = taken if value is tree else ()
            if timed and value is not tree and type(own := time_of(value)) in (str, int, float):
                time, keys = own, time_keys(value)
            plain = _is_plain(tuple(value))
            located = None if placed or plain else position_of(value)
            if located and OF_GATEWAYS.isdisjoint(map(str.lower, path)):
                placed = True
                inside = _around(value, located)
                waiting.extend(((*path, *step), part, time) for step, part in inside if step[0] not in keys)
                continue
            if not plain and (named := value_key(value)) is not None:
                unit = unit_of(value)
                value = value[named]
            elif not plain and (naming := _self_named(value)) is not None:
                name_key, key = naming
                members = [(inner, part) for inner, part in value.items() if inner not in (*naming, *keys, *_UNITS)]
                waiting.extend(((*path, inner), part, time) for inner, part in reversed(members))
                path, unit, value = (*path, value[name_key][:_LONGEST_NAME]), unit_of(value), value[key]
            elif not plain and path and (own_key := _own_value(path[-1], value)) is not None:
                members = [(inner, part) for inner, part in value.items() if inner not in (own_key, *keys, *_UNITS)]
                waiting.extend(((*path, inner), part, time) for inner, part in reversed(members))
                unit, value = unit_of(value), value[own_key]
            else:
                _check_depth(path)
                members = list(value.items())
                members.reverse()
                waiting.extend([((*path, key), part, time) for key, part in members if key not in keys])
                continue
        count += 1
        if count > MOST_VALUES:
            raise too_many()
        yield path, value, unit, time


@remembered(4096)
def _is_plain(keys: tuple[str, ...]) -> bool:
    """Whether an object with these keys can be nothing but names and values: no position, no value with its unit."""
    return _VALUES.isdisjoint(keys) and "v" not in keys and "type" not in keys and not names_position(keys)


def _check_depth(path: tuple[str, ...]) -> None:
    if len(path) >= DEEPEST:
        raise RejectedMessage("too-deep.levels", limit=DEEPEST)


def _around(value: dict[str, Any], located: dict[tuple[str, ...], Located]) -> list[tuple[tuple[str, ...], Any]]:
    """What an object holds that is a position or has one, by paths, the last first."""
    if value.get("type") in ("Point", "geo:point"):
        return [*reversed(located.items())]
    return [((key,), located.get((key,), part)) for key, part in reversed(value.items())]


def _self_named(record: dict[str, Any]) -> tuple[str, str] | None:
    """The keys under which a record says what it measures and the value, such as {"parameter": "pm25", "value": 7.2};
    None for others. A name or type counts where it is that of a quantity.
    """
    if _VALUES.isdisjoint(record):
        return None
    key = next((key for key in record if key in _VALUES and type(record[key]) in (int, float)), None)
    if key is None:
        return None
    for name in (*_MEASURED, *_NAMING):
        text = record.get(name)
        if type(text) is str and text and (name in _MEASURED or quantity(text) in builtin()):
            return name, key
    return None


@remembered(4096)
def _is_quantity(name: str) -> bool:
    return quantity(name) in builtin()


def _own_value(name: str, record: dict[str, Any]) -> str | None:
    """The key of the value of an object that is called like a quantity and has more beside its value, such as
    {"pm25": {"value": 7, "unit": "µg/m³", "sensorsId": 5}}.
    """
    if _VALUES.isdisjoint(record) or not _is_quantity(name):
        return None
    return next((key for key in record if key in _VALUES and type(record[key]) in (int, float, str)), None)


def unit_of(value: dict[str, Any]) -> str | None:
    """The unit of an object that is one value, of its own or of its metadata, as NGSI has it."""
    about = value.get("metadata")
    for place in (value, about) if type(about) is dict else (value,):
        for key in _UNITS:
            unit = place.get(key)
            if type(unit) is dict:
                unit = unit.get("value")
            if type(unit) is str and unit:
                return UNECE.get(unit, unit) if key == "unitCode" else unit
    return None


def value_key(record: dict[str, Any]) -> str | None:
    """The key of the value of an object that is one with what is said about it, {"value": 21.5, "unit": "°C"}."""
    key = "value" if "value" in record else "v" if "v" in record else None
    if key is None or not _BESIDE_A_VALUE.issuperset(record) or type(record[key]) in (dict, list):
        return None
    return key


@remembered(4096)
def is_identifier(key: str) -> bool:
    """Whether a text under this key is an id or an address, and no state."""
    return _IDENTIFIERS.search(key) is not None


@remembered(4096)
def _naming(keys: tuple[str, ...]) -> tuple[str, ...]:
    """Those of a record's keys that may tell it apart from the others of its list."""
    usual = (key for key in _NAMING if key in keys)
    return (*usual, *(key for key in keys if key not in _NAMING and (is_identifier(key) or _PLACES.search(key))))


def _named(elements: list[Any]) -> list[tuple[str, Any]]:
    """The elements of a list under names: by a key that tells them apart where they are records that have one."""
    if elements and all(type(element) is dict for element in elements):
        for key in _naming(tuple(elements[0])):
            names = [_text(element.get(key)) for element in elements]
            if all(names) and len(set(names)) == len(names):
                without = [{name: inner for name, inner in element.items() if name != key} for element in elements]
                return list(zip(names, without, strict=True))
    return [(str(position), element) for position, element in enumerate(elements)]


def _text(value: object) -> str:
    return str(value)[:_LONGEST_NAME] if type(value) in (str, int) and value != "" else ""

"""Checks plain values against the types of model.py, and finds everything that does not fit."""

from __future__ import annotations

import datetime as dt
import difflib
import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from msgspec import inspect

from techport_pilots.model import FieldMapping, Text

Path = tuple[str | int, ...]


class Misfit(NamedTuple):
    """Something that is wrong at a path, and what to do about it."""

    path: Path
    problem: str
    remedy: str
    near: Path | None = None  # where to look in the file, for something that is not in it


def fit(value: object, kind: type) -> tuple[object, list[Misfit]]:
    """The value ready for msgspec.convert(…, kind) as far as it fits, and everything that is wrong with it.

    Kinder than msgspec in two places: a text may be a plain string, and a time a date (midnight). Keys that do not fit
    are left out, so that what is left can still be checked for its meaning.
    """
    fitter = _Fitter()
    return fitter.fit(value, inspect.type_info(kind), ()), fitter.misfits


def field_name(path: Path) -> str:
    """A path as people write it: devices[3].position.lat"""
    name = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return name.removeprefix(".")


def did_you_mean(word: str, accepted: Iterable[str]) -> str:
    """A remedy: the accepted word that is near, or all of them."""
    accepted = list(accepted)
    near = difflib.get_close_matches(word, accepted, n=2, cutoff=0.6)
    if near:
        return f"Did you mean {' or '.join(near)}?"
    return f"Accepted: {', '.join(accepted)}" if accepted else "There is none"


class _Fitter:
    def __init__(self) -> None:
        self.misfits: list[Misfit] = []

    def fit(self, value: object, kind: inspect.Type, path: Path) -> object:
        """The value as msgspec will take it; adds to misfits."""
        match kind:
            case inspect.UnionType():
                return self._union(value, kind, path)
            case inspect.StructType():
                return self._struct(value, kind, path)
            case inspect.ListType():
                return self._items(value, kind.item_type, path)
            case inspect.TupleType():
                return self._tuple(value, kind, path)
            case inspect.AnyType():
                return value
            case inspect.StrType():
                return self._text(value, path)
            case inspect.BoolType():
                return self._expect(value, isinstance(value, bool), path, "Write true or false")
            case inspect.IntType():
                whole = isinstance(value, int) and not isinstance(value, bool)
                return self._expect(value, whole, path, "Write a whole number")
            case inspect.DictType():
                return self._mapping(value, kind.value_type, path)
            case inspect.FloatType():
                return self._number(value, path)
            case inspect.DateTimeType():
                return self._time(value, path)
            case inspect.LiteralType():
                return self._choice(value, kind, path)
            case _:
                raise TypeError(f"no rule yet for {kind} in a definition")

    def _union(self, value: object, kind: inspect.UnionType, path: Path) -> object:
        if value is None:
            return None
        [other] = [inner for inner in kind.types if not isinstance(inner, inspect.NoneType)]
        return self.fit(value, other, path)

    def _struct(self, value: object, kind: inspect.StructType, path: Path) -> object:
        if kind.cls is Text and isinstance(value, str):
            return {"nb": value, "en": value}
        if kind.cls is FieldMapping and isinstance(value, str):
            return {"quantity": value}
        if not isinstance(value, Mapping):
            names = ", ".join(field.encode_name for field in kind.fields)
            return self._expect(value, False, path, f"Write a mapping with {names}")
        fields = {field.encode_name: field for field in kind.fields}
        for key in value:
            if key not in fields:
                # {nb: Rent, og pent}: to YAML, a bare comma ends the text and what follows is a key with no value.
                cut = kind.cls is Text and value[key] is None
                remedy = "Put a text with a comma in quotes" if cut else did_you_mean(str(key), fields)
                self._wrong((*path, str(key)), f"{key!r} is not a key here", remedy)
        for name, field in fields.items():
            if field.required and value.get(name) is None:
                self._wrong((*path, name), "is missing", _REQUIRED.get(name, f"Add {name}: …"))
        fitting: dict[str, object] = {}
        for key, inner in value.items():
            if key in fields and inner is not None:  # `key:` with nothing behind it is as good as no key
                here: Path = (*path, key)
                fitted = self.fit(inner, fields[key].type, here)
                if not any(misfit.path == here for misfit in self.misfits):
                    fitting[key] = fitted
        return fitting

    def _items(self, value: object, kind: inspect.Type, path: Path) -> object:
        if not isinstance(value, list):
            return self._expect(value, False, path, "Write a list: one line each, starting with “- ”")
        return [self.fit(item, kind, (*path, index)) for index, item in enumerate(value)]

    def _mapping(self, value: object, kind: inspect.Type, path: Path) -> object:
        if not isinstance(value, Mapping):
            return self._expect(value, False, path, "Write a mapping, such as {temp: air_temperature}")
        return {str(key): self.fit(inner, kind, (*path, str(key))) for key, inner in value.items()}

    def _tuple(self, value: object, kind: inspect.TupleType, path: Path) -> object:
        if not isinstance(value, list) or len(value) != len(kind.item_types):
            count = len(kind.item_types)
            return self._expect(value, False, path, f"Write {count} numbers in brackets, such as [0, 100]")
        pairs = zip(value, kind.item_types, strict=True)
        return [self.fit(item, inner, (*path, index)) for index, (item, inner) in enumerate(pairs)]

    def _text(self, value: object, path: Path) -> object:
        remedy = "Put it in quotes" if isinstance(value, int | float) else "Write a text"
        return self._expect(value, isinstance(value, str), path, remedy)

    def _number(self, value: object, path: Path) -> object:
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if isinstance(value, str) and value.replace(",", ".", 1).replace(".", "", 1).removeprefix("-").isdecimal():
            return self._expect(value, False, path, f"Write {value.replace(',', '.')} without quotes, with a point")
        return self._expect(value, is_number, path, "Write a number")

    def _time(self, value: object, path: Path) -> object:
        if isinstance(value, dt.datetime):
            return value
        try:
            return dt.datetime.fromisoformat(str(value))
        except ValueError:
            return self._expect(value, False, path, "Write a time such as 2026-03-01T08:00:00+01:00, or a date")

    def _choice(self, value: object, kind: inspect.LiteralType, path: Path) -> object:
        accepted = [str(choice) for choice in kind.values]
        return self._expect(value, value in accepted, path, did_you_mean(str(value), accepted))

    def _expect(self, value: object, ok: bool, path: Path, remedy: str) -> object:
        if not ok:
            self._wrong(path, f"{_shown(value)} does not fit here", remedy)
        return value

    def _wrong(self, path: Path, problem: str, remedy: str) -> None:
        self.misfits.append(Misfit(path, problem, remedy))


_REQUIRED: dict[str, str] = {
    "id": "Add id: a short name of a-z, 0-9 and hyphen",
    "title": "Add title: with nb: and en:",
    "question": "Add question: what the pilot wants to know, in one sentence with a question mark",
    "devices": "Add devices: a list, or [] when none is known yet",
    "topic": "Add topic: an MQTT topic filter, such as tele/+/SENSOR",
    "format": "Add format: a name of the list in docs/devices.md, such as tasmota",
    "quantity": "Add quantity: a name of the vocabulary, such as pm10",
}


def _shown(value: Any) -> str:
    match value:
        case None:
            return "nothing"
        case dict() | list():
            return "a list" if isinstance(value, list) else "a mapping"
        case _:
            text = repr(value)
            return text if len(text) <= 60 else text[:59] + "…"

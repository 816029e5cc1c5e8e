"""Validates plain values against the types of model.py: pydantic reports everything that does not fit, at once."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from functools import cache, partial
from typing import Any

from msgspec import inspect
from pydantic_core import CoreSchema, PydanticCustomError, SchemaValidator, ValidationError, core_schema

from techport_pilots.definition.misfit import Misfit, Path, did_you_mean, misfit
from techport_pilots.i18n import Message
from techport_pilots.model import FieldMapping, NameRule, Text, TimeRule

_SHORT_FOR: dict[type, tuple[str, ...]] = {
    Text: ("nb", "en"),
    FieldMapping: ("quantity",),
    NameRule: ("path",),
    TimeRule: ("key",),
}
"""Types that may be written as a string, with the keys that it is then the value of."""


def fit(value: object, kind: type) -> tuple[object, list[Misfit]]:
    """The value ready for msgspec.convert(…, kind) as far as it fits, and everything that is wrong with it.

    Keys that do not fit are left out, so that what is left can still be checked for its meaning.
    """
    try:
        return _validator(kind).validate_python(value), []
    except ValidationError as error:
        misfits = [_misfit(details) for details in error.errors(include_url=False)]
    for wrong in misfits:
        value = _without(value, wrong.path)
    try:
        return _validator(kind).validate_python(value), misfits
    except ValidationError:  # what is required is missing
        return value, misfits


# -- The types as pydantic takes them.


@cache
def _validator(kind: type) -> SchemaValidator:
    return SchemaValidator(_schema(inspect.type_info(kind)))


def _schema(kind: inspect.Type) -> CoreSchema:
    match kind:
        case inspect.UnionType():
            [some] = [inner for inner in kind.types if not isinstance(inner, inspect.NoneType)]
            return core_schema.nullable_schema(_schema(some))
        case inspect.StructType():
            return _struct(kind)
        case inspect.ListType():
            return core_schema.list_schema(_schema(kind.item_type))
        case inspect.TupleType():
            numbers = core_schema.tuple_schema([_schema(item) for item in kind.item_types], strict=False)
            return core_schema.no_info_before_validator_function(partial(_of_length, len(kind.item_types)), numbers)
        case inspect.DictType():
            return core_schema.dict_schema(core_schema.str_schema(), _schema(kind.value_type))
        case inspect.LiteralType():
            words = list(kind.values)
            return core_schema.custom_error_schema(
                core_schema.literal_schema(words),
                custom_error_type="word",
                custom_error_message="not an accepted word",
                custom_error_context={"accepted": words},
            )
        case inspect.DateTimeType():
            return core_schema.no_info_plain_validator_function(_time)
        case inspect.DateType():
            return core_schema.no_info_plain_validator_function(_date)
        case _:
            return _PLAIN[type(kind)]


_PLAIN: dict[type[inspect.Type], CoreSchema] = {
    inspect.StrType: core_schema.str_schema(strict=True),
    inspect.BoolType: core_schema.bool_schema(strict=True),
    inspect.IntType: core_schema.int_schema(strict=True),
    inspect.FloatType: core_schema.float_schema(strict=True, allow_inf_nan=False),
    inspect.AnyType: core_schema.any_schema(),
}


def _struct(kind: inspect.StructType) -> CoreSchema:
    fields = {
        field.encode_name: core_schema.typed_dict_field(_schema(field.type), required=field.required)
        for field in kind.fields
    }
    unknown = core_schema.no_info_plain_validator_function(partial(_unknown_key, kind.cls, list(fields)))
    schema = core_schema.typed_dict_schema(fields, extra_behavior="allow", extras_schema=unknown)
    return core_schema.no_info_before_validator_function(partial(_written_out, kind.cls, list(fields)), schema)


def _written_out(kind: type, names: list[str], value: object) -> object:
    """The value without its short form, and without `key:` that has nothing behind it, which is as good as no key."""
    if isinstance(value, str) and kind in _SHORT_FOR:
        return {_SHORT_FOR[kind][0]: value, _SHORT_FOR[kind][-1]: value}
    if not isinstance(value, Mapping):
        raise PydanticCustomError("mapping", "not a mapping", {"names": names})
    return {key: inner for key, inner in value.items() if inner is not None or key not in names}


def _unknown_key(kind: type, names: list[str], value: object) -> object:
    # {nb: Rent, og pent}: to YAML, a bare comma ends the text and what follows is a key with no value.
    raise PydanticCustomError("unknown-key", "unknown", {"names": names, "cut": kind is Text and value is None})


def _of_length(length: int, value: object) -> object:
    if not isinstance(value, list) or len(value) != length:
        raise PydanticCustomError("numbers", "not so many numbers", {"n": length})
    return value


def _time(value: object) -> dt.datetime:
    """A time, or a date: its midnight. Numbers are not times, as they are to pydantic."""
    try:
        return value if isinstance(value, dt.datetime) else dt.datetime.fromisoformat(str(value))
    except ValueError as error:
        raise PydanticCustomError("time", "not a time") from error


def _date(value: object) -> dt.date:
    try:
        return value if type(value) is dt.date else dt.date.fromisoformat(str(value))
    except ValueError as error:
        raise PydanticCustomError("date", "not a date") from error


# -- What pydantic reports, as messages.


def _misfit(details: Mapping[str, Any]) -> Misfit:
    path: Path = details["loc"]
    params = details.get("ctx", {})
    if details["type"] == "missing":
        code = path[-1] if path[-1] in _REQUIRED else "other"
        return misfit(path, "missing", remedy=Message(f"definition.add.{code}", {"key": path[-1]}))
    if details["type"] == "unknown-key":
        key, quote = str(path[-1]), Message("definition.quote-comma")
        remedy = quote if params["cut"] else did_you_mean(key, params["names"])
        return misfit(path, "unknown-key", remedy=remedy, key=key)
    given = details["input"]
    return misfit(path, "wrong-value", remedy=_remedy(details["type"], given, params), given=_shown(given))


_REQUIRED = ("id", "title", "question", "devices", "topic", "format", "quantity")
"""Required keys that have an explanation of their own."""

_WRITE = {"list_type": "list", "dict_type": "pairs", "bool_type": "boolean", "int_type": "integer"}
_WRITE |= {"finite_number": "number", "mapping": "mapping", "numbers": "numbers", "time": "time", "date": "date"}
"""What to write, by what pydantic or a function above reports."""


def _remedy(error: str, given: object, params: Mapping[str, Any]) -> Message:
    if error == "word":
        return did_you_mean(str(given), params["accepted"])
    if error == "string_type":
        return Message("definition.write.quoted" if isinstance(given, int | float) else "definition.write.text")
    number = str(given).replace(",", ".", 1)
    if error == "float_type" and isinstance(given, str) and _NUMBER.fullmatch(number):
        return Message("definition.write.unquoted", {"number": number})
    return Message(f"definition.write.{_WRITE.get(error, 'number')}", params)


_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]*)?")


def _shown(value: object) -> dict[str, Any]:
    """A value as a part of a sentence."""
    kind = next((kind for kind in (str, dict, list) if isinstance(value, kind)), None)
    code = {str: "text", dict: "mapping", list: "list", None: "other"}[kind]
    text = str(value).lower() if isinstance(value, bool) else str(value)[:60]
    return {"code": f"definition.value.{code}", "params": {"text": text} if kind in (str, None) else {}}


def _without(value: object, path: Path) -> object:
    """The value without the innermost key on the path."""
    while path and isinstance(path[-1], int):
        path = path[:-1]
    if not path:
        return value
    key, rest = path[0], path[1:]
    if isinstance(value, Mapping) and key in value:
        inner = {key: _without(value[key], rest)} if rest else {}
        return {name: value[name] for name in value if name != key} | inner
    if isinstance(value, list) and isinstance(key, int) and key < len(value):
        return [*value[:key], _without(value[key], rest), *value[key + 1 :]]
    return value

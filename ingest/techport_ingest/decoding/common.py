"""What several decoders need: JSON with a helpful rejection, numbers written as text, names of devices, the rules of
what is no reading."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

import msgspec

from techport_ingest.checking import written_values
from techport_ingest.checking.absence import RULE as MISSING
from techport_ingest.checking.absence import is_absent_text
from techport_ingest.checking.key_cache import remembered
from techport_ingest.checking.properties import is_property
from techport_ingest.message import DeviceEvent, Found, Ignored, Message, Observed, RejectedMessage, Unreadable
from techport_pilots.device_names import decoded_name
from techport_pilots.quantities import builtin
from techport_storage.model import Micros

T = TypeVar("T")

MOST_VALUES = 10_000
"""More values than this in one message are not a reading of a device: rejected, so that a decoder's memory stays
bounded."""

DEEPEST = 12
"""Levels of nested objects that are followed."""

_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,4})?", re.ASCII)


def json_document(payload: bytes) -> Any:
    """The JSON value of a payload. Raises RejectedMessage that says why it is not JSON."""
    try:
        return msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise not_json(payload, error) from None


def json_struct(parser: msgspec.json.Decoder[T], payload: bytes) -> T:
    """The payload as the parser's type; parts that the type does not name are passed over. Raises RejectedMessage."""
    try:
        return parser.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise not_json(payload, error) from None


def json_object(payload: bytes, code: str) -> dict[str, Any]:
    """The JSON object of a payload. Raises RejectedMessage: for JSON that is something else with `code`, whose
    sentences are given `kind`, the type of what was sent.
    """
    document = json_document(payload)
    if type(document) is not dict:
        raise RejectedMessage(code, kind=json_type(document))
    return document


def not_json(payload: bytes, error: Exception) -> RejectedMessage:
    """Why the parser stopped, and what to do."""
    problem = str(error)[:200]
    if isinstance(error, RecursionError):
        return RejectedMessage("too-deep.json")
    if not payload.strip():
        return RejectedMessage("empty.json")
    try:
        payload.decode()
    except UnicodeDecodeError as wrong:
        return _not_utf8(payload, wrong)
    if payload.startswith(_BYTE_ORDER_MARK):
        return RejectedMessage("not-json.bom")
    if "out of range" in problem:
        return RejectedMessage("number-too-large.json")
    if isinstance(error, msgspec.ValidationError):
        return RejectedMessage("wrong-shape.schema", problem=_schema_problem(problem))
    match = _MALFORMED.fullmatch(problem)
    byte = int(match[2]) if match is not None else len(payload)
    if any(name.start() <= byte <= name.end() + 1 for name in _NOT_FINITE.finditer(payload)):
        return RejectedMessage("nan.json", problem=json_problem(problem))
    if "truncated" in problem or byte >= len(payload):
        return RejectedMessage("truncated.json", size=len(payload))
    return RejectedMessage("not-json.malformed", problem=json_problem(problem))


_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_NOT_FINITE = re.compile(rb"(?<![\w\"])-?(?:nan|inf|infinity)(?![\w\"])", re.IGNORECASE)


def json_problem(problem: str) -> list[dict[str, Any]]:
    """What msgspec says about JSON that is malformed, as messages."""
    match = _MALFORMED.fullmatch(problem)
    kind, byte = (match[1], int(match[2])) if match else (problem, None)
    code = _JSON_PROBLEMS.get(kind)
    described = {"code": "json.other", "params": {"text": kind}} if code is None else {"code": code}
    return [described] if byte is None else [described, {"code": "json.at", "params": {"byte": byte}}]


_MALFORMED = re.compile(r"JSON is malformed: (.+) \(byte (\d+)\)")
_JSON_PROBLEMS = {
    "invalid character": "json.invalid-character",
    "trailing characters": "json.trailing-characters",
    "object keys must be strings": "json.key-not-text",
    "expected ':'": "json.no-colon",
    "expected ',' or '}'": "json.no-comma-in-object",
    "expected ',' or ']'": "json.no-comma-in-array",
    "trailing comma in object": "json.trailing-comma",
    "trailing comma in array": "json.trailing-comma",
    "expected '\"'": "json.no-quote",
    "invalid number": "json.invalid-number",
    "invalid escape character in string": "json.invalid-escape",
    "invalid escaped character": "json.invalid-escape",
}


def _schema_problem(problem: str) -> list[dict[str, Any]]:
    """What msgspec says about JSON that does not have the parser's type, as messages."""
    kind, _, path = problem.partition(" - at ")
    missing = _MISSING_FIELD.fullmatch(kind)
    other_type = _OTHER_TYPE.fullmatch(kind)
    if missing is not None:
        described: dict[str, Any] = {"code": "json.missing-field", "params": {"field": missing[1]}}
    elif other_type is not None:
        expected, given = ({"code": _SCHEMA_TYPES.get(name, "json-type.other")} for name in other_type.groups())
        described = {"code": "json.expected", "params": {"expected": expected, "given": given}}
    else:
        described = {"code": "json.other", "params": {"text": kind}}
    return [described, {"code": "json.in", "params": {"path": path.strip("`")}}] if path else [described]


_MISSING_FIELD = re.compile(r"Object missing required field `(.+)`")
_OTHER_TYPE = re.compile(r"Expected `(.+)`, got `(.+)`")
_SCHEMA_TYPES = {
    "array": "json-type.array",
    "object": "json-type.object",
    "str": "json-type.text",
    "bool": "json-type.boolean",
    "int": "json-type.number",
    "float": "json-type.number",
    "null": "json-type.null",
}


def raw_json(part: msgspec.Raw) -> Any:
    """The value of a part that a parser has passed over; None where it was not there."""
    return msgspec.json.decode(part) if bytes(part) else None


def lenient_object(payload: bytes) -> dict[str, Any]:
    """The JSON object of a payload; empty where it holds none. For what may be said without being sure."""
    try:
        document = msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return document if type(document) is dict else {}


def member(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The object that stands under a key; empty where none does."""
    value = document.get(key)
    return value if type(value) is dict else {}


def text_of(document: Mapping[str, Any], key: str) -> str:
    """The text that stands under a key, not endless; "" where none does."""
    value = document.get(key)
    return value[:200] if type(value) is str else ""


def level_behind(topic: str, level: str) -> str:
    """The level of a topic behind one of that name: what follows "device" in application/1/device/0102/event/up."""
    levels = topic.split("/")
    return levels[levels.index(level) + 1] if level in levels[:-1] else ""


def json_type(value: object) -> dict[str, str]:
    """The JSON type of a value, as a message: a parameter of rejections."""
    if value is None:
        return {"code": "json-type.null"}
    return {"code": _JSON_TYPES.get(type(value), "json-type.other")}


_JSON_TYPES: dict[type, str] = {
    list: "json-type.array",
    dict: "json-type.object",
    str: "json-type.text",
    bool: "json-type.boolean",
    int: "json-type.number",
    float: "json-type.number",
}


def utf8(payload: bytes) -> str:
    """The text of a payload. Raises RejectedMessage."""
    try:
        return payload.decode()
    except UnicodeDecodeError as wrong:
        raise _not_utf8(payload, wrong) from None


def _not_utf8(payload: bytes, wrong: UnicodeDecodeError) -> RejectedMessage:
    return RejectedMessage("not-utf8.byte", byte=wrong.start, hex=f"0x{payload[wrong.start]:02x}")


def number(text: str) -> float | None:
    """The finite decimal number that `text` writes with a point, or None. Python's own extras (1_000, inf) are none."""
    text = text.strip()
    if len(text) > 400 or not _NUMBER.fullmatch(text):
        return None
    value = float(text)
    return value if math.isfinite(value) else None


device_id = decoded_name
"""A name as the id of a device."""


def place(
    device: str,
    time: Micros | None,
    key: str,
    value: object,
    unit: str | None = None,
    maker: str = "",
    part: str = "",
) -> Found:
    """A value of a maker's JSON, as a finding.

    Numbers are readings, and true and false are 1 and 0. Text is a word of a state, where the key is one; a number in
    text goes on to the check, which says what to do about it; other text is ignored, and so is what says that there is
    no value (checking/absence.py). `maker` is what the message calls it: a source's `fields` may say either name.
    `part` is the sensor, address or probe that it comes from.
    """
    kind = type(value)
    if kind is float or kind is int:
        if key == "air_pressure" and unit is not None and not _is_of_the_air(value, unit, maker):  # type: ignore[arg-type]
            key = maker
        return Observed(device, time, key, value, unit, maker, part)
    if kind is bool:
        return Observed(device, time, key, 1.0 if value else 0.0, unit, maker, part)
    if kind is str:
        return text_value(device, time, key, value, unit, maker, part)  # type: ignore[arg-type]
    return Ignored(device, "null" if value is None else "nested", key, value, time, unit, maker)


_PRESSURES = MappingProxyType(
    {"hPa": 1.0, "mbar": 1.0, "Pa": 0.01, "kPa": 10.0, "bar": 1000.0, "psi": 68.9476, "mmHg": 1.33322, "inHg": 33.8639}
)
_IN_THE_AIR = (500.0, 1150.0)  # hPa: from the top of a mountain to beyond the record


def _is_of_the_air(value: float, unit: str, maker: str) -> bool:
    """Whether what a message calls "pressure" can be that of the air; in a pipe or a tank it is something else."""
    factor = _PRESSURES.get(unit, 1.0)
    return _IN_THE_AIR[0] <= value * factor <= _IN_THE_AIR[1] or unit not in _PRESSURES or maker.lower() != "pressure"


def text_value(
    device: str, time: Micros | None, key: str, text: str, unit: str | None = None, maker: str = "", part: str = ""
) -> Found:
    """A text of a maker's message, as a finding: see `place`."""
    if is_absent_text(text) and not is_none_of_state(key, text):
        return Ignored(device, MISSING, key, text, time, unit, maker)
    if is_state(key) or (not is_property(maker or key) and written_values.read(text) is not None):
        return Observed(device, time, key, text, unit, maker, part)
    return Ignored(device, "text", key, text, time, unit, maker)


def is_none_of_state(key: str, text: str) -> bool:
    """Whether "none" is a word of a state: an alarm that is none is off, and not unknown."""
    return text.strip().lower() == "none" and is_state(key)


@remembered(8192)
def is_state(key: str) -> bool:
    """Whether a key is a state of the vocabulary, which devices may say in words."""
    quantity = builtin().lookup(key)
    return quantity is not None and quantity.kind == "state"


def location(device: str, time: Micros | None, where: object) -> list[Found]:
    """Where a device is, as network servers say it: {"latitude": 63.4, "longitude": 10.4, "altitude": 2}. Parts that
    are no numbers are left out.
    """
    if type(where) is not dict:
        return []
    units = (("latitude", "deg"), ("longitude", "deg"), ("altitude", "m"))
    return [place(device, time, key, where[key], unit) for key, unit in units if type(where.get(key)) in (int, float)]


def leaves(tree: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The values of nested objects with their paths, in order. Empty objects give nothing. Raises RejectedMessage."""
    count = 0
    waiting: list[tuple[tuple[str, ...], Any]] = [((key,), value) for key, value in reversed(list(tree.items()))]
    while waiting:
        path, value = waiting.pop()
        if type(value) is dict or type(value) is list:
            if len(path) >= DEEPEST:
                raise RejectedMessage("too-deep.levels", limit=DEEPEST)
            inside = list(value.items()) if type(value) is dict else [(str(i), part) for i, part in enumerate(value)]
            waiting.extend(((*path, key), part) for key, part in reversed(inside))
            continue
        count += 1
        if count > MOST_VALUES:
            raise too_many()
        yield path, value


def unless_unreadable(decoded: list[Found]) -> list[Found]:
    """What was found; raises RejectedMessage, of the first part, where no part of the message can be read."""
    first = decoded[0] if decoded else None
    if isinstance(first, Unreadable) and all(isinstance(part, Unreadable) for part in decoded):
        raise RejectedMessage.of(first.rejection)
    return decoded


def too_many() -> RejectedMessage:
    """The rejection of a message with more than MOST_VALUES values."""
    return RejectedMessage("too-many-values", limit=MOST_VALUES)


def availability(message: Message, device: str) -> DeviceEvent:
    """The event of a last-will topic: "online", "offline", "true", "false" or a JSON object with a `state`."""
    text = message.payload[:200].decode(errors="replace").strip().strip('"').lower()
    if text.startswith("{"):
        document = json_object(message.payload, "wrong-shape.availability")
        text = str(document.get("state", "")).lower()[:40]
    online = text in ("online", "true", "1", "ready", "connected")
    return DeviceEvent(
        device, None, "online" if online else "offline", "" if text in ("online", "offline") else text[:40]
    )

"""What several decoders need: JSON with a helpful complaint, numbers written as text, names of devices, the rules of
what is no reading."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import msgspec

from techport_ingest.message import BadMessage, DeviceEvent, Found, Ignored, Message, Observed
from techport_storage.model import Micros

T = TypeVar("T")

MOST_VALUES = 10_000
"""More values than this in one message are no reading of a device: refused, so that a decoder's memory stays
bounded."""

DEEPEST = 12
"""Levels of nested objects that are followed."""

_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,4})?", re.ASCII)
_UNFIT = re.compile(r"[^\w.-]+")
_MAC = re.compile(r"[0-9a-f]{2}(?:[:-][0-9a-f]{2}){5,7}")


def json_document(payload: bytes) -> Any:
    """The JSON value of a payload. Raises BadMessage that says why it is none."""
    try:
        return msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise not_json(payload, error) from None


def json_struct(parser: msgspec.json.Decoder[T], payload: bytes) -> T:
    """The payload as the parser's type; parts that the type does not name are passed over. Raises BadMessage."""
    try:
        return parser.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise not_json(payload, error) from None


def json_object(payload: bytes, shape: str) -> dict[str, Any]:
    """The JSON object of a payload; `shape` is the hint for whoever sent something else. Raises BadMessage."""
    document = json_document(payload)
    if type(document) is not dict:
        raise BadMessage("wrong-shape", f"the payload is {json_kind(document)}, not an object", shape)
    return document


def not_json(payload: bytes, error: Exception) -> BadMessage:
    """Why the parser stopped, and what to do."""
    problem = str(error)[:200]
    if isinstance(error, RecursionError):
        return BadMessage("too-deep", "objects or arrays are nested too deeply to be a reading", "Send flat objects")
    if not payload.strip():
        return BadMessage(
            "empty", "the payload is empty", "Nothing can be read from it; check what the device publishes"
        )
    if isinstance(error, msgspec.ValidationError):
        return BadMessage("wrong-shape", problem, "Check that the topic carries the format that the source is set to")
    if isinstance(error, UnicodeDecodeError) or "utf-8" in problem.lower():
        return BadMessage(
            "not-utf8", "the payload is not UTF-8", "Encode the text as UTF-8; binary payloads need another format"
        )
    if "truncated" in problem:
        detail = f"the payload ends after {len(payload)} bytes, in the middle of the JSON"
        return BadMessage("truncated", detail, "A buffer on the device may be too small for the text; send all of it")
    return BadMessage("not-json", problem, "Send valid JSON; NaN and Infinity are none")


def json_kind(value: object) -> str:
    """The JSON type of a value, in words."""
    if value is None:
        return "null"
    names = {
        list: "an array",
        dict: "an object",
        str: "text",
        bool: "true or false",
        int: "a number",
        float: "a number",
    }
    return names.get(type(value), "something else")


def utf8(payload: bytes) -> str:
    """The text of a payload. Raises BadMessage."""
    try:
        return payload.decode()
    except UnicodeDecodeError as wrong:
        detail = f"byte {wrong.start} (0x{payload[wrong.start]:02x}) is not UTF-8"
        raise BadMessage("not-utf8", detail, "Encode the text as UTF-8, not Latin-1") from None


def number(text: str) -> float | None:
    """The finite decimal number that `text` writes with a point, or None. Python's own extras (1_000, inf) are none."""
    text = text.strip()
    if len(text) > 400 or not _NUMBER.fullmatch(text):
        return None
    value = float(text)
    return value if math.isfinite(value) else None


def device_id(name: str) -> str:
    """A name as the id of a device: lower case, MAC addresses without colons, anything but letters, digits, . _ - as
    -."""
    name = name.strip().lower()
    if _MAC.fullmatch(name):
        return name.replace(":", "").replace("-", "")
    return _UNFIT.sub("-", name).strip("-")


def place(device: str, time: Micros | None, key: str, value: object, unit: str | None = None) -> Found:
    """A value of a maker's JSON: numbers are readings, states are 1 and 0, the rest is ignored under its rule."""
    kind = type(value)
    if kind is float or kind is int:
        return Observed(device, time, key, value, unit)
    if kind is bool:
        return Observed(device, time, key, 1.0 if value else 0.0, unit)
    if value is None:
        return Ignored(device, "null", key)
    return Ignored(device, "text" if kind is str else "nested", key)


def location(device: str, time: Micros | None, where: object) -> list[Found]:
    """Where a device is, as network servers say it: {"latitude": 63.4, "longitude": 10.4, "altitude": 2}. Parts that
    are no numbers are left out.
    """
    if type(where) is not dict:
        return []
    units = (("latitude", "deg"), ("longitude", "deg"), ("altitude", "m"))
    return [place(device, time, key, where[key], unit) for key, unit in units if type(where.get(key)) in (int, float)]


def leaves(tree: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The values of nested objects with their paths, in order. Empty objects give nothing. Raises BadMessage."""
    count = 0
    waiting: list[tuple[tuple[str, ...], Any]] = [((key,), value) for key, value in reversed(list(tree.items()))]
    while waiting:
        path, value = waiting.pop()
        if type(value) is dict or type(value) is list:
            if len(path) >= DEEPEST:
                raise BadMessage("too-deep", f"more than {DEEPEST} levels of objects", "Send flat objects")
            inside = list(value.items()) if type(value) is dict else [(str(i), part) for i, part in enumerate(value)]
            waiting.extend(((*path, key), part) for key, part in reversed(inside))
            continue
        count += 1
        if count > MOST_VALUES:
            raise too_many()
        yield path, value


def too_many() -> BadMessage:
    """The complaint about a message with more than MOST_VALUES values."""
    return BadMessage(
        "too-many-values", f"more than {MOST_VALUES} values in one message", "Send several smaller messages"
    )


def availability(message: Message, device: str) -> DeviceEvent:
    """The event of a last-will topic: "online", "offline", "true", "false" or a JSON object with a `state`."""
    text = message.payload[:200].decode(errors="replace").strip().strip('"').lower()
    if text.startswith("{"):
        document = json_object(message.payload, 'Send {"state": "online"}')
        text = str(document.get("state", "")).lower()[:40]
    online = text in ("online", "true", "1", "ready", "connected")
    return DeviceEvent(
        device, None, "online" if online else "offline", "" if text in ("online", "offline") else text[:40]
    )

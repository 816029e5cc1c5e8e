"""Paths into JSON documents, as sources write them.

    /payload/temperature     a JSON pointer (RFC 6901): from the message
    payload.temperature      the same in dots: from the record, or from the message where there are no records
    values[0].v, values.0.v  an element of a list
    /*/values                every key of an object, or every element of a list
    /{device}/*              every key, which is the name of the device as well

A key that has a dot or a slash in it is written as a pointer: `/a.b`, `/a~1b`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import msgspec

from techport_ingest.decoding.common import MOST_VALUES, too_many

_INDEX = re.compile(r"\[(\d+|\*)\]")
_CAPTURE = re.compile(r"\{(\w+)\}")

MISSING = object()
"""What a path leads to where there is nothing."""

_NOTHING: Mapping[str, str] = {}


class Place(msgspec.Struct, frozen=True, gc=False):
    """Where a path leads in a document."""

    value: Any
    names: Mapping[str, str] = _NOTHING  # what the path's {names} stand for here


class JsonPath(msgspec.Struct, frozen=True):
    """A path, ready to be followed."""

    text: str
    from_message: bool
    steps: tuple[str, ...]

    def first(self, message: Any, record: Any) -> Any:
        """The value at the path; MISSING where there is none. Of several, the first."""
        value = message if self.from_message else record
        for step in self.steps:
            kind = type(value)
            if kind is dict:
                value = next(iter(value.values()), MISSING) if step == "*" else value.get(step, MISSING)
            elif kind is list:
                number = 0 if step == "*" else int(step) if step.isdecimal() and len(step) < 9 else -1
                value = value[number] if 0 <= number < len(value) else MISSING
            else:
                return MISSING
        return value

    def places(self, message: Any) -> list[Place]:
        """Everything that the path leads to, in the order of the document. Raises RejectedMessage for too much."""
        places = [Place(message)]
        for step in self.steps:
            places = [inner for place in places for inner in _inside(place, step)]
            if len(places) > MOST_VALUES:
                raise too_many()
        return places


@lru_cache(maxsize=4096)
def parse_path(text: str) -> JsonPath:
    """The path that a source writes.

    Parameters
    ----------
    text : str
        A JSON pointer where it begins with a slash, keys with dots between them otherwise; "" is the whole.

    Returns
    -------
    JsonPath
        Every text is a path: one that leads nowhere finds nothing.
    """
    if text.startswith("/"):
        steps = tuple(part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:])
        return JsonPath(text, True, steps)
    return JsonPath(text, False, tuple(part for part in _INDEX.sub(r".\1", text).split(".") if part))


def _inside(place: Place, step: str) -> Iterator[Place]:
    value, capture = place.value, _CAPTURE.fullmatch(step)
    if capture is None and step != "*":
        inner = JsonPath("", False, (step,)).first(None, value)
        if inner is not MISSING:
            yield Place(inner, place.names)
        return
    pairs = value.items() if type(value) is dict else enumerate(value) if type(value) is list else ()
    for key, inner in pairs:
        names = place.names if capture is None else {**place.names, capture[1]: str(key)}
        yield Place(inner, names)

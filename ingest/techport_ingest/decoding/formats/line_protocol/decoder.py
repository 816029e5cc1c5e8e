"""InfluxDB line protocol, as Telegraf and many loggers write it:

    weather,device=roof-3,location=east temperature=21.5,pm10=17i 1465839830100400200

Which device: the first tag of DEVICE_TAGS that is there, or the topic's device. Which key: the field where it is a
name of the vocabulary, otherwise <measurement>_<field> (a field called "value" is the measurement itself). Further
tags do not make new devices, but series: one called "channel" becomes the channel, the others tell parts of a device
apart (checking/channels.py), but for those that describe it (firmware, model); one called "unit" is the unit of a line
with one field. Fields of text are read like any text (common.text_value).

The grammar is InfluxData's own, held to their accept-or-reject corpus: control characters are rejected, a backslash
escapes only what needs it, and a line may go on inside quotes. https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import msgspec

from techport_ingest.checking.key_cache import remembered
from techport_ingest.checking.units import Units
from techport_ingest.decoding.common import MOST_VALUES, device_id, text_value, too_many, unless_unreadable, utf8
from techport_ingest.decoding.quantity_names import quantity
from techport_ingest.message import Found, Message, Observed, RejectedMessage, Unreadable
from techport_pilots.quantities import builtin
from techport_storage.model import Micros

DEVICE_TAGS = ("device", "device_id", "deviceid", "dev_id", "sensor", "sensor_id", "host")

Precision = Literal["ns", "us", "ms", "s"]

_DIVISOR = MappingProxyType({"ns": (1, 1000), "us": (1, 1), "ms": (1000, 1), "s": (1_000_000, 1)})
_PLAIN = r"\x00-\x1f\x7f"
# A backslash escapes the character behind it only where that one would end the name; elsewhere it stands for itself.
_NAME = rf"(?:\\[, ]|\\(?![, ])|[^{_PLAIN} ,\\])++"
_KEY = rf"(?:\\[,= ]|\\(?![,= ])|[^{_PLAIN} ,=\\])++"
_VALUE = r'(?:"(?:\\.|[^"\\])*"|[^ ,"\n\r]+)'

_HEAD = re.compile(rf"({_NAME})((?:,{_KEY}={_KEY})*) +", re.DOTALL)
_TAG = re.compile(rf",({_KEY})=({_KEY})")
_FIELD = re.compile(rf"({_KEY})=({_VALUE})", re.DOTALL)
_TIME = re.compile(r"(?: +(-?\d+))? *(?:\r?\n|\r?$)", re.ASCII)
_BLANK = re.compile(r"[ \r]*(?:#[^\x00-\x08\x0a-\x1f\x7f]*)?(?:\r?\n|$)")
_FLOAT = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_INTEGER = re.compile(r"(-?\d+)(i)|(\d+)(u)", re.ASCII)
_BOOLEANS = MappingProxyType(
    {
        **dict.fromkeys(("t", "T", "true", "True", "TRUE"), True),
        **dict.fromkeys(("f", "F", "false", "False", "FALSE"), False),
    }
)
_UNITS = Units()
_ESCAPED = MappingProxyType({"n": "\n", "r": "\r", "t": "\t"})


_DESCRIBING = frozenset(("channel", "host", "unit", "units", "fw", "firmware", "hw", "hardware", "model", "version"))
"""Tags that do not tell series apart: the channel is one already, the others say how the values came, or in what."""


class Point(NamedTuple):
    """One line: `time` as written, None where it says none."""

    measurement: str
    tags: dict[str, str]
    fields: list[tuple[str, Any]]
    time: int | None


class LineProtocol:
    """Decoder; `precision` is the unit of the times."""

    def __init__(self, precision: Precision = "ns") -> None:
        self._times, self._over = _DIVISOR[precision]

    def __call__(self, message: Message, device: str) -> list[Found]:
        """Raises RejectedMessage."""
        decoded: list[Found] = []
        for point in read_lines(utf8(message.payload)):
            if isinstance(point, RejectedMessage):
                decoded.append(Unreadable.of(point, device))
                continue
            time: Micros | None = None if point.time is None else point.time * self._times // self._over
            measurement, tags = point.measurement, point.tags
            named_by = _named_by(tags) if tags else ""
            owner = device_id(tags[named_by]) if named_by else device
            channel = tags.get("channel")
            part = _part(tags, named_by) if tags else ""
            unit = _unit(tags) if tags and len(point.fields) == 1 else None
            for field, value in point.fields:
                key = _key(measurement, field)
                if channel:
                    key = f"{key}.{channel}"
                if type(value) is str:
                    read = text_value(owner, time, key, value, None, field)
                    decoded.append(msgspec.structs.replace(read, part=part) if isinstance(read, Observed) else read)
                else:
                    number = (1.0 if value else 0.0) if type(value) is bool else value
                    stated = None if type(value) is bool else unit
                    decoded.append(Observed(owner, time, key, number, stated, field, part))
            if len(decoded) > MOST_VALUES:
                raise too_many()
        if not decoded:
            raise RejectedMessage("no-values.line-protocol")
        return unless_unreadable(decoded)


def _named_by(tags: Mapping[str, str]) -> str:
    """The tag that names the device; "" where none does."""
    for tag in DEVICE_TAGS:
        if tag in tags:
            return tag
    return ""


@remembered(8192)
def _key(measurement: str, field: str) -> str:
    if field == "value":
        return quantity(measurement)
    key = quantity(field)
    return key if key in builtin() else f"{measurement}_{field}"


def _unit(tags: Mapping[str, str]) -> str | None:
    """The unit that a tag states; None where it is the number of a flat."""
    unit = tags.get("unit") or tags.get("units")
    return unit if unit and _UNITS.normalise(unit) is not None and not unit.isdecimal() else None


def _part(tags: Mapping[str, str], named_by: str) -> str:
    """What tells the series of one device apart: the values of the tags that neither name it nor describe it."""
    if len(tags) == 1 and named_by:
        return ""
    telling = [tag for tag in tags if tag != named_by and tag not in _DESCRIBING]
    return "-".join([tags[tag] for tag in sorted(telling)]) if telling else ""


class _Lines:
    """The numbers of lines, from 1, of places that are asked for in order: each line is counted once."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at, self._number = 0, 1

    def number(self, start: int) -> int:
        self._number += self._text.count("\n", self._at, start)
        self._at = start
        return self._number


def parse(text: str) -> list[Point]:
    """The points of a text of lines; comments and empty lines give none. Raises RejectedMessage with the line."""
    points: list[Point] = []
    for point in read_lines(text):
        if isinstance(point, RejectedMessage):
            raise point
        points.append(point)
    return points


def read_lines(text: str) -> Iterator[Point | RejectedMessage]:
    """The points of a text of lines, and in place of those that cannot be read, why not."""
    at, lines = 0, _Lines(text)
    while at < len(text):
        blank = _BLANK.match(text, at)
        if blank is not None and blank.end() > at:
            at = blank.end()
            continue
        try:
            point, at = _point(text, at, lines)
            yield point
        except RejectedMessage as error:
            at = text.find("\n", at) + 1 or len(text)
            yield error


def _point(text: str, at: int, lines: _Lines) -> tuple[Point, int]:
    start = at
    while text.startswith(" ", at):
        at += 1
    head = None if text.startswith("#", at) else _HEAD.match(text, at)
    if head is None:
        raise RejectedMessage("not-line-protocol.head", line=lines.number(start))
    pairs = _TAG.findall(head[2])
    tags = {_plain(key): _plain(value) for key, value in pairs}
    if len(tags) != len(pairs):
        raise RejectedMessage("not-line-protocol.duplicate-tag", line=lines.number(start))
    at = head.end()
    fields: list[tuple[str, Any]] = []
    while True:
        field = _FIELD.match(text, at)
        if field is None:
            raise RejectedMessage("not-line-protocol.field", line=lines.number(start))
        fields.append((_plain(field[1]), _value(field[2], start, lines)))
        at = field.end()
        if not text.startswith(",", at):
            break
        at += 1
    end = _TIME.match(text, at)
    if end is None:
        raise RejectedMessage("not-line-protocol.time", line=lines.number(start))
    time = int(end[1]) if end[1] and len(end[1]) < 21 else None
    if end[1] and (time is None or not -(2**63) <= time < 2**63):
        raise RejectedMessage("not-line-protocol.time-too-large", line=lines.number(start))
    return Point(_plain(head[1]), tags, fields, time), end.end()


def _value(token: str, start: int, lines: _Lines) -> Any:
    if token.startswith('"'):
        return re.sub(r'\\([\\"nrt])', lambda escaped: _ESCAPED.get(escaped[1], escaped[1]), token[1:-1])
    if token in _BOOLEANS:
        return _BOOLEANS[token]
    if len(token) <= 400 and _FLOAT.fullmatch(token):
        value = float(token)
        if abs(value) <= 1.7976931348623157e308:
            return value
        raise RejectedMessage("not-line-protocol.number-too-large", line=lines.number(start), given=token[:100])
    whole = _INTEGER.fullmatch(token) if len(token) <= 400 else None
    if whole is None:
        raise RejectedMessage("not-line-protocol.value", line=lines.number(start), given=token[:100])
    number = int(whole[1] or whole[3])
    if not (-(2**63) <= number < 2**63 if whole[2] else number < 2**64):
        raise RejectedMessage("not-line-protocol.integer-too-large", line=lines.number(start), given=token[:100])
    return number


def _plain(name: str) -> str:
    return re.sub(r"\\([,= ])", r"\1", name) if "\\" in name else name

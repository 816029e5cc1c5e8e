"""Widths of aggregation buckets as people write them: "PT1H", "P1D", "15min", "1mo"."""

from __future__ import annotations

import re

from techport_storage.errors import BadQuery
from techport_storage.model import Every, Unit

FIXED: dict[Unit, int] = {"us": 1, "s": 1_000_000, "min": 60_000_000, "h": 3_600_000_000}
"""Length in µs of the units that always have the same length."""

_HINT = (
    'Write an ISO 8601 duration of one unit ("PT15M", "PT1H", "P1D", "P1W", "P1M") or "15min", "1h", "1d", "1w", "1mo"'
)
_ISO_DATE: dict[str, Unit] = {"Y": "y", "M": "mo", "W": "w", "D": "d"}
_ISO_TIME: dict[str, Unit] = {"H": "h", "M": "min", "S": "s"}
_ISO = re.compile(r"P(?:(?P<date>\d+)(?P<date_unit>[YMWD])|T(?P<time>\d+)(?P<time_unit>[HMS]))")
_SHORT = re.compile(r"(?P<count>\d*)\s*(?P<unit>us|s|min|h|d|w|mo|y)")


def parse_every(text: str) -> Every:
    """The bucket width that `text` names.

    ISO 8601 durations of a single unit, or a count and one of us, s, min, h, d, w, mo, y. "P7D" stays seven days: weeks
    are written "P1W", because a bucket of weeks starts on Mondays. Raises BadQuery.
    """
    cleaned = text.strip()
    if iso := _ISO.fullmatch(cleaned.upper()):
        if iso["date"]:
            return Every(_positive(iso["date"], text), _ISO_DATE[iso["date_unit"]])
        return Every(_positive(iso["time"], text), _ISO_TIME[iso["time_unit"]])
    if short := _SHORT.fullmatch(cleaned.lower()):
        units: dict[str, Unit] = {unit: unit for unit in (*FIXED, *_ISO_DATE.values())}
        return Every(_positive(short["count"] or "1", text), units[short["unit"]])
    raise BadQuery("every", f"{text!r} is not a bucket width", _HINT)


def format_every(every: Every) -> str:
    """The ISO 8601 form of a width; microseconds, which it has no letter for, as "250us"."""
    if every.unit == "us":
        return f"{every.count}us"
    for prefix, letters in (("P", _ISO_DATE), ("PT", _ISO_TIME)):
        for letter, unit in letters.items():
            if unit == every.unit:
                return f"{prefix}{every.count}{letter}"
    raise BadQuery("every", f"{every.unit!r} is not a unit of time", _HINT)


def _positive(digits: str, text: str) -> int:
    if int(digits) == 0:
        raise BadQuery("every", f"{text!r} is an empty width", _HINT)
    return int(digits)

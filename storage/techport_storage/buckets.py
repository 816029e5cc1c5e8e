"""Where aggregation buckets begin. Every store takes its calendar from here, so that all agree on a local day."""

from __future__ import annotations

import datetime as dt
import re
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from techport_storage.errors import BadQuery
from techport_storage.microseconds import HOUR, MINUTE, SECOND
from techport_storage.model import BucketWidth, Micros, Unit

# -- Widths of aggregation buckets as people write them: "PT1H", "P1D", "15min", "1mo".

FIXED: dict[Unit, int] = {"us": 1, "s": SECOND, "min": MINUTE, "h": HOUR}
"""Length in µs of the units that always have the same length."""

_HINT = (
    'Write an ISO 8601 duration of one unit ("PT15M", "PT1H", "P1D", "P1W", "P1M") or "15min", "1h", "1d", "1w", "1mo"'
)
_ISO_DATE: dict[str, Unit] = {"Y": "y", "M": "mo", "W": "w", "D": "d"}
_ISO_TIME: dict[str, Unit] = {"H": "h", "M": "min", "S": "s"}
_ISO = re.compile(r"P(?:(?P<date>\d+)(?P<date_unit>[YMWD])|T(?P<time>\d+)(?P<time_unit>[HMS]))")
_SHORT = re.compile(r"(?P<count>\d*)\s*(?P<unit>us|s|min|h|d|w|mo|y)")


def parse_width(text: str) -> BucketWidth:
    """The bucket width that `text` names.

    ISO 8601 durations of a single unit, or a count and one of us, s, min, h, d, w, mo, y. "P7D" is a week, as "P1W" is,
    and starts on Mondays. Raises BadQuery.
    """
    width = _parsed(text)
    if width.unit == "d" and width.count % 7 == 0:
        return BucketWidth(width.count // 7, "w")
    return width


def _parsed(text: str) -> BucketWidth:
    cleaned = text.strip()
    if iso := _ISO.fullmatch(cleaned.upper()):
        if iso["date"]:
            return BucketWidth(_positive(iso["date"], text), _ISO_DATE[iso["date_unit"]])
        return BucketWidth(_positive(iso["time"], text), _ISO_TIME[iso["time_unit"]])
    if short := _SHORT.fullmatch(cleaned.lower()):
        units: dict[str, Unit] = {unit: unit for unit in (*FIXED, *_ISO_DATE.values())}
        return BucketWidth(_positive(short["count"] or "1", text), units[short["unit"]])
    raise BadQuery("every", f"{text!r} is not a bucket width", _HINT)


def format_width(every: BucketWidth) -> str:
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


_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_DAY_MINUTES = 24 * 60
_MONDAY = dt.date(1970, 1, 5)
_CALENDAR = (-62_000_000_000_000_000, 253_000_000_000_000_000)  # µs: what Python's calendar (years 1 to 9999) covers


def fixed_width(every: BucketWidth) -> int | None:
    """The width in µs, or None for what follows the calendar of a zone: days and longer, and parts of a day that are
    longer than an hour."""
    return every.count * FIXED[every.unit] if every.unit in FIXED and _part_of_day(every) is None else None


def _part_of_day(every: BucketWidth) -> int | None:
    """The width in minutes where it is longer than an hour and divides the day: these begin at local midnight."""
    minutes = every.count * {"h": 60, "min": 1}.get(every.unit, 0)
    return minutes if minutes > 60 and _DAY_MINUTES % minutes == 0 else None


def bucket_edges(every: BucketWidth, zone: ZoneInfo, first: Micros, last: Micros) -> NDArray[np.int64]:
    """Starts, ascending, of the calendar buckets that together cover [first, last], and the end of the last one, µs.

    A bucket begins when the local clock first shows midnight (or first passes it, where the hour is skipped). Counts
    above one go on from 1970: "2 mo" begins in January, March, ... Parts of a day go by the local clock, so that "6 h"
    has five or seven hours twice a year. Raises BadQuery outside the years 1 to 9999.
    """
    if first < _CALENDAR[0] or last > _CALENDAR[1]:
        raise BadQuery("every", "there are readings outside the years 1 to 9999", "Give a start and an end")
    index = _index(every, (_EPOCH + dt.timedelta(microseconds=first)).astimezone(zone))
    edges = [_start(every, index, zone)]
    while edges[-1] <= last:
        index += 1
        edges.append(_start(every, index, zone))
    return np.unique(np.array(edges, np.int64))


def _index(every: BucketWidth, local: dt.datetime) -> int:
    """Number of the bucket that the local time lies in."""
    day = local.date()
    if (minutes := _part_of_day(every)) is not None:
        return (day - _EPOCH.date()).days * (_DAY_MINUTES // minutes) + (local.hour * 60 + local.minute) // minutes
    if every.unit in ("d", "w"):
        origin, days = (_MONDAY, 7) if every.unit == "w" else (_EPOCH.date(), 1)
        return (day - origin).days // (days * every.count)
    months = (day.year - 1970) * 12 + day.month - 1
    return months // (every.count * (12 if every.unit == "y" else 1))


def _start(every: BucketWidth, index: int, zone: ZoneInfo) -> Micros:
    clock = dt.time()
    if (minutes := _part_of_day(every)) is not None:
        days, part = divmod(index, _DAY_MINUTES // minutes)
        day = _EPOCH.date() + dt.timedelta(days=days)
        clock = dt.time(part * minutes // 60, part * minutes % 60)
    elif every.unit in ("d", "w"):
        origin, length = (_MONDAY, 7) if every.unit == "w" else (_EPOCH.date(), 1)
        day = origin + dt.timedelta(days=index * length * every.count)
    else:
        months = index * every.count * (12 if every.unit == "y" else 1)
        day = dt.date(1970 + months // 12, months % 12 + 1, 1)
    # fold=0: of two times that read the same the first; of a skipped one the moment of the jump
    since = dt.datetime.combine(day, clock, zone) - _EPOCH
    return since // dt.timedelta(microseconds=1)

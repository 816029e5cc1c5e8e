"""Where aggregation buckets begin. Every store takes its calendar from here, so that all agree on a local day."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from techport_storage.errors import BadQuery
from techport_storage.every import FIXED
from techport_storage.model import Every, Micros

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MONDAY = dt.date(1970, 1, 5)
_CALENDAR = (-62_000_000_000_000_000, 253_000_000_000_000_000)  # µs: what Python's calendar (years 1 to 9999) covers


def fixed_width(every: Every) -> int | None:
    """The width in µs, or None for calendar units."""
    return every.count * FIXED[every.unit] if every.unit in FIXED else None


def bucket_edges(every: Every, zone: ZoneInfo, first: Micros, last: Micros) -> NDArray[np.int64]:
    """Starts, ascending, of the calendar buckets that together cover [first, last], and the end of the last one, µs.

    A bucket begins when the local clock first shows midnight (or first passes it, where the hour is skipped). Counts
    above one go on from 1970: "2 mo" begins in January, March, ... Raises BadQuery outside the years 1 to 9999.
    """
    if first < _CALENDAR[0] or last > _CALENDAR[1]:
        raise BadQuery("every", "there are readings outside the years 1 to 9999", "Give a start and an end")
    index = _index(every, _local_date(first, zone))
    edges = [_start(every, index, zone)]
    while edges[-1] <= last:
        index += 1
        edges.append(_start(every, index, zone))
    return np.unique(np.array(edges, np.int64))


def _local_date(time: Micros, zone: ZoneInfo) -> dt.date:
    return (_EPOCH + dt.timedelta(microseconds=time)).astimezone(zone).date()


def _index(every: Every, day: dt.date) -> int:
    """Number of the bucket that the local day lies in."""
    if every.unit in ("d", "w"):
        origin, days = (_MONDAY, 7) if every.unit == "w" else (_EPOCH.date(), 1)
        return (day - origin).days // (days * every.count)
    months = (day.year - 1970) * 12 + day.month - 1
    return months // (every.count * (12 if every.unit == "y" else 1))


def _start(every: Every, index: int, zone: ZoneInfo) -> Micros:
    if every.unit in ("d", "w"):
        origin, days = (_MONDAY, 7) if every.unit == "w" else (_EPOCH.date(), 1)
        day = origin + dt.timedelta(days=index * days * every.count)
    else:
        months = index * every.count * (12 if every.unit == "y" else 1)
        day = dt.date(1970 + months // 12, months % 12 + 1, 1)
    # fold=0: of two midnights the first; of a skipped one the moment of the jump
    since = dt.datetime.combine(day, dt.time(), zone) - _EPOCH
    return since // dt.timedelta(microseconds=1)

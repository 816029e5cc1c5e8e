"""What is wrong with a query or with what is to be written, whichever store is asked."""

from __future__ import annotations

import re
from typing import get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np

from techport_storage.buckets import FIXED
from techport_storage.errors import BadQuery
from techport_storage.microseconds import DAY
from techport_storage.model import (
    AGGREGATES,
    Batch,
    BucketWidth,
    Micros,
    QualityChoice,
    Query,
    Stream,
    Unit,
    percentile_of,
)

MAX_WIDTH = 100 * 366 * DAY  # µs; a wider bucket is a typing error, and this keeps arithmetic far from overflow
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")  # they have no use in a name
_LONGEST_NAME = 1024  # bytes; InfluxDB keeps the names of a stream together below 64 KiB


def check_query(query: Query) -> None:
    """Raise BadQuery, naming the parameter and the remedy, if no store could answer."""
    check_range(query.start, query.end)
    if query.limit is not None and query.limit <= 0:
        raise BadQuery("limit", f"{query.limit} rows is no answer", "Ask for at least 1 row, or leave the limit out")
    if query.quality not in get_args(QualityChoice):
        raise BadQuery("quality", f"{query.quality!r} is unknown", 'Use "all", "good" or "flagged"')
    if query.every is not None:
        _check_every(query.every)
        _check_aggregates(query.aggregates)
        check_zone(query.zone)


def check_range(start: Micros | None, end: Micros | None) -> None:
    if start is not None and end is not None and start > end:
        raise BadQuery("start", "it lies after the end", "Ranges are [start, end): exchange the two")


def check_zone(name: str) -> ZoneInfo:
    """The zone of that name in the IANA time zone database."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # OSError: the name of a folder, as "Europe"
        hint = 'Use a name of the IANA time zone database, as "Europe/Oslo" or "UTC"'
        raise BadQuery("zone", f"{name!r} is not a time zone", hint) from None


def refused_rows(batch: Batch) -> list[tuple[int, str]]:
    """Rows of the batch that no store keeps, with the reason."""
    bad = np.flatnonzero(~np.isfinite(batch.value))
    return [(int(row), f"value is {float(batch.value[row])}: only finite numbers are stored") for row in bad]


def name_problem(stream: Stream, control: str) -> str | None:
    """Why a server cannot keep the names of a stream, if so. `control` says why it takes no control characters."""
    for tag, name in zip(Stream._fields, stream, strict=True):
        if not name:
            return f"{tag} has no name"
        if _CONTROL.search(name):
            return f"{tag} {name!r} has a control character, which {control}"
        if len(name) > _LONGEST_NAME // 4 and len(name.encode()) > _LONGEST_NAME:
            return f"{tag} {name[:40]!r}... is longer than {_LONGEST_NAME} bytes"
    return None


def _check_every(every: BucketWidth) -> None:
    if every.unit not in get_args(Unit):
        raise BadQuery("every", f"{every.unit!r} is not a unit of time", f"Use one of {', '.join(get_args(Unit))}")
    if every.count <= 0:
        raise BadQuery("every", f"{every.count} {every.unit} is an empty width", "Use a count of at least 1")
    longest = {"d": DAY, "w": 7 * DAY, "mo": 31 * DAY, "y": 366 * DAY}
    if every.count * (FIXED.get(every.unit) or longest[every.unit]) > MAX_WIDTH:
        raise BadQuery("every", f"{every.count} {every.unit} is too wide", "Use at most a hundred years")


def _check_aggregates(aggregates: tuple[str, ...]) -> None:
    for name in aggregates:
        if name not in AGGREGATES and percentile_of(name) is None:
            raise BadQuery("aggregates", f"{name!r} is unknown", f"Use some of {', '.join(AGGREGATES)}, p1 to p99")
    if len(set(aggregates)) < len(aggregates):
        raise BadQuery("aggregates", "one is named twice", "Name each once")

"""A device's notion of time to microseconds since the epoch.

Two spellings are read, everywhere the same way: ISO 8601 with an offset, and a number since 1970-01-01T00:00:00Z
whose unit follows from its size. A number counts

    seconds        below 1e11   (as seconds: until the year 5138)
    milliseconds   below 1e14   (1e11 ms is March 1973)
    microseconds   below 1e17
    nanoseconds    from there on

so that no instant from 1973 to 5138 can be read in two ways. Negative numbers follow the same rule by their absolute
value.
"""

from __future__ import annotations

import datetime as dt

import numpy as np
from numpy.typing import NDArray

from techport_ingest.decoding.common import json_type
from techport_ingest.message import RejectedMessage
from techport_storage.model import Micros

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
LAST = 253_402_300_800_000_000  # year 10000: beyond what a calendar date can say


def micros(value: object) -> Micros:
    """The instant that `value` names, in microseconds since the epoch, UTC. Raises RejectedMessage ("bad-time")."""
    kind = type(value)
    if kind is str:
        return _from_text(value)  # type: ignore[arg-type]
    if kind is int:
        return _from_integer(value)  # type: ignore[arg-type]
    if kind is float:
        return _from_float(value)  # type: ignore[arg-type]
    raise RejectedMessage("bad-time.type", kind=json_type(value))


def _from_text(text: str) -> Micros:
    try:
        instant = dt.datetime.fromisoformat(text)
    except ValueError:
        raise RejectedMessage("bad-time.text", given=text[:60]) from None
    if instant.tzinfo is None:
        raise RejectedMessage("local-time.no-zone", given=text[:60])
    return since_epoch(instant)


def instant_of(text: str) -> Micros | None:
    """The microseconds since the epoch of what most devices send, ISO 8601 with an offset; None for other texts."""
    try:
        since = _parsed(text) - _EPOCH
    except (ValueError, TypeError):  # no such text; without an offset
        return None
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


_parsed = dt.datetime.fromisoformat


def since_epoch(instant: dt.datetime) -> Micros:
    """The microseconds since the epoch of an instant with an offset."""
    since = instant - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _from_integer(number: int) -> Micros:
    size = abs(number)
    if size < 10**11:
        return number * 1_000_000
    if size < 10**14:
        return number * 1_000
    if size < 10**17:
        return number
    return _in_calendar(number // 1_000)


def instants_of_integers(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """What `micros` says of each of many integers; of one beyond the calendar some instant that is beyond it too."""
    size = np.abs(numbers)
    return np.select(
        [size < 10**11, size < 10**14, size < 10**17], [numbers * 1_000_000, numbers * 1_000, numbers], numbers // 1_000
    )


def _from_float(number: float) -> Micros:
    size = abs(number)
    if size < 1e11:
        return round(number * 1e6)
    if size < 1e14:
        return round(number * 1e3)
    if size < 1e17:
        return round(number)
    if size < 1e30:  # nan and infinity fall through as well
        return _in_calendar(round(number / 1e3))
    raise RejectedMessage("bad-time.number", given=repr(number))


def _in_calendar(instant: int) -> Micros:
    if abs(instant) < LAST:
        return instant
    raise RejectedMessage("bad-time.too-large")

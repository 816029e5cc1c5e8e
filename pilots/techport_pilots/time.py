"""Local days and hours of instants. A local day has 23 or 25 hours twice a year; nothing here assumes 24."""

from __future__ import annotations

import calendar as calendars
import datetime as dt
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from techport_pilots.i18n import Message
from techport_storage.microseconds import DAY, HOUR
from techport_storage.model import Micros

# -- ISO 8601 durations ("PT10M", "P2Y6M") as a definition file writes them.

_DURATION = re.compile(
    r"P(?=.)(?:(?P<y>\d+)Y)?(?:(?P<mo>\d+)M)?(?:(?P<w>\d+)W)?(?:(?P<d>\d+)D)?"
    r"(?:T(?=.)(?:(?P<h>\d+)H)?(?:(?P<m>\d+)M)?(?:(?P<s>\d+(?:[.,]\d{1,6})?)S)?)?",
    re.ASCII,
)
_FIXED: tuple[tuple[str, int], ...] = (("w", 604_800), ("d", 86_400), ("h", 3_600), ("m", 60))


class InvalidDuration(ValueError):
    """A text that is not a duration, or not one of the kind that is asked for. `message` says why."""

    def __init__(self, code: str, given: str) -> None:
        self.message = Message(f"duration.{code}", {"given": given[:64]})
        super().__init__(str(self.message))


class Duration(NamedTuple):
    """A length of time: calendar months (their length depends on when) and a fixed rest in microseconds."""

    months: int
    micros: Micros


def parse_duration(text: str, *, calendar: Literal["allowed", "refused"] = "refused") -> Duration:
    """The duration that `text` says; days count 24 hours.

    `calendar="allowed"` takes years and months too. Raises InvalidDuration for anything else, for zero, and for
    lengths beyond 1,000 years.
    """
    match = _DURATION.fullmatch(text) if len(text) <= 64 else None
    if match is None:
        raise InvalidDuration("not-iso-8601", text)
    part = match.groupdict(default="0")
    months = int(part["y"]) * 12 + int(part["mo"])
    if months and calendar == "refused":
        raise InvalidDuration("calendar", text)
    whole, _, fraction = part["s"].replace(",", ".").partition(".")
    seconds = sum(int(part[unit]) * length for unit, length in _FIXED) + int(whole)
    micros = seconds * 1_000_000 + int(fraction.ljust(6, "0"))
    if not months and not micros:
        raise InvalidDuration("zero", text)
    if months > 12_000 or micros > 31_557_600_000_000_000:
        raise InvalidDuration("too-long", text)
    return Duration(months, micros)


def shifted(at: Micros, duration: Duration, times: Literal[1, -1] = 1) -> Micros:
    """The instant that lies a duration after this one, or before it with -1. A year after the 29th of February is the
    28th; nothing lies before the calendar."""
    then = _EPOCH + dt.timedelta(microseconds=at)
    month = then.year * 12 + then.month - 1 + times * duration.months
    year, month = month // 12, month % 12 + 1
    if year < 1:
        return FIRST
    last = calendars.monthrange(year, month)[1]
    moved = then.replace(year=year, month=month, day=min(then.day, last))
    return (moved - _EPOCH) // _MICROSECOND + times * duration.micros


def interval_micros(text: str) -> Micros:
    """The fixed length of an interval such as "PT10M", in microseconds. Raises InvalidDuration."""
    return parse_duration(text).micros


WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_PLAIN_EPOCH = dt.datetime(1970, 1, 1)  # what is UTC need not be moved to it
_MICROSECOND = dt.timedelta(microseconds=1)
FIRST: Micros = (dt.datetime.min - _PLAIN_EPOCH) // _MICROSECOND
LAST: Micros = (dt.datetime.max - _PLAIN_EPOCH) // _MICROSECOND
"""The ends of the calendar, 0001-01-01 and 9999-12-31."""

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Local:
    """Instants as the clock on the wall shows them. All arrays have the length of the instants.

    `day` counts local dates from 1970-01-01, so that neighbouring days differ by one; `hour` is 0 to 24 with its
    fraction; `weekday` is 0 on Mondays.
    """

    day: Ints
    hour: Floats
    weekday: Ints


def local(times: Ints, zone: str) -> Local:
    """Local date, hour and weekday of instants in µs. Raises what ZoneInfo raises for a zone that is none."""
    import pandas as pd  # here and below: definitions are checked by workers too, which never need it

    wall = (
        pd.DatetimeIndex(times.astype("datetime64[us]")).tz_localize("UTC").tz_convert(ZoneInfo(zone)).tz_localize(None)
    )
    micros = wall.as_unit("us").asi8
    day = micros // DAY
    return Local(day=day, hour=(micros % DAY) / HOUR, weekday=(day + 3) % 7)


def day_starts(days: Ints, zone: str) -> Ints:
    """The instant (µs) at which each local day begins; where it has no midnight, the first instant after."""
    import pandas as pd

    midnight = pd.DatetimeIndex(days.astype("datetime64[D]").astype("datetime64[us]"))
    starts = midnight.tz_localize(ZoneInfo(zone), ambiguous=np.ones(len(days), bool), nonexistent="shift_forward")
    return np.asarray(starts.tz_convert("UTC").as_unit("us").asi8)


def month_starts(start: Micros, end: Micros, zone: str) -> list[Micros]:
    """The instants in [start, end) at which a local month begins."""
    first, last = local(np.array([start, end - 1], np.int64), zone).day.astype("datetime64[D]").astype("datetime64[M]")
    firsts = np.arange(first, last + 1).astype("datetime64[D]").astype(np.int64)
    return [at for at in day_starts(firsts, zone).tolist() if start <= at < end]


def date_of(day: int) -> dt.date:
    """The date of a day as Local counts them."""
    return dt.date(1970, 1, 1) + dt.timedelta(days=int(day))


def micros_of(moment: dt.datetime, zone: str) -> Micros:
    """µs since the epoch; a time without an offset is a wall clock's in the zone."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=ZoneInfo(zone))
    return (moment - _EPOCH) // dt.timedelta(microseconds=1)


def iso(instant: Micros) -> str:
    """UTC with six decimals always, the form of every time in the API: one form parses fast and sorts as text.

    What is outside the calendar (a window around its first day) is the nearest time in it.
    """
    instant = min(max(instant, FIRST), LAST)
    return f"{(_PLAIN_EPOCH + dt.timedelta(microseconds=instant)).isoformat(timespec='microseconds')}Z"


def wanted(when: Local, hours: tuple[float, float] | None, weekdays: Sequence[str]) -> NDArray[np.bool_]:
    """Which instants lie in the hours [from, to) of the day, across midnight where from > to, and on the weekdays."""
    keep = np.ones(len(when.day), bool)
    if hours is not None and hours[0] != hours[1]:
        after, before = when.hour >= hours[0], when.hour < hours[1]
        keep &= (after & before) if hours[0] < hours[1] else (after | before)
    if weekdays:
        keep &= np.isin(when.weekday, [WEEKDAYS.index(day) for day in weekdays])
    return keep

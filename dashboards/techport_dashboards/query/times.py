"""Instants and durations as people write them (ISO 8601), to and from whole microseconds UTC."""

from __future__ import annotations

import calendar
import datetime as dt
import re
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from techport_pilots import time
from techport_storage.microseconds import DAY, HOUR, MINUTE, SECOND
from techport_storage.model import BucketWidth, Micros, Unit

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
MICROSECOND = dt.timedelta(microseconds=1)
FIRST, LAST, iso = time.FIRST, time.LAST, time.iso

_LENGTH: dict[Unit, Micros] = {
    "us": 1,
    "s": SECOND,
    "min": MINUTE,
    "h": HOUR,
    "d": DAY,
    "w": 7 * DAY,
    "mo": 30 * DAY,
    "y": 365 * DAY,
}
_DURATION = re.compile(
    r"^(?P<sign>[+-]?)P(?=\d|T\d)(?:(?P<years>\d{1,4})Y)?(?:(?P<months>\d{1,5})M)?(?:(?P<weeks>\d{1,5})W)?(?:(?P<days>\d{1,6})D)?"
    r"(?:T(?=\d)(?:(?P<hours>\d{1,7})H)?(?:(?P<minutes>\d{1,9})M)?(?:(?P<seconds>\d{1,11}(?:\.\d{1,6})?)S)?)?$"
)
_UNESCAPED_PLUS = re.compile(r" (\d\d:?\d\d)$")


def micros(moment: dt.datetime) -> Micros:
    """Exact, unlike going through a float. `moment` must have an offset."""
    return (moment - EPOCH) // MICROSECOND


def moment(instant: Micros, zone: dt.tzinfo = dt.UTC) -> dt.datetime:
    return (EPOCH + dt.timedelta(microseconds=instant)).astimezone(zone)


def zone_named(name: str) -> ZoneInfo:
    """The IANA time zone. Raises ValueError for a name that is none."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"{name!r} is not an IANA time zone") from error


def parse_instant(text: str, zone: ZoneInfo, reference: Micros, *, wall_clock: bool = False) -> Micros:
    """An instant from ISO 8601 with an offset, a date (midnight in `zone`), or a duration counted from `reference`.

    Years, months, weeks and days of a duration are counted on the calendar of `zone`; hours and less are exact. With
    `wall_clock`, times without an offset are taken in `zone` (what a page's own charts send). Raises ValueError.
    """
    text = _UNESCAPED_PLUS.sub(r"+\1", text.strip())  # a + that the caller did not escape arrives as a space
    if text == "now":
        return reference
    if match := _DURATION.match(text):
        return _shift(reference, match, zone)
    try:
        value = dt.datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is neither a time nor a duration") from None
    if value.tzinfo is None:
        if len(text) > len("2026-11-22") and not wall_clock:
            raise ValueError(f"{text!r} has no offset from UTC")
        value = value.replace(tzinfo=zone)
    return _within_calendar(value)


def _within_calendar(value: dt.datetime) -> Micros:
    """The instant; at the ends of the calendar, where UTC may be outside, the nearest that there is.

    0001-01-01 and 9999-12-31 are what programs write for "always": the zero of Go and .NET, the end of SQL.
    """
    try:
        return micros(value.astimezone(dt.UTC))
    except OverflowError:
        return micros(value.replace(tzinfo=dt.UTC))


def _shift(reference: Micros, duration: re.Match[str], zone: ZoneInfo) -> Micros:
    sign = -1 if duration["sign"] == "-" else 1
    part = {
        name: float(value) if "." in value else int(value)
        for name, value in duration.groupdict("0").items()
        if name != "sign"
    }
    local = moment(reference, zone)
    month = local.year * 12 + local.month - 1 + sign * int(part["years"] * 12 + part["months"])
    year, month = divmod(month, 12)
    if not 1 <= year <= 9999:
        raise ValueError("the duration is out of range")
    day = min(local.day, calendar.monthrange(year, month + 1)[1])
    try:
        # Adding days to a local time moves its wall clock, so that "-P1D" is the same time yesterday over a DST change.
        shifted = local.replace(year=year, month=month + 1, day=day) + sign * dt.timedelta(
            weeks=part["weeks"], days=part["days"]
        )
        exact = dt.timedelta(hours=part["hours"], minutes=part["minutes"], seconds=part["seconds"])
        return micros(shifted) + sign * (exact // MICROSECOND)
    except OverflowError:
        raise ValueError("the duration is out of range") from None


def length(every: BucketWidth) -> Micros:
    """How long a bucket is; for calendar units about how long."""
    return every.count * _LENGTH[every.unit]

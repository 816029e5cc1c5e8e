"""Times as people type them, in Norwegian or English: 17.11.2026, 17. nov. 14:00, 17 Nov 2026, i går, yesterday.

A program says a time in ISO 8601 (times.py). Here a day may lack its year, and is then the latest such day that has
begun.
"""

from __future__ import annotations

import datetime as dt
import re
from functools import cache
from zoneinfo import ZoneInfo

from babel import Locale

from techport_dashboards.query import times
from techport_storage.model import Micros

_WORDS = {"today": 0, "i dag": 0, "idag": 0, "yesterday": -1, "i går": -1, "igår": -1, "tomorrow": 1, "i morgen": 1}
_CLOCK = re.compile(
    r"(?:^|[ t])(?:kl\.? ?)?([01]?\d|2[0-3]):([0-5]\d)(?::([0-5]\d)(?:\.\d+)?)?$"
    r"|(?:^| )kl\.? ?([01]?\d|2[0-3])(?:\.([0-5]\d))?$"  # 14.30 is a time behind "kl." only, else a day
)
_ISO_DAY = re.compile(r"(?P<year>\d{4})-(?P<month>\d\d?)-(?P<day>\d\d?)")
_NUMBERS = re.compile(r"(?P<day>\d\d?)[./](?P<month>\d\d?)(?:[./](?P<year>\d{4}|\d\d)?)?")
_DAY_FIRST = re.compile(r"(?P<day>\d\d?)\.? ?(?P<name>[a-zæøå]+)\.?(?: (?P<year>\d{4}))?")
_MONTH_FIRST = re.compile(r"(?P<name>[a-z]+)\.? (?P<day>\d\d?)(?: (?P<year>\d{4}))?")


def parse_typed(text: str, zone: ZoneInfo, now: Micros, *, end: bool = False) -> str:
    """The time as an address of a page says it: "now", a duration, or local time in ISO 8601.

    Parameters
    ----------
    text : str
        What was typed. A day alone is midnight; for the end of a range (`end`) the midnight that ends it, so that
        "from 16.11. to 17.11." has both days.
    zone : ZoneInfo
        Whose local time is meant.
    now : Micros
        µs since 1970 (UTC).

    Returns
    -------
    str
        Such as "2026-11-17T14:00:00". Raises ValueError for what is not a time.
    """
    plain = re.sub(r"[\s,]+", " ", text).strip().casefold()
    if plain in ("now", "nå"):
        return "now"
    if plain.startswith(("-p", "+p", "p")):
        times.parse_instant(plain.upper(), zone, now)
        return plain.upper()
    clock = _CLOCK.search(plain)
    today = times.moment(now, zone).date()
    before = plain[: clock.start()].strip() if clock else plain
    day = today if clock and not before else _day(before, today)  # a time of day alone is today's
    if clock is not None:
        hour, minute, second = clock[1] or clock[4], clock[2] or clock[5] or "0", clock[3] or "0"
        return dt.datetime.combine(day, dt.time(int(hour), int(minute), int(second))).isoformat()
    try:
        return dt.datetime.combine(day + dt.timedelta(days=1) if end else day, dt.time()).isoformat()
    except OverflowError:
        raise ValueError(f"{text!r} is at the end of the calendar") from None


def _day(plain: str, today: dt.date) -> dt.date:
    if plain in _WORDS:
        return today + dt.timedelta(days=_WORDS[plain])
    for form in (_ISO_DAY, _NUMBERS, _DAY_FIRST, _MONTH_FIRST):
        if match := form.fullmatch(plain):
            parts = match.groupdict()
            month = int(parts["month"]) if "month" in parts else _months().get(parts["name"][:3], 0)
            return _date(parts.get("year"), month, int(parts["day"]), today)
    raise ValueError(f"{plain!r} is not a day")


def _date(year: str | None, month: int, day: int, today: dt.date) -> dt.date:
    """Raises ValueError for a day that is not in the calendar."""
    if year is not None:
        return dt.date(int(year) + (2000 if len(year) == 2 else 0), month, day)
    for candidate in range(today.year, today.year - 8, -1):  # 29 February comes after at most eight years
        try:
            date = dt.date(candidate, month, day)
        except ValueError:
            continue
        if date <= today:
            return date
    raise ValueError(f"there is no day {day} of month {month}")


@cache
def _months() -> dict[str, int]:
    """Numbers of months by the first three letters of their names, in the languages of the pages."""
    return {
        name[:3].casefold(): number
        for language in ("nb", "en")
        for number, name in Locale.parse(language).months["format"]["wide"].items()
    }

"""Which field of a message is its time, and how it is written.

A source may say it: `time: {key: ts, unit: ms}`, `time: {key: clock, date: day, format: "%d.%m.%Y %H:%M"}`. Otherwise
the names of checking/time_names.py are understood. A field that has such a name never becomes a reading.

A time without an offset is local: of the source's `timezone`, or the pilot's. At the two changes of the clock

    the hour that an autumn night has twice   is the one nearer to the arrival; of a record within a message, the one
                                              nearer to the record before it, but another instant
    the hour that a spring night leaves out   cannot be shown by a clock of that zone: the value goes to quarantine
"""

from __future__ import annotations

import copy
import datetime as dt
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import Any
from zoneinfo import ZoneInfo

from techport_ingest.checking.time_names import date_beside, time_key
from techport_ingest.decoding.common import number
from techport_ingest.decoding.times import LAST, instant_of, micros, since_epoch
from techport_ingest.message import RejectedMessage
from techport_pilots.model import TimeRule
from techport_storage.model import Micros

_DOTTED = re.compile(r"(\d{1,2})\.(\d{1,2})\.(\d{4})[ T]+(?:kl\.? *)?(\d{1,2})[:.](\d{2})(?:[:.](\d{2}))?")
_SLASHED = re.compile(r"(\d{4})/(\d{1,2})/(\d{1,2})(?=[ T])")
_UTC = re.compile(r"(?<=\d)(?: ?(?:UTC|GMT)|z)$")
_OFFSET = re.compile(r"([+-]\d{2}) ?(\d{2})$")
_MICROS = MappingProxyType({"s": 1_000_000, "ms": 1_000, "us": 1, "ns": 0})  # 0: divided by 1,000

_USUAL = ("time",)
_WRAPPED = ("value", "@value", "$date")
LONGEST_CLOCK = 15
"""Characters of a time of day alone."""


class TimeReader:
    """Reads the times of one source's messages."""

    def __init__(self, zone: ZoneInfo | None = None, rule: TimeRule | None = None) -> None:
        """`zone` is where the source's clocks are; None: nobody said, and times without an offset are rejected.
        `rule` is what its definition says about times.
        """
        self.rule = rule
        self._zone = zone
        self._format = None if rule is None else rule.format
        self._unit = None if rule is None or rule.unit is None else _MICROS[rule.unit]
        self.keys: tuple[str, ...] = ()
        if rule is not None:
            self.keys = (rule.key,) if rule.date is None else (rule.date, rule.key)
            self._zone = zone if rule.zone is None else ZoneInfo(rule.zone)

    def in_zone(self, zone: ZoneInfo) -> TimeReader:
        """The same, for clocks of that zone where nobody said which."""
        if self._zone is not None:
            return self
        reader = copy.copy(self)
        reader._zone = zone
        return reader

    def keys_of(self, record: Mapping[str, Any]) -> tuple[str, ...]:
        """The keys of a record that hold its time: those that the source names, or the one with a usual name, and that
        of the date where it is a time of day.
        """
        if self.keys:
            return self.keys
        given = record.get("time")
        if given is not None and (type(given) is not str or len(given) > LONGEST_CLOCK):  # the usual case
            return _USUAL
        key = time_key(record)
        if key is None:
            return _USUAL
        date = date_beside(record, key)
        return (key,) if date is None else (date, key)

    def keys_and_time(
        self, record: Mapping[str, Any], received: Micros, previous: Micros | None = None
    ) -> tuple[tuple[str, ...], Micros | None]:
        """What `keys_of` and `of` say of a record. Raises RejectedMessage."""
        if not self.keys:
            given = record.get("time")
            if type(given) is str and len(given) > LONGEST_CLOCK:
                time = instant_of(given)
                if time is not None:
                    return _USUAL, time
        keys = self.keys_of(record)
        return keys, self.of(record, keys, received, previous)

    def of(
        self, record: Mapping[str, Any], keys: tuple[str, ...], received: Micros, previous: Micros | None = None
    ) -> Micros | None:
        """The time of a record by these of its fields; None where they hold none. Raises RejectedMessage."""
        if len(keys) == 1:
            given = record.get(keys[0])
            return None if given is None else self.read(given, received, previous)
        parts = [record[key] for key in keys if record.get(key) is not None]
        if not parts:
            return None
        return self.read(parts[0] if len(parts) == 1 else " ".join(map(str, parts)), received, previous)

    def read(self, given: object, received: Micros, previous: Micros | None = None) -> Micros:
        """The instant that `given` names, µs.

        Parameters
        ----------
        given : str, int, float or dict
            As the message has it; of an object, what stands under `value`, `@value` (NGSI-LD, ETSI GS CIM 009) or
            `$date` (MongoDB's Extended JSON).
        received : Micros
            When the message arrived: tells which of two equal local times is meant.
        previous : Micros, optional
            The time of the record before in the same message.

        Raises
        ------
        RejectedMessage
            It cannot be read (`bad-time`), or no clock of the zone can show it (`local-time`).
        """
        while type(given) is dict and (key := next((key for key in _WRAPPED if key in given), None)) is not None:
            given = given[key]
        if type(given) is str:
            time = instant_of(given) if self._format is None else None
            if time is not None:
                return time
            return self._from_text(given.strip(), received, previous)
        if type(given) is int or type(given) is float:
            if self._unit is not None:
                return self._from_number(given)
            if self._format is not None:
                return self._from_text(str(given), received, previous)
            if _is_compact(given):
                return self._from_compact(str(int(given)), received, previous)
        return micros(given)

    def of_days(self, days: float, received: Micros, previous: Micros | None = None) -> Micros:
        """The instant of a spreadsheet's day number, to the second.

        Parameters
        ----------
        days : float
            Days since 30 December 1899 by the clock of the zone, with the time of day as the fraction.
        received, previous : Micros
            As of `read`.

        Raises
        ------
        RejectedMessage
            No clock of the zone can show it (`local-time`).
        """
        local = _DAY_ZERO + dt.timedelta(seconds=round(days * 86_400))
        return self._of_clock(local, f"{days:.10g} ({local:%Y-%m-%d %H:%M:%S})", received, previous)

    def _from_number(self, given: float) -> Micros:
        """A number in the unit that the source says."""
        assert self._unit is not None
        if not abs(given) < 1e30:  # nan as well
            raise RejectedMessage("bad-time.number", given=repr(given))
        instant = round(given * self._unit) if self._unit else int(given // 1_000)
        if abs(instant) >= LAST:
            raise RejectedMessage("bad-time.too-large")
        return instant

    def _from_compact(self, digits: str, received: Micros, previous: Micros | None) -> Micros:
        """20260504123000 is a time of a calendar: as a number since 1970 it would be in 1976 or the year 2612."""
        try:
            local = dt.datetime.strptime(digits, "%Y%m%d%H%M%S" if len(digits) > _MINUTE_DIGITS else "%Y%m%d%H%M")
        except ValueError:
            raise RejectedMessage("bad-time.text", given=digits) from None
        return self._of_clock(local, digits, received, previous)

    def _from_text(self, text: str, received: Micros, previous: Micros | None) -> Micros:
        if self._format is None:
            try:  # what most devices send
                local = dt.datetime.fromisoformat(text)
            except ValueError:
                pass
            else:
                if local.tzinfo is not None:
                    return since_epoch(local)
                if not text.isdecimal():
                    return self._of_clock(local, text, received, previous)
            seconds = number(text)
            if seconds is not None:
                return self.read(int(seconds) if seconds == int(seconds) else seconds, received, previous)
        local = _parsed(text, self._format)
        if local.tzinfo is not None:
            return since_epoch(local)
        return self._of_clock(local, text, received, previous)

    def _of_clock(self, local: dt.datetime, text: str, received: Micros, previous: Micros | None) -> Micros:
        if self._zone is None:
            raise RejectedMessage("local-time.no-zone", given=text[:60])
        first, second = (since_epoch(local.replace(tzinfo=self._zone, fold=fold)) for fold in (0, 1))
        if first == second:
            return first
        if first > second:
            raise RejectedMessage("local-time.skipped", given=text[:60], zone=self._zone.key)
        near = received if previous is None else previous
        candidates = [instant for instant in (first, second) if instant != previous]
        return min(candidates, key=lambda instant: abs(instant - near))


_DAY_ZERO = dt.datetime(1899, 12, 30)
_MINUTE_DIGITS = 12  # of 202605041230


def is_day_number(number: float | None) -> bool:
    """Whether a number is a spreadsheet's for a day from 2000 to 2099: as seconds it would be the first day of 1970."""
    return number is not None and 36_526 <= number < 73_051


def _is_compact(number: float) -> bool:
    """Whether a number has the digits of a date and a time of day, to the minute or the second."""
    return 190001010000 <= number < 210001010000 or 19000101000000 <= number < 21000101000000


def _parsed(text: str, form: str | None) -> dt.datetime:
    """The date and time of day that a text writes. Raises RejectedMessage."""
    try:
        if form is not None:
            return dt.datetime.strptime(text, form)
        dotted = _DOTTED.fullmatch(text)
        if dotted is not None:
            day, month, year, hour, minute, second = (int(part or 0) for part in dotted.groups())
            return dt.datetime(year, month, day, hour, minute, second)
        if text[:3].isalpha():  # Mon, 04 May 2026 12:30:00 GMT
            return parsedate_to_datetime(text)
        text = _UTC.sub("Z", text)
        return dt.datetime.fromisoformat(_OFFSET.sub(r"\1:\2", _SLASHED.sub(r"\1-\2-\3", text)))
    except (ValueError, TypeError, IndexError, OverflowError):
        if form is None:
            raise RejectedMessage("bad-time.text", given=text[:60]) from None
        raise RejectedMessage("bad-time.format", given=text[:60], format=form) from None

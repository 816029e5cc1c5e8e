"""The report's language: its fixed texts, numbers and dates, in Norwegian and English. English texts are the keys."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

from techport_pilots.i18n import Language
from techport_pilots.model import Text
from techport_storage.model import Micros

_LOCALES_FOLDER = Path(__file__).with_name("locales")


@dataclass(frozen=True, slots=True)
class Words:
    """A reader's language (nb or en) with the report's own texts; times are those of `zone`."""

    code: str
    zone: str

    def __call__(self, message: str, **values: object) -> str:
        return self.language.gettext(message, **values)

    @property
    def language(self) -> Language:
        return Language(self.code, _LOCALES_FOLDER)

    def text(self, text: Text | None, default: str = "") -> str:
        return self.language.text(text, default)

    def number(self, value: float) -> str:
        return self.language.significant(value)

    def count(self, n: float) -> str:
        """A whole number."""
        return self.language.number(round(n), 0)

    def plain(self, value: float) -> str:
        """As it was written down: 20, not 20.0."""
        return self.language.plain(value)

    def share(self, share: float | None) -> str:
        return self.language.share(share)

    def date(self, time: Micros) -> str:
        return self.language.date_time(time, self.zone, "d. MMM y")

    def day(self, day: dt.date) -> str:
        return self.date(int(dt.datetime(day.year, day.month, day.day, 12, tzinfo=dt.UTC).timestamp()) * 1_000_000)

    def last_day(self, end: Micros) -> str:
        """The last day of a range that `end` is no longer in."""
        return self.date(end - 1)

    def date_time(self, time: Micros) -> str:
        return self.language.date_time(time, self.zone)

    def month(self, time: Micros) -> str:
        return self.language.date_time(time, self.zone, "MMM").rstrip(".")

    def span(self, length: Micros) -> str:
        minutes = length / 60e6
        if minutes < 120:
            return self("{n} min", n=self.count(minutes))
        if minutes < 48 * 60:
            return self("{n} hours", n=self.count(minutes / 60))
        return self("{n} days", n=self.count(minutes / 1440))

"""The report's language: its fixed texts, numbers and dates, in Norwegian and English. English texts are the keys."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from zoneinfo import ZoneInfo

from babel import Locale
from babel.dates import format_date, format_datetime

from techport_pilots.i18n import Language
from techport_pilots.model import Text
from techport_pilots.text import catalogue
from techport_storage.model import Micros

_LOCALES = {"nb": "nb_NO", "en": "en_GB"}
_DATE = {"nb": "d. MMM y", "en": "d MMM y"}
_LOCALES_FOLDER = Path(__file__).with_name("locales")


@dataclass(frozen=True, slots=True)
class Words:
    """Everything in the report that depends on the reader. `code` is nb or en; times are those of `zone`."""

    code: str
    zone: str

    def __call__(self, message: str, **values: object) -> str:
        text = catalogue(_LOCALES_FOLDER, "nb").get(message, message) if self.code == "nb" else message
        return text.format(**values) if values else text

    @property
    def language(self) -> Language:
        return Language(self.code)

    def text(self, text: Text | None, default: str = "") -> str:
        return (text.get(self.code) if text else "") or default

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
        return str(format_date(self._at(time).date(), _DATE[self.code], locale=self._locale))

    def last_day(self, end: Micros) -> str:
        """The last day of a range that `end` is no longer in."""
        return self.date(end - 1)

    def date_time(self, time: Micros) -> str:
        return str(format_datetime(self._at(time), _DATE[self.code] + " HH:mm", locale=self._locale))

    def month(self, time: Micros) -> str:
        return str(format_date(self._at(time).date(), "MMM", locale=self._locale)).rstrip(".")

    def span(self, length: Micros) -> str:
        minutes = length / 60e6
        if minutes < 120:
            return self("{n} min", n=self.count(minutes))
        if minutes < 48 * 60:
            return self("{n} hours", n=self.count(minutes / 60))
        return self("{n} days", n=self.count(minutes / 1440))

    @property
    def _locale(self) -> Locale:
        return Locale.parse(_LOCALES[self.code])

    def _at(self, time: Micros) -> dt.datetime:
        return dt.datetime.fromtimestamp(time // 1_000_000, ZoneInfo(self.zone))

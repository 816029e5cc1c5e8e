"""A reader's language: texts, numbers, dates and durations."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from zoneinfo import ZoneInfo

from babel import Locale
from babel.dates import format_date, format_datetime, format_timedelta
from babel.lists import format_list
from babel.numbers import format_decimal
from babel.support import Translations

from techport_pilots.i18n import catalogues
from techport_pilots.i18n.message import Message, MissingText, ParamFormatter
from techport_storage.microseconds import DAY, HOUR, MINUTE, SECOND
from techport_storage.model import Micros

LANGUAGES = ("nb", "en")
"""The languages that every text exists in (decision 11)."""

_LOCALES = {"nb": "nb_NO", "en": "en_GB"}  # day before month and a 24-hour clock, also in English

_COUNTS = ("n", "size", "days")
"""Parameters that choose between the plural forms of a sentence that has them."""

_DIGITS_END = 1e15  # a float64 has no more digits


def N_(text: str) -> str:
    """Marks a text that is translated where it is shown, for those who collect texts (`make messages`)."""
    return text


def decimal(value: float, pattern: str, locale: Locale) -> str:
    """By the pattern, with a true minus sign; what no instrument measures as a power of ten: 1,00E300."""
    pattern = pattern if abs(value) < _DIGITS_END else "0.00E0"
    text = str(format_decimal(value, format=pattern, locale=locale)).replace("-", "−")
    return text if any(digit in text for digit in "123456789") else text.lstrip("−")  # a zero has no sign


class Translated(Protocol):
    """A text that a pilot's team wrote in several languages."""

    def get(self, language: str, /) -> str: ...


@dataclass(frozen=True, slots=True)
class Language:
    """Everything that differs between readers.

    `code` is one of LANGUAGES. `folder` holds the catalogue of the texts that `gettext` is asked for, which has the
    English text as its key; sentences of codes are found without it.
    """

    code: str
    folder: Path | None = None

    @property
    def locale(self) -> Locale:
        return Locale.parse(_LOCALES[self.code])

    # -- texts -----------------------------------------------------------------------------------------------------

    def gettext(self, message: str, **values: object) -> str:
        """The text in this language, with `{name}` replaced by values; the English text where none is known."""
        text = str(self._pages().gettext(message))
        return text.format(**values) if values else text

    def ngettext(self, singular: str, plural: str, n: int, **values: object) -> str:
        """As gettext, in the form that goes with the count `n`, which is given as `{n}`."""
        return str(self._pages().ngettext(singular, plural, n)).format(**{"n": self.number(n, 0), **values})

    def text(self, text: Translated | None, default: str = "") -> str:
        return (text.get(self.code) if text else "") or default

    def message(self, message: Message) -> str:
        """The sentence of a message. Raises MissingText for a code that no catalogue has."""
        catalogue = catalogues.codes(self.code)
        count = next((message.params[name] for name in _COUNTS if name in message.params), None)
        text = catalogue.ngettext(message.code, message.code, count) if type(count) is int else message.code
        text = catalogue.gettext(message.code) if text == message.code else text  # a sentence without plural forms
        if text == message.code:
            raise MissingText(f"{message.code} has no sentence in {self.code}.po")
        return ParamFormatter(self).vformat(text, (), message.params)

    def _pages(self) -> Translations:
        return catalogues.translations(self.folder or Path(), self.code)

    # -- numbers ---------------------------------------------------------------------------------------------------

    def number(self, value: float, decimals: int = 1) -> str:
        """With the decimals given, and a true minus sign."""
        return decimal(value, "#,##0" + ("." + "0" * decimals if decimals else ""), self.locale)

    def signed(self, value: float, decimals: int = 1) -> str:
        return ("+" if round(value, decimals) > 0 else "") + self.number(value, decimals)

    def plain(self, value: float) -> str:
        """As it was written down: 20, not 20.0."""
        return decimal(value, "#,##0.######", self.locale)

    def significant(self, value: float, digits: int = 3) -> str:
        """With so many significant digits, and no more than four decimals."""
        if not math.isfinite(value):
            return "–"
        size = math.floor(math.log10(abs(value))) if value else 0
        return self.number(value, min(max(digits - 1 - size, 0), 4))

    def to_precision(self, value: float, half_width: float) -> str:
        """With the decimals that its uncertainty leaves standing: two digits of the interval's half width."""
        if not math.isfinite(value) or not half_width > 0:
            return self.significant(value)
        return self.number(value, min(max(1 - math.floor(math.log10(half_width)), 0), 4))

    def share(self, share: float | None) -> str:
        """0..1 as per cent; 100 % only when nothing is missing, 0 % only when everything is."""
        if share is None:
            return "–"
        percent = min(round(100 * share, 1), 99.9) if share < 1 else 100
        return self.plain(percent if percent or not share else 0.1) + " %"

    def listed(self, items: list[str], how: str = "all") -> str:
        """ "a, b and c", or with `how="any"` "a, b or c"."""
        return str(format_list(items, "standard" if how == "all" else "or", locale=self.locale)) if items else ""

    # -- times -----------------------------------------------------------------------------------------------------

    def date_time(self, instant: Micros, zone: str, form: str = "d. MMM y HH:mm") -> str:
        moment = dt.datetime.fromtimestamp(instant // 1_000_000, ZoneInfo(zone))
        form = form if self.code != "en" else form.replace("d. ", "d ")
        return str(format_datetime(moment, form, locale=self.locale))

    def last_day(self, end: Micros, zone: str, form: str = "d. MMM y") -> str:
        """The last day of what ends at an instant that is no longer part of it: midnight ends the day before."""
        return self.date_time(end - 1, zone, form)

    def date(self, day: dt.date, form: str = "d. MMMM y") -> str:
        form = form if self.code != "en" else form.replace("d. ", "d ")
        return str(format_date(day, form, locale=self.locale))

    def weekdays(self) -> list[str]:
        """From Monday, short."""
        names = self.locale.days["format"]["abbreviated"]
        return [names[day].rstrip(".") for day in range(7)]

    def ago(self, age: Micros) -> str:
        """ "3 minutes ago"; what is a little ahead of us counts as now."""
        if age < 5_000_000:
            return self.gettext("just now")
        delta = -dt.timedelta(microseconds=age)
        return str(format_timedelta(delta, add_direction=True, locale=self.locale, threshold=1.2, format="short"))

    def duration(self, length: Micros) -> str:
        """ "2 hours"."""
        delta = dt.timedelta(microseconds=length)
        return str(format_timedelta(delta, locale=self.locale, threshold=1.0, format="long"))

    def width(self, length: Micros) -> str:
        """ "5 min" or "2 h", with the units' symbols, as stands behind "per"; of days in words, "1 day"."""
        hour = "t" if self.code == "nb" else "h"
        for unit, symbol in ((HOUR, hour), (MINUTE, "min"), (SECOND, "s")):
            if length < DAY and length >= unit and length % unit == 0:
                return f"{length // unit} {symbol}"
        return self.duration(length)


ENGLISH = Language("en")
"""The language of logs, of the command line and of answers to devices and programs."""


def in_all_languages(message: Message) -> dict[str, str]:
    """The sentence by language, for what is stored or given to programs: the fields of a `model.Text`."""
    return {code: Language(code).message(message) for code in LANGUAGES}

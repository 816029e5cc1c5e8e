"""The reader's language: texts, numbers, dates. English texts are the keys, as in gettext."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from babel import Locale
from babel.core import negotiate_locale
from babel.dates import format_datetime, format_timedelta

from techport_dashboards.query import times
from techport_pilots.model import Text
from techport_pilots.text import catalogue, decimal
from techport_storage.model import Micros

_LOCALES = {"nb": "nb_NO", "nn": "nn_NO", "en": "en_GB"}  # day before month and a 24-hour clock, also in English
_ALSO = {"no": "nb", "nn": "nn", "nb": "nb", "en": "en"}
FOLDER = Path(__file__).with_name("locales")
_CATALOGUES = {"nb": ("nb",), "nn": ("nn", "nb"), "en": ()}  # nynorsk has what differs from bokmål

SCRIPT_MESSAGES: tuple[str, ...] = (
    "live",
    "connecting",
    "disconnected",
    "paused: looking into the past",
    "the store does not answer",
    "no answer from the server",
    "no readings in this range",
    "Get what is shown:",
    "just now",
    "earlier",
    "no readings here",
    "Add an event here",
    "written down",
    "delete",
    "really delete?",
    "taken back",
    "link copied",
    "data copied",
    "picture saved",
    "that did not work",
    "copied",
)
"""Texts that static/js shows."""


@dataclass(frozen=True, slots=True)
class Language:
    """Everything that differs between readers. `code` is nb, nn or en."""

    code: str

    @property
    def locale(self) -> Locale:
        return Locale.parse(_LOCALES[self.code])

    def gettext(self, message: str, **values: object) -> str:
        found = (catalogue(FOLDER, code).get(message) for code in _CATALOGUES[self.code])
        text = next(filter(None, found), message)
        return text.format(**values) if values else text

    def ngettext(self, one: str, many: str, n: int, **values: object) -> str:
        return self.gettext(one if n == 1 else many, **{"n": self.number(n, 0), **values})

    def text(self, text: Text | None, default: str = "") -> str:
        return (text.get(self.code) if text else "") or default

    def number(self, value: float, decimals: int = 1) -> str:
        """With the decimals given, and a true minus sign."""
        pattern = "#,##0" + ("." + "0" * decimals if decimals else "")
        return decimal(value, pattern, self.locale)

    def signed(self, value: float, decimals: int = 1) -> str:
        return ("+" if round(value, decimals) > 0 else "") + self.number(value, decimals)

    def date_time(self, instant: Micros, zone: str, form: str = "d. MMM y HH:mm") -> str:
        return format_datetime(
            times.moment(instant), form if self.code != "en" else form.replace("d. ", "d "),
            tzinfo=times.zone_named(zone), locale=self.locale,
        )  # fmt: skip

    def weekdays(self) -> list[str]:
        """From Monday, short."""
        names = self.locale.days["format"]["abbreviated"]
        return [names[day].rstrip(".") for day in range(7)]

    def ago(self, age: Micros) -> str:
        """ "3 minutes ago"; what is a little ahead of us counts as now."""
        if age < 5 * times.SECOND:
            return self.gettext("just now")
        delta = -dt.timedelta(microseconds=age)
        return format_timedelta(delta, add_direction=True, locale=self.locale, threshold=1.2, format="short")

    def duration(self, length: Micros) -> str:
        return format_timedelta(dt.timedelta(microseconds=length), locale=self.locale, threshold=1.0, format="short")


def pick(asked: str | None, accepted: str, default: str) -> Language:
    """The language of `?lang=`, else the best of Accept-Language that we have, else the default."""
    if asked in _ALSO:
        return Language(_ALSO[asked])
    wanted = _by_preference(accepted)
    found = negotiate_locale(wanted, list(_ALSO), sep="-")
    return Language(_ALSO[found] if found else default)


def _by_preference(accepted: str) -> Sequence[str]:
    """Language tags of an Accept-Language header, the most wanted first."""
    weighted = []
    for part in accepted.split(",")[:20]:
        tag, _, weight = part.strip().partition(";q=")
        try:
            weighted.append((-float(weight or 1), tag))
        except ValueError:
            continue
    return [tag for _, tag in sorted(weighted, key=lambda pair: pair[0])]

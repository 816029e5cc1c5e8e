"""Translations: gettext catalogues (`locales/<language>.po`) with the English text as the key."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from babel import Locale
from babel.messages.pofile import read_po
from babel.numbers import format_decimal


@cache
def catalogue(folder: Path, code: str) -> dict[str, str]:
    """English text to its translation, of `<folder>/<code>.po`; fuzzy and empty entries are left out.

    Read as it stands, so that a translation is edited and seen without a step of compiling.
    """
    with (folder / f"{code}.po").open("rb") as file:
        entries = read_po(file, locale=code)
    return {str(entry.id): str(entry.string) for entry in entries if entry.id and entry.string and not entry.fuzzy}


# -- Numbers as people read them, in pages and reports alike.

_DIGITS_END = 1e15  # a float64 has no more digits


def decimal(value: float, pattern: str, locale: Locale) -> str:
    """By the pattern, with a true minus sign; what no instrument measures as a power of ten: 1,00E300."""
    pattern = pattern if abs(value) < _DIGITS_END else "0.00E0"
    text = str(format_decimal(value, format=pattern, locale=locale)).replace("-", "−")
    return text if any(digit in text for digit in "123456789") else text.lstrip("−")  # a zero has no sign

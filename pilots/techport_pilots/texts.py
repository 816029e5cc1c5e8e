"""Translations: gettext catalogues (`locales/<language>.po`) with the English text as the key."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from babel.messages.pofile import read_po


@cache
def catalogue(folder: Path, code: str) -> dict[str, str]:
    """English text to its translation, of `<folder>/<code>.po`; fuzzy and empty entries are left out.

    Read as it stands, so that a translation is edited and seen without a step of compiling.
    """
    with (folder / f"{code}.po").open("rb") as file:
        entries = read_po(file, locale=code)
    return {str(entry.id): str(entry.string) for entry in entries if entry.id and entry.string and not entry.fuzzy}

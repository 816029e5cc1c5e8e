"""Where the texts of the pages are, for those who need one outside a page."""

from __future__ import annotations

from pathlib import Path

from techport_pilots.i18n import LANGUAGES, Language
from techport_pilots.model import Text

FOLDER = Path(__file__).parent / "web" / "locales"
"""Catalogues of the pages' texts, with the English text as the key."""


def in_all_languages(message: str, **values: object) -> Text:
    """A text of the pages for those who want it in every language, such as a catalogue of data."""
    return Text(**{code: Language(code, FOLDER).gettext(message, **values) for code in LANGUAGES})

"""One mechanism for everything that is said to people: gettext catalogues, read through Babel.

    Message(code, params)     what happened, as data: stored, compared and counted; has no language
    Language(code)            a reader: texts, numbers, dates and durations in nb or en
    Language.message(m)       the sentence of a Message, from the catalogue of codes

Two kinds of catalogue exist. Those of *codes* (`locale/en.po`, `locale/nb.po` here and in each format's folder) have a
code as their key and a sentence in every language, English too. Those of *pages* have the English text as their key and
stand beside the templates.
"""

from __future__ import annotations

from techport_pilots.i18n.language import LANGUAGES, N_, Language, in_all_languages
from techport_pilots.i18n.message import Message, MissingText

__all__ = ["LANGUAGES", "N_", "Language", "Message", "MissingText", "in_all_languages"]

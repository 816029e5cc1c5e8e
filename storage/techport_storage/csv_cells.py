"""Text in CSV that a spreadsheet must not run: one rule for every file that is made here.

A spreadsheet takes a cell that begins with =, +, - or @ for a formula, whatever stands invisibly before it, some even
the full-width signs. A cell may also begin in the middle of a text, where the file is opened with another separator
than it was written with. Such a sign gets an apostrophe in front, which makes text of it; numbers are left as they are.
"""

from __future__ import annotations

import re

import pyarrow as pa
import pyarrow.compute as pc

SIGNS = "=+@＝＋－＠﹦﹢﹣﹫⁼⁺⁻₌₊₋−-"
"""What a formula begins with; the hyphen last, as a class of a regular expression wants it."""

FORMULA = (
    "(^|[;,|\\t\\r\\n])"
    "([\\x00-\\x20\\x7f-\\xa0\u00ad\u200b-\u200f\u2028-\u202f\u2060-\u2064\u3000\ufeff]*)([" + SIGNS + "])"
)
"""In the dialect that Python, RE2 and JavaScript share; copies.js has the same."""

NUMBER = "^[+-]?[0-9]+([.,][0-9]+)?([eE][+-]?[0-9]+)?$|^[+-][0-9]{2}:[0-9]{2}$"
"""What begins with a sign and is none: a number, an offset from UTC."""

_CONTROL = ("\t", "\r", "\n")
_FORMULA, _NUMBER = re.compile(FORMULA), re.compile(NUMBER.replace("$", r"\Z"))


def harmless(text: str) -> str:
    """The text as a cell of a CSV file."""
    if _NUMBER.match(text):
        return text
    text = _FORMULA.sub(r"\1\2'\3", text)
    return "'" + text if text[:1] in _CONTROL else text


def harmless_column(column: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """The same of each text of a column; other columns come back as they are."""
    if not pa.types.is_string(column.type):
        return column
    number = pc.match_substring_regex(column, NUMBER.replace("$", "\\z"))
    text = pc.replace_substring_regex(column, FORMULA, "\\1\\2'\\3")
    text = pc.replace_substring_regex(text, "^([\\t\\r\\n])", "'\\1")
    return pc.if_else(number, column, text)

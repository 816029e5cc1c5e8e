"""Texts that devices may send and nobody expects, and what a page or a terminal that shows them has to hold."""

from __future__ import annotations

import unicodedata
from html.parser import HTMLParser
from typing import Any

from techport_pilots.accounting.rejection import Rejection
from tests.ingest.test_rejection_texts import CODES, TEXTS, places

TAG = "odd-7"
ATTRIBUTE = "onodd7"

ODD = {
    "empty": "",
    "spaces": "  ",
    "no near match": "zzqx-status",
    "300 characters": "ab cd" * 60,
    "an element": f"<{TAG} {ATTRIBUTE}=1>&amp;&lt;{TAG}&gt;",
    "a script": f"<script>{ATTRIBUTE}()</script>",
    "the end of an attribute": f"\" {ATTRIBUTE}=1 x='\" '>",
    "the end of an element": f"</script></style></textarea></title>--><{TAG}>",
    "an address": f"javascript:{ATTRIBUTE}()//",
    "a template": "{{7*7}} {key} {0} {key!r:>99} {% raw %} %s %(x)s $x",
    "markup of a terminal": "[red]x[/] [/blue] [link=http://x.test]y[/link] [bold",
    "an emoji": "🙂👩‍👩‍👧 \U000e0001",
    "right to left": "\u202elive\u202c \u2066שלום\u2069 \u200f\u061c",
    "control characters": "\x1b[31m\x1b]0;t\x07\x9b2J\x08\x7f\x85\u2028",
    "lines": "two\nlines\r\nand\ttabs\x0b\x0c",
    "nul": "nul\x00 and ␀",
    "a path": "../a/b?c=d#e&f=%2e%00+;",
}


HIDDEN = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that turn the text behind them around."""


def _hides(character: str) -> bool:
    return character in HIDDEN or (unicodedata.category(character) == "Cc" and character not in "\n\r\t")


class ShownPage(HTMLParser):
    """Reads a page, and notes what of it came out of the odd texts as markup or as control characters."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.problems: list[str] = []
        self._element = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._element = tag
        names = {name for name, _ in attrs}
        addresses = [value for name, value in attrs if name in ("href", "src", "action") and value]
        runs = any(address.strip().lower().startswith("javascript:") for address in addresses)
        if tag == TAG or ATTRIBUTE in names or runs:
            self.problems.append(self.get_starttag_text() or tag)

    def handle_endtag(self, tag: str) -> None:
        self._element = ""

    def handle_data(self, data: str) -> None:
        if self._element == "script" and data.lstrip().startswith(f"{ATTRIBUTE}("):
            self.problems.append(data)
        if self._element != "textarea":  # which is sent back
            self.problems += [f"the character {one!r} in {data[:80]!r}" for one in sorted(set(data)) if _hides(one)]


def page_problems(page: str) -> list[str]:
    """What is wrong with a page of HTML: text of a device as markup, or control characters in its text."""
    return ShownPage(page).problems


def terminal_problems(output: str) -> list[str]:
    """Characters that move the cursor, colour the terminal or turn the text around."""
    return [f"the character {one!r}" for one in sorted(set(output)) if not one.isprintable() and one not in "\n\t"]


def rejection(code: str, text: str) -> Rejection:
    """A rejection of a code with `text` wherever its sentences show text of a device."""
    made: dict[str, Any] = {
        "": text,
        "quoted": text,
        "duration": 5_000_000,
        "message": [{"code": "json.other", "params": {"text": text}}, {"code": "json-type.array"}],
        "any": [text, "pm25"],
        "all": [text, "pm25"],
    }
    shown = places(TEXTS["en"][f"rejection.{code}.detail"]) | places(TEXTS["en"][f"rejection.{code}.hint"])
    return Rejection(code, {name: made[form] for name, form in shown})


__all__ = ["ATTRIBUTE", "CODES", "ODD", "TAG", "page_problems", "rejection", "terminal_problems"]

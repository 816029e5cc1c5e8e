"""Why a message, or some values of one, can never be stored: a code and parameters, told in the reader's language.

A code is a reason, which entries are grouped by and which is part of the API ("not-a-number"), and where one reason has
several cases a dot and the case ("not-a-number.text"). The catalogues of codes (`techport_pilots.i18n`) hold

    rejection.<reason>.title     a heading: "A number was expected"
    rejection.<reason>.remedy    what usually helps
    rejection.<code>.detail      what was wrong, with the parameters: '"temp" is text: "warm".'
    rejection.<code>.hint        how to fix exactly that

Texts are made where they are read. Nothing is formatted while messages are taken in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from techport_pilots.i18n import Language, Message
from techport_pilots.i18n.language import ENGLISH
from techport_pilots.registry.database import clean_text

_LONGEST_PARAM = 500

WHERE = "where"
"""The parameter that says which part of a message a rejection is about, as a message."""


class RecordedText(msgspec.Struct, frozen=True):
    """Sentences in English, as versions without codes wrote them into the quarantine."""

    detail: str
    hint: str


class Rejection(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is wrong. `params` holds JSON values only."""

    code: str
    params: Mapping[str, Any] = {}
    recorded: RecordedText | None = None  # instead of the catalogue's sentences; the code is then only a reason

    @property
    def reason(self) -> str:
        """What entries are grouped by: the code without its case."""
        return self.code.partition(".")[0]

    def title(self, language: Language) -> str:
        return reason_title(self.reason, language)

    def remedy(self, language: Language) -> str:
        """What usually helps; "" for a reason that only a newer version knows."""
        return _text(f"rejection.{self.reason}.remedy", {}, language) or ""

    def detail(self, language: Language = ENGLISH) -> str:
        """What was wrong, in a sentence."""
        if self.recorded is not None:
            return _sentence(self.recorded.detail)
        text = _text(f"rejection.{self.code}.detail", self.params, language)
        text = text if text is not None else _sentence(f"{self.code} {encoded(self.params)}")
        place = self.params.get(WHERE)
        where = _text(place["code"], place["params"], language) if isinstance(place, Mapping) else None
        return f"{where} {text}" if where else text

    def located(self, kind: str, number: int) -> Rejection:
        """The same, of the line or record (from 1) of that number."""
        return Rejection(self.code, {**self.params, WHERE: {"code": f"where.{kind}", "params": {"number": number}}})

    def hint(self, language: Language = ENGLISH) -> str:
        """How to fix it, in a sentence or two."""
        if self.recorded is not None:
            return _sentence(self.recorded.hint)
        text = _text(f"rejection.{self.code}.hint", self.params, language)
        return text if text is not None else self.remedy(language)

    def kept(self) -> Rejection:
        """The same as it can be stored: texts of devices cleaned and not endless."""
        return Rejection(self.code, {name: _storable(value) for name, value in self.params.items()}, self.recorded)


def reason_title(reason: str, language: Language) -> str:
    """The heading of a reason; the reason itself where only a newer version knows it."""
    return _text(f"rejection.{reason}.title", {}, language) or reason


def encoded(params: Mapping[str, Any]) -> str:
    """Parameters as JSON text."""
    return msgspec.json.encode({name: _storable(value) for name, value in params.items()}).decode()


def _text(code: str, params: Mapping[str, Any], language: Language) -> str | None:
    """The sentence; None where the catalogue has none, or wants other parameters: an ingest worker of another version
    may have written them, and a page shows them all the same.
    """
    try:
        return language.message(Message(code, params))
    except (LookupError, ValueError, TypeError, ArithmeticError):
        return None


def _sentence(text: str) -> str:
    return text if not text or text.endswith((".", "!", "?", "…")) else f"{text}."


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        text = clean_text(value)
        return text if len(text) <= _LONGEST_PARAM else text[: _LONGEST_PARAM - 1] + "…"
    if isinstance(value, Mapping):
        return {str(name): _storable(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_storable(part) for part in value]
    return value


class Rejected(msgspec.Struct, frozen=True):
    """A part of a message that was rejected."""

    rejection: Rejection
    field: str | None = None  # the key within the payload, where it is about one
    values: int = 1  # how many values it concerns

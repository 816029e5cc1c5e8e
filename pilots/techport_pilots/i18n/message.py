"""What is said to people, as data: a code and its parameters. The sentence is made at the edge, for its reader."""

from __future__ import annotations

import datetime as dt
import string
import unicodedata
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from techport_pilots.i18n.language import Language


class MissingText(LookupError):
    """A code that no catalogue has a sentence for. Only a fault of ours: a test renders every code."""


class Message(msgspec.Struct, frozen=True):
    """A sentence as data. `params` holds JSON values only, so that a message can be stored and read again.

    How a parameter is shown is said by the sentence, in the place where it stands:

        {key}             text, with control characters escaped; numbers as the reader writes them
        {key:quoted}      the same in quotes, at most 80 characters of it
        {share:percent}   0.834 as 83 %
        {age:duration}    microseconds as "2 hours"
        {day:date}        "2026-05-04" as a date
        {when:datetime}   microseconds since the epoch, as a date and a time in UTC
        {names:all}       a list as "a, b and c";  {names:any} as "a, b or c"
        {title:text}      {"nb": ..., "en": ...} in the reader's language
        {why:message}     another message, {"code": ..., "params": {...}}, or a list of them
        {findings:each}   a list of messages, with semicolons between them

    A sentence with a count, in its parameter `n`, `size` (in bytes) or `days`, may have plural forms.
    """

    code: str
    params: Mapping[str, Any] = {}

    def __str__(self) -> str:
        """In English, for logs."""
        from techport_pilots.i18n.language import ENGLISH

        return ENGLISH.message(self)


class ParamFormatter(string.Formatter):
    """Fills a sentence's places for one reader; raises KeyError for a parameter that is not there."""

    def __init__(self, language: Language) -> None:
        self._language = language

    def format_field(self, value: Any, format_spec: str) -> str:
        language = self._language
        match format_spec:
            case "":
                return plain(value, language)
            case "quoted":
                return quoted(str(value))
            case "percent":
                return f"{language.number(100 * value, 0)} %"
            case "duration":
                return language.duration(value)
            case "date":
                return language.date(dt.date.fromisoformat(value))
            case "datetime":
                return language.date_time(value, "UTC")
            case "all" | "any":
                return language.listed([plain(part, language) for part in value], format_spec)
            case "text":
                return language.text(msgspec.convert(value, _Text)) if isinstance(value, Mapping) else str(value)
            case "message" | "each":
                parts = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
                texts = [language.message(msgspec.convert(part, Message)) for part in parts]
                return (" " if format_spec == "message" else "; ").join(texts)
            case _:
                return str(super().format_field(value, format_spec))


def plain(value: Any, language: Language) -> str:
    """A parameter without a wish how it is shown."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return language.plain(value) if isinstance(value, int | float) else visible(str(value))


def visible(text: str) -> str:
    """Text of a device or a person without characters that are not seen, or that move what stands around them."""
    return (
        text
        if text.isprintable()
        else "".join(character if character.isprintable() else _escape(character) for character in text)
    )


_NOT_BROKEN = "\u00a0\u202f"
"""Spaces within numbers, at which a line must not end."""


def _escape(character: str) -> str:
    if character in _NOT_BROKEN:
        return character
    return " " if unicodedata.category(character) == "Zs" else character.encode("unicode_escape").decode()


def quoted(text: str, longest: int = 80) -> str:
    """Text of a device or a person, so that a sentence around it can be read whatever it holds."""
    shown = text if len(text) <= longest else text[: longest - 1] + "…"
    return f'"{visible(shown)}"'


class _Text(msgspec.Struct, frozen=True):
    nb: str = ""
    en: str = ""

    def get(self, language: str) -> str:
        return (self.en or self.nb) if language == "en" else (self.nb or self.en)

"""What kinds of device are called: a definition names a kind once, in English or by its maker's model."""

from __future__ import annotations

from techport_pilots.i18n import Message, MissingText, in_all_languages
from techport_pilots.model import Text


def kind_named(kind: str | None) -> Text:
    """The kind in all languages, with a number or model that stands behind it; else as it is written."""
    kind = kind or ""
    common, _, model = kind.rpartition(" ")
    if any(letter.isdigit() for letter in model) and (names := _names(common)):
        return Text(**{language: f"{name} {model}" for language, name in names.items()})
    return Text(**(_names(kind) or {"nb": kind, "en": kind}))


def _names(kind: str) -> dict[str, str]:
    """A usual kind by language; empty for any other."""
    try:
        return in_all_languages(Message(f"device-kind.{kind.replace(' ', '-')}"))
    except MissingText:
        return {}

"""A payload as people look at it: text, and bytes in hexadecimal."""

from __future__ import annotations

from typing import NamedTuple

SHOWN = 2_000
SHOWN_BYTES = 512


class Raw(NamedTuple):
    text: str
    hex: str  # "7b 22 74"
    size: int  # bytes
    cut: bool  # there is more than `text` shows
    binary: bool  # the text says little: control characters, or bytes that are no UTF-8


def raw(payload: bytes) -> Raw:
    """The beginning of a payload. Bytes that are no text are written as \\xNN."""
    text = payload[:SHOWN].decode(errors="backslashreplace")
    binary = any(ord(letter) < 32 and letter not in "\t\r\n" for letter in text) or "\\x" in text
    return Raw(text, payload[:SHOWN_BYTES].hex(" "), len(payload), len(payload) > SHOWN, binary)

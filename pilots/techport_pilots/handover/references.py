"""Finding a text in what devices sent, such as an address, a number or a name that somebody wants to be erased."""

from __future__ import annotations

import json
from urllib.parse import quote

SHORTEST = 4
"""Characters. Shorter ones are in messages by chance."""


class Reference:
    """A text as messages may hold it: upper or lower case, MAC addresses with or without colons, JSON's escapes."""

    def __init__(self, text: str) -> None:
        """Raises ValueError for a text that is too short to be meant."""
        self.text = text.strip()
        if len(self.text) < SHORTEST:
            raise ValueError(f"a reference has at least {SHORTEST} characters")
        plain = self.text.lower()
        spellings = {plain, json.dumps(plain)[1:-1], json.dumps(plain, ensure_ascii=False)[1:-1], quote(plain).lower()}
        bare = plain.replace(":", "").replace("-", "")
        if len(bare) >= SHORTEST and all(letter in "0123456789abcdef" for letter in bare):
            pairs = [bare[i : i + 2] for i in range(0, len(bare), 2)]
            spellings |= {bare, ":".join(pairs), "-".join(pairs)}
        self._texts = tuple(spellings)
        self._bytes = tuple(spelling.encode() for spelling in spellings)
        if len(bare) % 2 == 0 and len(bare) >= 2 * SHORTEST and all(letter in "0123456789abcdef" for letter in bare):
            self._raw = bytes.fromhex(bare)
        else:
            self._raw = b""

    def is_in(self, value: str | bytes | None) -> bool:
        """Whether the text, or the message, holds it."""
        if value is None:
            return False
        if isinstance(value, str):
            folded = value.lower()
            return any(spelling in folded for spelling in self._texts)
        if self._raw and self._raw in value:
            return True
        lowered = value.lower()  # of bytes: ASCII letters only
        if any(spelling in lowered for spelling in self._bytes):
            return True
        return self.is_in(value.decode("utf-8", "replace"))


def reference_of(text: str | None) -> Reference | None:
    """The reference, where there is one. Raises ValueError."""
    return None if text is None else Reference(text)

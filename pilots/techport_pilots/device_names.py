"""What messages call a device, and what the definition calls it: when two spellings are the same name."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

_NOT_IN_IDS = re.compile(r"[^\w.-]+")
_SPELLED = {
    ord(letter): plain_one for letter, plain_one in zip("æøåÆØÅ", ("ae", "o", "a", "Ae", "O", "A"), strict=True)
}
_MAC = re.compile(r"[0-9a-f]{2}(?:[:-][0-9a-f]{2}){5,7}")


def comparable_name(name: str) -> str:
    """A name as it is compared: "AC:23:3F" and "ac233f" are the same, and so are the two ways to encode an å."""
    return _composed(name).lower().replace(":", "")


def decoded_name(name: str) -> str:
    """A name as decoders give it: lower case, MAC addresses without colons, anything but letters, digits, . _ - as -.

    Parameters
    ----------
    name : str
        As a topic or a payload writes it, such as "Kjøkken/Værstasjon".

    Returns
    -------
    str
        Such as "kjøkken-værstasjon".
    """
    return _remembered(name) if len(name) <= _LONGEST_REMEMBERED else _decoded(name)


_LONGEST_REMEMBERED = 100


def _decoded(name: str) -> str:
    name = _composed(name).strip().lower()
    if _MAC.fullmatch(name):
        return name.replace(":", "").replace("-", "")
    return _NOT_IN_IDS.sub("-", name).strip("-")


_remembered = lru_cache(maxsize=8192)(_decoded)  # the same devices send all day


def spellings(name: str) -> Sequence[str]:
    """What an id or an alias of a definition is found by: the name as devices write it, and as decoders give it."""
    return tuple(dict.fromkeys((comparable_name(name), decoded_name(name))))


def _composed(name: str) -> str:
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def as_id(name: str) -> str:
    """A device's id out of what its messages call it: letters, digits and . _ -"""
    spelled = name.translate(_SPELLED)
    return re.sub(r"[^A-Za-z0-9._-]+", "-", spelled).strip("-._")[:64] or "device"

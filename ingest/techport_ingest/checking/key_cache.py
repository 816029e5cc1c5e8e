"""What keys mean, remembered: devices send the same ones all day.

Keys are the senders', and so is their length. A few thousand of them may be remembered by each function, but not what
many large messages were full of.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import ParamSpec, TypeVar, cast

P = ParamSpec("P")
T = TypeVar("T")

LONGEST_READ = 120
"""Letters of a key that is taken apart into words: a longer one is not the name of a quantity."""

_forget: list[Callable[[], None]] = []


def remembered(most: int) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """A decorator as functools.lru_cache, for functions of a key or of all keys of an object."""

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        cached = lru_cache(maxsize=most)(function)
        _forget.append(cached.cache_clear)
        return cast("Callable[P, T]", cached)

    return decorate


def forget() -> None:
    """Let go of all that is remembered: it is worked out anew."""
    for clear in _forget:
        clear()

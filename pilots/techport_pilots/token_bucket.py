"""Token buckets: how often something may happen for each of many."""

from __future__ import annotations

import time
from collections import OrderedDict


class TokenBuckets:
    """At most `burst` at once for each key, and one each `seconds` after them. Not thread-safe.

    Keys that were used longest ago are forgotten once there are more than `most`; they begin with a full bucket again.
    """

    def __init__(self, burst: int, seconds: float, most: int) -> None:
        self._burst = burst
        self._seconds = seconds
        self._most = most
        self._tokens: OrderedDict[str, tuple[float, float]] = OrderedDict()  # key: tokens left, as of when

    def __len__(self) -> int:
        return len(self._tokens)

    def take(self, key: str) -> float:
        """Take a token of the key's bucket. Returns how many are left; below zero when there was none to take."""
        now = time.monotonic()
        tokens, then = self._tokens.pop(key, (float(self._burst), now))
        tokens = min(self._burst, tokens + (now - then) / self._seconds)
        self._tokens[key] = (tokens - 1 if tokens >= 1 else tokens, now)
        if len(self._tokens) > self._most:
            self._tokens.popitem(last=False)
        return tokens - 1

    def lower(self, key: str, most: float) -> None:
        """Leave at most so many tokens in the key's bucket, because some were taken elsewhere.

        Below zero it has to wait for as many as were taken too often.
        """
        now = time.monotonic()
        tokens, then = self._tokens.get(key, (float(self._burst), now))
        tokens = min(self._burst, tokens + (now - then) / self._seconds)
        self._tokens[key] = (max(-self._burst, min(tokens, most)), now)

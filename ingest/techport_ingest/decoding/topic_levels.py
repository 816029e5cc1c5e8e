"""Levels of a topic as names."""

from __future__ import annotations

from collections.abc import Sequence

PLAIN_ENDS = ("state", "value", "status", "get")
"""Last levels of topics whose messages are one plain value: the level before says what it is."""

SAYS_NOTHING = frozenset(
    (*PLAIN_ENDS, "out", "data", "up", "uplink", "telemetry", "readings", "json", "event", "events")
)
"""Levels that say neither which device it is nor what it measures."""


def joined_levels(levels: Sequence[str], level: int, to: int | None, separator: str) -> str:
    """Some levels of a topic, joined.

    Parameters
    ----------
    levels : sequence of str
        The topic, divided.
    level, to : int
        The first and the last one, counted from 1 or, below 0, from the topic's end; None: only the first.
    separator : str
        What is put between them.

    Returns
    -------
    str
        "" where the topic has fewer levels.
    """
    start = level - 1 if level > 0 else len(levels) + level
    end = start if to is None else to - 1 if to > 0 else len(levels) + to
    return separator.join(levels[start : end + 1]) if 0 <= start <= end < len(levels) else ""

"""MQTT topic filters (MQTT 5, section 4.7)."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import zip_longest


def topic_matches(topic_filter: str, topic: str) -> bool:
    """Whether the filter takes the topic. `a/#` takes `a` too; a wildcard in front takes no $ topic."""
    if topic.startswith("$") and topic_filter.startswith(("+", "#")):
        return False
    expected, levels = topic_filter.split("/"), topic.split("/")
    if expected[-1] == "#":
        expected = expected[:-1]
        if len(levels) < len(expected):
            return False
        levels = levels[: len(expected)]
    return len(expected) == len(levels) and all(
        wildcard in ("+", level) for wildcard, level in zip(expected, levels, strict=True)
    )


def source_reads(topic_filter: str, topic: str) -> bool:
    """Whether a source with this filter reads the topic. What came over HTTP is read by the filter up to its format
    too: servers tell the event behind it (`?event=up`), and no filter has to know their words.
    """
    levels = topic.split("/")
    pushed = len(levels) > 5 and levels[0] == "pilots" and levels[3] == "push"
    return topic_matches(topic_filter, topic) or (pushed and topic_matches(topic_filter, "/".join(levels[:5])))


def covers(wide: str, narrow: str) -> bool:
    """Whether the first filter takes every topic that the second one takes."""
    return topic_matches(wide, narrow) and (wide.endswith("#") or not narrow.endswith("#"))


def overlap(first: str, second: str) -> bool:
    """Whether some topic is taken by both filters."""
    for left, right in zip_longest(first.split("/"), second.split("/")):
        if "#" in (left, right):
            return True
        if left is None or right is None:
            return "#" in (left, right)
        if left != right and "+" not in (left, right):
            return False
    return True


def essential(filters: Iterable[str]) -> tuple[str, ...]:
    """The filters without those that another one covers: a broker may give a message once for each that fits."""
    distinct = list(dict.fromkeys(filters))
    return tuple(narrow for narrow in distinct if not any(covers(wide, narrow) for wide in distinct if wide != narrow))

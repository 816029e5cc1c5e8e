"""From a topic to the device it speaks for and the format it is written in."""

from __future__ import annotations

import msgspec

IGNORED = "ignored"
"""Format of topics that carry no readings by rule: counted, not stored, not set aside."""


class Route(msgspec.Struct, frozen=True, gc=False):
    pilot: str
    device: str
    format: str  # a key of DECODERS, or IGNORED


class Router:
    """Knows `pilots/<pilot>/<device>/readings`. Topics of other formats join here when pilots bring `[[sources]]`.

    Answers are remembered: a platform sees the same few thousand topics all day. The memory is bounded, since a topic
    is whatever somebody cares to publish to.
    """

    def __init__(self, remembered: int = 20_000) -> None:
        self._remembered = remembered
        self._routes: dict[str, Route | None] = {}

    def route(self, topic: str) -> Route | None:
        """The route of a topic, or None for a topic that nobody described."""
        try:
            return self._routes[topic]
        except KeyError:
            pass
        if len(self._routes) >= self._remembered:
            self._routes.clear()
        route = self._routes[topic] = _native(topic)
        return route


def _native(topic: str) -> Route | None:
    levels = topic.split("/")
    if len(levels) != 4 or levels[0] != "pilots" or not levels[1] or not levels[2]:
        return None
    kind = {"readings": "native", "status": IGNORED}.get(levels[3])
    return Route(levels[1], levels[2], kind) if kind else None

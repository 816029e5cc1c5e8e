"""Tells a device what was wrong with its messages, on pilots/<pilot>/<device>/problems. See docs/devices.md."""

from __future__ import annotations

import datetime as dt
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable

import msgspec

from techport_pilots.account import SetAside

Tell = Callable[[str, bytes], None]
"""Publishes a payload to a topic, or does not when it cannot. Never waits, never raises."""

_EXCERPT = 200  # bytes of the message that come back


class Notices:
    """At most `burst` notices to a device at once, and one each `every` seconds after them. Not thread-safe."""

    def __init__(self, tell: Tell, burst: int = 10, every: float = 6.0, devices: int = 10_000) -> None:
        self._tell = tell
        self._burst = burst
        self._every = every
        self._devices = devices
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # topic: notices left, as of when

    def about(self, entries: Iterable[SetAside]) -> None:
        """Tell the devices of these entries. Messages whose device nobody can name are told to nobody."""
        for entry in entries:
            topic = f"pilots/{entry.pilot}/{entry.device}/problems"
            if _is_topic(entry.pilot) and _is_topic(entry.device) and self._may(topic):
                self._tell(topic, _notice(entry))

    def _may(self, topic: str) -> bool:
        now = time.monotonic()
        left, then = self._left.pop(topic, (float(self._burst), now))
        left = min(self._burst, left + (now - then) / self._every)
        told = left >= 1
        self._left[topic] = (left - told, now)
        if len(self._left) > self._devices:
            self._left.popitem(last=False)
        return told


def _is_topic(level: str) -> bool:
    return 0 < len(level) <= 200 and level.isprintable() and not set("+#/$") & set(level)


def _notice(entry: SetAside) -> bytes:
    said: dict[str, object] = {
        "received": dt.datetime.fromtimestamp(entry.received / 1e6, dt.UTC).isoformat(timespec="milliseconds"),
        "reason": entry.reason,
        "detail": entry.detail,
        "hint": entry.hint,
        "values": entry.values,
        "topic": entry.topic,
    }
    if entry.field is not None:
        said["field"] = entry.field
    start = entry.payload[:_EXCERPT]
    try:
        said["payload"] = start.decode()
    except UnicodeDecodeError:
        said["payload_hex"] = start.hex()
    return msgspec.json.encode(said)

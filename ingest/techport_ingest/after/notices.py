"""Tells a device what was wrong with its messages, on pilots/<pilot>/<device>/problems (docs/devices.md), and asks it
for what was missing where its format has a command for that.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable

import msgspec

from techport_pilots.accounting.tally import QuarantineEntry
from techport_pilots.formats import formats
from techport_pilots.registry.database import clean_text
from techport_pilots.token_bucket import TokenBuckets

Publish = Callable[[str, bytes], None]
"""Publishes a payload to a topic, or does not when it cannot. Never waits, never raises."""

_EXCERPT = 200  # bytes of the message that come back


_RECOVERY = 60.0  # seconds between two commands to one device


class Notices:
    """At most `burst` notices to a device at once, and one each `every` seconds after them. Not thread-safe."""

    def __init__(self, publish: Publish, burst: int = 10, every: float = 6.0, devices: int = 10_000) -> None:
        self._publish = publish
        self._problems = TokenBuckets(burst, every, devices)
        self._recoveries = TokenBuckets(1, _RECOVERY, devices)

    def about(self, entries: Iterable[QuarantineEntry]) -> None:
        """Tell the devices of these entries. Messages whose device nobody can name are told to nobody."""
        for entry in entries:
            topic = f"pilots/{entry.pilot}/{entry.device}/problems"
            if _is_topic(entry.pilot) and _is_topic(entry.device) and self._problems.take(topic) >= 0:
                self._publish(topic, _notice(entry))
            if (command := _recovery(entry)) is not None:
                topic, payload = command
                if self._recoveries.take(topic) >= 0:
                    self._publish(topic, payload)


def _recovery(entry: QuarantineEntry) -> tuple[str, bytes] | None:
    """The command that makes the device send what was missing, where its format has one."""
    form = formats().get(entry.format)
    return None if form is None or form.recovery is None else form.recovery(entry.reason, entry.topic, entry.received)


def _is_topic(level: str) -> bool:
    return 0 < len(level) <= 200 and level.isprintable() and not set("+#/$") & set(level)


def _notice(entry: QuarantineEntry) -> bytes:
    rejection = entry.rejection.kept()
    notice: dict[str, object] = {
        "received": dt.datetime.fromtimestamp(entry.received / 1e6, dt.UTC).isoformat(timespec="milliseconds"),
        "reason": entry.reason,
        "code": rejection.code,
        "params": rejection.params,
        "detail": rejection.detail(),
        "hint": rejection.hint(),
        "values": entry.values,
        "topic": clean_text(entry.topic),
    }
    if entry.field is not None:
        notice["field"] = clean_text(entry.field)
    start = entry.payload[:_EXCERPT]
    try:
        notice["payload"] = start.decode()
    except UnicodeDecodeError:
        notice["payload_hex"] = start.hex()
    return msgspec.json.encode(notice)

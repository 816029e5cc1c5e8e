"""A source that also empties the session which an earlier version kept under another client id."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence

import msgspec

from techport_ingest.message import Message
from techport_ingest.source import Source

_EARLIER = 1 << 62  # marks the number of a message from the earlier session; those of sources are smaller


class SucceedingSource:
    """A Source over two: `source`, for good, and `earlier`, until nothing has come from it for `quiet_s` seconds.

    `earlier` takes what waits and nothing new, and removes its session when it is closed (MqttSettings.retire).
    `emptied` is called then. What both sessions got while they overlapped is stored once, as every redelivery.
    """

    def __init__(self, source: Source, earlier: Source, emptied: Callable[[], object], quiet_s: float = 5.0) -> None:
        self._source = source
        self._earlier: Source | None = earlier
        self._emptied = emptied
        self._quiet_s = quiet_s
        self._last = time.monotonic()
        self._unacknowledged = 0

    def receive(self, timeout: float) -> list[Message]:
        inherited = self._inherited()
        return inherited + self._source.receive(0 if inherited else timeout)

    def ack(self, messages: Sequence[Message]) -> None:
        inherited = [message for message in messages if message.id >= _EARLIER]
        if inherited and self._earlier is not None:
            self._earlier.ack([msgspec.structs.replace(message, id=message.id - _EARLIER) for message in inherited])
            self._unacknowledged -= len(inherited)
        self._source.ack([message for message in messages if message.id < _EARLIER])

    def subscribe(self, topics: Sequence[str], described: Collection[str] = ()) -> None:
        self._source.subscribe(topics, described)
        if self._earlier is not None:
            self._earlier.subscribe(topics)

    @property
    def connected(self) -> bool:
        return self._source.connected

    def close(self) -> None:
        self._source.close()
        if self._earlier is not None:
            self._earlier.close()

    def _inherited(self) -> list[Message]:
        if self._earlier is None:
            return []
        messages = self._earlier.receive(0)
        if messages or not self._earlier.connected or not self._source.connected or self._unacknowledged:
            self._last = time.monotonic()
        elif time.monotonic() - self._last > self._quiet_s:
            self._earlier.close()
            self._earlier = None
            self._emptied()
        self._unacknowledged += len(messages)
        return [msgspec.structs.replace(message, id=message.id + _EARLIER) for message in messages]

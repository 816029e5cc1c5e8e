"""What a worker commits, gathered for about a second: see techport_pilots.accounting.commit_log."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from techport_ingest.message import Message
from techport_pilots.accounting.commit_log import CommitSpan
from techport_pilots.accounting.tally import DeviceDay
from techport_storage.model import Micros


class CommitRecorder:
    """Lines for the log. Not thread-safe."""

    def __init__(self, worker: str) -> None:
        self._worker = worker
        self._lines: list[CommitSpan] = []
        self._now: tuple[Micros, Micros, Micros] | None = None  # first, last, visible
        self._devices: set[tuple[str, str]] = set()

    def add(self, messages: Sequence[Message], touched: Iterable[DeviceDay], visible: Micros, replayed: bool) -> None:
        """A batch that is committed. Messages that were reprocessed came long ago: each has a line of its own."""
        devices = {(device_day.pilot, device_day.device) for device_day in touched}
        times = {message.received for message in messages}
        if not times:
            return
        if replayed:
            self._lines += [self._line(time, time, visible, devices) for time in sorted(times)]
            return
        first, last, _ = self._now or (min(times), max(times), visible)
        self._now = (min(first, *times), max(last, *times), visible)
        self._devices |= devices

    def take(self) -> list[CommitSpan]:
        """The lines since the last call."""
        lines, self._lines = self._lines, []
        if self._now is not None:
            lines.append(self._line(*self._now, self._devices))
            self._now, self._devices = None, set()
        return lines

    def _line(self, first: Micros, last: Micros, visible: Micros, devices: set[tuple[str, str]]) -> CommitSpan:
        return CommitSpan(self._worker, first, last, visible, devices)

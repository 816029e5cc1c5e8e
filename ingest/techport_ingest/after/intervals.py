"""How often streams come of which nobody said it: learned from their messages, so that silence is noticed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from statistics import median

import numpy as np

from techport_pilots.registry.intervals import CHANGED, LearnedInterval
from techport_pilots.registry.view import IngestView
from techport_storage.microseconds import SECOND
from techport_storage.model import Batch, Micros, Stream

_KEPT = 9  # arrivals of each stream
_ENOUGH = 5
_NEVER = np.iinfo(np.int64).min
_REGULAR = 1.5  # the upper quartile of the distances is at most so many times their median


class IntervalLearner:
    """Remembers the last arrivals of up to `streams` streams. Not thread-safe."""

    def __init__(self, streams: int = 50_000) -> None:
        self._most = streams
        self._heard: dict[Stream, list[tuple[Micros, Micros]]] = {}  # (arrival, newest time) of the last batches
        self._told: dict[Stream, Micros] = {}

    def learn(self, batch: Batch, view: IngestView) -> list[LearnedInterval]:
        """What a batch teaches: intervals that are new, or clearly others than before."""
        arrivals, times = (np.full(len(batch.streams), _NEVER, np.int64) for _ in range(2))
        np.maximum.at(arrivals, batch.stream, batch.received)
        np.maximum.at(times, batch.stream, batch.time)
        learned = []
        for stream, received, time in zip(batch.streams, arrivals.tolist(), times.tolist(), strict=True):
            if received == _NEVER or _is_promised(view, stream):
                continue
            interval = self._of(stream, received, time)
            reported = self._told.get(stream)
            if interval is not None and (reported is None or not reported / CHANGED <= interval <= reported * CHANGED):
                self._told[stream] = interval
                learned.append(LearnedInterval(stream.pilot, stream.device, stream.quantity, interval))
        return learned

    def _of(self, stream: Stream, received: Micros, time: Micros) -> Micros | None:
        """The interval of a stream that was heard again; None while too little is known."""
        if stream not in self._heard and len(self._heard) >= self._most:
            forgotten = next(iter(self._heard))
            del self._heard[forgotten]
            self._told.pop(forgotten, None)
        heard = self._heard.setdefault(stream, [])
        heard.append((received, time))
        del heard[:-_KEPT]
        if len(heard) < _ENOUGH:
            return None
        arrivals, times = zip(*heard, strict=True)
        # A backlog arrives at once, and a packet of readings seldom: the longer of the two is what silence is told by.
        return max(_usual(_distances(arrivals)), _usual(_distances(times)), SECOND)


def _is_promised(view: IngestView, stream: Stream) -> bool:
    """Whether the definition says how often the stream comes."""
    pilot = view.pilot(stream.pilot)
    device = None if pilot is None else pilot.devices.get(stream.device)
    described = None if device is None else device.streams.get(stream.quantity)
    return described is not None and described.promised


def _distances(instants: Iterable[Micros]) -> list[Micros]:
    ordered = sorted(set(instants))
    return [later - earlier for earlier, later in pairwise(ordered)]


def _usual(distances: Sequence[Micros]) -> Micros:
    """Their median where they are regular, else the longest: a device that reports changes is not missed so soon."""
    if len(distances) < _ENOUGH - 1:
        return 0
    middle = median(distances)
    upper = sorted(distances)[(3 * len(distances)) // 4]
    return round(middle) if upper <= _REGULAR * middle else max(distances)

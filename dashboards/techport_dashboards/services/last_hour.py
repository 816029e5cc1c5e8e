"""Means of the last hour, for pages that rate what was measured just now: asked of the store once a minute."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from techport_storage.microseconds import HOUR, MINUTE
from techport_storage.model import BucketWidth, Micros, Query, Selection, Stream
from techport_storage.store import ReadingStore


class LastHour:
    """Gives the means of streams, at most a minute old. Safe to use from several threads."""

    def __init__(self, store: ReadingStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._kept: tuple[tuple[int, tuple[Stream, ...]], Mapping[Stream, float]] | None = None

    def means(self, streams: tuple[Stream, ...], now: Micros) -> Mapping[Stream, float]:
        """Of the streams that were read in the hour before `now`, without flagged readings. Raises StoreUnavailable."""
        if not streams:
            return {}
        key = now // MINUTE, streams
        with self._lock:
            if self._kept is None or self._kept[0] != key:
                self._kept = key, self._ask(streams, now)
            return self._kept[1]

    def _ask(self, streams: tuple[Stream, ...], now: Micros) -> Mapping[Stream, float]:
        query = Query(
            select=Selection(streams=streams),
            start=now - HOUR,
            end=now,
            every=BucketWidth(1, "h"),
            quality="good",
        )
        total: dict[Stream, tuple[float, int]] = {}
        with self._store.read(query) as answer:
            for row in answer.read_all().to_pylist():  # two rows a stream: the clock strikes in between
                stream = Stream(row["pilot"], row["device"], row["quantity"])
                value, count = total.get(stream, (0.0, 0))
                total[stream] = value + row["mean"] * row["count"], count + row["count"]
        return {stream: value / count for stream, (value, count) in total.items()}

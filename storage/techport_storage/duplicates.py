"""Which rows of a batch a server has already, and with which value: a receipt has to say so, and no server does.

    a stream's rows in the store     oldest ├────────────────────────┤ newest      (asked for once, then followed)
    a row to be written                        ▲ inside: look it up        ▲ outside: it cannot be there

Only this process's own writes move the bounds, so that is exact while one process writes a stream. Where several do,
they announce what they write (other_writers.py), and what another one announced is looked up as well. Bounds may be
wider than the truth (after an erase, or a write without an answer): then rows are looked up in vain, never wrongly
judged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from techport_storage.microseconds import HOUR
from techport_storage.model import Batch, Micros, Stream
from techport_storage.other_writers import OtherWriters

_CLUSTERS = 64  # of times, in one look-up
_GAP = HOUR  # µs; rows nearer than that are looked up together
_FIRST, _LAST = -(2**62), 2**62  # µs: before and after every time

Floats = NDArray[np.float64]
Int = NDArray[np.int64]


class Rows(Protocol):
    """What a server knows of the rows it has."""

    def bounds(self, streams: Sequence[Stream]) -> Mapping[Stream, tuple[Micros, Micros]]:
        """Times of the oldest and the newest row of each of the (sorted) streams that has any."""

    def values(self, streams: Sequence[Stream], stream: NDArray[np.intp], time: Int) -> Floats:
        """The value at each time of streams[stream[i]], NaN where there is no row."""


class DuplicateFinder:
    """Bounds of the streams this process has written. Not safe for threads by itself: the store has a lock."""

    def __init__(self, rows: Rows, several_writers: bool, others: OtherWriters | None = None) -> None:
        """`several_writers`: others write the same streams; without `others` every row is looked up then."""
        self._rows = rows
        self._several = several_writers
        self._others = others if several_writers else None
        self._forget()

    def _forget(self) -> None:
        self._ids: dict[Stream, int] = {}
        self._oldest = np.empty(0, np.int64)  # by id; a stream without rows is oldest _LAST, newest _FIRST
        self._newest = np.empty(0, np.int64)

    def check(self, batch: Batch, rows: Int) -> Floats:
        """For each of these rows of the batch the value that the store has for its stream and time, NaN where none.

        They are about to be written: from here on the store may have them, even if the write gets no answer. Raises
        StoreUnavailable, and then nothing has changed; from announcing, what that raises.
        """
        streams, positions = streams_of(batch, rows)
        time = batch.time[rows]
        if self._several and self._others is None:
            return self._rows.values(streams, positions, time)
        announced = None
        if self._others is not None:
            announced = self._others.announce(streams, positions, time)
            if not self._others.heard_all:
                self._forget()
        self._learn([stream for stream in streams if stream not in self._ids])
        ids = np.array([self._ids[stream] for stream in streams], np.intp)[positions]
        values = np.full(len(rows), np.nan)
        inside = (time >= self._oldest[ids]) & (time <= self._newest[ids])
        suspects = np.flatnonzero(inside if announced is None else inside | announced)
        if len(suspects):
            values[suspects] = self._rows.values(streams, positions[suspects], time[suspects])
        np.minimum.at(self._oldest, ids, time)
        np.maximum.at(self._newest, ids, time)
        return values

    def undisturbed(self) -> bool:
        """Whether what `check` said still held when the rows were written: nobody else was at the same rows."""
        return self._others is None or self._others.undisturbed()

    def _learn(self, streams: list[Stream]) -> None:
        if not streams:
            return
        known_bounds = self._rows.bounds(sorted(streams))
        ends = np.array([known_bounds.get(stream, (_LAST, _FIRST)) for stream in streams], np.int64)
        self._oldest = np.concatenate([self._oldest, ends[:, 0]])
        self._newest = np.concatenate([self._newest, ends[:, 1]])
        self._ids |= {stream: stream_id for stream_id, stream in enumerate(streams, len(self._ids))}


def streams_of(batch: Batch, rows: Int) -> tuple[list[Stream], NDArray[np.intp]]:
    """The streams that these rows of the batch belong to, and for each row which of them."""
    used, positions = np.unique(batch.stream[rows], return_inverse=True)
    return [batch.streams[position] for position in used.tolist()], positions


def clusters(stream: NDArray[np.intp], time: Int) -> list[tuple[int, int, set[int]]]:
    """(first, last, streams) of groups of rows that lie near one another in time, a few at most."""
    order = np.argsort(time, kind="stable")
    ordered = time[order]
    gaps = np.diff(ordered)
    widest = np.argsort(gaps)[::-1][: _CLUSTERS - 1]
    cuts = np.sort(widest[gaps[widest] > _GAP]) + 1
    return [
        (int(ordered[part[0]]), int(ordered[part[-1]]), set(stream[order[part]].tolist()))
        for part in np.split(np.arange(len(ordered)), cuts)
    ]

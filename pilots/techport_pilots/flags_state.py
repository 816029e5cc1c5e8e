"""What flagging remembers of each stream, as columns, so that a batch of any shape is judged in one pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from techport_storage.model import Micros, Stream

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

NEVER = np.iinfo(np.int64).min
_LONG_AGO = 1 << 40


@dataclass(frozen=True, slots=True)
class Line:
    """Readings of a batch that come in order, by stream and time. `rows` are their places in what was lined up.

    `before` (n, window) are the values before each, NaN where there were fewer; `same` counts the readings up to this
    one that have its value, `still` is for how long (µs).
    """

    rows: Ints
    id: Ints
    time: Ints
    value: Floats
    previous: Ints  # time of the reading before, NEVER for the first
    before: Floats
    same: Ints
    still: Ints


class State:
    """Memory of all streams seen. Grows with the number of streams only."""

    def __init__(self, window: int) -> None:
        self._window = window
        self._ids: dict[Stream, int] = {}
        self._tail = np.empty((0, window))
        self._time = np.empty(0, np.int64)
        self._same = np.empty(0, np.int64)
        self._since = np.empty(0, np.int64)
        self._after_move = np.empty(0, np.int64)  # readings since the last move

    def id_of(self, stream: Stream) -> int:
        id = self._ids.setdefault(stream, len(self._ids))
        if id >= len(self._time):
            more = max(16, len(self._time))
            self._tail = np.concatenate([self._tail, np.full((more, self._window), np.nan)])
            self._time = np.concatenate([self._time, np.full(more, NEVER)])
            self._same = np.concatenate([self._same, np.zeros(more, np.int64)])
            self._since = np.concatenate([self._since, np.full(more, NEVER)])
            self._after_move = np.concatenate([self._after_move, np.full(more, _LONG_AGO)])
        return id

    def line_up(self, id: Ints, time: Ints, value: Floats) -> Line:
        """Put readings in order behind what is known, leave out those that come too late, and remember all but the last
        of each stream.
        """
        order = np.lexsort((np.arange(len(time)), time, id))
        order = order[time[order] > self._time[id[order]]]
        last_of_its_time = np.ones(len(order), bool)
        last_of_its_time[:-1] = (np.diff(id[order]) != 0) | (np.diff(time[order]) != 0)
        order = order[last_of_its_time]
        id, time, value = id[order], time[order], value[order]
        streams, first, count = np.unique(id, return_index=True, return_counts=True)
        # One long row: each stream's remembered values, then its new ones. Windows into it never cross streams.
        place = np.arange(len(id)) + self._window * (np.repeat(np.arange(len(streams)), count) + 1)
        row = np.full(len(id) + self._window * len(streams), np.nan)
        row[place] = value
        starts = first + self._window * np.arange(len(streams))
        row[starts[:, None] + np.arange(self._window)] = self._tail[streams]
        windows = np.lib.stride_tricks.sliding_window_view(row, self._window) if len(row) else np.empty((0, 1))
        same, since = self._standstill(id, time, value, first, streams)
        previous = np.concatenate([time[:1], time[:-1]])
        previous[first] = self._time[streams]
        line = Line(order, id, time, value, previous, windows[place - self._window], same, time - since)
        longer = count > 1
        if longer.any():
            streams, end = streams[longer], (first + count - 2)[longer]
            self._tail[streams] = windows[place[end] - self._window + 1]
            self._time[streams], self._same[streams], self._since[streams] = time[end], same[end], since[end]
        return line

    def _standstill(self, id: Ints, time: Ints, value: Floats, first: Ints, streams: Ints) -> tuple[Ints, Ints]:
        """How many readings have had each value in a row, and since when."""
        changed = np.ones(len(id), bool)
        changed[1:] = value[1:] != value[:-1]
        goes_on = self._tail[streams, -1] == value[first]
        changed[first] = True
        begin = np.maximum.accumulate(np.where(changed, np.arange(len(id)), 0))
        same, since = np.arange(len(id)) - begin + 1, time[begin]
        carried = np.zeros(len(id), bool)
        carried[first] = goes_on
        carried = carried[begin]
        return np.where(carried, same + self._same[id], same), np.where(carried, self._since[id], since)

    def moved_lately(self, line: Line, moves: Mapping[int, Sequence[Micros]]) -> NDArray[np.bool_]:
        """Which readings are within a window's length after a move of their device. Call once for each line."""
        lately = np.zeros(len(line.id), bool)
        for id, times in moves.items():
            rows = np.flatnonzero(line.id == id)
            if not len(rows):
                continue
            seen = np.searchsorted(times, line.time[rows], "right") > np.searchsorted(
                times, line.previous[rows], "right"
            )
            seen &= line.previous[rows] != NEVER
            place = np.arange(len(rows))
            latest = np.maximum.accumulate(np.where(seen, place, -1))
            since = np.where(latest >= 0, place - latest, self._after_move[id] + 1 + place)
            lately[rows] = since < self._window
            if len(rows) > 1:
                self._after_move[id] = since[-2]  # the last reading is not remembered, nor is its move
        return lately

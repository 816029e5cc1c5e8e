"""Which rows of a batch the store has already, and with which value: a receipt has to say so, and InfluxDB does not.

    a stream's rows in the store     oldest ├────────────────────────┤ newest      (asked for once, then followed)
    a row to be written                        ▲ inside: look it up        ▲ outside: it cannot be there

Only this process's own writes move the bounds, so that is exact while one process writes a stream. Where several do,
they announce what they write (other_writers.py), and what another one announced is looked up as well. Bounds may be
wider than the truth (after an erase, or a write without an answer): then rows are looked up in vain, never wrongly
judged.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from techport_storage.influxdb.connection import Connection, stream_bytes
from techport_storage.influxdb.other_writers import OtherWriters
from techport_storage.influxdb.query import COLUMNS, FIRST, KINDS, LAST, ql_conditions, ql_select, ql_times
from techport_storage.influxdb.responses import Column, Kinds, series
from techport_storage.microseconds import HOUR
from techport_storage.model import Batch, Stream

_STATEMENTS = 64  # in one look-up: one for each cluster of times
_GAP = HOUR  # µs; rows nearer than that are looked up together

Floats = NDArray[np.float64]
Int = NDArray[np.int64]
Values = tuple[float | int, ...]


class DuplicateFinder:
    """Bounds of the streams this process has written. Not safe for threads by itself: the store has a lock."""

    def __init__(self, connection: Connection, several_writers: bool, others: OtherWriters | None = None) -> None:
        """`several_writers`: others write the same streams; without `others` every row is looked up then."""
        self._connection = connection
        self._several = several_writers
        self._others = others if several_writers else None
        self._forget()

    def _forget(self) -> None:
        self._ids: dict[Stream, int] = {}
        self._oldest = np.empty(0, np.int64)  # by id; a stream without rows is oldest LAST, newest FIRST
        self._newest = np.empty(0, np.int64)

    def check(self, batch: Batch, rows: Int) -> Floats:
        """For each of these rows of the batch the value that the store has for its stream and time, NaN where none.

        They are about to be written: from here on the store may have them, even if the write gets no answer. Raises
        StoreUnavailable, and then nothing has changed; from announcing, what that raises.
        """
        used, positions = np.unique(batch.stream[rows], return_inverse=True)
        streams = [batch.streams[position] for position in used.tolist()]
        time = batch.time[rows]
        if self._several and self._others is None:
            return self._values(streams, positions, time)
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
            values[suspects] = self._values(streams, positions[suspects], time[suspects])
        np.minimum.at(self._oldest, ids, time)
        np.maximum.at(self._newest, ids, time)
        return values

    def undisturbed(self) -> bool:
        """Whether what `check` said still held when the rows were written: nobody else was at the same rows."""
        return self._others is None or self._others.undisturbed()

    def _values(self, streams: Sequence[Stream], stream: NDArray[np.intp], time: Int) -> Floats:
        # one field: a third of the work of all of them
        stored = self._look_up(streams, stream, time, "value", KINDS[:1])
        return np.array([np.nan if values is None else values[0] for values in stored], np.float64)

    def stored(self, streams: Sequence[Stream], stream: NDArray[np.intp], time: Int) -> list[Values | None]:
        """(value, received in ms, quality) that the store has for stream and time of each row, or None."""
        return self._look_up(streams, stream, time, COLUMNS, KINDS)

    def _look_up(
        self, streams: Sequence[Stream], stream: NDArray[np.intp], time: Int, names: str, kinds: Kinds
    ) -> list[Values | None]:
        row_of = {(streams[s], t): row for row, (s, t) in enumerate(zip(stream.tolist(), time.tolist(), strict=True))}
        stored: list[Values | None] = [None] * len(time)
        statements: list[str] = []
        for first, last, members in _clusters(stream, time):
            conditions = ql_conditions(sorted(streams[s] for s in members))
            statements += (ql_select(names, condition, ql_times(first, last)) for condition in conditions)
        answer = self._connection.influxql(statements)
        for rows in series(stream_bytes(self._connection.address, answer), kinds):
            times, *values = (column.tolist() for column in rows.columns)
            for t, *fields in zip(times, *values, strict=True):
                row = row_of.get((rows.stream, t))
                if row is not None:
                    stored[row] = tuple(fields)
        return stored

    def _learn(self, streams: list[Stream]) -> None:
        if not streams:
            return
        known_bounds = bounds(self._connection, sorted(streams))
        ends = np.array([known_bounds.get(stream, (LAST, FIRST)) for stream in streams], np.int64)
        self._oldest = np.concatenate([self._oldest, ends[:, 0]])
        self._newest = np.concatenate([self._newest, ends[:, 1]])
        self._ids |= {stream: stream_id for stream_id, stream in enumerate(streams, len(self._ids))}


def bounds(connection: Connection, streams: Sequence[Stream]) -> dict[Stream, tuple[int, int]]:
    """Times of the oldest and the newest row of each of the (sorted) streams that has any."""
    ends = {function: _times_of(connection, streams, function) for function in ("first", "last")}
    return {stream: (int(time), ends["last"].get(stream, int(time))) for stream, time in ends["first"].items()}


def _times_of(connection: Connection, streams: Sequence[Stream], function: str) -> dict[Stream, int]:
    statements = [ql_select(f"{function}(value)", condition) for condition in ql_conditions(streams)]
    answer = connection.influxql(statements)
    times_of: dict[Stream, Column] = {
        rows.stream: rows.columns[0] for rows in series(stream_bytes(connection.address, answer), (np.float64,))
    }
    return {stream: int(times[0]) for stream, times in times_of.items() if len(times)}


def _clusters(stream: NDArray[np.intp], time: Int) -> list[tuple[int, int, set[int]]]:
    """(first, last, streams) of groups of rows that lie near one another in time, a few at most."""
    order = np.argsort(time, kind="stable")
    ordered = time[order]
    gaps = np.diff(ordered)
    widest = np.argsort(gaps)[::-1][: _STATEMENTS - 1]
    cuts = np.sort(widest[gaps[widest] > _GAP]) + 1
    return [
        (int(ordered[part[0]]), int(ordered[part[-1]]), set(stream[order[part]].tolist()))
        for part in np.split(np.arange(len(ordered)), cuts)
    ]

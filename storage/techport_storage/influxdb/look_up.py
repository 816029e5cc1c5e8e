"""What InfluxDB has at given times of given streams."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from techport_storage.duplicates import clusters
from techport_storage.influxdb.connection import Connection, stream_bytes
from techport_storage.influxdb.query import COLUMNS, KINDS, ql_conditions, ql_select, ql_times
from techport_storage.influxdb.responses import Kinds, series
from techport_storage.model import Micros, Stream
from techport_storage.series import Column

Floats = NDArray[np.float64]
Int = NDArray[np.int64]
Values = tuple[float | int, ...]


class LookUp:
    """Questions about rows that may be there."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def bounds(self, streams: Sequence[Stream]) -> dict[Stream, tuple[Micros, Micros]]:
        """Times of the oldest and the newest row of each of the (sorted) streams that has any."""
        return bounds(self._connection, streams)

    def values(self, streams: Sequence[Stream], stream: NDArray[np.intp], time: Int) -> Floats:
        """The value at each time of streams[stream[i]], NaN where there is no row."""
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
        for first, last, members in clusters(stream, time):
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

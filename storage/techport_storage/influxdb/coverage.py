"""Coverage worked out by InfluxDB: counts and bounds of each stream, and only those distances that are too long.

Reading a year to count it would send every reading here; distances that miss a reading are few, so few rows come.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from techport_storage.coverage import Coverage
from techport_storage.influxdb.connection import Connection, stream_bytes
from techport_storage.influxdb.query import ql_conditions, ql_distances, ql_select, ql_times
from techport_storage.influxdb.responses import series
from techport_storage.model import Micros, Stream
from techport_storage.series import Series


def coverage(
    connection: Connection, intervals: Mapping[Stream, Micros], first: Micros, last: Micros
) -> dict[Stream, Coverage]:
    """Coverage of those streams that hold readings from first to last, both included."""
    streams = sorted(intervals)
    times = ql_times(first, last)
    conditions = list(ql_conditions(streams))
    readings = _numbers(connection, [ql_select("count(value)", condition, times) for condition in conditions])
    flagged = _numbers(
        connection, [ql_select("count(value)", condition, times, "quality != 0") for condition in conditions]
    )
    begun = _moments(connection, [ql_select("first(value)", condition, times) for condition in conditions])
    ended = _moments(connection, [ql_select("last(value)", condition, times) for condition in conditions])
    measured = [stream for stream in streams if stream in readings and stream in begun and stream in ended]
    # Where the interval is as long as all that is there, nothing can be missing between.
    suspects = [stream for stream in measured if 2 * (ended[stream] - begun[stream]) >= 3 * intervals[stream]]
    gaps = _gaps(connection, {stream: intervals[stream] for stream in suspects}, times)
    return {
        stream: Coverage(
            readings=readings[stream],
            flagged=flagged.get(stream, 0),
            first=begun[stream],
            last=ended[stream],
            missing=gaps.get(stream, (0, 0))[0],
            longest=gaps.get(stream, (0, 0))[1],
        )
        for stream in measured
    }


def _gaps(connection: Connection, intervals: Mapping[Stream, Micros], times: str) -> dict[Stream, tuple[int, int]]:
    """Readings missing, and the longest distance in which one is."""
    by_interval: dict[Micros, list[Stream]] = {}
    for stream in sorted(intervals):
        by_interval.setdefault(intervals[stream], []).append(stream)
    gaps: dict[Stream, tuple[int, int]] = {}
    for interval, streams in by_interval.items():
        least = 2 * interval - interval // 2  # half an interval late is late, more is missing
        statements = [ql_distances(condition, times, least) for condition in ql_conditions(streams)]
        for rows in _answers(connection, statements, [np.int64]):
            if intervals.get(rows.stream) != interval:
                continue
            distance = rows.columns[1]
            missing, longest = gaps.get(rows.stream, (0, 0))
            missing += int(((distance + interval // 2) // interval - 1).sum())
            gaps[rows.stream] = missing, max(longest, int(distance.max(initial=0)))
    return gaps


def _numbers(connection: Connection, statements: Sequence[str]) -> dict[Stream, int]:
    numbers: dict[Stream, int] = {}
    for rows in _answers(connection, statements, [np.int64]):
        numbers[rows.stream] = numbers.get(rows.stream, 0) + int(rows.columns[1].sum())
    return numbers


def _moments(connection: Connection, statements: Sequence[str]) -> dict[Stream, Micros]:
    answers = _answers(connection, statements, [np.float64])
    return {rows.stream: int(rows.columns[0][0]) for rows in answers if len(rows)}


def _answers(
    connection: Connection, statements: Sequence[str], kinds: Sequence[type[np.int64] | type[np.float64]]
) -> Iterator[Series]:
    if statements:
        yield from series(stream_bytes(connection.address, connection.influxql(statements)), kinds)

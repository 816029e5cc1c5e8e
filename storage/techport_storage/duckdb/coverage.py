"""Coverage by SELECT: each reading beside its follower, summed up by stream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import duckdb

from techport_storage.coverage import Coverage, joined
from techport_storage.duckdb.index import Ids
from techport_storage.duckdb.read import Plan
from techport_storage.model import Micros, Stream

_SQL = """
WITH asked AS (SELECT unnest($ids::INTEGER[]) AS stream, unnest($intervals::BIGINT[]) AS promised),
near AS (
    FROM body WHERE stream BETWEEN $low AND $high AND time BETWEEN $first AND $last AND {chosen}
    UNION ALL
    FROM head WHERE stream BETWEEN $low AND $high AND time BETWEEN $first AND $last AND {chosen}
),
counted AS (
    SELECT stream, count(*) AS readings, count_if(quality <> 0) AS flagged, min(time) AS first, max(time) AS last
    FROM near GROUP BY stream
),
followed AS (SELECT stream, lead(time) OVER (PARTITION BY stream ORDER BY time) - time AS distance FROM near),
gaps AS (
    SELECT stream, sum((distance + promised // 2) // promised - 1)::BIGINT AS missing, max(distance) AS longest
    FROM (FROM followed WHERE distance >= $least) JOIN asked USING (stream)
    WHERE distance + promised // 2 >= 2 * promised
    GROUP BY stream
)
SELECT stream, readings, flagged, first, last, coalesce(missing, 0), coalesce(longest, 0)
FROM counted JOIN asked USING (stream) LEFT JOIN gaps USING (stream)
"""
# Few distances are long: they are picked ($least) before anything is asked of them, which halves the time.

COUNTED = 1_000_000  # readings that a window runs over at once


def coverage(cursor: duckdb.DuckDBPyConnection, plan: Plan, intervals: Sequence[Micros]) -> dict[Stream, Coverage]:
    """Coverage of the streams of a plan without `every`, whose promised intervals run parallel to them.

    One SELECT for each slice of the plan, since a window over all readings would hold them all in memory; a stream that
    is cut in time is joined again.
    """
    coverages: dict[Stream, Coverage] = {}
    for section in replace(plan, at_once=COUNTED).slices(None):
        ranks = section.ranks
        promised = intervals[ranks.start : ranks.stop]
        ids = plan.ids[ranks.start : ranks.stop]
        for stream_id, part in _select(cursor, ids, promised, section.first, section.last):
            rank = ranks.start + int((ids == stream_id).argmax())
            stream = plan.streams[rank]
            earlier = coverages.get(stream)
            coverages[stream] = part if earlier is None else joined(earlier, part, intervals[rank])
    return coverages


def _select(
    cursor: duckdb.DuckDBPyConnection, ids: Ids, intervals: Sequence[Micros], first: Micros, last: Micros
) -> Iterator[tuple[int, Coverage]]:
    """Coverage by the number of the stream, of those that hold readings from first to last, both included."""
    asked = {"ids": ids.tolist(), "intervals": list(intervals), "low": int(ids.min()), "high": int(ids.max())}
    least = min(promised + promised // 2 for promised in intervals)
    sparse = asked["high"] - asked["low"] >= 2 * len(ids)  # otherwise a few streams too many cost less than the test
    sql = _SQL.format(chosen="stream IN (SELECT stream FROM asked)" if sparse else "true")
    rows = cursor.execute(sql, {**asked, "first": first, "last": last, "least": least}).fetchall()
    return ((row[0], Coverage(*row[1:])) for row in rows)

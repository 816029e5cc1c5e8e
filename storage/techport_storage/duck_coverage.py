"""Coverage in one SELECT: each reading beside its follower, summed up by stream."""

from __future__ import annotations

from collections.abc import Sequence

import duckdb

from techport_storage.coverage import Coverage
from techport_storage.duck_directory import Ids
from techport_storage.model import Micros

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


def coverage(
    cursor: duckdb.DuckDBPyConnection, ids: Ids, intervals: Sequence[Micros], first: Micros, last: Micros
) -> dict[int, Coverage]:
    """Coverage by the number of the stream, of those that hold readings from first to last, both included."""
    if not len(ids):
        return {}
    asked = {"ids": ids.tolist(), "intervals": list(intervals), "low": int(ids.min()), "high": int(ids.max())}
    least = min(promised + promised // 2 for promised in intervals)
    sparse = asked["high"] - asked["low"] >= 2 * len(ids)  # otherwise a few streams too many cost less than the test
    sql = _SQL.format(chosen="stream IN (SELECT stream FROM asked)" if sparse else "true")
    found = cursor.execute(sql, {**asked, "first": first, "last": last, "least": least}).fetchall()
    return {row[0]: Coverage(*row[1:]) for row in found}

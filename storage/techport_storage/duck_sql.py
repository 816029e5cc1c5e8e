"""The SQL of DuckStore: its tables, and the one SELECT behind every read."""

from __future__ import annotations

from techport_storage.every import FIXED
from techport_storage.model import Aggregate, Every, Query

SCHEMA = """
CREATE TABLE IF NOT EXISTS layout (version INTEGER);
INSERT INTO layout SELECT 1 WHERE NOT EXISTS (FROM layout);
CREATE TABLE IF NOT EXISTS streams (id INTEGER, pilot VARCHAR, device VARCHAR, quantity VARCHAR);
CREATE TABLE IF NOT EXISTS head (stream INTEGER, time BIGINT, value DOUBLE, delay BIGINT, quality UTINYINT);
CREATE TABLE IF NOT EXISTS body (stream INTEGER, time BIGINT, value DOUBLE, delay BIGINT, quality UTINYINT);
"""
"""`head` takes rows as they arrive, `body` holds runs of rows sorted by stream and time. `time` is µs; `delay` is the time of
arrival minus `time`, both cut to whole ms: a small number, which packs into a byte or two."""

RECEIVED = "(epoch_ms(make_timestamp(time)) + delay)"
"""Time of arrival in ms. epoch_ms rounds down before 1970 too, as integer division does not."""

_SPREAD = 1e-160  # brings the greatest float64 to where its square still is one

# fsum and favg are Kahan sums: equal to the last digit or two in whatever order the rows come. They answer NaN where the
# sum is out of range, the plain ones infinity.
_AGGREGATES: dict[Aggregate, str] = {
    "mean": "if(isfinite(fsum(value)), favg(value), avg(value))",
    "min": "min(value)",
    "max": "max(value)",
    "sum": "if(isfinite(fsum(value)), fsum(value), sum(value))",
    "first": "arg_min(value, time)",
    "last": "arg_max(value, time)",
    "std": f"if(max(abs(value)) < 1e150, stddev_samp(if(abs(value) < 1e150, value, 0)), "
    f"stddev_samp(value * {_SPREAD}) / {_SPREAD})",
    "median": "median(value)",
}

_CALENDAR = {"d": "day", "w": "week", "mo": "month", "y": "year"}


def select(query: Query) -> str:
    """The rows of one slice, ordered by rank (of the stream in `picked`) and time.

    Parameters: $ids and $ranks of the streams, $low and $high their least and greatest id (which prunes row groups),
    $first and $last times (inclusive), $after (aggregates only: the bucket to start behind), $rows at most.
    """
    good = " AND quality = 0" if query.quality == "good" else ""
    where = f"stream BETWEEN $low AND $high AND time BETWEEN $first AND $last{good}"
    found = " UNION ALL ".join(f"SELECT * FROM {table} WHERE {where}" for table in ("body", "head"))
    picked = "SELECT unnest($ids::INTEGER[]) AS stream, unnest($ranks::INTEGER[]) AS rank"
    source = f"({found}) JOIN ({picked}) USING (stream)"
    if query.every is None:
        return (
            f"SELECT rank, time, value, {RECEIVED} AS received, quality FROM {source} ORDER BY rank, time LIMIT $rows"
        )
    buckets = f"SELECT rank, {bucket(query.every, query.zone)} AS bucket, time, value FROM {source}"
    return (
        f"SELECT rank, bucket, {aggregate_columns(query.aggregates)} FROM ({buckets}) "
        "GROUP BY rank, bucket HAVING bucket > $after ORDER BY rank, bucket LIMIT $rows"
    )


def bucket(every: Every, zone: str) -> str:
    """Start of the bucket that `time` lies in, µs."""
    if every.unit in FIXED:
        width = every.count * FIXED[every.unit]
        return f"time - ((time % {width}) + {width}) % {width}"
    origin = "1970-01-05" if every.unit == "w" else "1970-01-01"  # a Monday; otherwise the year that time counts from
    local = f"timezone('{zone}', make_timestamptz(time))"
    width_local = f"INTERVAL {every.count} {_CALENDAR[every.unit]}"
    return f"epoch_us(timezone('{zone}', time_bucket({width_local}, {local}, TIMESTAMP '{origin}')))"


def aggregate_columns(aggregates: tuple[Aggregate, ...]) -> str:
    values = [f"{_AGGREGATES[name]} AS {name}" for name in aggregates if name != "count"]
    return ", ".join([*values, "count(*) AS count"])

"""The SQL of DuckStore: its tables, and the one SELECT behind every read.

`head` takes rows as they arrive, `body` holds runs of rows sorted by stream and time, `ends` sums the body up (a row
for each stream: how many, from when to when, and the latest), so that opening need not read it. `time` is in µs;
`delay`, the time of arrival minus `time`, each cut to whole ms, is a small number and packs into a byte or two.
"""

from __future__ import annotations

from techport_storage.buckets import fixed_width
from techport_storage.model import Aggregate, Every, Query

VERSION = 2
"""Of the tables. A file of another version is refused."""

TABLES = {
    "layout": "(version INTEGER, runs BIGINT, merged_rows BIGINT, to_rewrite BOOLEAN)",
    "probe": "(time TIMESTAMP)",
    "streams": "(id INTEGER, pilot VARCHAR, device VARCHAR, quantity VARCHAR)",
    "head": "(stream INTEGER, time BIGINT, value DOUBLE, delay BIGINT, quality UTINYINT)",
    "body": "(stream INTEGER, time BIGINT, value DOUBLE, delay BIGINT, quality UTINYINT)",
    "ends": "(stream INTEGER, rows BIGINT, oldest BIGINT, newest BIGINT, value DOUBLE, delay BIGINT, quality UTINYINT)",
}

STREAMS_WITH_ROWS = "SELECT stream FROM head UNION SELECT stream FROM body"

# Kahan sums (fsum, favg) are equal but for the last digit in whatever order rows come. Out of range they answer NaN,
# where the plain ones answer infinity.
_AGGREGATES: dict[Aggregate, str] = {
    "mean": "if(isfinite(fsum(value)), favg(value), avg(value))",
    "min": "min(value)",
    "max": "max(value)",
    "sum": "if(isfinite(fsum(value)), fsum(value), sum(value))",
    "first": "arg_min(value, time)",
    "last": "arg_max(value, time)",
    # The square of a value above 1e154 is out of range: scale such buckets down first.
    "std": "if(max(abs(value)) < 1e150, stddev_samp(if(abs(value) < 1e150, value, 0)), "
    "stddev_samp(value * 1e-160) * 1e160)",
    "median": "median(value)",
}


def ends_of(table: str) -> str:
    """The columns of `ends` for the rows of another table."""
    return (
        "SELECT stream, count(*) AS rows, min(time) AS oldest, max(time) AS newest, arg_max(value, time) AS value, "
        f"arg_max(delay, time) AS delay, arg_max(quality, time) AS quality FROM {table} GROUP BY stream"
    )


def select(query: Query) -> str:
    """The rows of one slice of a query, ordered by rank (of the stream, in the order of names) and time.

    Parameters: $ids and $ranks of the streams; $low and $high, the least and the greatest of the ids, which let row
    groups be skipped; $first and $last times, both included; $rows at most. For aggregates also $after, the start of
    the bucket to begin behind. Calendar buckets take their starts from the registered table `calendar`.
    """
    good = " AND quality = 0" if query.quality == "good" else ""
    where = f"stream BETWEEN $low AND $high AND time BETWEEN $first AND $last{good}"
    found = " UNION ALL ".join(f"SELECT * FROM {table} WHERE {where}" for table in ("body", "head"))
    picked = "SELECT unnest($ids::INTEGER[]) AS stream, unnest($ranks::INTEGER[]) AS rank"
    source = f"({found}) JOIN ({picked}) USING (stream)"
    if query.every is None:
        whole_ms = _floored(1000)  # not epoch_ms, nor // : they round towards zero, which before 1970 is up
        received = f"{whole_ms} + delay * 1000"
        return f"SELECT rank, time, value, {received}, quality FROM {source} ORDER BY rank, time LIMIT $rows"
    return (
        f"SELECT rank, bucket, {_columns(query.aggregates)} FROM ({_bucketed(query.every, source)}) "
        "GROUP BY rank, bucket HAVING bucket > $after ORDER BY rank, bucket LIMIT $rows"
    )


def _bucketed(every: Every, source: str) -> str:
    width = fixed_width(every)
    if width is None:
        return f"SELECT rank, bucket, time, value FROM {source} ASOF JOIN calendar ON time >= bucket"
    return f"SELECT rank, {_floored(width)} AS bucket, time, value FROM {source}"


def _floored(width: int) -> str:
    """`time` cut down to a multiple of a width; `%` alone takes the sign of the time."""
    return f"time - (time % {width} + {width}) % {width}"


def _columns(aggregates: tuple[Aggregate, ...]) -> str:
    return ", ".join([*(f"{_AGGREGATES[name]} AS {name}" for name in aggregates if name != "count"), "count(*)"])

"""The SELECT over rows of readings that every aggregate comes from.

DuckStore runs it over its tables, InfluxStore over the raw rows of an answer, so both give equal numbers. A table has
the columns stream, time (µs), value, delay, late and quality; the time of arrival, in ms, is `time` cut to ms + `delay`
+ `late`.
"""

from __future__ import annotations

from collections.abc import Sequence

from techport_storage.buckets import fixed_width
from techport_storage.model import Aggregate, BucketWidth, QualityChoice, Query, percentile_of


def _floored(width: int) -> str:
    """`time` cut down to a multiple of a width.

    `%` goes towards zero, which before 1970 is up: it is taken of times moved by 73,000 years, a multiple of the width.
    """
    return f"(time - (time + {2**61 // width * width}) % {width})"


RECEIVED_MS = f"({_floored(1000)} // 1000 + delay + late)"

# Kahan sums (fsum, favg) are equal but for the last digit in whatever order rows come. Out of range they answer NaN,
# where the plain ones answer infinity.
_EAST, _NORTH = "favg(sin(radians(value % 360)))", "favg(cos(radians(value % 360)))"

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
    "share": "favg(if(value <> 0, 1.0, 0.0))",
    "energy_mean": "if(max(abs(value)) <= 3000, "
    "10 * log10(greatest(favg(pow(10, if(abs(value) <= 3000, value, 0) / 10)), 1e-300)), NULL)",
    # Below this length the mean vector is what rounding left of directions that cancel out.
    "vector_mean": f"if(pow({_EAST}, 2) + pow({_NORTH}, 2) < 1e-18, NULL, "
    f"(degrees(atan2({_EAST}, {_NORTH})) % 360 + 360) % 360)",
}


QUALITY_CONDITIONS: dict[QualityChoice, str] = {"all": "", "good": "quality = 0", "flagged": "quality != 0"}
"""In SQL and InfluxQL alike."""


def and_quality(query: Query) -> str:
    """The end of a WHERE clause that keeps the readings of the query's quality."""
    condition = QUALITY_CONDITIONS[query.quality]
    return f" AND {condition}" if condition else ""


def select(query: Query, tables: Sequence[str], several: bool = True) -> str:
    """The rows of one slice of a query, ordered by rank (of the stream, in the order of names) and time.

    Parameters: $low and $high, the least and the greatest id of the streams, which let row groups be skipped; $first
    and $last times, both included; $rows at most. With several streams $ids and $ranks of each; of one there is no
    column `rank`. For aggregates $after, the start of the bucket to begin behind. Calendar buckets start as the
    registered table `calendar` says.
    """
    where = f"stream BETWEEN $low AND $high AND time BETWEEN $first AND $last{and_quality(query)}"
    columns = "time, value, delay, late, quality" if query.every is None else "time, value"
    columns, rank = (f"stream, {columns}", "rank, ") if several else (columns, "")
    source = " UNION ALL ".join(f"SELECT {columns} FROM {table} WHERE {where}" for table in tables)
    if several:
        picked = "SELECT unnest($ids::INTEGER[]) AS stream, unnest($ranks::INTEGER[]) AS rank"
        source = f"({source}) JOIN ({picked}) USING (stream)"
    else:
        source = f"({source})"
    if query.every is None:
        received = f"{RECEIVED_MS} * 1000 AS received"
        return f"SELECT {rank}time, value, {received}, quality FROM {source} ORDER BY {rank}time LIMIT $rows"
    return (
        f"SELECT {rank}bucket, {value_columns(query.aggregates)} FROM ({_bucketed(query.every, source, rank)}) "
        f"GROUP BY {rank}bucket HAVING bucket > $after ORDER BY {rank}bucket LIMIT $rows"
    )


def _bucketed(every: BucketWidth, source: str, rank: str) -> str:
    width = fixed_width(every)
    if width is None:
        return f"SELECT {rank}bucket, time, value FROM {source} ASOF JOIN calendar ON time >= bucket"
    return f"SELECT {rank}{_floored(width)} AS bucket, time, value FROM {source}"


def value_columns(aggregates: tuple[Aggregate, ...]) -> str:
    """The aggregates of `value` and the number of rows, for a SELECT."""
    return ", ".join([*(f"{_column(name)} AS {name}" for name in aggregates if name != "count"), "count(*) AS count"])


def _column(name: Aggregate) -> str:
    percentile = percentile_of(name)
    return _AGGREGATES[name] if percentile is None else f"quantile_cont(value, {percentile / 100})"

"""The SQL of DuckStore: its tables and their summary. The SELECT behind every read is in aggregate_sql.py.

`head` takes rows as they arrive, `body` holds runs of rows sorted by stream and time, `ends` sums the body up (a row
for each stream: how many, from when to when, and the latest), so that opening need not read it.

`time` is in µs. The time of arrival, in ms, is `time` cut to ms + `delay` + `late`: `delay` holds it when it is under a
second, which packs into a byte or so, and `late` when it is longer, as after an outage, which is rare and packs into
nearly nothing. In one column the few long ones would widen all (measured: 2.3 bytes a row instead of 1.5).
"""

from __future__ import annotations

from techport_storage.aggregate_sql import RECEIVED_MS, and_quality
from techport_storage.model import Query

VERSION = 4
"""Of the tables. The steps in migrations/ bring older files to it."""

TABLES = {
    "layout": "(version INTEGER, runs BIGINT, merged_rows BIGINT, to_rewrite BOOLEAN)",
    "probe": "(time TIMESTAMP)",
    "streams": "(id INTEGER, pilot VARCHAR, device VARCHAR, quantity VARCHAR)",
    "head": "(stream INTEGER, time BIGINT, value DOUBLE, delay SMALLINT, late BIGINT, quality UTINYINT)",
    "body": "(stream INTEGER, time BIGINT, value DOUBLE, delay SMALLINT, late BIGINT, quality UTINYINT)",
    "ends": "(stream INTEGER, rows BIGINT, oldest BIGINT, newest BIGINT, value DOUBLE, received BIGINT, "
    "quality UTINYINT)",
}

STREAMS_WITH_ROWS = "SELECT stream FROM head UNION SELECT stream FROM body"


def ends_of(table: str) -> str:
    """The columns of `ends` for the rows of another table."""
    return (
        "SELECT stream, count(*) AS rows, min(time) AS oldest, max(time) AS newest, arg_max(value, time) AS value, "
        f"arg_max({RECEIVED_MS}, time) AS received, arg_max(quality, time) AS quality FROM {table} GROUP BY stream"
    )


def of_one(query: Query, table: str) -> str:
    """Raw rows of the stream $low from $first to $last in no order, as the table holds them.

    What it leaves to the caller (order, limit, the time of arrival, a second table) costs more to plan than to do.
    """
    where = f"stream = $low AND time BETWEEN $first AND $last{and_quality(query)}"
    return f"SELECT time, value, delay, late, quality FROM {table} WHERE {where}"

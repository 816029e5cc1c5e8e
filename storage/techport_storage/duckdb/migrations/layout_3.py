"""Layout 3: delays of a minute and more in a column of their own, `late`; the summary holds the time of arrival."""

from __future__ import annotations

import duckdb

_COLUMNS = "(stream INTEGER, time BIGINT, value DOUBLE, delay INTEGER, late BIGINT, quality UTINYINT)"
_LONG = "abs(delay) >= 60000"  # ms
# `%` goes towards zero, which before 1970 is up: it is taken of times moved by 73,000 years, a multiple of 1000.
_NEWEST_MS = f"(newest - (newest + {2**61 // 1000 * 1000}) % 1000) // 1000"


def upgrade(cursor: duckdb.DuckDBPyConnection) -> None:
    for table in ("head", "body"):
        cursor.execute(f"CREATE TABLE upgraded {_COLUMNS}")
        cursor.execute(
            f"INSERT INTO upgraded SELECT stream, time, value, if({_LONG}, 0, delay), if({_LONG}, delay, 0), quality "
            f"FROM {table}"
        )
        cursor.execute(f"DROP TABLE {table}")
        cursor.execute(f"ALTER TABLE upgraded RENAME TO {table}")
    cursor.execute(
        "CREATE TABLE upgraded (stream INTEGER, rows BIGINT, oldest BIGINT, newest BIGINT, value DOUBLE, "
        "received BIGINT, quality UTINYINT)"
    )
    cursor.execute(
        f"INSERT INTO upgraded SELECT stream, rows, oldest, newest, value, {_NEWEST_MS} + delay, quality FROM ends"
    )
    cursor.execute("DROP TABLE ends")
    cursor.execute("ALTER TABLE upgraded RENAME TO ends")

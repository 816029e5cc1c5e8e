"""Layout 2: a summary of the body (`ends`), a table for probes, and what maintenance has done."""

from __future__ import annotations

import duckdb


def upgrade(cursor: duckdb.DuckDBPyConnection) -> None:
    cursor.execute("CREATE TABLE probe (time TIMESTAMP)")
    cursor.execute(
        "CREATE TABLE ends (stream INTEGER, rows BIGINT, oldest BIGINT, newest BIGINT, value DOUBLE, delay BIGINT, "
        "quality UTINYINT)"
    )
    cursor.execute(
        "INSERT INTO ends SELECT stream, count(*), min(time), max(time), arg_max(value, time), arg_max(delay, time), "
        "arg_max(quality, time) FROM body GROUP BY stream"
    )
    cursor.execute("ALTER TABLE layout ADD COLUMN runs BIGINT")
    cursor.execute("ALTER TABLE layout ADD COLUMN merged_rows BIGINT")
    cursor.execute("ALTER TABLE layout ADD COLUMN to_rewrite BOOLEAN")
    cursor.execute("UPDATE layout SET runs = 1, merged_rows = (SELECT count(*) FROM body), to_rewrite = false")

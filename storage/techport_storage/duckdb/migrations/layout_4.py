"""Layout 4: delays of a second and more, instead of a minute, are in `late`, and `delay` has two bytes."""

from __future__ import annotations

import duckdb

_COLUMNS = "(stream INTEGER, time BIGINT, value DOUBLE, delay SMALLINT, late BIGINT, quality UTINYINT)"
_LONG = "abs(delay + late) >= 1000"  # ms


def upgrade(cursor: duckdb.DuckDBPyConnection) -> None:
    for table in ("head", "body"):
        cursor.execute(f"CREATE TABLE upgraded {_COLUMNS}")
        cursor.execute(
            f"INSERT INTO upgraded SELECT stream, time, value, if({_LONG}, 0, delay + late), "
            f"if({_LONG}, delay + late, 0), quality FROM {table}"
        )
        cursor.execute(f"DROP TABLE {table}")
        cursor.execute(f"ALTER TABLE upgraded RENAME TO {table}")

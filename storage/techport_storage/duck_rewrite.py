"""Writing a DuckDB file anew, so that nothing of what was erased is left in it.

DuckDB marks the blocks of deleted rows as free and leaves their content until something else needs the space, and
statistics of what was deleted live on in its metadata. A new file has neither, and is as small as it can be.
"""

from __future__ import annotations

import duckdb

from techport_storage import duck_sql
from techport_storage.duck_file import ROW_GROUP, DuckFile, quoted


def rewrite(file: DuckFile, rows_at_once: int) -> bool:
    """Write the file anew, sorted, and put it in the place of the old one. Nobody may write meanwhile.

    A crash leaves the old file or the new one. Takes about 0.3 CPU s a million rows. False if a reader does not let go
    of the old file: try again later. Raises StoreUnavailable.
    """
    if file.path is None:
        return True
    new = file.path.with_name(f"{file.path.name}.new")
    new.unlink(missing_ok=True)
    with file.cursor() as cursor:
        cursor.execute(f"ATTACH '{quoted(new)}' AS new_file (ROW_GROUP_SIZE {ROW_GROUP})")
        try:
            _copy(cursor, rows_at_once)
            cursor.execute("CHECKPOINT new_file")  # all of it in the file: its log is left behind
        finally:
            cursor.execute("DETACH new_file")
    return file.replace_with(new)


def sort_into(cursor: duckdb.DuckDBPyConnection, target: str, source: str, rows_at_once: int) -> None:
    """Put the rows of a table, sorted by stream and time, into another. Sorts a range of streams at a time."""
    counts = cursor.execute(f"SELECT stream, count(*) FROM {source} GROUP BY stream ORDER BY stream").fetchall()
    for low, high in _ranges(counts, rows_at_once):
        rows = f"SELECT * FROM {source} WHERE stream BETWEEN $low AND $high ORDER BY stream, time"
        cursor.execute(f"INSERT INTO {target} {rows}", {"low": low, "high": high})


def _copy(cursor: duckdb.DuckDBPyConnection, rows_at_once: int) -> None:
    for table, columns in duck_sql.TABLES.items():
        cursor.execute(f"CREATE TABLE new_file.{table} {columns}")
    for table in ("streams", "head"):
        cursor.execute(f"INSERT INTO new_file.{table} FROM {table}")
    sort_into(cursor, "new_file.body", "body", rows_at_once)
    cursor.execute(f"INSERT INTO new_file.ends {duck_sql.ends_of('body')}")
    merged = "(SELECT count(*) FROM body)"
    cursor.execute(f"INSERT INTO new_file.layout VALUES ({duck_sql.VERSION}, 1, {merged}, false)")


def _ranges(counts: list[tuple[int, int]], size: int) -> list[tuple[int, int]]:
    """Neighbouring streams together, so that each range has about `size` rows: (first, last) stream."""
    ranges: list[tuple[int, int]] = []
    low, gathered = 0, 0
    for stream, rows in counts:
        if gathered and gathered + rows > size:
            ranges.append((low, stream - 1))
            low, gathered = stream, 0
        gathered += rows
    return [*ranges, (low, counts[-1][0])] if counts else []

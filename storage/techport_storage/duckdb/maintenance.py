"""What keeps a DuckStore fast and small, beside the writing: none of it changes what a read answers.

    checkpoint: the log into the file, before it grows long
    compaction: the head into the body as one sorted run
    merge:      all runs of the body into one
    rewrite:    the whole file, after readings were erased (duck_rewrite.py)

One thread does it, for as long as something is due. Two locks: a writer holds `writing`. Rows on the move between
tables cannot be removed at the same time, so who removes some holds `moving` too; who only adds rows need not, and goes
on during a compaction. `writing` is taken before `moving`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, fields

import duckdb

from techport_storage.duckdb import sql
from techport_storage.duckdb import sql as duck_sql
from techport_storage.duckdb.file import ROW_GROUP, DuckFile, quoted
from techport_storage.errors import StoreBusy, StoreUnavailable

# -- Writing a DuckDB file anew, so that nothing of what was erased is left in it.


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
    replaced = file.replace_with(new)
    if replaced:
        file.drop_copies()  # of before an upgrade: what was erased is in them too
    return replaced


def sort_into(cursor: duckdb.DuckDBPyConnection, target: str, source: str, rows_at_once: int) -> None:
    """Put the rows of a table, sorted by stream and time, into another. Sorts a range of streams at a time."""
    counts = cursor.execute(f"SELECT stream, count(*) FROM {source} GROUP BY stream ORDER BY stream").fetchall()
    for low, high in _ranges(counts, rows_at_once):
        rows = f"SELECT * FROM {source} WHERE stream BETWEEN $low AND $high ORDER BY stream, time"
        cursor.execute(f"INSERT INTO {target} {rows}", {"low": low, "high": high})


def _copy(cursor: duckdb.DuckDBPyConnection, rows_at_once: int) -> None:
    for table, columns in sql.TABLES.items():
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


_PAUSE = 30.0  # s

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Policy:
    """When upkeep is due, and what it and reads may take. The defaults are measured: see benchmarks/STORAGE.md."""

    head_rows: int = 4_000_000  # a run; reads go through as many unsorted rows
    runs: int = 64  # before they are merged: 24 of them read as fast as one
    merge_rows: int = 16_000_000  # sorted at a time, in some 500 MB
    log_bytes: int = 32 << 20  # replayed when the store is opened after a kill
    memory_mb: int = (
        1024  # what DuckDB may take: blocks of the file, and sorting; the rest goes through a folder beside it
    )


def policy_of(numbers: dict[str, int]) -> Policy:
    """The policy with some of its numbers set by name. Raises ValueError."""
    names = {field.name for field in fields(Policy)}
    for name, number in numbers.items():
        if name not in names or number < 1:
            raise ValueError(f"{name}={number} is no setting of a DuckDB store: use {', '.join(sorted(names))}, from 1")
    return Policy(**numbers)


class Maintenance:
    def __init__(self, file: DuckFile, policy: Policy, compacted: Callable[[], None]) -> None:
        """`compacted` is called, while nobody writes, when the head has become part of the body."""
        self.writing = threading.Lock()
        self.moving = threading.Lock()
        self._file = file
        self._policy = policy
        self._compacted = compacted
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._head_rows = 0  # about: rows that replaced some of the head count twice until the next recount
        self._to_rewrite = False
        self._not_before = 0.0  # monotonic s: after something did not work
        self._closed = False

    def recount(self) -> None:
        """Find out how much there is to do."""
        with self._file.cursor() as cursor:
            self._head_rows = _number(cursor, "SELECT count(*) FROM head")
            self._to_rewrite = cursor.execute("SELECT to_rewrite FROM layout").fetchall()[0][0]

    def added(self, rows: int) -> None:
        """So many rows came into the head: starts what is due, waits where it cannot keep up."""
        with self._starting:
            self._head_rows += rows
            running = self._thread is not None and self._thread.is_alive()
            if not running and not self._closed and self._due():
                # Not a daemon: an interpreter that exits lets the work end.
                self._thread = threading.Thread(target=self._work, name="techport-storage-upkeep")
                self._thread.start()
            behind = self._thread if self._head_rows > 3 * self._policy.head_rows else None
        if behind is not None:
            behind.join()

    def close(self) -> None:
        """End after the step that is under way."""
        with self._starting:
            self._closed = True
        if self._thread is not None:
            self._thread.join()

    def _due(self) -> bool:
        if time.monotonic() < self._not_before:
            return False
        full = self._head_rows >= self._policy.head_rows
        return full or self._to_rewrite or self._file.log_bytes() >= self._policy.log_bytes

    def _work(self) -> None:
        """Once through: what is due after that starts with the next rows."""
        try:
            self.rewrite_if_due()
            if self._head_rows >= self._policy.head_rows:
                self.compact()
            if self._merge_is_due() and not self._closed:
                self.merge()
            self.checkpoint()
        except StoreUnavailable as error:
            # Busy: a checkpoint while somebody reads rows for long that were replaced since; the log grows till then.
            level = logging.INFO if isinstance(error, StoreBusy) else logging.WARNING
            log.log(level, "upkeep of the store is put off by %.0f s: %s", _PAUSE, error)
            self._not_before = time.monotonic() + _PAUSE

    def rewrite_if_due(self) -> None:
        """Take what was erased out of the file too. Writers wait: about 0.3 CPU s a million rows."""
        if not self._to_rewrite:
            return
        with self.writing, self.moving:
            self._to_rewrite = not rewrite(self._file, self._policy.merge_rows)
        if self._to_rewrite:
            self._not_before = time.monotonic() + _PAUSE
            log.warning("somebody still reads what was erased: it leaves the file later")

    def checkpoint(self) -> None:
        """Write the log into the file. Writers wait: DuckDB refuses a checkpoint while one is at work."""
        with self.writing, self.moving, self._file.cursor() as cursor:
            cursor.execute("CHECKPOINT")

    def compact(self) -> None:
        """Move the head, sorted, to the end of the body."""
        with self.moving, self._file.transaction() as cursor:
            cursor.execute("INSERT INTO body FROM head ORDER BY stream, time")
            both = f"SELECT *, 0 AS part FROM ends UNION ALL SELECT *, 1 AS part FROM ({duck_sql.ends_of('head')})"
            latest = ", ".join(
                # A row of the head may have replaced the latest of the body: then it has the same time, and holds.
                f"arg_max({column}, (newest, part)) AS {column}"
                for column in ("value", "received", "quality")
            )
            cursor.execute(
                "CREATE TEMP TABLE new_ends AS SELECT stream, sum(rows)::BIGINT AS rows, min(oldest) AS oldest, "
                f"max(newest) AS newest, {latest} FROM ({both}) GROUP BY stream"
            )
            cursor.execute("DELETE FROM ends")
            cursor.execute("INSERT INTO ends FROM new_ends")
            cursor.execute("DROP TABLE new_ends")
            cursor.execute("DELETE FROM head")
            cursor.execute("UPDATE layout SET runs = runs + 1")
        self.recount()
        with self.writing:
            self._compacted()

    def _merge_is_due(self) -> bool:
        with self._file.cursor() as cursor:
            runs, merged = cursor.execute("SELECT runs, merged_rows FROM layout").fetchall()[0]
            live = _number(cursor, "SELECT count(*) FROM body")
            noted = _number(cursor, "SELECT coalesce(sum(rows), 0)::BIGINT FROM ends")
        many_runs = runs > self._policy.runs and live > 1.5 * merged
        many_holes = noted > 1.5 * live + self._policy.head_rows  # replaced rows still count in `ends`
        return many_runs or many_holes

    def merge(self) -> None:
        """Write the whole body anew, sorted, without what was removed. Takes about 0.25 CPU s a million rows, in
        which rows that replace others wait and new ones do not.
        """
        with self.moving, self._file.transaction() as cursor:
            cursor.execute(f"CREATE TABLE merged {duck_sql.TABLES['body']}")
            sort_into(cursor, "merged", "body", self._policy.merge_rows)
            cursor.execute("DROP TABLE body")
            cursor.execute("ALTER TABLE merged RENAME TO body")
            cursor.execute(f"CREATE OR REPLACE TABLE ends AS {duck_sql.ends_of('body')}")
            cursor.execute("UPDATE layout SET runs = 1, merged_rows = (SELECT count(*) FROM body)")


def _number(cursor: duckdb.DuckDBPyConnection, sql: str) -> int:
    return int(cursor.execute(sql).fetchall()[0][0])

"""ReadingStore in one DuckDB file, without an index: rows are made unique as they are written.

    write  ─► refuse NaN ─► one row a key ─► remove what it replaces ─► head ──compaction──► body, sorted
                                  └ only rows within the time range that the directory knows are looked up
    read   ◄─ slices ◄───────────────────────────────────────────────── head ∪ body
    latest ◄─ directory, in memory

docs/decisions/0002-rows-kept-unique-without-an-index.md says why.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Mapping
from contextlib import nullcontext

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from techport_storage.coverage import Coverage
from techport_storage.duckdb import coverage, sql, write
from techport_storage.duckdb.file import DuckFile, columns_of, parse_url
from techport_storage.duckdb.index import FAR_FUTURE, FAR_PAST, Ids, StreamIndex
from techport_storage.duckdb.maintenance import Maintenance, Policy, policy_of
from techport_storage.duckdb.migrations import migrate
from techport_storage.duckdb.read import Fetch, Plan
from techport_storage.errors import StoreIncompatible
from techport_storage.model import Batch, Extent, Micros, Query, Receipt, Replacing, Selection, Stream
from techport_storage.query_check import check_query, check_range, refused_rows


class DuckStore:
    """Readings in a DuckDB file. One process at a time has it open; the threads of that one share the store."""

    def __init__(self, file: DuckFile, policy: Policy) -> None:
        """Use open()."""
        self._file = file
        self._upkeep = Maintenance(file, policy, self._learn_head)
        self._knowing = threading.Lock()  # held for moments, to look into the directory or change it
        self._directory = StreamIndex()
        self._load()

    @classmethod
    def open(cls, url: str) -> DuckStore:
        """Open a DuckDB store, or create it.

        Parameters
        ----------
        url : str
            `duckdb:///relative.duckdb`, `duckdb:////absolute/path.duckdb`, or `duckdb://` in memory. Numbers of
            `Policy` may follow: `?head_rows=1000000` (rows), `log_bytes` (bytes), `memory_mb` (MiB).

        Returns
        -------
        DuckStore
            A file of an older layout was upgraded first, and a copy of the old one kept until the first clean close.

        Raises
        ------
        ValueError
            The URL has a host, or an option that is not a number of `Policy`.
        StoreIncompatible
            Not a file of techport, or one of a newer techport or another DuckDB.
        StoreUnavailable
            Another process has it open, or the disk is full.
        """
        path, numbers = parse_url(url)
        policy = policy_of(numbers)
        file = DuckFile(path, policy.memory_mb)
        try:
            _prepare(file)
            return cls(file, policy)
        except BaseException:
            file.close()
            raise

    def write(self, batch: Batch, replacing: Replacing | None = None) -> Receipt:
        """See ReadingStore.write. One transaction: a failure stored nothing."""
        rejected = refused_rows(batch)
        accepted = np.delete(np.arange(len(batch)), [row for row, _ in rejected])
        if not len(accepted):
            return Receipt(0, rejected=rejected)
        with self._upkeep.writing:
            self._revive()
            ids, new = write.number_streams(self._directory, batch.streams, np.unique(batch.stream[accepted]))
            arrivals, places = write.sort_out(batch, accepted, ids)
            suspects = write.suspects(self._directory, arrivals)
            with (
                self._upkeep.moving if len(suspects) else nullcontext(),
                self._file.transaction() as cursor,
            ):
                stored = np.full(len(arrivals.row), np.nan)
                if len(suspects):
                    stored = write.remove_stored(cursor, arrivals, suspects)
                receipt = places.receipt(batch, stored, rejected)
                if replacing is not None and receipt.corrections:
                    replacing(receipt.correction_rows, receipt.replaced)
                write.insert(cursor, arrivals, new)
            with self._knowing:
                for stream, stream_id in new.items():
                    self._directory.add(stream, stream_id)
                write.learn(self._directory, arrivals, ~np.isnan(stored))
        self._upkeep.added(len(arrivals.row))
        return receipt

    def flag(self, batch: Batch) -> int:
        """See ReadingStore.flag. One transaction: a failure flagged nothing."""
        if not len(batch):
            return 0
        with self._upkeep.writing:
            self._revive()
            ids, _ = write.number_streams(self._directory, batch.streams, np.unique(batch.stream))
            arrivals, _ = write.sort_out(batch, np.arange(len(batch)), ids)
            suspects = write.suspects(self._directory, arrivals)
            if not len(suspects):
                return 0
            with self._upkeep.moving, self._file.transaction() as cursor:
                unchanged = write.find_unchanged(cursor, arrivals, suspects)
                arrivals = arrivals.only(unchanged)
                if len(unchanged):
                    write.remove_stored(cursor, arrivals, np.arange(len(unchanged)))
                    write.insert(cursor, arrivals, {})
            if len(unchanged):
                with self._knowing:
                    write.learn(self._directory, arrivals, np.ones(len(unchanged), np.bool_))
        self._upkeep.added(len(unchanged))
        return len(unchanged)

    def read(self, query: Query) -> pa.RecordBatchReader:
        """See ReadingStore.read. Takes about 15 MB beside DuckDB's cache; the snapshot is taken before it returns."""
        check_query(query)
        self._revive_to_read()
        with self._knowing:
            plan = Plan.of(query, self._directory)
        tables = self._tables(plan)
        first = next(tables, None)  # now: from here on the answer does not change
        return pa.RecordBatchReader.from_batches(plan.schema, _batches(first, tables))

    def _tables(self, plan: Plan) -> Iterator[pa.Table]:
        with self._file.cursor() as cursor:
            fetch = Fetch(cursor, plan)
            if fetch.done:
                return
            if not fetch.is_one_select:  # of one the beginning and the end would be a fifth
                cursor.begin()
            table = fetch.table()
            while not fetch.done:
                yield table
                table = fetch.table()
        yield table  # when the snapshot has been let go, which keeps short answers from holding one at all

    def latest(self, select: Selection, changed_since: Micros | None = None) -> pa.Table:
        """See ReadingStore.latest. From memory: takes microseconds a stream and reads no file."""
        self._revive_to_read()
        with self._knowing:
            ids = self._directory.select(select)
            if changed_since is not None:
                ids = ids[self._directory.received[ids] >= changed_since // 1000]
            return self._directory.latest(ids)

    def extent(self, select: Selection, start: Micros | None = None, end: Micros | None = None) -> Extent:
        """See ReadingStore.extent. Known from memory; assumes a stream's readings spread evenly over its time."""
        check_range(start, end)
        self._revive_to_read()
        last = FAR_FUTURE if end is None else end - 1
        with self._knowing:
            ids = self._directory.select(select)
            readings = self._directory.readings(ids, FAR_PAST if start is None else start, last)
            return Extent(readings, self._directory.version_token(ids, last))

    def streams(self, select: Selection) -> list[Stream]:
        """See ReadingStore.streams. From memory."""
        self._revive_to_read()
        with self._knowing:
            return self._directory.names(self._directory.select(select))

    def counts(self) -> dict[Stream, int]:
        """See ReadingStore.counts. Never None; from memory."""
        self._revive_to_read()
        with self._knowing:
            ids = self._directory.select(Selection())
            return dict(zip(self._directory.names(ids), self._directory.rows[ids].tolist(), strict=True))

    def coverage(self, intervals: Mapping[Stream, Micros], start: Micros, end: Micros) -> dict[Stream, Coverage]:
        """See ReadingStore.coverage. One SELECT for each million readings."""
        check_range(start, end)
        self._revive_to_read()
        with self._knowing:
            plan = Plan.of(Query(select=Selection(streams=tuple(intervals)), start=start, end=end), self._directory)
        with self._file.cursor() as cursor:
            cursor.begin()
            return coverage.coverage(cursor, plan, [intervals[stream] for stream in plan.streams])

    def erase(self, select: Selection, start: Micros | None = None, end: Micros | None = None) -> int:
        """See ReadingStore.erase. Rewrites the file, about 0.3 CPU s a million rows, in which writers wait."""
        check_range(start, end)
        with self._upkeep.writing:
            self._revive()
            ids = self._directory.select(select)
            with self._upkeep.moving, self._file.transaction() as cursor:
                erased = _erase(
                    cursor, ids, FAR_PAST if start is None else start, FAR_FUTURE if end is None else end - 1
                )
            self._load()
        self._upkeep.rewrite_if_due()
        return erased

    def probe(self) -> None:
        """See ReadingStore.probe. Writes one row into a table of its own."""
        with self._upkeep.writing:
            self._revive()
            with self._file.transaction() as cursor:
                cursor.execute("DELETE FROM probe")
                cursor.execute("INSERT INTO probe VALUES (current_timestamp::TIMESTAMP)")

    def close(self) -> None:
        """See ReadingStore.close. Removes the copy that an upgrade left, if this is the first clean close after it."""
        self._upkeep.close()
        with self._upkeep.writing:
            self._file.close()
            self._file.drop_copies()

    def _revive(self) -> None:
        """Open the file again if DuckDB gave it up. Held: writing."""
        if self._file.broken:
            self._file.reopen()
            self._load()

    def _revive_to_read(self) -> None:
        if self._file.broken:
            with self._upkeep.writing:
                self._revive()

    def _load(self) -> None:
        """Learn by heart what is in the file."""
        directory = StreamIndex()
        with self._file.cursor() as cursor:
            cursor.begin()
            for stream_id, *name in cursor.execute("SELECT id, pilot, device, quantity FROM streams").fetchall():
                directory.add(Stream(*name), stream_id)
            for ends in ("FROM ends", sql.ends_of("head")):  # in this order: at the same time the head holds
                directory.note(*columns_of(cursor, ends))
            directory.note_head(*_head(cursor))
        with self._knowing:
            self._directory = directory
        self._upkeep.recount()

    def _learn_head(self) -> None:
        """See what of the head is left. Held: writing."""
        with self._file.cursor() as cursor:
            ids, oldest = _head(cursor)
        with self._knowing:
            self._directory.forget_head()
            self._directory.note_head(ids, oldest)


def _head(cursor: duckdb.DuckDBPyConnection) -> tuple[Ids, NDArray[np.int64]]:
    """The streams that have rows in the head, and from when on."""
    ids, oldest = columns_of(cursor, "SELECT stream, min(time) FROM head GROUP BY stream")
    return ids, oldest


def _prepare(file: DuckFile) -> None:
    """Make the tables of a new file, or bring those of an older one up to date. Raises StoreIncompatible."""
    with file.cursor() as cursor:
        existing = cursor.execute(_COLUMNS).fetchall()
        is_readings_file = ("layout", "version") in existing
        versions = cursor.execute("SELECT version FROM layout").fetchall() if is_readings_file else []
    if not existing:
        with file.transaction() as cursor:
            for table, columns in sql.TABLES.items():
                cursor.execute(f"CREATE TABLE {table} {columns}")
            cursor.execute(f"INSERT INTO layout VALUES ({sql.VERSION}, 0, 0, false)")
    elif len(versions) != 1:
        raise StoreIncompatible(f"{file.path}: a DuckDB file, but not made by techport. Name another, or move it away")
    elif versions != [(sql.VERSION,)]:
        migrate(file, versions[0][0])


_COLUMNS = "SELECT table_name, column_name FROM duckdb_columns() WHERE database_name = current_database()"


def _erase(cursor: duckdb.DuckDBPyConnection, ids: Ids, first: Micros, last: Micros) -> int:
    """Delete rows, and the streams that have none left. Returns the number of rows."""
    cursor.register("chosen", pa.table([ids], ["stream"]))
    where = "stream IN (FROM chosen) AND time BETWEEN $first AND $last"
    erased = 0
    for table in ("head", "body"):
        erased += cursor.execute(f"DELETE FROM {table} WHERE {where}", {"first": first, "last": last}).fetchall()[0][0]
    if erased:
        cursor.execute(f"DELETE FROM streams WHERE id NOT IN ({sql.STREAMS_WITH_ROWS})")
        cursor.execute(f"CREATE OR REPLACE TABLE ends AS {sql.ends_of('body')}")
        cursor.execute("UPDATE layout SET to_rewrite = true")
    return erased


def _batches(first: pa.Table | None, rest: Iterator[pa.Table]) -> Iterator[pa.RecordBatch]:
    """Their batches; one without rows for a slice without, so that who reads is asked whether to go on."""
    if first is not None:
        for table in itertools.chain([first], rest):
            yield from table.to_batches() or [pa.RecordBatch.from_pylist([], table.schema)]

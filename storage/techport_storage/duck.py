"""ReadingStore in one DuckDB file, without an index: rows are made unique as they are written.

    write ─► refuse NaN ─► one row a key ─► replace what is there already ─► head ──compaction──► body (sorted)
                                 │ only rows that are not news to the directory are looked up
    read  ◄─ slices ◄─────────────────────────────────────────────────────── head ∪ body
    latest ◄─ directory (memory)

docs/decisions/0002-rows-kept-unique-without-an-index.md says why.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from techport_storage import duck_open, duck_read, duck_sql
from techport_storage.check import check_query, check_range, refused_rows
from techport_storage.duck_directory import FAR_FUTURE, FAR_PAST, Directory, Ids
from techport_storage.duck_read import Plan
from techport_storage.model import RAW_SCHEMA, Batch, Micros, Query, Receipt, Selection, Stream


class DuckStore:
    """Readings in a DuckDB file. One process at a time; its threads may share the store."""

    def __init__(self, con: duckdb.DuckDBPyConnection, file: Path | None) -> None:
        """Use open()."""
        self._con = con
        self._file = file
        self._writing = threading.Lock()  # one writer at a time
        self._knowing = threading.Lock()  # held for moments: the directory
        self._directory = _load(con)

    @classmethod
    def open(cls, url: str) -> DuckStore:
        """Open or create; see duck_open.file_of for the URL. Raises ValueError, StoreUnavailable."""
        file = duck_open.file_of(url)
        con = duck_open.connect(file)
        try:
            with duck_open.saying_why(file):
                con.execute(duck_sql.SCHEMA)
                return cls(con, file)
        except BaseException:
            con.close()
            raise

    def write(self, batch: Batch) -> Receipt:
        rejected = refused_rows(batch)
        with self._writing, duck_open.saying_why(self._file):
            return self._write(batch, rejected)

    def _write(self, batch: Batch, rejected: list[tuple[int, str]]) -> Receipt:
        kept = np.delete(np.arange(len(batch)), [row for row, _ in rejected])
        if not len(kept):
            return Receipt(0, rejected=rejected)
        of_batch, new = self._ids_for(batch.streams, np.unique(batch.stream[kept]))
        ids = of_batch[batch.stream[kept]]
        order = np.lexsort((batch.time[kept], ids))  # stable: of rows with one key the latest arrival is the last
        rows, ids = kept[order], ids[order]
        time = batch.time[rows]
        last = np.append((ids[1:] != ids[:-1]) | (time[1:] != time[:-1]), True)
        superseded, rows, ids, time = rows[~last], rows[last], ids[last], time[last]
        received = batch.received[rows] // 1000
        table = pa.table(
            {
                "stream": ids,
                "time": time,
                "value": batch.value[rows],
                "delay": received - time // 1000,
                "quality": batch.quality[rows],
            }
        )
        cursor = self._con.cursor()
        cursor.begin()
        try:
            if new:
                cursor.executemany("INSERT INTO streams VALUES (?, ?, ?, ?)", [(id, *s) for s, id in new.items()])
            replaced = self._remove(cursor, ids, time)
            cursor.register("arrived", table)
            cursor.execute("INSERT INTO head FROM arrived")
            cursor.commit()
        finally:
            cursor.close()  # rolls back what was not committed
        self._learn(new, ids, time, replaced, batch.value[rows], received, batch.quality[rows])
        duplicate_rows = np.sort(np.concatenate([superseded, rows[replaced]]))
        return Receipt(len(kept) - len(duplicate_rows), duplicate_rows, rejected)

    def _ids_for(self, streams: object, used: NDArray[np.int32]) -> tuple[Ids, dict[Stream, int]]:
        """Ids by position in the batch's list of streams, and those among them that are new."""
        names = list(streams)  # type: ignore[call-overload]
        of_batch = np.full(len(names), -1, np.int32)
        new: dict[Stream, int] = {}
        following = self._directory.next_id
        for position in sorted(used.tolist(), key=names.__getitem__):
            name = Stream(*names[position])
            id = self._directory.id_of(name)
            of_batch[position] = new.setdefault(name, following + len(new)) if id is None else id
        return of_batch, new

    def _remove(self, cursor: duckdb.DuckDBPyConnection, ids: Ids, time: NDArray[np.int64]) -> NDArray[np.intp]:
        """Remove stored rows with the same keys; the positions of these keys. Keys are sorted and distinct."""
        known = ids < len(self._directory)
        oldest = np.full(len(ids), FAR_FUTURE)
        newest = np.full(len(ids), FAR_PAST)
        oldest[known], newest[known] = self._directory.oldest[ids[known]], self._directory.newest[ids[known]]
        suspects = np.flatnonzero((time >= oldest) & (time <= newest))
        if not len(suspects):
            return suspects
        cursor.register("suspects", pa.table({"position": suspects, "stream": ids[suspects], "time": time[suspects]}))
        bounds = {"first": int(time[suspects].min()), "last": int(time[suspects].max())}
        found = []
        for table in ("head", "body"):
            same = f"{table}.stream = suspects.stream AND {table}.time = suspects.time"
            sql = f"SELECT position FROM {table}, suspects WHERE {same} AND {table}.time BETWEEN $first AND $last"  # noqa: S608
            positions = [row[0] for row in cursor.execute(sql, bounds).fetchall()]
            if positions:
                cursor.execute(f"DELETE FROM {table} USING suspects WHERE {same}")  # noqa: S608
            found += positions
        return np.sort(np.array(found, np.intp))

    def _learn(
        self,
        new: dict[Stream, int],
        ids: Ids,
        time: NDArray[np.int64],
        replaced: NDArray[np.intp],
        value: NDArray[np.float64],
        received: NDArray[np.int64],
        quality: NDArray[np.uint8],
    ) -> None:
        ends = np.flatnonzero(np.append(ids[1:] != ids[:-1], True))  # the latest row of each stream
        starts = np.append(0, ends[:-1] + 1)
        written = np.add.reduceat(np.where(np.isin(np.arange(len(ids)), replaced), 0, 1), starts)
        with self._knowing:
            for stream, id in new.items():
                self._directory.add(stream, id)
            self._directory.note(
                ids[ends], written, time[starts], time[ends], value[ends], received[ends], quality[ends]
            )

    def read(self, query: Query) -> pa.RecordBatchReader:
        check_query(query)
        plan = self._plan(query)
        batches = self._batches(plan)
        with duck_open.saying_why(self._file):
            first = next(batches, None)
        return pa.RecordBatchReader.from_batches(plan.schema, _chain(first, batches))

    def _plan(self, query: Query) -> Plan:
        with self._knowing:
            known = self._directory
            ids = known.select(query.select)
            return Plan(query, known.names(ids), ids, known.rows[ids], known.oldest[ids], known.newest[ids])

    def _batches(self, plan: Plan) -> Iterator[pa.RecordBatch]:
        with duck_open.saying_why(self._file):
            cursor = self._con.cursor()
            try:
                cursor.begin()
                yield from duck_read.fetch(cursor, plan)
            finally:
                cursor.close()

    def latest(self, select: Selection, changed_since: Micros | None = None) -> pa.Table:
        with self._knowing:
            ids = self._directory.select(select)
            if changed_since is not None:
                ids = ids[self._directory.received[ids] >= changed_since // 1000]
            return self._directory.latest(ids)

    def streams(self, select: Selection) -> list[Stream]:
        with self._knowing:
            return self._directory.names(self._directory.select(select))

    def erase(self, select: Selection, start: Micros | None = None, end: Micros | None = None) -> int:
        check_range(start, end)
        bounds = {"first": FAR_PAST if start is None else start, "last": FAR_FUTURE if end is None else end - 1}
        with self._writing, duck_open.saying_why(self._file):
            with self._knowing:
                ids = self._directory.select(select)
            cursor = self._con.cursor()
            cursor.begin()
            try:
                cursor.register("chosen", pa.table({"stream": ids}))
                where = "stream IN (SELECT stream FROM chosen) AND time BETWEEN $first AND $last"
                erased = 0
                for table in ("head", "body"):
                    row = cursor.execute(f"DELETE FROM {table} WHERE {where}", bounds).fetchone()  # noqa: S608
                    erased += row[0] if row else 0
                cursor.execute(
                    "DELETE FROM streams WHERE id NOT IN (SELECT stream FROM head UNION SELECT stream FROM body)"
                )
                cursor.commit()
            finally:
                cursor.close()
            directory = _load(self._con)
            with self._knowing:
                self._directory = directory
            self._con.execute("CHECKPOINT")
            return erased

    def probe(self) -> None:
        with self._writing, duck_open.saying_why(self._file):
            self._con.execute("CREATE OR REPLACE TEMP TABLE probe AS SELECT 1")

    def close(self) -> None:
        with self._writing:
            self._con.close()


def _load(con: duckdb.DuckDBPyConnection) -> Directory:
    """The directory of what is in the file."""
    directory = Directory()
    for id, *name in con.execute("SELECT id, pilot, device, quantity FROM streams").fetchall():
        directory.add(Stream(*name), id)
    for table in ("body", "head"):
        rows = con.sql(
            "SELECT stream, count(*) AS rows, min(time) AS oldest, max(time) AS newest, arg_max(value, time) AS value, "
            f"arg_max({duck_sql.RECEIVED}, time) AS received, arg_max(quality, time) AS quality "
            f"FROM {table} GROUP BY stream"  # noqa: S608
        ).to_arrow_table()
        if rows.num_rows:
            directory.note(*(column.to_numpy() for column in rows.columns))
    return directory


def _chain(first: pa.RecordBatch | None, rest: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    if first is not None:
        yield first
        yield from rest

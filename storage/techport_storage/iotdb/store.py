"""ReadingStore in a table of an Apache IoTDB cluster: the store for more than one machine.

    write ─► refuse NaN ─► one row a key ─► which are there already? ─► tablets ─► logs of two of three nodes ─► receipt
    read  ◄─ rows in order (raw) │ date_bin (aggregates) ◄─ the nodes that lead the data

docs/iotdb.md says what the cluster has to be set to, how the data is laid out, and what was measured.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from functools import partial

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from techport_storage.announcements import Announcements
from techport_storage.clock import now
from techport_storage.columns import reader_of
from techport_storage.coverage import Coverage, coverage_by_reading
from techport_storage.duplicates import DuplicateFinder, streams_of
from techport_storage.errors import StoreBusy, StoreIncompatible, StoreUnavailable
from techport_storage.iotdb import sql
from techport_storage.iotdb.connection import Address, Connection
from techport_storage.iotdb.doubts import Doubts
from techport_storage.iotdb.rows import Rows
from techport_storage.iotdb.tablets import probe, refused_names, tablet
from techport_storage.microseconds import HOUR
from techport_storage.model import (
    RAW_SCHEMA,
    UNKNOWN_EXTENT,
    Batch,
    Extent,
    Micros,
    Query,
    Receipt,
    Replacing,
    Selection,
    Stream,
    aggregate_schema,
    selector,
)
from techport_storage.other_writers import OtherWriters
from techport_storage.places import Places
from techport_storage.pushed_aggregates import aggregated
from techport_storage.query_check import check_query, check_range, refused_rows
from techport_storage.series import raw_batches, spans, table

_ROWS = 10_000  # of one tablet
_RATIS = "org.apache.iotdb.consensus.ratis.RatisConsensus"


class IoTStore:
    """Readings in one table. Any number of processes may read; docs/iotdb.md says what several writers mean."""

    def __init__(self, connection: Connection, announcements: Announcements | None = None) -> None:
        """Use open()."""
        self._connection = connection
        self._table = connection.address.table
        self._writing = threading.Lock()
        self._rows = Rows(connection)
        self._doubts = Doubts()
        others = None if announcements is None else OtherWriters(announcements)
        self._duplicates = DuplicateFinder(self._rows, connection.address.several_writers, others)

    @classmethod
    def open(cls, url: str, announcements: Announcements | None = None) -> IoTStore:
        """Open the table that a URL names, or make it.

        Parameters
        ----------
        url : str
            `iotdb://host:6667,host:6667,host:6667/database?password_file=FILE`; `connection.Address.parse` lists the
            options.
        announcements : Announcements, optional
            How writers of this table tell each other what they write, where the URL says `writers=several`. Without
            it, every row is looked up before it is written.

        Returns
        -------
        IoTStore
            A node has answered, and the cluster is set to keep what it acknowledges.

        Raises
        ------
        ValueError
            The URL lacks a part, or has an option that there is not.
        StoreUnavailable
            No node answers, or the user is refused.
        StoreIncompatible
            The cluster is set so that acknowledged readings could be lost, or erased ones stay.
        """
        connection = Connection(Address.parse(url))
        try:
            _prepare(connection)
        except BaseException:
            connection.close()
            raise
        return cls(connection, announcements)

    def write(self, batch: Batch, replacing: Replacing | None = None) -> Receipt:
        """See ReadingStore.write. Rejected too: names that are none, and rows older than the table's TTL.

        After StoreUnavailable some of the rows may be stored; sent again they count as duplicates. StoreBusy says that
        another process was at the same rows, so that it is not known who wrote them first. What the announcements raise
        is raised before anything is stored.
        """
        with self._writing:
            return self._write(batch, replacing)

    def _write(self, batch: Batch, replacing: Replacing | None) -> Receipt:
        rejected = _refused(batch)
        accepted = np.delete(np.arange(len(batch)), [row for row, _ in rejected])
        if not len(accepted):
            return Receipt(0, rejected=rejected)
        places = Places.of(batch, accepted)
        rows = places.last
        self._doubts.check(batch, rows)
        stored = self._duplicates.check(batch, rows)
        expected = places.receipt(batch, stored, [])
        if replacing is not None and expected.corrections:
            replacing(expected.correction_rows, expected.replaced)
        if lost := self._send(batch, rows):
            gone = np.isin(rows, lost)
            reason = "time is before the TTL of the table, which IoTDB does not keep"
            rejected += [(row, reason) for row in places.rows[gone[places.numbers]].tolist()]
            places, stored = places.without(gone), stored[~gone]
        if not self._duplicates.undisturbed():
            raise StoreBusy("another process was writing the same readings, or it is not known whether one was")
        return places.receipt(batch, stored, sorted(rejected))

    def _send(self, batch: Batch, rows: NDArray[np.int64]) -> list[int]:
        """Write the rows; those that the cluster left out as too old."""
        lost = []
        for begin in range(0, len(rows), _ROWS):
            part = rows[begin : begin + _ROWS]
            in_doubt = partial(self._doubts.add, batch, part)
            if not self._connection.insert(self._table, tablet(batch, part), in_doubt=in_doubt):
                # IoTDB stores the others, and does not say which these are.
                stored = self._stored(batch, part)
                lost += [row for row, found in zip(part.tolist(), stored, strict=True) if found is None]
        return lost

    def _stored(self, batch: Batch, rows: NDArray[np.int64]) -> list[tuple[float, int, int] | None]:
        streams, positions = streams_of(batch, rows)
        return self._rows.stored(streams, positions, batch.time[rows]) if len(rows) else []

    def flag(self, batch: Batch) -> int:
        """See ReadingStore.flag."""
        with self._writing:
            rows = np.setdiff1d(np.arange(len(batch)), [row for row, _ in _refused(batch)])
            rows = Places.of(batch, rows).last
            arrivals = (batch.received[rows] // 1000).tolist()
            compared = zip(batch.value[rows].tolist(), arrivals, self._stored(batch, rows), strict=True)
            unchanged = [found is not None and found[:2] == (value, arrival) for value, arrival, found in compared]
            rows = rows[np.array(unchanged, bool)]
            self._doubts.check(batch, rows, same_value_is_safe=False)
            self._send(batch, rows)
            return len(rows)

    def read(self, query: Query) -> pa.RecordBatchReader:
        """See ReadingStore.read. Answers about many streams may show some hundreds each at a moment of its own."""
        check_query(query)
        work = spans(query, self.streams(query.select), sql.FIRST, sql.LAST)
        if query.every is None:
            schema, batches = RAW_SCHEMA, raw_batches(partial(self._rows.raw, query.quality), work, query.limit)
        else:
            schema, batches = aggregate_schema(query.aggregates), aggregated(self._rows, query, work)
        return reader_of(schema, batches)

    def latest(self, select: Selection, changed_since: Micros | None = None) -> pa.Table:
        """See ReadingStore.latest."""
        selected = selector(select)
        rows = [row for condition in sql.selection(select) for row in self._rows.latest(condition)]
        chosen = sorted((row for row in rows if selected(row.stream)), key=lambda row: row.stream)
        if changed_since is not None:
            chosen = [row for row in chosen if row.columns[2][0] >= changed_since // 1000]
        return pa.Table.from_batches([table(chosen)] if chosen else [], RAW_SCHEMA)

    def streams(self, select: Selection) -> list[Stream]:
        """See ReadingStore.streams."""
        streams = (stream for condition in sql.selection(select) for stream in self._rows.streams(condition))
        return sorted(filter(selector(select), streams))

    def coverage(self, intervals: Mapping[Stream, Micros], start: Micros, end: Micros) -> dict[Stream, Coverage]:
        """See ReadingStore.coverage."""
        check_range(start, end)
        return coverage_by_reading(self, intervals, start, end)

    def extent(self, select: Selection, start: Micros | None = None, end: Micros | None = None) -> Extent:
        """See ReadingStore.extent. Unknown: other processes write to the table too."""
        check_range(start, end)
        return UNKNOWN_EXTENT

    def counts(self) -> None:
        """See ReadingStore.counts. None: not known without counting; see extent."""

    def erase(self, select: Selection, start: Micros | None = None, end: Micros | None = None) -> int:
        """See ReadingStore.erase. Gone from every answer at once, from the disk when the nodes compact their files.

        Deleting is believed only when counting finds nothing any more.
        """
        check_range(start, end)
        first = sql.FIRST if start is None else max(start, sql.FIRST)
        last = sql.LAST if end is None else min(end - 1, sql.LAST)
        if first > last:
            return 0
        with self._writing:
            self._doubts.check_streams(selector(select))
            if not (rows := self._count(select, first, last)):
                return 0
            for statement in sql.delete(self._table, select, first, last):
                self._connection.execute(statement)
            if left := self._count(select, first, last):
                place = self._connection.address.place
                raise StoreUnavailable(f"{place} says that it deleted, and {left} of {rows} rows are there")
            if start is None and end is None:
                for condition in sql.selection(select):
                    self._connection.execute(sql.forget(self._table, condition))
        return rows

    def _count(self, select: Selection, first: Micros, last: Micros) -> int:
        selected = selector(select)
        counted = (self._rows.counts(condition, first, last) for condition in sql.selection(select))
        return sum(rows for counts in counted for stream, rows in counts.items() if selected(stream))

    def probe(self) -> None:
        """See ReadingStore.probe. Writes one row an hour into a table of its own."""
        self._connection.insert(sql.PROBE, probe(now() // HOUR * HOUR), once=True)

    def close(self) -> None:
        """See ReadingStore.close."""
        self._connection.close()


def _prepare(connection: Connection) -> None:
    """Make database and tables, where they are not there. Raises StoreIncompatible where the cluster cannot be used."""
    address = connection.address
    precision = connection.settings().get("timestamp_precision")
    if precision != "us":
        raise StoreIncompatible(
            f"{address.place} counts time in {precision}: set timestamp_precision=us on every node before the cluster "
            "is started for the first time. Milliseconds would cut times, and of nanoseconds a DELETE with a lower "
            "bound deletes nothing and says that it did"
        )
    settings = _table(connection, "SHOW VARIABLES")
    variables = dict(zip(settings[0], settings[1], strict=True))
    for kind in ("Data", "Schema"):
        protocol = variables.get(f"{kind}RegionConsensusProtocolClass")
        if protocol != _RATIS:
            raise StoreIncompatible(
                f"{address.place} acknowledges before it replicates ({protocol}): set "
                f"{kind.lower()}_region_consensus_protocol_class={_RATIS} on every node before the cluster is started "
                "for the first time"
            )
    # What is there already is not made "if not exists": that takes all nodes, and one may be away.
    databases = _table(connection, "SHOW DATABASES")
    if address.database not in databases[0]:
        connection.execute(f"CREATE DATABASE IF NOT EXISTS {address.database}")
        databases = _table(connection, "SHOW DATABASES")
    copies = {name: (schema, data) for name, _, schema, data, *_ in zip(*databases, strict=True)}
    if min(copies[address.database]) < address.copies:
        raise StoreIncompatible(
            f"{address.place} keeps {min(copies[address.database])} copies of database {address.database}: set "
            f"schema_replication_factor and data_replication_factor to {address.copies} on every node before the "
            "cluster is started for the first time (copies=1 in the URL is for trials)"
        )
    connection.use_database()
    tables = _table(connection, f"SHOW TABLES FROM {address.database}")
    for table_name, statement in ((address.table, sql.create_table(address.table)), (sql.PROBE, sql.CREATE_PROBE)):
        if not tables or table_name not in tables[0]:
            connection.execute(statement)


def _table(connection: Connection, statement: str) -> list[list[str]]:
    """The columns of a small answer."""
    columns: list[list[str]] = []
    for block in connection.query(statement):
        parts = [block.values(number) for number in range(len(block.columns))]
        columns = [before + part for before, part in zip(columns, parts, strict=True)] if columns else parts
    return columns


def _refused(batch: Batch) -> list[tuple[int, str]]:
    """Rows of the batch that IoTDB cannot keep, with the reason, ascending."""
    reasons = dict(refused_rows(batch))
    for row in np.flatnonzero((batch.time < sql.FIRST) | (batch.time > sql.LAST)).tolist():
        reasons.setdefault(row, "time is outside the years 1653 to 2286, which IoTDB keeps")
    for row, problem in refused_names(batch):
        reasons.setdefault(row, problem)
    return sorted(reasons.items())

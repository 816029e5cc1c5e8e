"""ReadingStore in a bucket of an InfluxDB 2 server: the production store.

    write ─► refuse NaN ─► one row a key ─► which are there already? ─► lines ─► server's disk ─► receipt
    read  ◄─ statements for each pilot (raw) │ pushed-down windows (aggregates) ◄─ streams, from the server's index

Nothing is retried here: a failure is StoreUnavailable at once, and the caller decides when to try again.
docs/influxdb.md says how the data is laid out, what is exact when several processes write, and what was measured.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from techport_storage.announcements import Announcements
from techport_storage.clock import now
from techport_storage.columns import reader_of
from techport_storage.coverage import Coverage
from techport_storage.duplicates import DuplicateFinder, streams_of
from techport_storage.errors import StoreBusy, StoreUnavailable
from techport_storage.influxdb.aggregates import Aggregating
from techport_storage.influxdb.connection import Address, Connection, RefusedLines, stream_bytes
from techport_storage.influxdb.coverage import coverage
from techport_storage.influxdb.line_protocol import Lines
from techport_storage.influxdb.look_up import LookUp
from techport_storage.influxdb.query import (
    FIRST,
    FIRST_NS,
    KINDS,
    LAST,
    LAST_NS,
    delete_predicates,
    parse_key,
    ql_conditions,
    ql_select,
    ql_selection,
    ql_show_series,
    ql_times,
    rfc3339,
)
from techport_storage.influxdb.read import raw_series
from techport_storage.influxdb.responses import keys, series
from techport_storage.microseconds import DAY, HOUR
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
from techport_storage.query_check import check_query, check_range
from techport_storage.series import Series, raw_batches, spans, table

_LINES, _FEW_LINES = 10_000, 1_000  # of one request
_SENDERS = 2  # requests of one batch at once: while one is encoded, or is on its way, the server works on the other
_RECENT = 8 * DAY  # µs: the latest reading of a living stream is looked for in one or two shards first


class InfluxStore:
    """Readings in one bucket. Any number of processes may read; docs/influxdb.md says what several writers mean."""

    def __init__(self, connection: Connection, announcements: Announcements | None = None) -> None:
        """Use open()."""
        self._connection = connection
        self._writing = threading.Lock()
        self._lines = Lines()
        self._senders = ThreadPoolExecutor(_SENDERS, thread_name_prefix="influx-write")
        self._look_up = LookUp(connection)
        others = None if announcements is None else OtherWriters(announcements)
        self._duplicates = DuplicateFinder(self._look_up, connection.address.several_writers, others)

    @classmethod
    def open(cls, url: str, announcements: Announcements | None = None) -> InfluxStore:
        """Open the bucket that a URL names.

        Parameters
        ----------
        url : str
            `influxdb://host:8086/org/bucket?token_file=FILE`; `connection.Address.parse` lists the options
            (`timeout` in seconds).
        announcements : Announcements, optional
            How writers of this bucket tell each other what they write, where the URL says `writers=several`. Without
            it, every row is looked up before it is written.

        Returns
        -------
        InfluxStore
            The server has answered, and the token may read the bucket.

        Raises
        ------
        ValueError
            The URL lacks a part, or has an option that there is not.
        StoreUnavailable
            The server does not answer, or refuses: unknown token, no such bucket, not allowed.
        """
        connection = Connection(Address.parse(url))
        try:
            _read_all(connection, connection.influxql(["SHOW SERIES LIMIT 1"]))
        except StoreUnavailable:
            connection.close()
            raise
        return cls(connection, announcements)

    def write(self, batch: Batch, replacing: Replacing | None = None) -> Receipt:
        """See ReadingStore.write. Rejected too: what line protocol cannot carry, and what the server refuses.

        After StoreUnavailable some of the rows may be stored; sent again they count as duplicates. StoreBusy says that
        another process was at the same rows, so that it is not known who wrote them first; docs/influxdb.md. What the
        announcements raise is raised before anything is stored.
        """
        with self._writing:
            return self._write(batch, replacing)

    def _write(self, batch: Batch, replacing: Replacing | None) -> Receipt:
        rejected = self._lines.refused(batch)
        accepted = np.delete(np.arange(len(batch)), [row for row, _ in rejected])
        if not len(accepted):
            return Receipt(0, rejected=rejected)
        places = Places.of(batch, accepted)
        rows = places.last
        stored = self._duplicates.check(batch, rows)
        expected = places.receipt(batch, stored, [])
        if replacing is not None and expected.corrections:
            replacing(expected.correction_rows, expected.replaced)
        if refused := dict(self._send(batch, rows)):
            lost = np.isin(rows, list(refused))
            rejected += [
                (row, refused[int(rows[place])])
                for row, place in zip(places.rows.tolist(), places.numbers.tolist(), strict=True)
                if lost[place]
            ]
            places, stored = places.without(lost), stored[~lost]
        if not self._duplicates.undisturbed():
            raise StoreBusy("another process was writing the same readings, or it is not known whether one was")
        return places.receipt(batch, stored, sorted(rejected))

    def _send(self, batch: Batch, rows: NDArray[np.int64]) -> list[tuple[int, str]]:
        """Write the rows; those that the server refused, with its reason."""
        size = min(_LINES, max(_FEW_LINES, -(-len(rows) // _SENDERS)))
        parts = [rows[begin : begin + size] for begin in range(0, len(rows), size)]
        sent = [self._senders.submit(self._send_part, batch, part) for part in parts]
        wait(sent)  # all of them, so that nothing is under way any more when this returns or raises
        return [row for part in sent for row in part.result()]

    def _send_part(self, batch: Batch, rows: NDArray[np.int64]) -> list[tuple[int, str]]:
        try:
            self._connection.write(self._lines.encode(batch, rows))
        except RefusedLines as refusal:
            return [(row, str(refusal)) for row in self._missing(batch, rows)]
        return []

    def _missing(self, batch: Batch, rows: NDArray[np.int64]) -> list[int]:
        """Rows that are not in the store as the batch has them: the server says how many it refused, not which."""
        streams, positions = streams_of(batch, rows)
        stored = self._look_up.stored(streams, positions, batch.time[rows])
        sent = zip(batch.value[rows], batch.received[rows] // 1000, batch.quality[rows], strict=True)
        return [
            int(row)
            for row, stored_value, own_value in zip(rows, stored, sent, strict=True)
            if stored_value != own_value
        ]

    def flag(self, batch: Batch) -> int:
        """See ReadingStore.flag. Only the field of the flags is written.

        So a correction that comes in the same instant keeps its value.
        """
        with self._writing:
            rows = np.setdiff1d(np.arange(len(batch)), [row for row, _ in self._lines.refused(batch)])
            streams, positions = streams_of(batch, rows)
            stored = self._look_up.stored(streams, positions, batch.time[rows]) if len(rows) else []
            compared = zip(batch.value[rows], batch.received[rows] // 1000, stored, strict=True)
            rows = rows[
                [
                    stored_row is not None and stored_row[:2] == (value, arrival)
                    for value, arrival, stored_row in compared
                ]
            ]
            for begin in range(0, len(rows), _LINES):
                self._connection.write(self._lines.encode_quality(batch, rows[begin : begin + _LINES]))
            return len(rows)

    def read(self, query: Query) -> pa.RecordBatchReader:
        """See ReadingStore.read. Answers about several pilots may show each at a moment of its own."""
        check_query(query)
        work = spans(query, self.streams(query.select), FIRST, LAST)
        if query.every is None:
            schema = RAW_SCHEMA
            batches = raw_batches(partial(raw_series, self._connection, query.quality), work, query.limit)
        else:
            schema, batches = aggregate_schema(query.aggregates), aggregated(Aggregating(self._connection), query, work)
        return reader_of(schema, batches)

    def latest(self, select: Selection, changed_since: Micros | None = None) -> pa.Table:
        """See ReadingStore.latest. Looks at the last eight days first, and further back for silent streams only."""
        since = now() - _RECENT
        latest_rows = self._latest(ql_selection(select), since)
        old = [stream for stream in self.streams(select) if stream not in latest_rows]
        latest_rows |= self._latest(list(ql_conditions(old)), FIRST)
        chosen = sorted(filter(selector(select), latest_rows))
        if changed_since is not None:
            chosen = [stream for stream in chosen if latest_rows[stream].columns[2][0] >= changed_since // 1000]
        rows = [latest_rows[stream] for stream in chosen]
        return pa.Table.from_batches([table(rows)] if rows else [], RAW_SCHEMA)

    def _latest(self, conditions: Sequence[str], since: Micros) -> dict[Stream, Series]:
        columns, times = "last(value), received, quality", ql_times(since, LAST)
        statements = [ql_select(columns, condition, times) for condition in conditions]
        if not statements:
            return {}
        answer = self._connection.influxql(statements)
        parts = series(stream_bytes(self._connection.address, answer), KINDS)
        return {rows.stream: rows for rows in parts if len(rows)}

    def streams(self, select: Selection) -> list[Stream]:
        """See ReadingStore.streams. From the server's index."""
        statements = [ql_show_series(condition) for condition in ql_selection(select)]
        if not statements:
            return []
        answer = self._connection.influxql(statements)
        parsed = (parse_key(key) for key in keys(stream_bytes(self._connection.address, answer)))
        return sorted(filter(selector(select), {stream for stream in parsed if stream is not None}))

    def coverage(self, intervals: Mapping[Stream, Micros], start: Micros, end: Micros) -> dict[Stream, Coverage]:
        """See ReadingStore.coverage. Counted by the server; only distances that miss a reading are sent."""
        check_range(start, end)
        return coverage(self._connection, intervals, start, end - 1)

    def extent(self, select: Selection, start: Micros | None = None, end: Micros | None = None) -> Extent:
        """See ReadingStore.extent. Unknown: other processes write to the bucket too.

        Counting would read the index for every question.
        """
        check_range(start, end)
        return UNKNOWN_EXTENT

    def counts(self) -> None:
        """See ReadingStore.counts. None: not known without counting; see extent."""

    def erase(self, select: Selection, start: Micros | None = None, end: Micros | None = None) -> int:
        """See ReadingStore.erase. Gone from every answer at once, from the disk when the server compacts the shard."""
        check_range(start, end)
        first = FIRST_NS if start is None else max(start * 1000, FIRST_NS)
        last = LAST_NS if end is None else min(end * 1000 - 1, LAST_NS)
        if first > last:
            return 0
        with self._writing:
            rows = self._count(select, first, last)
            for predicate in delete_predicates(select) if rows else ():
                self._connection.delete(rfc3339(first), rfc3339(last), predicate)
        return rows

    def _count(self, select: Selection, first: int, last: int) -> int:
        """Rows of the selection between two times in ns."""
        times = f"time >= {first} AND time <= {last}"
        statements = [ql_select("count(value)", condition, times) for condition in ql_selection(select)]
        if not statements:
            return 0
        answer = self._connection.influxql(statements)
        parts = series(stream_bytes(self._connection.address, answer), (np.int64,))
        selected = selector(select)
        return sum(int(rows.columns[1].sum()) for rows in parts if selected(rows.stream))

    def probe(self) -> None:
        """See ReadingStore.probe. Writes one row an hour into a measurement of its own.

        Only a write shows that the disk is not full.
        """
        hour = now() // HOUR * HOUR
        try:
            self._connection.write(f"probe,by=techport ok=1 {hour}".encode())
        except RefusedLines as refusal:
            raise StoreUnavailable(str(refusal)) from None

    def close(self) -> None:
        """See ReadingStore.close. Waits for writes that are under way."""
        self._senders.shutdown()
        self._connection.close()


def _read_all(connection: Connection, answer: object) -> None:
    for _ in keys(stream_bytes(connection.address, answer)):  # type: ignore[arg-type]
        pass

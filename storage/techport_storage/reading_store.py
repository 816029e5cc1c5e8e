"""What the platform asks of a time-series store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import pyarrow as pa

from techport_storage.coverage import Coverage
from techport_storage.model import Batch, Extent, Micros, Query, Receipt, Replacing, Selection, Stream


class ReadingStore(Protocol):
    """Keeps readings: one row for each stream and time. Safe to use from several threads.

    Times are whole microseconds since 1970-01-01T00:00:00Z, ranges are half-open: [start, end). Every method may raise
    StoreUnavailable ("not now"); then nothing was changed, or the same call again is harmless.
    """

    def write(self, batch: Batch, replacing: Replacing | None = None) -> Receipt:
        """Store the batch durably and say what became of each row.

        Parameters
        ----------
        batch : Batch
            Rows in order of arrival, times in µs. Of two rows with the same stream and time the later one counts.
        replacing : callable, optional
            Called before anything is stored, where values will be replaced: what they are is known to nobody once the
            batch is stored and the process that wrote it is gone. What it raises is raised, and nothing is stored.

        Returns
        -------
        Receipt
            Rows written, duplicates (the value that was there), corrections (another value, now in its place, with
            the one before) and rejected rows with the reason, such as a value that is not finite. Together they are
            `len(batch)`.

        Raises
        ------
        StoreUnavailable
            The store does not take readings now: down, disk full, locked.

        Notes
        -----
        Once this returns, the rows survive kill -9 and power loss.
        """

    def flag(self, batch: Batch) -> int:
        """Give stored rows the quality that the batch has for them. Value and time of arrival stay.

        Parameters
        ----------
        batch : Batch
            Rows as they were read, with their new `quality` (bits of `Quality`). A row that the store does not have,
            or has with another value or another arrival by now because a correction came, is left as it is.

        Returns
        -------
        int
            Rows that were found and flagged.

        Raises
        ------
        StoreUnavailable
        """

    def read(self, query: Query) -> pa.RecordBatchReader:
        """Rows in the order pilot, device, quantity, time, streamed.

        Parameters
        ----------
        query : Query
            Which streams, which time (µs), raw rows or buckets with which aggregates.

        Returns
        -------
        pyarrow.RecordBatchReader
            RAW_SCHEMA without `query.every`, else `aggregate_schema(query.aggregates)`. It shows the state at the
            call; close it or read it to its end. While it is read, StoreUnavailable may come from it too.

        Raises
        ------
        BadQuery
            The question itself is wrong; names the field of the query and what it accepts.
        StoreUnavailable
        """

    def latest(self, select: Selection, changed_since: Micros | None = None) -> pa.Table:
        """The row with the greatest time of each stream.

        Parameters
        ----------
        select : Selection
            Which streams.
        changed_since : Micros, optional
            Leave out streams whose latest row was received before this time (µs).

        Returns
        -------
        pyarrow.Table
            RAW_SCHEMA, ordered by pilot, device, quantity.

        Raises
        ------
        StoreUnavailable
        """

    def streams(self, select: Selection) -> list[Stream]:
        """The streams of the selection that hold readings.

        Parameters
        ----------
        select : Selection
            Which streams.

        Returns
        -------
        list of Stream
            Sorted by pilot, device, quantity.

        Raises
        ------
        StoreUnavailable
        """

    def coverage(self, intervals: Mapping[Stream, Micros], start: Micros, end: Micros) -> dict[Stream, Coverage]:
        """How well readings fill a period, given the interval that each stream promises.

        Parameters
        ----------
        intervals : Mapping[Stream, Micros]
            The promised distance between two readings (µs), above 0, of each stream that is asked about.
        start, end : Micros
            The period [start, end), µs.

        Returns
        -------
        dict of Stream to Coverage
            Only streams that hold a reading in the period.

        Raises
        ------
        BadQuery
            `start` lies after `end`.
        StoreUnavailable

        Notes
        -----
        The default is `coverage_by_reading`, which reads every row; both engines count where the readings are.
        """

    def extent(self, select: Selection, start: Micros | None = None, end: Micros | None = None) -> Extent:
        """What is known about readings without looking at them.

        Parameters
        ----------
        select : Selection
            Which streams.
        start, end : Micros, optional
            The period [start, end), µs; open where left out.

        Returns
        -------
        Extent
            About how many readings there are, and a version token that changes when they do. The default is
            UNKNOWN_EXTENT: a server that others write to as well cannot tell.

        Raises
        ------
        BadQuery
            `start` lies after `end`.
        StoreUnavailable
        """

    def counts(self) -> dict[Stream, int] | None:
        """About how many readings each stream has, without counting them; a replaced one may count twice.

        Returns
        -------
        dict of Stream to int, or None
            None, the default, where the store would have to count.

        Raises
        ------
        StoreUnavailable
        """

    def erase(self, select: Selection, start: Micros | None = None, end: Micros | None = None) -> int:
        """Remove readings permanently, from the files as well.

        Parameters
        ----------
        select : Selection
            Which streams.
        start, end : Micros, optional
            Only readings in [start, end), µs; all of them where left out.

        Returns
        -------
        int
            Rows removed.

        Raises
        ------
        BadQuery
            `start` lies after `end`.
        StoreUnavailable
        """

    def probe(self) -> None:
        """Return if the store can take a write now.

        Raises
        ------
        StoreUnavailable
            It cannot: down, disk full, locked, or the token may not write.
        """

    def close(self) -> None:
        """Let go of files and connections. Nothing that `write` acknowledged depends on it."""


@runtime_checkable
class ReadsWithExtent(Protocol):
    """A store that is far away, where a question with its extent takes one trip instead of two."""

    def read_with_extent(self, query: Query) -> tuple[Extent, pa.RecordBatchReader]:
        """As `read_with_extent`."""


def read_with_extent(store: ReadingStore, query: Query) -> tuple[Extent, pa.RecordBatchReader]:
    """The rows of a query, and what was known about its readings before they were read.

    Parameters
    ----------
    store : ReadingStore
    query : Query
        As for ReadingStore.read.

    Returns
    -------
    Extent
        Of the query's selection and period. The rows may be newer than it, never older.
    pyarrow.RecordBatchReader
        As from ReadingStore.read.

    Raises
    ------
    BadQuery
    StoreUnavailable
    """
    if isinstance(store, ReadsWithExtent):
        return store.read_with_extent(query)
    return store.extent(query.select, query.start, query.end), store.read(query)

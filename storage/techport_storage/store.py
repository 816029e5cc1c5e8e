"""What the platform asks of a time-series store, and how to open one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import pyarrow as pa

from techport_storage.coverage import Coverage
from techport_storage.model import Batch, Extent, Micros, Query, Receipt, Selection, Stream


class ReadingStore(Protocol):
    """Keeps readings: one row for each stream and time. Safe to use from several threads.

    Every method may raise StoreUnavailable ("not now"); then nothing was changed, or the same call again is harmless.
    """

    def write(self, batch: Batch) -> Receipt:
        """Store the batch durably and say what became of each row.

        Once this returns, the rows survive kill -9 and power loss.
        """

    def flag(self, batch: Batch) -> int:
        """Give stored rows the quality that the batch has for them; returns how many rows that were.

        Value and time of arrival stay. A row that the store does not have, or has with another value or another arrival
        by now, because a correction came since it was read, is left as it is.
        """

    def read(self, query: Query) -> pa.RecordBatchReader:
        """Rows in the order pilot, device, quantity, time, streamed: RAW_SCHEMA or aggregate_schema(query.aggregates).

        Raises BadQuery. The reader sees the state at the call; close it or read it to its end.
        """

    def latest(self, select: Selection, changed_since: Micros | None = None) -> pa.Table:
        """The row with the greatest time of each stream (RAW_SCHEMA), ordered by pilot, device, quantity.

        `changed_since` leaves out streams whose latest row was received before that time.
        """

    def streams(self, select: Selection) -> list[Stream]:
        """The streams that hold readings, sorted."""

    def coverage(self, intervals: Mapping[Stream, Micros], start: Micros, end: Micros) -> dict[Stream, Coverage]:
        """How well readings fill [start, end), of the streams that have any there, given the interval each promises.

        The default is coverage_by_reading, which reads every row; both engines count where the readings are. Raises
        BadQuery.
        """

    def extent(self, select: Selection, start: Micros | None = None, end: Micros | None = None) -> Extent:
        """What is known about the readings in [start, end) without looking at them.

        The default is UNKNOWN_EXTENT: a server that others write to as well cannot tell. Raises BadQuery.
        """

    def counts(self) -> dict[Stream, int] | None:
        """How many readings each stream has, without counting them; about: a replaced one may count twice.

        The default is None: the store would have to count.
        """

    def erase(self, select: Selection, start: Micros | None = None, end: Micros | None = None) -> int:
        """Remove readings for good, also from the files; returns how many rows went."""

    def probe(self) -> None:
        """Return if the store can take a write now, raise StoreUnavailable otherwise."""

    def close(self) -> None: ...


def open_store(url: str) -> ReadingStore:
    """Open the store that `url` names: `duckdb:///relative.duckdb`, `duckdb:////absolute/path.duckdb`, and
    `duckdb://` in memory, for tests.

    `influxdb://host:8086/org/bucket?token_file=FILE` is a bucket of an InfluxDB 2 server, see docs/influxdb.md.

    Raises ValueError for an unknown scheme, StoreUnavailable when it cannot be opened now,
    StoreIncompatible when this version of techport cannot open it at all.
    """
    pa.array([0])  # pyarrow loads pandas with its first array, for a second: now, not while the first message waits
    scheme = url.partition("://")[0]
    if scheme == "duckdb":
        from techport_storage.duckdb.store import DuckStore

        return DuckStore.open(url)
    if scheme == "influxdb":
        from techport_storage.influxdb.store import InfluxStore

        return InfluxStore.open(url)
    raise ValueError(f"no store for {url!r}: use duckdb:///relative.duckdb or duckdb:////absolute/path.duckdb")

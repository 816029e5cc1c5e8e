"""Questions to IoTDB about rows: raw ones in order, those at given times, and aggregates that the cluster computes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from techport_storage.aggregate_sql import QUALITY_CONDITIONS
from techport_storage.duplicates import clusters
from techport_storage.iotdb import sql
from techport_storage.iotdb.connection import Connection
from techport_storage.model import Micros, QualityChoice, Stream
from techport_storage.pushed_aggregates import no_buckets
from techport_storage.row_aggregates import Buckets
from techport_storage.series import Series, Span

Int = NDArray[np.int64]
Values = tuple[float, int, int]

_COLUMNS = f"{sql.TAGS}, time, value, received, quality"
_IN_ORDER = f" ORDER BY {sql.TAGS}, time"
_LIMITED = 10_000  # rows; IoTDB sets memory aside for all of a LIMIT, and refuses (719) one that is larger than it has
# Each needs a name: of two columns that IoTDB names alike a client sees one.
_AGGREGATES = {
    "mean": "avg(value) AS mean",
    "min": "min(value) AS least",
    "max": "max(value) AS greatest",
    "sum": "sum(value) AS total",
    "count": "count(value) AS readings",
    "first": "first(value) AS earliest",
    "last": "last(value) AS latest",
}


class Rows:
    """The table of readings."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._table = connection.address.table

    def raw(self, quality: QualityChoice, span: Span, limit: int | None = None) -> Iterator[Series]:
        """Rows as [time, value, received in ms, quality], in order; of many those behind `limit` may be left out."""
        ending = _IN_ORDER if limit is None or limit > _LIMITED else f"{_IN_ORDER} LIMIT {limit}"
        times = sql.times(span.first, span.last)
        for condition in sql.conditions(span.streams):
            yield from self._series(condition, times, QUALITY_CONDITIONS[quality], ending=ending)

    def rows(self, span: Span, quality: QualityChoice) -> Iterator[Series]:
        """See pushed_aggregates.Server."""
        return self.raw(quality, span)

    def bounds(self, streams: Sequence[Stream]) -> dict[Stream, tuple[Micros, Micros]]:
        """See pushed_aggregates.Server."""
        found: dict[Stream, tuple[Micros, Micros]] = {}
        columns = f"{sql.TAGS}, min(time) AS oldest, max(time) AS newest, count(value) AS readings"
        for condition in sql.conditions(streams):
            for stream, (oldest, newest, readings) in self._grouped(columns, condition):
                if readings:
                    found[stream] = int(oldest), int(newest)
        return found

    def values(self, streams: Sequence[Stream], stream: NDArray[np.intp], time: Int) -> NDArray[np.float64]:
        """See duplicates.Rows."""
        stored = self.stored(streams, stream, time)
        return np.array([np.nan if values is None else values[0] for values in stored], np.float64)

    def stored(self, streams: Sequence[Stream], stream: NDArray[np.intp], time: Int) -> list[Values | None]:
        """(value, received in ms, quality) that the store has for stream and time of each row, or None."""
        row_of = {(streams[s], t): row for row, (s, t) in enumerate(zip(stream.tolist(), time.tolist(), strict=True))}
        stored: list[Values | None] = [None] * len(time)
        for first, last, members in clusters(stream, time):
            for condition in sql.conditions(sorted(streams[member] for member in members)):
                for rows in self._series(condition, sql.times(first, last)):
                    for t, *fields in zip(*(column.tolist() for column in rows.columns), strict=True):
                        row = row_of.get((rows.stream, t))
                        if row is not None:
                            stored[row] = (fields[0], fields[1], fields[2])
        return stored

    def counts(self, condition: str, first: Micros, last: Micros) -> dict[Stream, int]:
        """How many rows each stream has from first to last, where it has any."""
        columns = f"{sql.TAGS}, count(value) AS readings"
        counted = self._grouped(columns, condition, sql.times(first, last))
        return {stream: int(readings) for stream, (readings,) in counted if readings}

    def streams(self, condition: str) -> list[Stream]:
        """The streams that hold readings."""
        return [row[0] for row in self._grouped(f"{sql.TAGS}, last(time) AS newest", condition)]

    def latest(self, condition: str) -> Iterator[Series]:
        """The newest row of each stream, with the columns of `raw`."""
        newest = ", ".join(f"last_by({name}, time) AS {name}" for name in ("value", "received", "quality"))
        for stream, fields in self._grouped(f"{sql.TAGS}, last(time) AS newest, {newest}", condition):
            time, value, received, quality = (np.array([field]) for field in fields)
            yield Series(stream, [time, value, received // 1000, quality])

    def buckets(self, span: Span, names: Sequence[str], width: Micros, quality: QualityChoice) -> Buckets:
        """See pushed_aggregates.Server."""
        number = {stream: i for i, stream in enumerate(span.streams)}
        aggregates = ", ".join(_AGGREGATES[name] for name in names)
        columns = f"{sql.TAGS}, date_bin({width}us, time) AS bucket, {aggregates}"
        stream: list[Int] = []
        values: list[list[NDArray[np.float64]]] = []
        for condition in sql.conditions(span.streams):
            statement = sql.select(
                columns,
                self._table,
                condition,
                sql.times(span.first, span.last),
                QUALITY_CONDITIONS[quality],
                ending=" GROUP BY 1, 2, 3, 4",
            )
            for block in self._connection.query(statement):
                for name, rows in block.streams():
                    if name in number:
                        stream.append(np.full(rows.stop - rows.start, number[name], np.int64))
                        values.append([block.numbers(3 + i)[rows] for i in range(len(names) + 1)])
        if not stream:
            return no_buckets(names)
        streams = np.concatenate(stream)
        time, *columns_of_values = (np.concatenate(parts) for parts in zip(*values, strict=True))
        order = np.lexsort((time, streams))
        return Buckets(
            streams[order],
            time[order].astype(np.int64),
            {name: column[order] for name, column in zip(names, columns_of_values, strict=True)},
        )

    def _series(self, *conditions: str, ending: str = _IN_ORDER) -> Iterator[Series]:
        for block in self._connection.query(sql.select(_COLUMNS, self._table, *conditions, ending=ending)):
            time, value, received, quality = (block.numbers(3 + i) for i in range(4))
            for stream, rows in block.streams():
                yield Series(stream, [time[rows], value[rows], received[rows] // 1000, quality[rows]])

    def _grouped(self, columns: str, *conditions: str) -> Iterator[tuple[Stream, list[float]]]:
        """A row for each stream."""
        statement = sql.select(columns, self._table, *conditions, ending=" GROUP BY 1, 2, 3")
        for block in self._connection.query(statement):
            names = zip(*(block.texts(part) for part in range(3)), strict=True)
            fields = (block.numbers(part).tolist() for part in range(3, len(block.columns)))
            for name, *numbers in zip(names, *fields, strict=True):
                yield Stream(*name), numbers

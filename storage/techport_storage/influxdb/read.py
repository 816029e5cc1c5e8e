"""Raw rows of an InfluxStore, streamed.

InfluxDB sorts by device, pilot, quantity; with a statement for each pilot that is the order of the answer. One
statement sees one moment of the store, however slowly its answer is read; that of a later pilot may see a later one.
"""

from __future__ import annotations

from collections.abc import Iterator

from techport_storage.aggregate_sql import QUALITY_CONDITIONS
from techport_storage.influxdb.connection import Connection, stream_bytes
from techport_storage.influxdb.query import COLUMNS, KINDS, ql_conditions, ql_select, ql_times
from techport_storage.influxdb.responses import series
from techport_storage.model import QualityChoice
from techport_storage.series import Series, Span


def raw_series(
    connection: Connection, quality: QualityChoice, span: Span, limit: int | None = None
) -> Iterator[Series]:
    """Rows as [time, value, received in ms, quality], in order; of each stream not more than `limit`."""
    asked_streams = frozenset(span.streams)
    ending = f" LIMIT {limit}" if limit is not None else ""
    times = ql_times(span.first, span.last)
    statements = [
        ql_select(COLUMNS, condition, QUALITY_CONDITIONS[quality], times, ending=ending)
        for condition in ql_conditions(span.streams)
    ]
    answer = connection.influxql(statements)
    for rows in series(stream_bytes(connection.address, answer), KINDS):
        if rows.stream in asked_streams and len(rows):
            yield rows

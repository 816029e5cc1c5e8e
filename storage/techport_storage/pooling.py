"""Aggregates over rows that a caller has sorted into groups itself, by the SQL that a store's own aggregates come from.

A store makes buckets of one stream each. Where several streams are one group, or buckets become one class (all hours
that begin at 8), the caller says for each row which group and bucket it belongs to.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import duckdb
import pyarrow as pa

from techport_storage.aggregate_sql import value_columns
from techport_storage.model import Aggregate

POOLED_SCHEMA = pa.schema(
    [
        pa.field("place", pa.int32()),  # number of the group
        pa.field("bucket", pa.int64()),
        pa.field("time", pa.int64()),  # for `first` and `last`
        pa.field("value", pa.float64()),
    ]
)
_MEMORY = "512MB"
"""What percentiles may take, which hold all values of a bucket; the other aggregates hold none."""


def pooled(rows: Iterator[pa.RecordBatch], aggregates: Sequence[Aggregate]) -> pa.Table:
    """One row for each group and bucket, in their order.

    Parameters
    ----------
    rows : iterator of pyarrow.RecordBatch
        In POOLED_SCHEMA, in any order; read once, and never held together.
    aggregates : sequence of Aggregate
        Names of `model.AGGREGATES`, or percentiles.

    Returns
    -------
    pyarrow.Table
        `place`, `bucket`, the aggregates in their order (without `count`), and `count`.

    Raises
    ------
    MemoryError
        Percentiles of more values than can be held.
    Exception
        Whatever the iterator raises.
    """
    failed: list[Exception] = []

    def guarded() -> Iterator[pa.RecordBatch]:
        # What is raised here passes through DuckDB, which keeps its text alone.
        try:
            yield from rows
        except Exception as error:
            failed.append(error)
            raise

    with duckdb.connect(config={"memory_limit": _MEMORY, "threads": 2}) as connection:
        connection.execute("SET temp_directory = ''; SET enable_external_access = false")
        connection.register("pooled", pa.RecordBatchReader.from_batches(POOLED_SCHEMA, guarded()))
        try:
            return connection.sql(
                f"SELECT place, bucket, {value_columns(tuple(aggregates))} FROM pooled "  # noqa: S608 - our own names
                "GROUP BY place, bucket ORDER BY place, bucket"
            ).to_arrow_table()
        except duckdb.OutOfMemoryException as error:
            raise MemoryError(f"the values of these buckets take more than {_MEMORY}") from error
        except duckdb.Error:
            if failed:
                raise failed[0] from None
            raise

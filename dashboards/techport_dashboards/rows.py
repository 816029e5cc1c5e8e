"""Arrow rows of the store, with units, as the items and columns that people get."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from techport_dashboards.catalogue import Catalogue
from techport_storage.model import Stream

TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"  # %S of a microsecond column has six decimals: the same text as times.iso


def with_units(batch: pa.RecordBatch, unit_of: Callable[[Stream], str]) -> pa.RecordBatch:
    """The batch with a column `unit` before its last ones: UCUM, empty where nobody has described the stream yet.

    Rows of a stream lie together, so a unit is looked up once a run, not once a row.
    """
    names = [batch.column(name) for name in ("pilot", "device", "quantity")]
    names = [name if pa.types.is_dictionary(name.type) else name.dictionary_encode() for name in names]
    index = np.stack([name.indices.to_numpy(zero_copy_only=False) for name in names])
    breaks = np.flatnonzero((index[:, 1:] != index[:, :-1]).any(axis=0)) + 1
    starts = np.concatenate(([0], breaks)) if batch.num_rows else np.empty(0, np.int64)
    streams = [Stream(*(name[int(row)].as_py() for name in names)) for row in starts]
    units = [unit_of(stream) for stream in streams]
    distinct = sorted(set(units))
    runs = np.array([distinct.index(unit) for unit in units], np.int32)
    codes = np.repeat(runs, np.diff(np.append(starts, batch.num_rows)))
    unit = pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), pa.array(distinct, pa.string()))
    place = batch.schema.get_field_index("value") + 1 or batch.num_columns
    return batch.add_column(place, pa.field("unit", unit.type), unit)


def readable(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with plain strings, and times as ISO 8601 text in UTC: the form of JSON and CSV."""
    columns = []
    for column in batch.columns:
        if pa.types.is_dictionary(column.type):
            column = column.cast(pa.string())
        elif pa.types.is_timestamp(column.type):
            column = pc.strftime(column, format=TIME_FORMAT)
        columns.append(column)
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def items(batch: pa.RecordBatch, catalogue: Catalogue) -> list[dict[str, Any]]:
    """Each row as an object, in the order of the columns."""
    rows: list[dict[str, Any]] = readable(with_units(batch, catalogue.unit)).to_pylist()
    return rows


def latest_items(table: pa.Table, catalogue: Catalogue) -> Iterator[dict[str, Any]]:
    """Rows of `latest` as items: pilot, device, quantity, time, value, unit, received, quality."""
    for batch in table.to_batches():
        yield from items(batch, catalogue)

"""Aggregates that InfluxDB computes itself, for pushed_aggregates.py.

    quality │ computed by
    all     │ Flux aggregateWindow, inside the storage engine: the fastest
    good    │ InfluxQL GROUP BY time(): Flux cannot filter one field by another

Each aggregate is pushed down where it is alone, so a request has one statement for each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from techport_storage.aggregate_sql import QUALITY_CONDITIONS
from techport_storage.influxdb.connection import Connection, stream_bytes
from techport_storage.influxdb.look_up import bounds
from techport_storage.influxdb.query import (
    MEASUREMENT,
    flux_condition,
    name_of,
    ql_conditions,
    ql_select,
    ql_times,
    rfc3339,
)
from techport_storage.influxdb.read import raw_series
from techport_storage.influxdb.responses import series, tables
from techport_storage.model import Micros, QualityChoice, Stream
from techport_storage.pushed_aggregates import no_buckets
from techport_storage.row_aggregates import Buckets
from techport_storage.series import Series, Span

Int = NDArray[np.int64]


class Aggregating:
    """What pushed_aggregates.py asks of InfluxDB."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def bounds(self, streams: Sequence[Stream]) -> Mapping[Stream, tuple[Micros, Micros]]:
        return bounds(self._connection, streams)

    def rows(self, span: Span, quality: QualityChoice) -> Iterator[Series]:
        return raw_series(self._connection, quality, span)

    def buckets(self, span: Span, names: Sequence[str], width: Micros, quality: QualityChoice) -> Buckets:
        if quality == "all":
            return _flux(self._connection, span, names, width)
        return _influxql(self._connection, span, names, width, QUALITY_CONDITIONS[quality])


def _flux(connection: Connection, span: Span, names: Sequence[str], width: int) -> Buckets:
    """One aggregateWindow for each aggregate: on its own each is pushed down, as `reduce` would not be."""
    source = (
        f'from(bucket: "{_flux_text(connection.address.bucket)}")'
        f" |> range(start: {rfc3339(span.first * 1000)}, stop: {rfc3339(span.last * 1000 + 1)})"
        f' |> filter(fn: (r) => r._measurement == "{MEASUREMENT}" and r._field == "value"'
        f" and ({flux_condition(span.streams)}))"
    )
    script = "\n".join(
        f'{source} |> aggregateWindow(every: {width}us, fn: {name}, createEmpty: false, timeSrc: "_start")'
        f' |> drop(columns: ["_start", "_stop", "_field", "_measurement"]) |> yield(name: "{name}")'
        for name in names
    )
    answer = b"".join(stream_bytes(connection.address, connection.flux(script)))
    parts: dict[str, list[pa.Table]] = {name: [] for name in names}
    for name, rows in tables(answer, pa.float64()):
        parts[name].append(rows)
    number = {stream: i for i, stream in enumerate(span.streams)}
    columns = {name: _keyed(pa.concat_tables(rows), number, width) for name, rows in parts.items() if rows}
    if len(columns) < len(names):
        return no_buckets(names)
    return _joined(columns)


def _influxql(connection: Connection, span: Span, names: Sequence[str], width: int, quality: str) -> Buckets:
    columns = ", ".join(f"{name}(value)" for name in names)
    times = ql_times(span.first, span.last)
    statements = [
        ql_select(columns, condition, quality, times, bucket=f"time({width}u), ", ending=" fill(none)")
        for condition in ql_conditions(span.streams)
    ]
    answer = connection.influxql(statements)
    number = {stream: i for i, stream in enumerate(span.streams)}
    stream, time, values = [], [], []
    for rows in series(stream_bytes(connection.address, answer), [np.float64] * len(names)):
        if rows.stream in number and len(rows):
            stream.append(np.full(len(rows), number[rows.stream], np.int64))
            time.append(rows.columns[0])
            values.append(np.column_stack(rows.columns[1:]))
    if not stream:
        return no_buckets(names)
    table = np.concatenate(values)
    return Buckets(
        np.concatenate(stream),
        np.concatenate(time).astype(np.int64),
        {name: table[:, i] for i, name in enumerate(names)},
    )


def _keyed(rows: pa.Table, number: dict[Stream, int], width: int) -> tuple[Int, Int, NDArray[np.float64]]:
    """(stream, start of bucket, value), sorted, of the wanted streams."""
    keys = rows.select(list(Stream._fields)).combine_chunks()
    runs = np.flatnonzero(_changes(rows))
    names = keys.take(pa.array(runs)).to_pydict()
    names_of_runs = zip(*([name_of(tag) for tag in names[part]] for part in Stream._fields), strict=True)
    numbers = [number.get(Stream(*key), -1) for key in names_of_runs]
    stream = np.repeat(np.array(numbers, np.int64), np.diff(np.append(runs, rows.num_rows)))
    time = rows["time"].cast(pa.int64()).to_numpy()
    order = np.lexsort((time, stream))
    order = order[stream[order] >= 0]
    # Flux starts the first bucket where the range starts
    return stream[order], (time - time % width)[order], rows["value"].to_numpy()[order]


def _changes(rows: pa.Table) -> NDArray[np.bool_]:
    """Where a row belongs to another stream than the row above it."""
    changed = np.zeros(rows.num_rows, bool)
    changed[:1] = True
    for tag in Stream._fields:
        codes = rows[tag].combine_chunks().dictionary_encode().indices.to_numpy()
        changed[1:] |= codes[1:] != codes[:-1]
    return changed


def _joined(columns: dict[str, tuple[Int, Int, NDArray[np.float64]]]) -> Buckets:
    """Buckets that every aggregate has: one that a write began in between belongs to the next query."""
    stream, time, _ = columns["count"]
    if any(len(c[0]) != len(stream) or (c[0] != stream).any() or (c[1] != time).any() for c in columns.values()):
        common = set(zip(stream.tolist(), time.tolist(), strict=True))
        for other in columns.values():
            common &= set(zip(other[0].tolist(), other[1].tolist(), strict=True))
        for name, (s, t, v) in columns.items():
            in_common = np.array([key in common for key in zip(s.tolist(), t.tolist(), strict=True)], bool)
            columns[name] = (s[in_common], t[in_common], v[in_common])
        stream, time, _ = columns["count"]
    return Buckets(stream, time, {name: values for name, (_, _, values) in columns.items()})


def _flux_text(name: str) -> str:
    return name.replace("\\", "\\\\").replace('"', '\\"').replace("${", "\\${")

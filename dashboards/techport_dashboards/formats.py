"""Readings as JSON, newline-delimited JSON, CSV and Parquet: the same columns and values in each.

Without a limit everything but JSON streams to its end in constant memory; a failure half way breaks the connection, so
that a file that ends early cannot be taken for a whole one.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any, Literal

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from techport_dashboards import rows
from techport_dashboards.catalogue import Catalogue
from techport_dashboards.errors import Problem

Format = Literal["json", "ndjson", "csv", "parquet"]
PARQUET = "application/vnd.apache.parquet"
MEDIA_TYPES: dict[Format, str] = {
    "json": "application/json",
    "ndjson": "application/x-ndjson",
    "csv": "text/csv; charset=utf-8",
    "parquet": PARQUET,
}
_ACCEPTED: dict[str, Format] = {
    "application/json": "json",
    "application/x-ndjson": "ndjson",
    "application/jsonl": "ndjson",
    "text/csv": "csv",
    PARQUET: "parquet",
    "application/x-parquet": "parquet",
    "*/*": "json",
    "application/*": "json",
    "text/*": "csv",
}
ROWS_AT_ONCE = 10_000
ROW_GROUP = 100_000
_FORMULA = "^[=+\\-@\t\r]"


def choose(format: str | None, accept: str) -> Format:
    """The format that `format=` names, else the first of the Accept header that we have. Raises Problem."""
    if format is not None:
        if format not in MEDIA_TYPES:
            raise Problem(
                "bad-parameter", f"{format[:40]!r} is no format.", parameter="format", example=", ".join(MEDIA_TYPES)
            )
        return format
    for part in (accept or "*/*").split(","):
        media_type = part.partition(";")[0].strip().lower()
        if media_type in _ACCEPTED:
            return _ACCEPTED[media_type]
    if "text/html" in accept:  # a browser's address line
        return "json"
    raise Problem("not-acceptable", f"Nothing of {accept[:80]!r} is a format of ours.", example=", ".join(_ACCEPTED))


def pieces(source: pa.Table | pa.RecordBatchReader, catalogue: Catalogue) -> Iterator[pa.RecordBatch]:
    """The rows with their units, ROWS_AT_ONCE at most. Closes a reader, also when the caller stops early."""
    if isinstance(source, pa.Table):
        yield from (_piece(batch, 0, catalogue) for batch in source.to_batches(max_chunksize=ROWS_AT_ONCE))
        return
    with source:
        for batch in source:
            for start in range(0, batch.num_rows, ROWS_AT_ONCE):
                yield _piece(batch, start, catalogue)


def _piece(batch: pa.RecordBatch, start: int, catalogue: Catalogue) -> pa.RecordBatch:
    return rows.with_units(batch.slice(start, ROWS_AT_ONCE), catalogue.unit)


def json_items(batches: Iterator[pa.RecordBatch]) -> list[dict[str, Any]]:
    return [item for batch in batches for item in rows.readable(batch).to_pylist()]


def ndjson(batches: Iterator[pa.RecordBatch]) -> Iterator[bytes]:
    encoder = msgspec.json.Encoder()
    for batch in batches:
        yield encoder.encode_lines(rows.readable(batch).to_pylist())


def csv(batches: Iterator[pa.RecordBatch], names: list[str]) -> Iterator[bytes]:
    """RFC 4180 with a header line, also for no rows. Numbers keep all their digits."""
    yield (",".join(names) + "\n").encode()
    options = pa.csv.WriteOptions(include_header=False, quoting_style="needed")
    for batch in batches:
        sink = io.BytesIO()
        pa.csv.write_csv(_harmless(rows.readable(batch)), sink, options)
        yield sink.getvalue()


def _harmless(batch: pa.RecordBatch) -> pa.RecordBatch:
    """A name that a spreadsheet would run as a formula gets an apostrophe in front. Names come from devices, too."""
    for place, field in enumerate(batch.schema):
        if pa.types.is_string(field.type):
            column = batch.column(place)
            risky = pc.match_substring_regex(column, _FORMULA)
            if pc.any(risky).as_py():
                safe = pc.if_else(risky, pc.binary_join_element_wise("'", column, ""), column)
                batch = batch.set_column(place, field, safe)
    return batch


def parquet(batches: Iterator[pa.RecordBatch], schema: pa.Schema, metadata: dict[str, Any]) -> Iterator[bytes]:
    """A Parquet file as it is written, a row group at a time; `metadata` goes under the key `techport` as JSON."""
    schema = schema.with_metadata({b"techport": msgspec.json.encode(metadata)})
    sink = _Drain()
    waiting: list[pa.RecordBatch] = []
    with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
        for batch in batches:
            waiting.append(batch)
            if sum(b.num_rows for b in waiting) >= ROW_GROUP:
                writer.write_table(_table(waiting, schema))
                waiting.clear()
                yield sink.drain()
        if waiting:
            writer.write_table(_table(waiting, schema))
    yield sink.drain()


def _table(batches: list[pa.RecordBatch], schema: pa.Schema) -> pa.Table:
    return pa.Table.from_batches(batches).unify_dictionaries().cast(schema)


class _Drain(io.RawIOBase):
    """A file that is only ever written at its end; what was written can be taken away."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []
        self._length = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        part = bytes(data)
        self._parts.append(part)
        self._length += len(part)
        return len(part)

    def tell(self) -> int:
        return self._length

    def drain(self) -> bytes:
        whole = b"".join(self._parts)
        self._parts.clear()
        return whole

"""Readings as JSON, newline-delimited JSON, CSV, Parquet and Arrow: the same columns and values in each.

`csv-nb` is for Norwegian spreadsheets: semicolons, decimal commas, local times to the second, and a byte order mark.

Without a limit everything but JSON streams to its end in constant memory; a failure half way breaks the connection, so
that a file that ends early cannot be taken for a whole one.
"""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Callable, Generator, Iterator
from typing import Any, Literal

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.ipc
import pyarrow.parquet as pq

from techport_dashboards.problems import Problem
from techport_dashboards.query import rows
from techport_storage.csv_cells import harmless, harmless_column

# -- Rows of Arrow as JSON, column by column: ten times faster than through objects, and without Python's lock.

_WHOLE = "^-?[0-9]+$"


def objects(batch: pa.RecordBatch, end: str) -> bytes:
    """Each row as an object, in the order of the columns, with `end` behind it."""
    number_of_rows: int = batch.num_rows
    if not number_of_rows:
        return b""
    parts: list[pa.Array | str] = []
    between = "{"  # what stands in every row before the next column that differs
    for number, (name, column) in enumerate(zip(batch.schema.names, batch.columns, strict=True)):
        between += f"{',' if number else ''}{msgspec.json.encode(name).decode()}:"
        constant = _constant(column)
        if constant is None:
            parts += [between, pc.fill_null(_values(column), "null")]
            between = ""
        else:
            between += constant
    between += "}" + end
    if not parts:
        return between.encode() * number_of_rows
    lines = pc.binary_join_element_wise(*parts, between, "")
    _, offsets, text = lines.buffers()
    edges = memoryview(offsets).cast("i")[lines.offset : lines.offset + len(lines) + 1]
    return memoryview(text)[edges[0] : edges[-1]].tobytes()


def _constant(column: pa.Array) -> str | None:
    """The JSON of the one value that all rows have, as the names of a single stream do."""
    if not pa.types.is_dictionary(column.type) or len(column.dictionary) != 1 or column.null_count:
        return None
    return msgspec.json.encode(column.dictionary[0].as_py()).decode()


def _values(column: pa.Array) -> pa.Array:
    """The JSON of each value; null for null."""
    if pa.types.is_string(column.type):
        column = column.dictionary_encode()
    if pa.types.is_dictionary(column.type):
        texts = [msgspec.json.encode(value).decode() for value in column.dictionary.to_pylist()]
        return pa.DictionaryArray.from_arrays(column.indices, pa.array(texts, pa.string())).cast(pa.string())
    if pa.types.is_timestamp(column.type):
        text = rows.iso(column) if column.type.tz in (None, "UTC") else rows.local_iso(column)
        return pc.binary_join_element_wise('"', text, '"', "")
    if pa.types.is_date(column.type):
        return pc.binary_join_element_wise('"', column.cast(pa.string()), '"', "")
    text = column.cast(pa.string())
    if pa.types.is_floating(column.type):
        return pc.if_else(pc.match_substring_regex(text, _WHOLE), pc.binary_join_element_wise(text, ".0", ""), text)
    return text


Format = Literal["json", "ndjson", "csv", "csv-nb", "parquet", "arrow", "feather", "netcdf"]
PARQUET = "application/vnd.apache.parquet"
ARROW = "application/vnd.apache.arrow.stream"
FEATHER = "application/vnd.apache.arrow.file"
NETCDF = "application/x-netcdf"
BINARY_FORMATS = ("parquet", "arrow", "feather", "netcdf")
MEDIA_TYPES: dict[Format, str] = {
    "json": "application/json",
    "ndjson": "application/x-ndjson",
    "csv": "text/csv; charset=utf-8",
    "csv-nb": "text/csv; charset=utf-8; header=present; locale=nb",
    "parquet": PARQUET,
    "arrow": ARROW,
    "feather": FEATHER,
    "netcdf": NETCDF,
}
BINARY = {"type": "string", "format": "binary"}
"""A file, in the API's description."""
DESCRIBED: dict[str, dict[str, object]] = {
    media_type: {}
    if file_format == "json"
    else {"schema": BINARY if file_format in BINARY_FORMATS else {"type": "string"}}
    for file_format, media_type in MEDIA_TYPES.items()
}
"""Of each media type what a file of it is."""
_ACCEPTED: dict[str, Format] = {
    "application/json": "json",
    "application/x-ndjson": "ndjson",
    "application/jsonl": "ndjson",
    "text/csv": "csv",
    PARQUET: "parquet",
    "application/x-parquet": "parquet",
    ARROW: "arrow",
    FEATHER: "feather",
    NETCDF: "netcdf",
    "application/netcdf": "netcdf",
    "*/*": "json",
    "application/*": "json",
    "text/*": "csv",
}
Encoding = Literal["gzip", "zstd"]
_GZIP_LEVEL = 2  # of readings in text a tenth remains; 5, at three times the processor time, leaves little less
Dress = Callable[[pa.RecordBatch], pa.RecordBatch]
ROWS_AT_ONCE = 10_000
ROW_GROUP = 100_000


def choose(file_format: str | None, accept: str) -> Format:
    """The format that `format=` names, else the first of the Accept header that we have. Raises Problem."""
    if file_format is not None:
        if file_format not in MEDIA_TYPES:
            raise Problem(
                "bad-parameter",
                f"{file_format[:40]!r} is not a supported format.",
                parameter="format",
                example=", ".join(MEDIA_TYPES),
            )
        return file_format
    for part in (accept or "*/*").split(","):
        media_type = part.partition(";")[0].strip().lower()
        if media_type in _ACCEPTED:
            return _ACCEPTED[media_type]
    if "text/html" in accept:  # a browser's address line
        return "json"
    raise Problem(
        "not-acceptable", f"None of the formats in {accept[:80]!r} is supported.", example=", ".join(_ACCEPTED)
    )


def pieces(source: pa.Table | pa.RecordBatchReader, dress: Dress) -> Generator[pa.RecordBatch]:
    """The rows, ROWS_AT_ONCE at most, with what `dress` adds. Closes a reader, also when the caller stops early."""
    if isinstance(source, pa.Table):
        yield from (dress(batch) for batch in source.to_batches(max_chunksize=ROWS_AT_ONCE))
        return
    with source:
        for batch in source:
            for start in range(0, batch.num_rows, ROWS_AT_ONCE):
                yield dress(batch.slice(start, ROWS_AT_ONCE))


def whole(content: bytes) -> Generator[bytes]:
    """Bytes that are there already."""
    yield content


def json_rows(batches: Iterator[pa.RecordBatch]) -> bytes:
    """The rows as one JSON array."""
    return b"[" + b"".join(objects(batch, ",") for batch in batches)[:-1] + b"]"


def ndjson(batches: Iterator[pa.RecordBatch]) -> Generator[bytes]:
    for batch in batches:
        yield objects(batch, "\n")


def csv(batches: Iterator[pa.RecordBatch], names: list[str]) -> Generator[bytes]:
    """RFC 4180 with a header line, also for no rows. Numbers keep all their digits."""
    yield header(names, ",")
    options = pa.csv.WriteOptions(include_header=False, quoting_style="needed")
    for batch in batches:
        sink = io.BytesIO()
        pa.csv.write_csv(_harmless(rows.readable(batch)), sink, options)
        yield sink.getvalue()


def csv_nb(batches: Iterator[pa.RecordBatch], names: list[str], zone: str) -> Generator[bytes]:
    """For a spreadsheet in Norwegian. `time` is local, and `offset` says how far from UTC; both hours 02 of October
    are told apart by it."""
    yield b"\xef\xbb\xbf" + header(
        [part for name in names for part in ((name, "offset") if name == "time" else (name,))], ";"
    )
    options = pa.csv.WriteOptions(include_header=False, quoting_style="needed", delimiter=";")
    for batch in batches:
        sink = io.BytesIO()
        pa.csv.write_csv(_harmless(_norwegian(batch, zone)), sink, options)
        yield sink.getvalue()


def header(names: list[str], separator: str) -> bytes:
    """Names of columns; those that a format could trip over in quotes."""
    plain = [harmless(name) for name in names]
    return (separator.join(_quoted(name) if re.search(r'[",;\s]', name) else name for name in plain) + "\n").encode()


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _norwegian(batch: pa.RecordBatch, zone: str) -> pa.RecordBatch:
    columns: dict[str, pa.Array] = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if pa.types.is_timestamp(column.type):
            local = column.cast(pa.timestamp("s", zone), safe=False)
            columns[name] = pc.strftime(local, format="%Y-%m-%d %H:%M:%S")
            if name == "time":
                columns["offset"] = pc.strftime(local, format="%z")
        elif pa.types.is_floating(column.type):
            columns[name] = pc.replace_substring(column.cast(pa.string()), ".", ",")
        else:
            columns[name] = column.cast(pa.string()) if pa.types.is_dictionary(column.type) else column
    return pa.RecordBatch.from_pydict(columns)


def _harmless(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with texts that no spreadsheet runs as a formula. Names come from devices, too."""
    columns = [harmless_column(column) for column in batch.columns]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def parquet(batches: Iterator[pa.RecordBatch], schema: pa.Schema, metadata: dict[str, Any]) -> Generator[bytes]:
    """A Parquet file as it is written, a row group at a time; `metadata` goes under the key `techport` as JSON."""
    schema = _described(schema, metadata)
    sink = _Drain()
    waiting: list[pa.RecordBatch] = []
    # Times of a stream lie at about the same distance: as differences they take an eighth.
    deltas = {field.name: "DELTA_BINARY_PACKED" for field in schema if _is_counted(field.type)}
    named = [field.name for field in schema if pa.types.is_dictionary(field.type) or pa.types.is_string(field.type)]
    writing = {"compression": "zstd", "use_dictionary": named, "column_encoding": deltas}
    with pq.ParquetWriter(sink, schema, **writing) as writer:
        for batch in batches:
            waiting.append(batch)
            if sum(b.num_rows for b in waiting) >= ROW_GROUP:
                writer.write_table(_table(waiting, schema))
                waiting.clear()
                yield sink.drain()
        if waiting:
            writer.write_table(_table(waiting, schema))
    yield sink.drain()


def _is_counted(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind) or pa.types.is_integer(kind))


def arrow(batches: Iterator[pa.RecordBatch], schema: pa.Schema, metadata: dict[str, Any]) -> Generator[bytes]:
    """An Arrow IPC stream, `metadata` under the key `techport`. Names are plain text."""
    yield from _ipc(pa.ipc.new_stream, batches, schema, metadata)


def feather(batches: Iterator[pa.RecordBatch], schema: pa.Schema, metadata: dict[str, Any]) -> Generator[bytes]:
    """An Arrow IPC file (Feather version 2), as the stream."""
    yield from _ipc(pa.ipc.new_file, batches, schema, metadata)


def _ipc(
    opened: Callable[..., Any], batches: Iterator[pa.RecordBatch], schema: pa.Schema, metadata: dict[str, Any]
) -> Generator[bytes]:
    fields = [f.with_type(pa.string()) if pa.types.is_dictionary(f.type) else f for f in schema]
    schema = _described(pa.schema(fields), metadata)
    sink = _Drain()
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with opened(sink, schema, options=options) as writer:
        for batch in batches:
            writer.write_batch(batch.cast(schema))
            yield sink.drain()
    yield sink.drain()


def _described(schema: pa.Schema, metadata: dict[str, Any]) -> pa.Schema:
    """The schema with `metadata`; columns of values also have the unit and the CF name, where all rows share them."""
    units = {(unit["ucum"], unit.get("cf_name")) for unit in metadata.get("units", {}).values()}
    if len(units) == 1:
        ((unit, cf_name),) = units
        about = {"units": unit, **({"standard_name": cf_name} if cf_name else {})}
        fields = [f.with_metadata(about) if pa.types.is_floating(f.type) and _in_unit(f.name) else f for f in schema]
        schema = pa.schema(fields)
    return schema.with_metadata({b"techport": msgspec.json.encode(metadata)})


def _in_unit(column: str) -> bool:
    return column not in ("completeness", "share")


def encoding_of(accepted: str) -> Encoding | None:
    """What of the Accept-Encoding header text is sent in."""
    if "zstd" in accepted:
        return "zstd"
    return "gzip" if "gzip" in accepted else None


def encoded(stream: Iterator[bytes], encoding: Encoding) -> Generator[bytes]:
    """The stream, compressed as it comes: here, where a thread does it and others are served meanwhile."""
    if encoding == "gzip":
        squeeze = zlib.compressobj(_GZIP_LEVEL, wbits=31)
        for piece in stream:
            yield squeeze.compress(piece)
        yield squeeze.flush()
        return
    sink = _Drain()
    with pa.CompressedOutputStream(sink, "zstd") as compressed:
        for piece in stream:
            compressed.write(piece)
            yield sink.drain()
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

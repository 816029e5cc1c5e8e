"""What InfluxDB answers, as columns.

InfluxQL comes as MessagePack, which keeps float64 to the bit: documents one behind the other, each with some series.
Flux comes as CSV, with blocks of tables between empty lines.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv

from techport_storage.errors import StoreUnavailable
from techport_storage.influxdb.query import name_of
from techport_storage.model import Stream
from techport_storage.series import Column, Series

Kinds = Sequence[type[np.int64] | type[np.float64]]

_DOCUMENT = b"\x81\xa7results"  # how each document begins; InfluxDB puts nothing between them
_ROWS_16, _ROWS_32, _NIL_ROWS = 0xDC, 0xDD, b"\xc0"
_WIDE = {0xCC: ">u1", 0xCD: ">u2", 0xCE: ">u4", 0xCF: ">u8", 0xD0: ">i1", 0xD1: ">i2", 0xD2: ">i4", 0xD3: ">i8"}
_WIDE |= {0xCA: ">f4", 0xCB: ">f8"}
_FEW = 500  # bytes of rows that are quicker taken one by one
_FIXINT = 0x80  # a byte below is a number by itself


class _Series(msgspec.Struct):
    values: msgspec.Raw = msgspec.Raw(_NIL_ROWS)
    tags: dict[str, str] = {}


class _Result(msgspec.Struct):
    statement_id: int = 0
    series: list[_Series] = []
    error: str | None = None


class _Answer(msgspec.Struct):
    results: list[_Result] = []
    error: str | None = None


def series(pieces: Iterable[bytes], kinds: Kinds) -> Iterator[Series]:
    """The series of an InfluxQL answer as they arrive; `kinds` are the columns behind the time.

    Rows that lack one of these columns are left out: they are being written just now. Raises StoreUnavailable where the
    server broke off.
    """
    for answer in _documents(pieces):
        for result in answer.results:
            for part in result.series:
                stream = Stream(*(name_of(part.tags.get(tag, "")) for tag in Stream._fields))
                yield Series(stream, columns(bytes(part.values), (np.int64, *kinds)))


def keys(pieces: Iterable[bytes]) -> Iterator[str]:
    """The series keys of a SHOW SERIES, as in line protocol."""
    for answer in _documents(pieces):
        for result in answer.results:
            for part in result.series:
                yield from (row[0] for row in msgspec.msgpack.decode(part.values, type=list[tuple[str]]))


def columns(rows: bytes, kinds: Kinds) -> list[Column]:
    """The columns of a MessagePack array of rows."""
    fast = _equal_rows(rows, len(kinds)) if len(rows) > _FEW else None
    if fast is not None:
        return [column.astype(kind) for column, kind in zip(fast, kinds, strict=True)]
    complete = [row for row in msgspec.msgpack.decode(rows) or () if None not in row]
    turned = zip(*complete, strict=True) if complete else ([] for _ in kinds)
    return [np.array(column, kind) for column, kind in zip(turned, kinds, strict=True)]


def _equal_rows(rows: bytes, width: int) -> list[NDArray[np.generic]] | None:
    """The columns of rows that are all laid out like the first, which is nearly always so; None otherwise.

    Ten times as fast as one object a number: each column is every n-th byte of the answer.
    """
    head = {_ROWS_16: 3, _ROWS_32: 5}.get(rows[0], 1)
    count = int.from_bytes(rows[1:head], "big") if head > 1 else rows[0] & 0x0F
    body = np.frombuffer(rows, np.uint8, offset=head)
    if not count or len(body) % count:
        return None
    table = body.reshape(count, -1)
    first = table[0].tolist()
    cut_columns: list[NDArray[np.generic]] = []
    tags, at = [0], 1
    for _ in range(width):
        if at >= len(first):
            return None
        if first[at] < _FIXINT:
            if (table[:, at] >= _FIXINT).any():
                return None
            cut_columns.append(table[:, at])
            at += 1
            continue
        kind = np.dtype(_WIDE.get(first[at], "V0"))
        if not kind.itemsize or at + 1 + kind.itemsize > len(first):
            return None
        tags.append(at)
        cut_columns.append(np.ascontiguousarray(table[:, at + 1 : at + 1 + kind.itemsize]).view(kind).reshape(-1))
        at += 1 + kind.itemsize
    if at != len(first) or first[0] != 0x90 | width or (table[:, tags] != table[0, tags]).any():
        return None
    return cut_columns


def _documents(pieces: Iterable[bytes]) -> Iterator[_Answer]:
    decoder = msgspec.msgpack.Decoder(_Answer)
    buffer, begin, search = b"", 0, 1
    for piece in pieces:
        buffer, search, begin = buffer[begin:] + piece, search - begin, 0
        while (cut := buffer.find(_DOCUMENT, max(search, begin + 1))) >= 0:
            search = cut + 1
            try:
                answer = decoder.decode(memoryview(buffer)[begin:cut])
            except msgspec.DecodeError:
                continue  # these bytes were part of a name or a number: the document goes on
            begin = cut
            yield _sound(answer)
        search = max(begin + 1, len(buffer) - len(_DOCUMENT) + 1)
    if buffer[begin:]:
        try:
            answer = decoder.decode(memoryview(buffer)[begin:])
        except msgspec.DecodeError as error:
            raise StoreUnavailable(f"InfluxDB's answer ends in the middle: {error}") from None
        yield _sound(answer)


def _sound(answer: _Answer) -> _Answer:
    for error in (answer.error, *(result.error for result in answer.results)):
        if error:
            raise StoreUnavailable(f"InfluxDB broke off its answer: {error}")
    return answer


def tables(answer: bytes, value: pa.DataType) -> Iterator[tuple[str, pa.Table]]:
    """(name of the yield, table with time, value, pilot, device, quantity) for each block of a Flux answer."""
    types = {"_time": pa.timestamp("us", tz="UTC"), "_value": value, "result": pa.string()}
    types |= {tag: pa.string() for tag in Stream._fields}
    for block in answer.split(b"\r\n\r\n"):
        if not block.strip():
            continue
        header = block[: block.find(b"\r\n")].split(b",")
        if b"error" in header:
            raise StoreUnavailable(f"InfluxDB broke off its answer: {block.decode(errors='replace')[:300]}")
        chosen = csv.ConvertOptions(
            column_types=types, include_columns=list(types), strings_can_be_null=False, null_values=[]
        )
        table = csv.read_csv(io.BytesIO(block + b"\r\n"), convert_options=chosen)
        if table.num_rows:
            yield str(table["result"][0]), table.rename_columns(["time", "value", "result", *Stream._fields])

"""What a process that uses another one's store says, and what it is answered, as MessagePack.

Rows travel as Arrow, by Flight; this is everything else. A call has a method of ReadingStore and its arguments.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import pyarrow as pa

from techport_storage.coverage import Coverage
from techport_storage.model import Batch, Extent, Micros, Query, Receipt, Selection, Stream


class WireBatch(msgspec.Struct, frozen=True):
    """A Batch, its columns as bytes of this machine."""

    streams: list[Stream]
    stream: bytes
    time: bytes
    value: bytes
    received: bytes
    quality: bytes

    @classmethod
    def of(cls, batch: Batch) -> WireBatch:
        columns = (batch.stream, batch.time, batch.value, batch.received, batch.quality)
        return cls(list(batch.streams), *(np.ascontiguousarray(column).tobytes() for column in columns))

    def batch(self) -> Batch:
        return Batch(
            self.streams,
            np.frombuffer(self.stream, np.int32),
            np.frombuffer(self.time, np.int64),
            np.frombuffer(self.value, np.float64),
            np.frombuffer(self.received, np.int64),
            np.frombuffer(self.quality, np.uint8),
        )


class WireReceipt(msgspec.Struct, frozen=True):
    """A Receipt, in the same way."""

    written: int
    duplicate_rows: bytes
    rejected: list[tuple[int, str]]
    correction_rows: bytes
    replaced: bytes

    @classmethod
    def of(cls, receipt: Receipt) -> WireReceipt:
        rejected = [(int(row), reason) for row, reason in receipt.rejected]
        columns = (receipt.duplicate_rows, receipt.correction_rows, receipt.replaced)
        duplicates, corrections, replaced = (np.ascontiguousarray(column).tobytes() for column in columns)
        return cls(receipt.written, duplicates, rejected, corrections, replaced)

    def receipt(self) -> Receipt:
        return Receipt(
            self.written,
            np.frombuffer(self.duplicate_rows, np.int64),
            self.rejected,
            np.frombuffer(self.correction_rows, np.int64),
            np.frombuffer(self.replaced, np.float64),
        )


class Call(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A method of ReadingStore, and those of its arguments that it has."""

    method: str
    select: Selection = Selection()
    query: Query | None = None
    start: Micros | None = None
    end: Micros | None = None
    changed_since: Micros | None = None
    intervals: list[tuple[Stream, Micros]] = []
    batch: WireBatch | None = None


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a method returned, in the field of its type."""

    number: int | None = None
    streams: list[Stream] = []
    counts: list[tuple[Stream, int]] | None = None
    coverage: list[tuple[Stream, Coverage]] = []
    extent: Extent | None = None
    receipt: WireReceipt | None = None
    rows: bytes = b""  # a stream of Arrow


class Wrong(msgspec.Struct, frozen=True):
    """An error of the store: the name of its class, and its text; of a BadQuery its three parts."""

    error: str
    texts: Sequence[str]


def packed(table: pa.Table) -> bytes:
    """The rows as one message: a short answer costs more for the messages that it comes in than for its rows."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def unpacked(content: bytes) -> pa.RecordBatchReader:
    return pa.ipc.open_stream(content)


encode = msgspec.msgpack.Encoder().encode
decode_call = msgspec.msgpack.Decoder(Call).decode
decode_answer = msgspec.msgpack.Decoder(Answer).decode
decode_wrong = msgspec.msgpack.Decoder(Wrong).decode

"""What a process that uses another one's store says, and what it is answered: messages over a TCP connection.

    token ─► Answer          once, or WRONG and why not
    Call  ─► Answer          in MessagePack, with rows of a page as Arrow
             or, of `read`, rows as Arrow: none, with the schema, then as they come, then END
             or, at any place, WRONG and the error

A call has a method of ReadingStore and its arguments. Messages are framed by multiprocessing.connection, of which
nothing else is used: what it would unpickle is not asked for.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Sequence
from multiprocessing.connection import Connection

import msgspec
import numpy as np
import pyarrow as pa

from techport_storage.coverage import Coverage
from techport_storage.model import Batch, Extent, Micros, Query, Receipt, Selection, Stream

WRONG = b"\xc1"
"""Begins a message with an error: a byte that neither MessagePack nor Arrow begins with."""
END = b""
LONGEST_TOKEN = 1_000


def connection_of(end: socket.socket) -> Connection:
    """Messages over a connected socket, which goes on to belong to the caller."""
    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return Connection(end.dup().detach())


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


def packed(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> bytes:
    """Rows as one message: a short answer costs more for the messages that it comes in than for its rows."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def unpacked(content: bytes) -> pa.RecordBatchReader:
    return pa.ipc.open_stream(content)


encode = msgspec.msgpack.Encoder().encode
decode_call = msgspec.msgpack.Decoder(Call).decode
decode_answer = msgspec.msgpack.Decoder(Answer).decode
decode_wrong = msgspec.msgpack.Decoder(Wrong).decode

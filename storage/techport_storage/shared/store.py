"""A store that another process of this machine holds: `shared://HOST:PORT?token_file=FILE`."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Self
from urllib.parse import parse_qs, urlsplit

import pyarrow as pa

from techport_storage import errors
from techport_storage.coverage import Coverage
from techport_storage.errors import BadQuery, StoreUnavailable
from techport_storage.model import UNKNOWN_EXTENT, Batch, Extent, Micros, Query, Receipt, Replacing, Selection, Stream
from techport_storage.query_check import check_query
from techport_storage.shared.wire import (
    END,
    WRONG,
    Answer,
    Call,
    WireBatch,
    connection_of,
    decode_answer,
    decode_wrong,
    encode,
    unpacked,
)

PATIENCE_S = 120.0
"""Seconds that the other process has to begin an answer."""
_CONNECT_S = 5.0
PAGE = 10_000
"""Raw rows that come as one message."""
MOST_KEPT = 64
"""Connections that wait for the next call."""


class SharedStore:
    """The methods of ReadingStore, each asked of the process that holds the store."""

    def __init__(self, host: str, port: int, token: str) -> None:
        self._address = host, port
        self._token = token
        self._free: list[Connection] = []
        self._lock = threading.Lock()
        self._closed = False

    @classmethod
    def open(cls, url: str) -> Self:
        """Raises ValueError for a URL that is none, StoreUnavailable where nobody answers or the token is refused."""
        parts, options = urlsplit(url), parse_qs(urlsplit(url).query)
        if not parts.hostname or parts.port is None or set(options) != {"token_file"}:
            raise ValueError(
                f"{url!r}: write shared://HOST:PORT?token_file=FILE, with the file of its platform's token"
            )
        try:
            token = Path(options["token_file"][0]).read_text("utf-8").strip()
        except OSError as error:
            raise StoreUnavailable(f"the token of the store at {parts.netloc} cannot be read: {error}") from error
        store = cls(parts.hostname, parts.port, token)
        try:
            store.probe()
        except StoreUnavailable:
            store.close()
            raise
        return store

    def write(self, batch: Batch, replacing: Replacing | None = None) -> Receipt:
        """As ReadingStore.write. What will be replaced can be told in the process that holds the store alone: workers
        that want to know it cannot be elsewhere."""
        if replacing is not None:
            raise StoreUnavailable(f"messages are taken in by the process that holds the store, at {self._where}")
        receipt = self._ask(Call(method="write", batch=WireBatch.of(batch))).receipt
        assert receipt is not None
        return receipt.receipt()

    def flag(self, batch: Batch) -> int:
        return self._ask(Call(method="flag", batch=WireBatch.of(batch))).number or 0

    def read(self, query: Query) -> pa.RecordBatchReader:
        check_query(query)  # here: what no field of a query can be does not travel
        if _is_page(query):
            return self._page(query)[1]
        rows = self._rows(Call(method="read", query=query))
        schema = next(rows)  # what is wrong at once is raised here
        assert isinstance(schema, pa.Schema)
        return pa.RecordBatchReader.from_batches(schema, rows)

    def read_with_extent(self, query: Query) -> tuple[Extent, pa.RecordBatchReader]:
        """As ReadsWithExtent: a page of raw rows in one trip."""
        check_query(query)
        if _is_page(query):
            return self._page(query)
        return self.extent(query.select, query.start, query.end), self.read(query)

    def _page(self, query: Query) -> tuple[Extent, pa.RecordBatchReader]:
        answer = self._ask(Call(method="page", query=query))
        return answer.extent or UNKNOWN_EXTENT, unpacked(answer.rows)

    def latest(self, select: Selection, changed_since: Micros | None = None) -> pa.Table:
        call = Call(method="latest", select=select, changed_since=changed_since)
        return unpacked(self._ask(call).rows).read_all()

    def streams(self, select: Selection) -> list[Stream]:
        return self._ask(Call(method="streams", select=select)).streams

    def coverage(self, intervals: Mapping[Stream, Micros], start: Micros, end: Micros) -> dict[Stream, Coverage]:
        call = Call(method="coverage", intervals=list(intervals.items()), start=start, end=end)
        return dict(self._ask(call).coverage)

    def extent(self, select: Selection, start: Micros | None = None, end: Micros | None = None) -> Extent:
        return self._ask(Call(method="extent", select=select, start=start, end=end)).extent or UNKNOWN_EXTENT

    def counts(self) -> dict[Stream, int] | None:
        counts = self._ask(Call(method="counts")).counts
        return None if counts is None else dict(counts)

    def erase(self, select: Selection, start: Micros | None = None, end: Micros | None = None) -> int:
        return self._ask(Call(method="erase", select=select, start=start, end=end)).number or 0

    def probe(self) -> None:
        self._ask(Call(method="probe"))

    def close(self) -> None:
        with self._lock:
            self._closed = True
            free, self._free = self._free, []
        for connection in free:
            connection.close()

    @property
    def _where(self) -> str:
        return "{}:{}".format(*self._address)

    def _ask(self, call: Call) -> Answer:
        connection, message = self._begin(call)
        self._keep(connection)
        return decode_answer(_answered(message))

    def _rows(self, call: Call) -> Generator[pa.Schema | pa.RecordBatch]:
        """The schema, then the rows. A connection whose rows are not taken to their end is closed."""
        connection, message = self._begin(call)
        ended = message[:1] == WRONG
        try:
            yield unpacked(_answered(message)).schema
            while not ended:
                with self._errors():
                    message = connection.recv_bytes()
                ended = message == END or message[:1] == WRONG
                if message != END:
                    yield from unpacked(_answered(message))
        finally:
            if ended:
                self._keep(connection)
            else:
                connection.close()

    def _begin(self, call: Call) -> tuple[Connection, bytes]:
        """A connection on which the call was made, and the first message of its answer. One that was kept may have
        ended meanwhile: then a new one is asked, which is harmless with every method."""
        asked = encode(call)
        with self._lock:
            kept = self._free.pop() if self._free else None
        if kept is not None:
            try:
                kept.send_bytes(asked)
                return kept, self._received(kept)
            except (OSError, EOFError):
                kept.close()
                with self._lock:
                    free, self._free = self._free, []
                for connection in free:
                    connection.close()
            except StoreUnavailable:
                kept.close()
                raise
        with self._errors():
            connection = self._connected()
            try:
                connection.send_bytes(asked)
                return connection, self._received(connection)
            except BaseException:
                connection.close()
                raise

    def _connected(self) -> Connection:
        with socket.create_connection(self._address, _CONNECT_S) as end:
            end.settimeout(None)
            connection = connection_of(end)
        try:
            connection.send_bytes(self._token.encode())
            decode_answer(_answered(self._received(connection)))
        except BaseException:
            connection.close()
            raise
        return connection

    def _received(self, connection: Connection) -> bytes:
        """The next message. Raises OSError, EOFError, StoreUnavailable."""
        if not connection.poll(PATIENCE_S):
            raise StoreUnavailable(f"the process at {self._where} that holds the store did not answer in time")
        return connection.recv_bytes()

    def _keep(self, connection: Connection) -> None:
        with self._lock:
            if not self._closed and len(self._free) < MOST_KEPT:
                self._free.append(connection)
                return
        connection.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Everything of the way to the store as "not now"."""
        try:
            yield
        except (OSError, EOFError) as error:
            reason = str(error) or "it has ended the connection"
            raise StoreUnavailable(
                f"the process at {self._where} that holds the store does not answer: {reason}"
            ) from error


def _is_page(query: Query) -> bool:
    return query.every is None and query.limit is not None and query.limit <= PAGE


def _answered(message: bytes) -> bytes:
    """The message, unless it is an error, which is raised as the store raised it."""
    if message[:1] != WRONG:
        return message
    wrong = decode_wrong(message[1:])
    if wrong.error == "BadQuery":
        raise BadQuery(*wrong.texts)
    kind: Callable[[str], Exception] = getattr(errors, wrong.error, StoreUnavailable)
    raise kind(wrong.texts[0])

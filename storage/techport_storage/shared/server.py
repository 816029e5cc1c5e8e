"""Lets other processes of this machine use the store that this one holds.

An embedded store is a file that one process alone may open. Here that process answers the others, so that web servers
can be as many as there are processors (docs/decisions/0027-an-embedded-store-for-several-processes.md).

    techport serve ── Call ──► StoreServer ──► the store
                   ◄─ Answer, rows as Arrow ──

Each connection has a thread, and is of one caller at a time: who shows the token first may ask until it is closed.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection

import pyarrow as pa

from techport_storage.errors import BadQuery, StoreError
from techport_storage.reading_store import ReadingStore, read_with_extent
from techport_storage.shared.wire import (
    END,
    LONGEST_TOKEN,
    WRONG,
    Answer,
    Call,
    WireReceipt,
    Wrong,
    connection_of,
    decode_call,
    encode,
    packed,
)

log = logging.getLogger(__name__)

Authorized = Callable[[str], bool]
"""Whether a caller who shows this token may use the store."""


class StoreServer:
    """Answers until `shutdown`."""

    def __init__(self, store: ReadingStore, host: str, port: int, authorized: Authorized) -> None:
        """Listens once the constructor returns. Raises OSError where it cannot."""
        self._store = store
        self._authorized = authorized
        self._listening = socket.create_server((host, port), backlog=64)
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._accept, name="store server", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Return when it was shut down."""
        self._thread.join()

    def shutdown(self) -> None:
        """Take no more calls, and disconnect all callers."""
        for end in (self._listening, *self._connected()):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join()

    def _connected(self) -> list[socket.socket]:
        with self._lock:
            return list(self._open)

    def _accept(self) -> None:
        while True:
            try:
                caller, _ = self._listening.accept()
            except OSError:
                return  # shut down
            with self._lock:
                self._open.add(caller)
            threading.Thread(target=self._serve, args=(caller,), name="store caller", daemon=True).start()

    def _serve(self, caller: socket.socket) -> None:
        try:
            with connection_of(caller) as connection:
                token = connection.recv_bytes(LONGEST_TOKEN).decode("utf-8", "replace")
                if not self._authorized(token):
                    connection.send_bytes(WRONG + encode(Wrong("StoreUnavailable", [_REFUSED])))
                    return
                connection.send_bytes(encode(Answer()))
                while True:
                    self.answer(connection, decode_call(connection.recv_bytes()))
        except (OSError, EOFError):
            pass  # the caller has gone
        except Exception:  # supervises: one call that goes wrong ends its connection, and no other
            log.exception("a call of another process failed")
        finally:
            with self._lock:
                self._open.discard(caller)
            caller.close()

    def answer(self, connection: Connection, call: Call) -> None:
        """Send the answer. Raises OSError when the caller goes away before its end."""
        try:
            if call.method == "read" and call.query is not None:
                self._send_rows(connection, self._store.read(call.query))
            else:
                connection.send_bytes(encode(self._answer(call)))
        except StoreError as error:
            texts = (error.parameter, error.problem, error.hint) if isinstance(error, BadQuery) else (str(error),)
            connection.send_bytes(WRONG + encode(Wrong(type(error).__name__, texts)))

    def _send_rows(self, connection: Connection, reader: pa.RecordBatchReader) -> None:
        """The schema, then the rows as they come; a slow caller is waited for."""
        with reader:
            connection.send_bytes(packed(reader.schema, ()))
            for batch in reader:
                connection.send_bytes(packed(batch.schema, [batch]))
        connection.send_bytes(END)

    def _answer(self, call: Call) -> Answer:
        store = self._store
        match call.method:
            case "streams":
                return Answer(streams=store.streams(call.select))
            case "extent":
                return Answer(extent=store.extent(call.select, call.start, call.end))
            case "counts":
                counts = store.counts()
                return Answer(counts=None if counts is None else list(counts.items()))
            case "coverage":
                coverage = store.coverage(dict(call.intervals), call.start or 0, call.end or 0)
                return Answer(coverage=list(coverage.items()))
            case "latest":
                latest = store.latest(call.select, call.changed_since)
                return Answer(rows=packed(latest.schema, latest.to_batches()))
            case "erase":
                return Answer(number=store.erase(call.select, call.start, call.end))
            case "probe":
                store.probe()
                return Answer()
        if call.query is not None and call.method == "page":
            extent, reader = read_with_extent(store, call.query)
            with reader:
                return Answer(extent=extent, rows=packed(reader.schema, reader))
        if call.batch is not None and call.method == "write":
            return Answer(receipt=WireReceipt.of(store.write(call.batch.batch())))
        if call.batch is not None and call.method == "flag":
            return Answer(number=store.flag(call.batch.batch()))
        raise ValueError(f"a store has no method {call.method[:40]}")


_REFUSED = "the token is not the one of this store"

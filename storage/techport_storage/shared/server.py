"""Lets other processes of this machine use the store that this one holds, over Arrow Flight.

An embedded store is a file that one process alone may open. Here that process answers the others, so that web servers
can be as many as there are processors (docs/decisions/0027-an-embedded-store-for-several-processes.md).

    techport serve ── Call ──► StoreServer ──► the store
                   ◄── Arrow ──
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow.flight as flight

from techport_storage.errors import BadQuery, StoreError
from techport_storage.reading_store import ReadingStore, read_with_extent
from techport_storage.shared.wire import Answer, Call, WireReceipt, Wrong, decode_call, encode, packed

Authorized = Callable[[str], bool]
"""Whether a caller who shows this token may use the store."""


class _Check(flight.ServerMiddlewareFactory):  # type: ignore[misc]
    """Lets in who shows the token."""

    def __init__(self, authorized: Authorized) -> None:
        super().__init__()
        self._authorized = authorized

    def start_call(self, info: Any, headers: Mapping[str, Sequence[str]]) -> None:
        scheme, _, token = next(iter(headers.get("authorization", [])), "").partition(" ")
        if scheme.lower() != "bearer" or not self._authorized(token):
            raise flight.FlightUnauthenticatedError("the token is not the one of this store")


class StoreServer(flight.FlightServerBase):  # type: ignore[misc]
    """Answers until `shutdown`."""

    def __init__(self, store: ReadingStore, host: str, port: int, authorized: Authorized) -> None:
        """Listens once the constructor returns. Raises OSError where it cannot."""
        super().__init__(f"grpc://{host}:{port}", middleware={"token": _Check(authorized)})
        self._store = store

    def do_get(self, context: Any, ticket: Any) -> Any:
        """Rows as they come."""
        call = decode_call(ticket.ticket)
        try:
            if call.method != "read" or call.query is None:
                raise flight.FlightServerError(f"{call.method} gives no rows")
            reader = self._store.read(call.query)
        except StoreError as error:
            raise _flight_error(error) from error
        return flight.RecordBatchStream(reader)

    def do_action(self, context: Any, action: Any) -> list[bytes]:
        """Everything else."""
        call = decode_call(action.body.to_pybytes())
        try:
            return [encode(self._answer(call))]
        except StoreError as error:
            raise _flight_error(error) from error

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
                return Answer(rows=packed(store.latest(call.select, call.changed_since)))
            case "erase":
                return Answer(number=store.erase(call.select, call.start, call.end))
            case "probe":
                store.probe()
                return Answer()
        if call.query is not None and call.method == "page":
            extent, reader = read_with_extent(store, call.query)
            return Answer(extent=extent, rows=packed(reader.read_all()))
        if call.batch is not None and call.method == "write":
            return Answer(receipt=WireReceipt.of(store.write(call.batch.batch())))
        if call.batch is not None and call.method == "flag":
            return Answer(number=store.flag(call.batch.batch()))
        raise flight.FlightServerError(f"a store has no method {call.method[:40]}")


def _flight_error(error: StoreError) -> Exception:
    texts = (error.parameter, error.problem, error.hint) if isinstance(error, BadQuery) else (str(error),)
    made: Exception = flight.FlightServerError(str(error), encode(Wrong(type(error).__name__, texts)))
    return made

"""A store that another process of this machine holds: `flight://HOST:PORT?token_file=FILE`."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import pyarrow as pa
import pyarrow.flight as flight

from techport_storage import errors
from techport_storage.coverage import Coverage
from techport_storage.errors import BadQuery, StoreUnavailable
from techport_storage.model import UNKNOWN_EXTENT, Batch, Extent, Micros, Query, Receipt, Replacing, Selection, Stream
from techport_storage.query_check import check_query
from techport_storage.shared.wire import Answer, Call, WireBatch, decode_answer, decode_wrong, encode, unpacked

PATIENCE_S = 120.0
"""Seconds that the other process has to begin an answer."""
PAGE = 10_000
"""Raw rows that come as one message."""


class SharedStore:
    """The methods of ReadingStore, each asked of the process that holds the store."""

    def __init__(self, host: str, port: int, token: str) -> None:
        self._where = f"{host}:{port}"
        self._client = flight.connect(f"grpc://{host}:{port}")
        headers = [(b"authorization", f"Bearer {token}".encode())]
        self._options = flight.FlightCallOptions(timeout=PATIENCE_S, headers=headers)
        self._reading = flight.FlightCallOptions(headers=headers)  # rows may take as long as they take

    @classmethod
    def open(cls, url: str) -> Self:
        """Raises ValueError for a URL that is none, StoreUnavailable where nobody answers or the token is refused."""
        parts, options = urlsplit(url), parse_qs(urlsplit(url).query)
        if not parts.hostname or parts.port is None or set(options) != {"token_file"}:
            raise ValueError(
                f"{url!r}: write flight://HOST:PORT?token_file=FILE, with the file of its platform's token"
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
        with self._errors():
            stream = self._client.do_get(flight.Ticket(encode(Call(method="read", query=query))), self._reading)
            schema = stream.schema  # what is wrong at once is raised here
        return pa.RecordBatchReader.from_batches(schema, self._batches(stream))

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
        self._client.close()

    def _ask(self, call: Call) -> Answer:
        with self._errors():
            results = self._client.do_action(flight.Action(call.method, encode(call)), self._options)
            return decode_answer(next(iter(results)).body.to_pybytes())

    def _batches(self, stream: Any) -> Generator[pa.RecordBatch]:
        try:
            with self._errors():
                for chunk in stream:
                    yield chunk.data
        finally:
            stream.cancel()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Errors of the store as it raised them; everything of the way to it as "not now"."""
        try:
            yield
        except (flight.FlightError, pa.ArrowException) as error:
            raise _store_error(error, self._where) from error


def _is_page(query: Query) -> bool:
    return query.every is None and query.limit is not None and query.limit <= PAGE


def _store_error(error: Any, where: str) -> Exception:
    if getattr(error, "extra_info", None):
        wrong = decode_wrong(error.extra_info)
        if wrong.error == "BadQuery":
            return BadQuery(*wrong.texts)
        kind: Callable[[str], Exception] = getattr(errors, wrong.error, StoreUnavailable)
        return kind(wrong.texts[0])
    text = str(error).partition(". Detail:")[0].partition(" gRPC client debug context")[0]
    return StoreUnavailable(f"the process at {where} that holds the store does not answer: {text}")

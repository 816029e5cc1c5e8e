"""What a question may cost: refused before it runs where that can be told, and stopped by time where it cannot, or
when the client has gone.

Only answers that are made in one piece are bounded. CSV, NDJSON, Parquet and Arrow stream any amount in constant
memory.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore, Event
from typing import Annotated

import pyarrow as pa
from fastapi import Depends
from starlette.requests import Request

from techport_dashboards.problems import Problem
from techport_dashboards.query import times
from techport_dashboards.query.registry_cache import RegistryView
from techport_storage.microseconds import MINUTE
from techport_storage.model import Micros, Query

WAY_OUT = "format=parquet without a limit, which streams any amount; or a shorter range or fewer streams"
WITHOUT_LIMIT = "no limit, so that any amount is streamed; or a shorter range or fewer streams"
NARROWER = "a shorter range, wider buckets or fewer streams"
_UNKNOWN_INTERVAL: Micros = MINUTE


def reject_expensive(
    query: Query, stored: int | None, catalogue: RegistryView, most: int, now: Micros, way_out: str = WAY_OUT
) -> None:
    """Raise a Problem for a page of buckets over more readings than `most`."""
    if query.every is not None:  # a page of raw rows costs no more than its rows
        reject_many_readings(query, stored, catalogue, most, now, way_out)


def reject_many_readings(
    query: Query, stored: int | None, catalogue: RegistryView, most: int, now: Micros, way_out: str
) -> None:
    """Raise a Problem where the query looks at more readings than `most`; `stored` is how many there are, as far as the
    store knows."""
    expected = readings_expected(query, catalogue, now) if stored is None else stored
    if expected > most:
        raise Problem(
            "too-costly",
            f"These buckets would aggregate about {expected:,} readings; "
            f"a single response can aggregate at most {most:,}.",
            parameter="start",
            example=way_out,
        )


def readings_expected(query: Query, catalogue: RegistryView, now: Micros) -> int:
    """About how many readings a query looks at: its range, or that of the pilots' phases, by the streams' intervals."""
    end = min(now, query.end) if query.end is not None else now
    begun = {
        pilot.id: min(times.micros(phase.start) for phase in pilot.phases)
        for pilot in catalogue.pilots.values()
        if pilot.phases
    }
    total = 0.0
    for info in catalogue.chosen(query.select):
        starts = [start for start in (query.start, begun.get(info.stream.pilot)) if start is not None]
        total += max(0, end - max(starts, default=end)) / (info.interval_us or _UNKNOWN_INTERVAL)
    return int(total)


class Deadline:
    """How long an answer in one piece may take: so many seconds, and no longer than somebody waits for it."""

    def __init__(self, seconds: float, left: Event | None = None, way_out: str = WAY_OUT) -> None:
        """`left` is set when the client has gone; `way_out` is what to ask for instead."""
        self.way_out = way_out
        self._seconds = seconds
        self._given_up = time.monotonic() + seconds
        self._left = left

    def table(self, reader: pa.RecordBatchReader) -> pa.Table:
        """All rows of the reader. Raises Problem."""
        return pa.Table.from_batches(self.batches(reader), reader.schema)

    def batches(self, reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        """The reader's, until the deadline; it is closed in any case. Raises Problem."""
        with reader:
            for batch in reader:
                yield batch
                self.check()

    def check(self) -> None:
        """Raises Problem when it is over."""
        if self._left is not None and self._left.is_set():
            raise Problem("too-costly", "The client has disconnected.")
        if time.monotonic() > self._given_up:
            detail = f"The query was not answered within {self._seconds:g} seconds."
            raise Problem("too-costly", detail, parameter="start", example=self.way_out)


class Turns:
    """So many answers at a time are put together in memory; the others wait for their turn. Safe to use from several
    threads."""

    def __init__(self, at_once: int) -> None:
        self._free = BoundedSemaphore(at_once)

    @contextmanager
    def taken(self, deadline: Deadline) -> Iterator[None]:
        """A turn, waited until the deadline. Raises Problem."""
        while not self._free.acquire(timeout=_LOOK_S):
            deadline.check()
        try:
            yield
        finally:
            self._free.release()


_LOOK_S = 0.25
"""Seconds between two looks whether somebody still waits for an answer."""


async def until_disconnected(request: Request) -> AsyncIterator[Event]:
    """A dependency of a route: an event that is set when the client goes away before the answer is made."""
    left = Event()

    async def watch() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        left.set()

    task = asyncio.create_task(watch())
    try:
        yield left
    finally:
        task.cancel()


Disconnected = Annotated[Event, Depends(until_disconnected, scope="function")]
"""Given up as soon as the route has returned: what is streamed after that notices by itself."""

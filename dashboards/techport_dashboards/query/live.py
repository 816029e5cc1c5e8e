"""One look into the store for all who watch, handed on to each of them.

    arrivals ─► what is new ─► one encoded event ─► a bounded queue for each viewer ─► server-sent events

The poller runs only while somebody watches. A viewer whose queue is full loses its queue and gets one `resync`
instead: the page then asks for what it shows anew, so slow readers cost nobody else anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pyarrow as pa
from fastapi.sse import format_sse_event
from prometheus_client import CollectorRegistry, Counter, Gauge
from starlette.concurrency import run_in_threadpool

from techport_dashboards.problems import Problem
from techport_dashboards.query import rows, times
from techport_dashboards.query.registry_cache import RegistryCache
from techport_pilots.errors import RegistryUnavailable
from techport_storage import clock
from techport_storage.columns import group_by_stream
from techport_storage.errors import StoreUnavailable
from techport_storage.microseconds import MINUTE, SECOND
from techport_storage.model import RAW_SCHEMA, Micros, Query, Selection, Stream
from techport_storage.store import ReadingStore

# -- What came into the store since the last look

OVERLAP: Micros = 5 * SECOND
"""Commits are seen a little later than `received`: each look goes back this far, and knows what it has shown."""
SWEEP = 40
"""Every so many looks one goes back without limit, for readings that waited long between arrival and commit."""
BETWEEN: Micros = 10 * MINUTE
"""Time between two latest readings of a stream up to which those in between are handed on one by one."""
MOST = 5_000
"""Readings that one look hands on; where there are more, pages ask anew."""

State = tuple[Micros, Micros, float]
"""time, received and value of a stream's latest reading."""


@dataclass(frozen=True, slots=True)
class Changes:
    """New readings (RAW_SCHEMA), in order of stream and time; and streams of which there is more than that."""

    readings: pa.Table
    late: frozenset[Stream] = frozenset()


@dataclass(slots=True)
class ChangePoller:
    """Looks into a store again and again. A look that raises StoreUnavailable has changed nothing."""

    store: ReadingStore
    _shown: dict[Stream, State] = field(default_factory=dict)
    _counted: Mapping[Stream, int] | None = None
    _owed: dict[Stream, int] = field(default_factory=dict)  # stored, and not handed on yet
    _looks: int = 0

    def look(self) -> Changes:
        """What came since the last look. The first has no news: pages have just asked for what there is."""
        counted = self.store.counts()
        newest = max((received for _, received, _ in self._shown.values()), default=0)
        everything = self._looks % SWEEP == 0 or not self._shown
        table = self.store.latest(Selection(), None if everything else newest - OVERLAP)
        changed = {
            stream: (row, state)
            for row, (stream, state) in enumerate(states(table))
            if self._shown.get(stream) != state
        }
        latest = table.take(pa.array([row for row, _ in changed.values()], pa.int64()))
        before, more = self._counted, self._more(counted)
        between = self._between({stream: state[0] for stream, (_, state) in changed.items()}, more)
        first = self._looks == 0
        self._shown.update((stream, state) for stream, (_, state) in changed.items())
        self._looks += 1
        self._counted = counted
        if first:
            return Changes(latest.slice(0, 0))
        if between is None:
            return Changes(latest, frozenset(changed))
        readings = in_order(pa.concat_tables([between, latest]))
        late = self._late(more, readings) if before is not None else frozenset()
        return Changes(readings, late)

    def _more(self, counted: Mapping[Stream, int] | None) -> dict[Stream, int] | None:
        """By how much each stream's number of readings has changed; None where nobody counts."""
        if counted is None or self._counted is None:
            return None
        old = self._counted
        return {stream: n - old.get(stream, 0) for stream, n in counted.items() if n != old.get(stream, 0)}

    def _between(self, newest: Mapping[Stream, Micros], more: Mapping[Stream, int] | None) -> pa.Table | None:
        """Readings between the latest that was shown and that of now; None where they are too many."""
        spans = {
            stream: (self._shown[stream][0], time)
            for stream, time in newest.items()
            if stream in self._shown
            and self._shown[stream][0] < time <= self._shown[stream][0] + BETWEEN
            and (more is None or more.get(stream, 0) > 1)
        }
        if not spans:
            return RAW_SCHEMA.empty_table()
        begin, end = min(old for old, _ in spans.values()) + 1, max(new for _, new in spans.values())
        query = Query(select=Selection(streams=tuple(spans)), start=begin, end=end, limit=MOST + 1)
        with self.store.read(query) as reader:
            table = reader.read_all()
        if table.num_rows > MOST:
            return None
        in_span = [spans[stream][0] < state[0] < spans[stream][1] for stream, state in states(table)]
        return table.filter(pa.array(in_span, pa.bool_()))

    def _late(self, more: Mapping[Stream, int] | None, readings: pa.Table) -> frozenset[Stream]:
        """Streams that have more than was handed on. Counted before the look, so a reading is never owed too early."""
        for stream, number in (more or {}).items():
            self._owed[stream] = 0 if number < 0 else self._owed.get(stream, 0) + number
        for stream, _ in states(readings):
            self._owed[stream] = self._owed.get(stream, 0) - 1
        late = frozenset(stream for stream, number in self._owed.items() if number > 0)
        self._owed = {stream: number for stream, number in self._owed.items() if number < 0}
        return late


def in_order(table: pa.Table) -> pa.Table:
    """The rows in order of stream and time, in one piece."""
    keys = [(*stream, state[0]) for stream, state in states(table)]
    order = sorted(range(len(keys)), key=keys.__getitem__)
    return table.combine_chunks().take(pa.array(order, pa.int64()))


def states(table: pa.Table) -> list[tuple[Stream, State]]:
    """(stream, (time, received, value)) of each row."""
    time, received = (table.column(name).cast(pa.int64()).to_pylist() for name in ("time", "received"))
    rows = list(zip(time, received, table.column("value").to_pylist(), strict=True))
    return [(stream, state) for stream, part in group_by_stream(table) for state in rows[part]]


log = logging.getLogger(__name__)

QUEUE_LENGTH = 64
"""Events a viewer may lag behind: a quarter of a minute at four a second."""
CHECK_RIGHTS_S = 20.0
"""How often it is looked up whether a viewer may still see what it watches."""
StillVisible = Callable[[], Awaitable[frozenset[str] | None]]
SHARE = 2
"""After a look that took long the poller rests so many times as long: a slow store is not kept busy by looking."""


@dataclass(eq=False, slots=True)
class Subscription:
    """One open page. `pilots` are those whose readings it gets; None means all."""

    pilots: frozenset[str] | None
    client: str = ""
    queue: asyncio.Queue[bytes] = field(default_factory=lambda: asyncio.Queue(QUEUE_LENGTH))

    def offer(self, event: bytes) -> bool:
        """Put the event in the queue; if it is full, put `resync` in its place and return False."""
        try:
            self.queue.put_nowait(event)
        except asyncio.QueueFull:
            while not self.queue.empty():
                self.queue.get_nowait()
            self.queue.put_nowait(RESYNC)
            return False
        return True

    def restrict(self, pilots: frozenset[str] | None) -> None:
        """Watch other pilots from now on, and forget what waits of those before."""
        self.pilots = pilots
        while not self.queue.empty():
            self.queue.get_nowait()


def encode(event: str, data: object) -> bytes:
    return format_sse_event(event=event, data_str=msgspec.json.encode(data).decode())


RESYNC = encode("resync", {})
END = b""


class Live:
    """The shared poller and its viewers. Belongs to one event loop; made by create_app."""

    def __init__(
        self,
        store: ReadingStore,
        registry_cache: RegistryCache,
        metrics: CollectorRegistry,
        interval: float = 0.1,
        heartbeat: float = 5.0,
        most: int = 500,
        most_of_client: int = 50,
    ) -> None:
        """At most `most` viewers at once, `most_of_client` of them of one client; 0: any number."""
        self._most = most
        self._most_of_client = most_of_client
        self._store = store
        self._catalogues = registry_cache
        self._interval = interval
        self._heartbeat = heartbeat
        self._viewings: set[Subscription] = set()
        self._task: asyncio.Task[None] | None = None
        self._looked = asyncio.Event()
        self._closed = False
        self._viewers = Gauge("techport_http_live_viewers", "Open live connections", registry=metrics)
        self._resyncs = Counter("techport_http_live_resyncs", "Live connections that fell behind", registry=metrics)
        # Names of the release before, which dashboards of operators may still ask for.
        self._old_viewers = Gauge(
            "techport_web_live_viewers", "Old name of techport_http_live_viewers", registry=metrics
        )
        self._old_resyncs = Counter(
            "techport_web_live_resyncs", "Old name of techport_http_live_resyncs_total", registry=metrics
        )

    def has_room(self, client: str) -> bool:
        """Whether one more viewer of this client may come."""
        viewings = list(self._viewings)
        of_client = sum(viewing.client == client for viewing in viewings)
        full = bool(self._most) and len(viewings) >= self._most
        return not full and not (self._most_of_client and of_client >= self._most_of_client)

    async def watch(
        self, pilots: frozenset[str] | None, client: str = "", still: StillVisible | None = None
    ) -> AsyncIterator[bytes]:
        """Encoded events for one viewer until the app closes: hello, then readings, late, resync, stale, beat.

        `still` is asked again and again which pilots these are now; the stream ends when it raises Problem.

        What is stored after the hello is told of: it comes when the first look, which has no news, is over.
        """
        if not self.has_room(client):  # asked before, but many may have come together
            return
        viewing = Subscription(pilots, client)
        checked = time.monotonic()
        self._viewings.add(viewing)
        self._count_viewers()
        if self._task is None or self._task.done():
            self._looked.clear()
            self._task = asyncio.create_task(self._run())
        try:
            await self._looked.wait()
            yield encode("hello", {"heartbeat": self._heartbeat})
            while not self._closed:
                try:
                    event = await asyncio.wait_for(viewing.queue.get(), self._heartbeat)
                except TimeoutError:
                    event = encode("beat", {"time": times.iso(clock.now())})
                if event == END:
                    return
                if still is not None and time.monotonic() - checked >= CHECK_RIGHTS_S:
                    checked = time.monotonic()
                    try:
                        visible = await still()
                    except Problem:
                        return
                    except RegistryUnavailable:
                        visible = viewing.pilots  # nobody can take a right away now either
                    if visible != viewing.pilots:
                        viewing.restrict(visible)
                        event = RESYNC
                yield event
        finally:
            self._viewings.discard(viewing)
            self._count_viewers()

    def _count_viewers(self) -> None:
        for gauge in (self._viewers, self._old_viewers):
            gauge.set(len(self._viewings))

    async def close(self) -> None:
        """Let every viewer go, so that the server can stop: an open stream would hold it."""
        self._closed = True
        self._looked.set()
        self._send_all(END)
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        """Supervise the looks until nobody watches. What fails is logged, shown as `stale`, and tried again."""
        arrivals = ChangePoller(self._store)
        failing = False
        while self._viewings:
            begun = time.monotonic()
            try:
                news = await run_in_threadpool(arrivals.look)
                items = await run_in_threadpool(self._items, news)
                if failing:
                    failing = False
                    self._send_all(RESYNC)
                self._publish("readings", items)
                self._publish("late", [stream._asdict() for stream in sorted(news.late)])
            except Exception as error:
                if not failing:
                    unexpected = not isinstance(error, StoreUnavailable | RegistryUnavailable)
                    level = logging.ERROR if unexpected else logging.WARNING
                    log.log(level, "live readings stopped, trying again: %s", error, exc_info=unexpected)
                self._send_all(encode("stale", {"reason": "the store does not answer"}))  # also to those who came since
                failing = True
                self._looked.set()
                await asyncio.sleep(4 * self._interval)
            self._looked.set()
            await asyncio.sleep(max(self._interval, SHARE * (time.monotonic() - begun)))

    def _items(self, news: Changes) -> list[dict[str, Any]]:
        return rows.items(news.readings, self._catalogues.current()) if news.readings.num_rows else []

    def _publish(self, name: str, items: Iterable[Mapping[str, Any]]) -> None:
        """Encode each pilot's news once and hand it to those who watch that pilot."""
        by_pilot: dict[str, list[Mapping[str, Any]]] = {}
        for item in items:
            by_pilot.setdefault(item["pilot"], []).append(item)
        for pilot, news in by_pilot.items():
            event = encode(name, {"items": news})
            for viewing in self._viewings:
                if (viewing.pilots is None or pilot in viewing.pilots) and not viewing.offer(event):
                    self._resyncs.inc()
                    self._old_resyncs.inc()

    def _send_all(self, event: bytes) -> None:
        for viewing in self._viewings:
            viewing.offer(event)

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
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from fastapi.sse import format_sse_event
from prometheus_client import CollectorRegistry, Counter, Gauge
from starlette.concurrency import run_in_threadpool

from techport_dashboards import rows, times
from techport_dashboards.arrivals import Arrivals, News
from techport_dashboards.catalogue import Catalogues
from techport_pilots.errors import RegistryUnavailable
from techport_storage.errors import StoreUnavailable
from techport_storage.store import ReadingStore

log = logging.getLogger(__name__)

QUEUE_LENGTH = 64
"""Events a viewer may lag behind: a quarter of a minute at four a second."""
SHARE = 2
"""After a look that took long the poller rests so many times as long: a slow store is not kept busy by looking."""


@dataclass(eq=False, slots=True)
class Viewing:
    """One open page. `pilots` are those whose readings it gets; None means all."""

    pilots: frozenset[str] | None
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


def encode(event: str, data: object) -> bytes:
    return format_sse_event(event=event, data_str=msgspec.json.encode(data).decode())


RESYNC = encode("resync", {})
END = b""


class Live:
    """The shared poller and its viewers. Belongs to one event loop; made by create_app."""

    def __init__(
        self,
        store: ReadingStore,
        catalogues: Catalogues,
        metrics: CollectorRegistry,
        interval: float = 0.1,
        heartbeat: float = 5.0,
    ) -> None:
        self._store = store
        self._catalogues = catalogues
        self._interval = interval
        self._heartbeat = heartbeat
        self._viewings: set[Viewing] = set()
        self._task: asyncio.Task[None] | None = None
        self._looked = asyncio.Event()
        self._closed = False
        self._viewers = Gauge("techport_web_live_viewers", "Pages that watch live", registry=metrics)
        self._resyncs = Counter("techport_web_live_resyncs", "Viewers that fell behind", registry=metrics)

    async def watch(self, pilots: frozenset[str] | None) -> AsyncIterator[bytes]:
        """Encoded events for one viewer until the app closes: hello, then readings, late, resync, stale, beat.

        What is stored after the hello is told of: it comes when the first look, which has no news, is over.
        """
        viewing = Viewing(pilots)
        self._viewings.add(viewing)
        self._viewers.set(len(self._viewings))
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
                    event = encode("beat", {"time": times.iso(times.now())})
                if event == END:
                    return
                yield event
        finally:
            self._viewings.discard(viewing)
            self._viewers.set(len(self._viewings))

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
        arrivals = Arrivals(self._store)
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

    def _items(self, news: News) -> list[dict[str, Any]]:
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

    def _send_all(self, event: bytes) -> None:
        for viewing in self._viewings:
            viewing.offer(event)

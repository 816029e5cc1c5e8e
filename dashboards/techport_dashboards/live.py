"""One look into the store for all who watch, handed on to each of them.

    store.latest ─► what is new ─► one encoded event ─► a bounded queue for each viewer ─► server-sent events

The poller runs only while somebody watches. A viewer whose queue is full loses its queue and gets one `resync`
instead: the page then asks for what it shows anew, so slow readers cost nobody else anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pyarrow as pa
from fastapi.sse import format_sse_event
from prometheus_client import CollectorRegistry, Counter, Gauge
from starlette.concurrency import run_in_threadpool

from techport_dashboards import rows, times
from techport_dashboards.catalogue import Catalogues
from techport_pilots.errors import RegistryUnavailable
from techport_storage.errors import StoreUnavailable
from techport_storage.model import Micros, Selection, Stream
from techport_storage.store import ReadingStore

log = logging.getLogger(__name__)

QUEUE_LENGTH = 64
"""Events a viewer may lag behind: a quarter of a minute at four a second."""
OVERLAP: Micros = 5 * times.SECOND
"""Commits are seen a little later than `received`: each look goes back this far, and knows what it has shown."""
SWEEP = 40
"""Every so many looks one goes back without limit, for readings that waited long between arrival and commit."""

Shown = dict[Stream, tuple[Micros, Micros, float]]


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
        interval: float = 0.25,
        heartbeat: float = 5.0,
    ) -> None:
        self._store = store
        self._catalogues = catalogues
        self._interval = interval
        self._heartbeat = heartbeat
        self._viewings: set[Viewing] = set()
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        self._viewers = Gauge("techport_web_live_viewers", "Pages that watch live", registry=metrics)
        self._resyncs = Counter("techport_web_live_resyncs", "Viewers that fell behind", registry=metrics)

    async def watch(self, pilots: frozenset[str] | None) -> AsyncIterator[bytes]:
        """Encoded events for one viewer: `hello`, then `readings`, `resync`, `stale`, `beat`, until the app closes."""
        viewing = Viewing(pilots)
        self._viewings.add(viewing)
        self._viewers.set(len(self._viewings))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        try:
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
        self._send_all(END)
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        """Supervise the looks until nobody watches. What fails is logged, shown as `stale`, and tried again."""
        shown: Shown = {}
        look = 0
        failing = False
        while self._viewings:
            try:
                new, shown = await run_in_threadpool(self._look, shown, look)
                look += 1
                if failing:
                    failing = False
                    self._send_all(RESYNC)
                self._publish(new)
            except Exception as error:
                if not failing:
                    unexpected = not isinstance(error, StoreUnavailable | RegistryUnavailable)
                    level = logging.ERROR if unexpected else logging.WARNING
                    log.log(level, "live readings stopped, trying again: %s", error, exc_info=unexpected)
                self._send_all(encode("stale", {"reason": "the store does not answer"}))  # also to those who came since
                failing = True
                await asyncio.sleep(4 * self._interval)
            await asyncio.sleep(self._interval)

    def _look(self, shown: Shown, look: int) -> tuple[list[dict[str, Any]], Shown]:
        """What came since the last look, as items of /latest, and what is shown now. The first has no news."""
        sweep = look % SWEEP == 0
        newest = max((received for _, received, _ in shown.values()), default=0)
        table = self._store.latest(Selection(), None if sweep or not shown else newest - OVERLAP)
        keys = _keys(table)
        changed = [row for row, (stream, state) in enumerate(keys) if shown.get(stream) != state]
        now_shown = {**shown, **{keys[row][0]: keys[row][1] for row in changed}}
        if look == 0:
            return [], now_shown
        catalogue = self._catalogues.current()
        return rows.items(table.take(pa.array(changed, pa.int64())), catalogue), now_shown

    def _publish(self, items: Iterable[Mapping[str, Any]]) -> None:
        """Encode each pilot's news once and hand it to those who watch that pilot."""
        by_pilot: dict[str, list[Mapping[str, Any]]] = {}
        for item in items:
            by_pilot.setdefault(item["pilot"], []).append(item)
        for pilot, news in by_pilot.items():
            event = encode("readings", {"items": news})
            for viewing in self._viewings:
                if (viewing.pilots is None or pilot in viewing.pilots) and not viewing.offer(event):
                    self._resyncs.inc()

    def _send_all(self, event: bytes) -> None:
        for viewing in self._viewings:
            viewing.offer(event)


def _keys(table: pa.Table) -> list[tuple[Stream, tuple[Micros, Micros, float]]]:
    """(stream, (time, received, value)) of each row of a `latest` table."""
    names = zip(*(table.column(name).to_pylist() for name in ("pilot", "device", "quantity")), strict=True)
    times_received = (table.column(name).cast(pa.int64()).to_pylist() for name in ("time", "received"))
    states = zip(*times_received, table.column("value").to_pylist(), strict=True)
    return [(Stream(*name), state) for name, state in zip(names, states, strict=True)]

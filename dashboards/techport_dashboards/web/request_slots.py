"""A bounded share of the thread pool for requests that touch the registry or the store.

Plain `def` routes run in the pool's threads. When a database does not answer, each such request holds its thread until
the call times out; if they could hold all threads, style sheets, metrics and live pages would wait for the database
too. Routes of `SlotRoute` therefore take a slot before they take a thread, and there are fewer slots than threads. A
request that waits for a slot waits in the event loop, which costs nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from techport_dashboards.problems import Problem

THREADS = 40
"""Threads of the pool, as AnyIO starts with."""

RESERVED = 8
"""Threads that requests without a slot always find: assets, metrics, live pages, the pieces of streamed answers."""


class RequestSlots:
    """How many requests may hold a thread at the same time. One waits at most `longest_wait` seconds for it."""

    def __init__(self, slots: int = THREADS - RESERVED, *, longest_wait: float) -> None:
        self._free = asyncio.Semaphore(slots)
        self._longest_wait = longest_wait

    async def acquire(self) -> None:
        """Take a slot. Raises Problem when none becomes free in time."""
        if not self._free.locked():
            await self._free.acquire()  # returns without waiting
            return
        try:
            async with asyncio.timeout(self._longest_wait):
                await self._free.acquire()
        except TimeoutError as error:
            raise Problem("server-busy", "All worker threads have been busy for too long.") from error

    def release(self) -> None:
        self._free.release()


class SlotRoute(APIRoute):
    """A route whose handler, with its dependencies, runs in a slot. The answer is sent after the slot is free again."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_in_slot(request: Request) -> Response:
            slots: RequestSlots = request.app.state.services.request_slots
            await slots.acquire()
            try:
                return await handle(request)
            finally:
                slots.release()

        return handle_in_slot

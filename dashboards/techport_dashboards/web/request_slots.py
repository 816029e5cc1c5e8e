"""A bounded share of the thread pool for requests that touch the registry or the store.

Plain `def` routes run in the pool's threads. When a database does not answer, each such request holds its thread until
the call times out; if they could hold all threads, style sheets, metrics and live pages would wait for the database
too. Routes of `SlotRoute` therefore take a slot before they take a thread, and there are fewer slots than threads. A
request that waits for a slot waits in the event loop, which costs nothing.

What a client sends has arrived before the slot is taken: it may take its time, and needs no credential for it. Long
bodies are few at a time, of one client and of all, so that they do not fill the memory.

A request that hands a message on and waits for the broker needs no thread meanwhile. It gives its slot back: while the
store is away nothing is acknowledged, and requests that wait for that would keep everybody else out.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect

from techport_dashboards.problems import Problem
from techport_dashboards.web.request_bounds import largest_body

THREADS = 40
"""Threads of the pool, as AnyIO starts with."""

RESERVED = 8
"""Threads that requests without a slot always find: assets, metrics, live pages, the pieces of streamed answers."""


SHORT_BODY = 64 * 1024
"""Bytes, which the server keeps of each connection in any case."""

LONG_BODIES, LONG_BODIES_OF_CLIENT = 64, 16
"""Longer ones that are in memory at the same time, of 4 MB at most."""

WITHOUT_SLOT, WITHOUT_SLOT_OF_CLIENT = 256, 64
"""Requests that have given their slot back and wait for the broker at the same time, with what they hand on."""


class RequestSlots:
    """How many requests may hold a thread at the same time, and how many a long body. One waits at most `longest_wait`
    seconds for each.
    """

    def __init__(self, slots: int = THREADS - RESERVED, *, longest_wait: float) -> None:
        self._free = asyncio.Semaphore(slots)
        self._longest_wait = longest_wait
        self._bodies: Counter[str] = Counter()  # by client
        self._room = asyncio.Condition()
        self._without_slot: Counter[str] = Counter()  # by client

    @asynccontextmanager
    async def room_for_body(self, client: str) -> AsyncIterator[None]:
        """While a long body is in memory. Raises Problem when there is no room in time."""

        def is_free() -> bool:
            return self._bodies.total() < LONG_BODIES and self._bodies[client] < LONG_BODIES_OF_CLIENT

        try:
            async with asyncio.timeout(self._longest_wait), self._room:
                await self._room.wait_for(is_free)
                self._bodies[client] += 1
        except TimeoutError as error:
            raise Problem("server-busy", "Too many long requests are arriving, of this client or of all.") from error
        try:
            yield
        finally:
            self._bodies[client] -= 1
            if self._bodies[client] <= 0:
                del self._bodies[client]
            async with self._room:
                self._room.notify_all()

    @contextmanager
    def room_without_slot(self, client: str) -> Iterator[None]:
        """While a request waits for the broker. Raises Problem at once when there is no room: who sends can repeat."""
        waiting = self._without_slot
        if waiting.total() >= WITHOUT_SLOT or waiting[client] >= WITHOUT_SLOT_OF_CLIENT:
            raise Problem("server-busy", "Too many messages are waiting for the broker, of this client or of all.")
        waiting[client] += 1
        try:
            yield
        finally:
            waiting[client] -= 1
            if waiting[client] <= 0:
                del waiting[client]

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


class Slot:
    """That of one request, which may give it back before it has its answer."""

    def __init__(self, slots: RequestSlots) -> None:
        self._slots = slots
        self._is_taken = False

    async def take(self) -> None:
        """Raises Problem when none becomes free in time."""
        if not self._is_taken:
            await self._slots.acquire()
            self._is_taken = True

    def give_back(self) -> None:
        if self._is_taken:
            self._is_taken = False
            self._slots.release()


@contextmanager
def slot_given_back(request: Request) -> Iterator[None]:
    """While a request of a SlotRoute waits for the broker. It has no slot afterwards: before it uses threads again, it
    takes `request.state.slot`. Raises Problem when too many wait already.
    """
    slots: RequestSlots = request.app.state.services.request_slots
    with slots.room_without_slot(_client(request)):
        slot: Slot = request.state.slot
        slot.give_back()
        yield


class SlotRoute(APIRoute):
    """A route whose handler, with its dependencies, runs in a slot. The answer is sent after the slot is free again."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_in_slot(request: Request) -> Response:
            slot = request.state.slot = Slot(request.app.state.services.request_slots)
            await slot.take()
            try:
                return await handle(request)
            finally:
                slot.give_back()

        async def handle_once_arrived(request: Request) -> Response:
            length = _length(request)
            if length == 0 or largest_body(request.scope["path"]) is None:
                return await handle_in_slot(request)
            try:
                if length is not None and length <= SHORT_BODY:
                    await request.body()
                    return await handle_in_slot(request)
                slots: RequestSlots = request.app.state.services.request_slots
                async with slots.room_for_body(_client(request)):
                    await request.body()
                    return await handle_in_slot(request)
            except ClientDisconnect:
                return Response(status_code=400)  # nobody is there to read it

        return handle_once_arrived


def _client(request: Request) -> str:
    return request.client.host if request.client else ""


def _length(request: Request) -> int | None:
    """Bytes of the body, as far as the request says; None where it does not."""
    if "transfer-encoding" in request.headers:
        return None
    text = request.headers.get("content-length", "0")
    return int(text) if text.isascii() and text.isdigit() and len(text) < _LONGEST_LENGTH else None


_LONGEST_LENGTH = 19  # digits that are read as a number

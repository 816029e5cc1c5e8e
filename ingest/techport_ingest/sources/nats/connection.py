"""A connection to a cluster of NATS servers: an event loop in a thread, and the next server where one is away.

nats-py connects again by itself, except where a server sends it away (its user is not allowed for a moment, say): then
it gives up for good, and a new client takes its place here.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

import msgspec
import structlog
from nats.aio.client import Client
from nats.errors import Error as NatsError

from techport_ingest.brokers.nats_subjects import inbox_prefix
from techport_ingest.sources.settings import Tls, tls_context

log = structlog.get_logger(__name__)

Result = TypeVar("Result")

_PING_EVERY = 2  # seconds; a server that leaves two without an answer counts as away
_SAY_AGAIN = 30.0  # seconds between two lines of the log about the same trouble


class NatsSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How to reach the servers and as whom. `repr` shows no password."""

    servers: tuple[str, ...]  # HOST:PORT of each
    username: str | None = None
    password: str | None = None
    tls: Tls | None = None
    topics: tuple[str, ...] = ("pilots/#",)
    window: int = 10_000  # messages that may be here without an acknowledgement
    quality_0: bool = True  # take messages of QoS 0, too, which nobody stores

    def __repr__(self) -> str:
        return f"NatsSettings({','.join(self.servers)})"

    @property
    def replicas(self) -> int:
        """Copies of each message: three where there are as many servers."""
        return 3 if len(self.servers) >= 3 else 1


class NatsConnection:
    """Connects in the background at once and for ever."""

    def __init__(self, settings: NatsSettings, connected: Callable[[bool], Awaitable[None]] | None = None) -> None:
        """`connected` is awaited in the loop after each connection: with True where the client is a new one, whose
        subscriptions have still to be made.
        """
        self.settings = settings
        self.client = Client()
        self._connected = connected
        self._ended = asyncio.Event()
        self._said: dict[str, float] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="nats", daemon=True)
        self._closing = False

    def start(self) -> None:
        """Begin to connect. `connected` may be called before this returns."""
        self._thread.start()

    @property
    def closed(self) -> bool:
        return self._closing

    @property
    def up(self) -> bool:
        """Whether some server is reached."""
        return self.client.is_connected

    def run(self, coroutine: Coroutine[Any, Any, Result]) -> Future[Result]:
        """Have the loop run a coroutine. From any thread."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def soon(self, function: Callable[[], object]) -> None:
        """Have the loop call a function. From any thread; nothing happens once it is closed."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function)

    def close(self) -> None:
        """Leave the servers, when what is to be sent has been. Again does nothing."""
        if self._closing:
            return
        self._closing = True
        with contextlib.suppress(Exception):  # it has ended, or nobody answers
            self.run(self._leave()).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    async def _leave(self) -> None:
        if self.client.is_connected:
            with contextlib.suppress(NatsError, asyncio.TimeoutError):
                await self.client.flush(2)
        await self.client.close()

    # -- the loop's thread -----------------------------------------------------------------------------------------

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        task = self._loop.create_task(self._connect())
        self._loop.run_forever()
        task.cancel()
        for pending in asyncio.all_tasks(self._loop):
            pending.cancel()
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    async def _connect(self) -> None:
        """Stay connected until `close`."""
        while not self._closing:
            self.client, self._ended = Client(), asyncio.Event()
            try:
                await self._open(self.client)
                log.info("connected to the broker", broker=str(self.settings))
                if self._connected is not None:
                    await self._connected(True)
                await self._ended.wait()
            except (TimeoutError, NatsError, OSError) as error:
                await self._error(error)
                await self.client.close()
            except Exception:  # supervises the loop: it is tried again
                log.exception("the connection to the broker failed; it is tried again", broker=str(self.settings))
                await self.client.close()
            await asyncio.sleep(1)

    async def _open(self, client: Client) -> None:
        settings = self.settings
        scheme = "nats" if settings.tls is None else "tls"
        await client.connect(
            servers=[f"{scheme}://{server}" for server in settings.servers],
            user=settings.username,
            password=settings.password,
            tls=tls_context(settings.tls),
            name="techport",
            inbox_prefix=inbox_prefix(settings.username),
            max_reconnect_attempts=-1,
            reconnect_time_wait=1,
            connect_timeout=2,
            ping_interval=_PING_EVERY,
            max_outstanding_pings=2,
            error_cb=self._error,
            disconnected_cb=self._disconnected,
            reconnected_cb=self._reconnected,
            closed_cb=self._closed,
        )

    async def _error(self, error: Exception) -> None:
        text = f"{type(error).__name__}: {error}"
        if time.monotonic() - self._said.get(text, float("-inf")) >= _SAY_AGAIN:
            self._said = {text: time.monotonic()}
            log.warning("trouble with the broker; trying on", broker=str(self.settings), reason=text)

    async def _disconnected(self) -> None:
        if not self._closing:
            log.warning("lost a server of the broker", broker=str(self.settings))

    async def _reconnected(self) -> None:
        log.info("connected to the broker again", broker=str(self.settings))
        if self._connected is not None:
            await self._connected(False)

    async def _closed(self) -> None:
        self._ended.set()

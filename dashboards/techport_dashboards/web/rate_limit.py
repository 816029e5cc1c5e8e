"""At most so many requests of one client in a minute: to the services for researchers, of devices, and to the pages."""

from __future__ import annotations

import asyncio
import math
from collections import Counter

import msgspec
import structlog
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from techport_dashboards.problems import KINDS, MEDIA_TYPE, Problem, problem_body
from techport_dashboards.web.etags import SERVICES
from techport_dashboards.web.paths import route_path
from techport_pilots.access.request_limits import RequestLimits
from techport_pilots.errors import RegistryUnavailable
from techport_pilots.token_bucket import TokenBuckets
from techport_storage.microseconds import MINUTE

log = structlog.get_logger(__name__)

_UNCOUNTED = ("/api/v1/live", "/healthz", "/favicon.ico")
_FILES = "/static/"
_CLIENTS = 10_000
WINDOW = 60.0
PORTIONS = 20
"""A client's requests are told to the other processes when they are a twentieth of what it may ask in a minute."""


def _is_uncounted(path: str) -> bool:
    return path in _UNCOUNTED or path.startswith(_FILES)


def _share(path: str) -> str:
    """What the request is counted under."""
    if path.startswith(SERVICES):
        return "services"
    return "push" if path.startswith("/push/") else "pages"


class RateLimiter:
    """At most `limit` requests of a client in any minute on average, all of them at once if it likes.

    Services, devices' messages and pages have a share each, so that none of them takes it from the others. Files of the
    pages and live pages are not counted: the latter are limited in number.

    Several processes share the limit through the registry, in portions: n of them together answer a client up to n
    twentieths more. While the registry is away each of them counts alone.
    """

    def __init__(self, app: ASGIApp, limit: int, shared: RequestLimits) -> None:
        self._app = app
        self._limit = limit
        self._buckets = TokenBuckets(limit, WINDOW / limit if limit else WINDOW, _CLIENTS)
        self._shared = shared
        self._untold: Counter[str] = Counter()
        self._telling: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not self._limit or _is_uncounted(route_path(scope)):
            await self._app(scope, receive, send)
            return
        key = f"{scope['client'][0] if scope.get('client') else ''} {_share(route_path(scope))}"
        left = self._buckets.take(key)
        headers = {
            "RateLimit-Limit": str(self._limit),
            "RateLimit-Remaining": str(max(0, math.floor(left))),
            "RateLimit-Reset": str(math.ceil((self._limit - max(0.0, left)) * WINDOW / self._limit)),
        }
        if left < 0:
            await self._refuse(send, headers)
            return
        self._count(key)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(headers)
            await send(message)

        await self._app(scope, receive, send_with_headers)

    def _count(self, key: str) -> None:
        self._untold[key] += 1
        if len(self._untold) > _CLIENTS:  # those that ask little
            self._untold = Counter({key: self._untold[key]})
        if self._untold[key] * PORTIONS >= self._limit and (self._telling is None or self._telling.done()):
            self._telling = asyncio.create_task(self._tell())

    async def _tell(self) -> None:
        """Tell the others of clients that asked much, and learn what these have asked of them."""
        while requests := {key: n for key, n in self._untold.items() if n * PORTIONS >= self._limit}:
            for key in requests:
                del self._untold[key]
            try:
                beyond = await run_in_threadpool(self._shared.add, requests, MINUTE // self._limit)
            except RegistryUnavailable as error:
                log.warning("the limit of requests is of this process alone for now", problem=str(error))
                return
            for key, number in beyond.items():
                self._buckets.lower(key, self._limit - number - self._untold[key])

    async def _refuse(self, send: Send, headers: dict[str, str]) -> None:
        kind = KINDS["too-many-requests"]
        wait = math.ceil(WINDOW / self._limit)
        problem = Problem("too-many-requests", "More than {limit} requests in a minute.", limit=self._limit)
        body = msgspec.json.encode(problem_body(problem, kind.status, problem.detail))
        sent = {**headers, "Retry-After": str(wait), "Content-Type": MEDIA_TYPE, "Content-Length": str(len(body))}
        raw = [(name.lower().encode(), value.encode()) for name, value in sent.items()]
        await send({"type": "http.response.start", "status": kind.status, "headers": raw})
        await send({"type": "http.response.body", "body": body})

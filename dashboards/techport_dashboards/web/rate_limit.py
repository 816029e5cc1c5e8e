"""What the services for researchers owe their clients: no more than asked for, nothing twice, and fair shares.

Conditional   an answer in one piece gets an ETag; a client that has it already is told so (304) and sent nothing
FairShare     requests of one client in a minute are counted, and refused above the limit, with headers that say so
"""

from __future__ import annotations

import hashlib
import math
import time
from collections import OrderedDict

import msgspec
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from techport_dashboards.problems import KINDS, MEDIA_TYPE

SERVICES = ("/api/", "/sta/", "/edr", "/catalog")
_UNCOUNTED = ("/api/v1/live",)
_CLIENTS = 10_000
WINDOW = 60.0


class ConditionalGet:
    """ETag and If-None-Match for answers below SERVICES that come in one piece. Streams go by untouched, with the tag
    that editions.py gave them or none."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "GET" or not scope["path"].startswith(SERVICES):
            await self._app(scope, receive, send)
            return
        asked = Headers(scope=scope).get("if-none-match", "")
        waiting: Message | None = None

        async def send_conditionally(message: Message) -> None:
            nonlocal waiting
            if message["type"] == "http.response.start":
                waiting = message
                return
            start, waiting = waiting, None
            if start is None:  # a later piece of a stream
                await send(message)
                return
            whole = not message.get("more_body", False)
            headers = MutableHeaders(scope=start)
            if start["status"] == 200 and whole and "etag" not in headers:
                # Weak: a proxy or the compression above may change the bytes, not what they say.
                tag = f'W/"{hashlib.blake2b(message.get("body", b""), digest_size=12).hexdigest()}"'
                headers["ETag"] = tag
                headers.setdefault("Cache-Control", "no-cache")
                if matches(asked, tag):
                    start["status"] = 304
                    for name in ("content-length", "content-type"):
                        if name in headers:
                            del headers[name]
                    message = {"type": "http.response.body", "body": b""}
            await send(start)
            await send(message)

        await self._app(scope, receive, send_conditionally)


def matches(asked: str, tag: str) -> bool:
    """Does If-None-Match name the tag?"""
    if asked.strip() == "*":
        return True
    plain = tag.removeprefix("W/")
    return any(part.strip().removeprefix("W/") == plain for part in asked.split(","))


class RateLimiter:
    """At most `limit` requests of a client in any minute on average, all of them at once if it likes."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # client: requests left, as of when

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        counted = scope["type"] == "http" and scope["path"].startswith(SERVICES)
        if not counted or not self._limit or scope["path"] in _UNCOUNTED:
            await self._app(scope, receive, send)
            return
        left = self._take(scope["client"][0] if scope.get("client") else "")
        headers = {
            "RateLimit-Limit": str(self._limit),
            "RateLimit-Remaining": str(max(0, math.floor(left))),
            "RateLimit-Reset": str(math.ceil((self._limit - max(0.0, left)) * WINDOW / self._limit)),
        }
        if left < 0:
            await self._refuse(send, headers)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(headers)
            await send(message)

        await self._app(scope, receive, send_with_headers)

    def _take(self, client: str) -> float:
        """Take one request of the client's share; negative when there was none left."""
        now = time.monotonic()
        left, then = self._left.pop(client, (float(self._limit), now))
        left = min(self._limit, left + (now - then) * self._limit / WINDOW)
        self._left[client] = (max(left - 1, 0) if left >= 1 else left, now)
        if len(self._left) > _CLIENTS:
            self._left.popitem(last=False)
        return left - 1

    async def _refuse(self, send: Send, headers: dict[str, str]) -> None:
        kind = KINDS["too-many-requests"]
        wait = math.ceil(WINDOW / self._limit)
        body = msgspec.json.encode(
            {
                "type": "/api/v1/problems/too-many-requests",
                "title": kind.title,
                "status": kind.status,
                "detail": f"More than {self._limit} requests in a minute.",
                "remedy": kind.remedy,
            }
        )
        sent = {**headers, "Retry-After": str(wait), "Content-Type": MEDIA_TYPE, "Content-Length": str(len(body))}
        raw = [(name.lower().encode(), value.encode()) for name, value in sent.items()]
        await send({"type": "http.response.start", "status": kind.status, "headers": raw})
        await send({"type": "http.response.body", "body": body})

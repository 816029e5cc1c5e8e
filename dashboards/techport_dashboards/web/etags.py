"""ETags of answers that come in one piece: a client that has the answer already is told so (304) and sent nothing."""

from __future__ import annotations

import hashlib

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from techport_dashboards.query.etags import matches
from techport_dashboards.web.paths import route_path

SERVICES = ("/api/", "/sta/", "/edr", "/features", "/catalog")
"""Beginnings of the addresses that researchers use: their answers have ETags, and their requests are counted."""


class ConditionalGet:
    """ETag and If-None-Match for answers below SERVICES that come in one piece. Streams go by untouched, with the tag
    that query/etags.py gave them or none."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "GET" or not route_path(scope).startswith(SERVICES):
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

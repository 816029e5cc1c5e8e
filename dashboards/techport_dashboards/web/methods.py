"""The methods of HTTP beside GET and POST, for every route alike: HEAD, OPTIONS, and what `Allow` says.

Derived from the table of routes, so that a new route need not think of it:

- HEAD runs the route of GET and sends its headers; a stream is closed before its second piece is made.
- OPTIONS says which methods the address has. 405 says so too.
- An address of a service with a / too many at its end is the one without it; a page's is redirected there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fastapi.routing import iter_route_contexts
from starlette.datastructures import MutableHeaders
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from techport_dashboards.web.etags import SERVICES
from techport_dashboards.web.paths import below, route_path

HEAD = "techport.head"
"""In the scope of a request whose body is not wanted."""
_COMPARED = re.compile(rb"(^|&)value(>|<|!|%3[CcEe]|%21)(=|%3[Dd])?([^&]*)")
"""`value>50` and `value>=50`, in which the form of addresses sees a parameter `value>` or none at all."""
_ORDER = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


@dataclass(frozen=True, slots=True)
class RouteTable:
    """Which methods each address has."""

    routes: Sequence[tuple[re.Pattern[str], frozenset[str]]]

    @classmethod
    def of(cls, routes: Iterable[BaseRoute]) -> RouteTable:
        contexts = [context for context in iter_route_contexts(list(routes)) if context.path is not None]
        return cls([(compile_path(context.path or "")[0], frozenset(context.methods or ())) for context in contexts])

    def methods(self, path: str) -> list[str]:
        """All methods of the address, in the usual order; none where there is no route for it."""
        methods = set().union(*(methods for pattern, methods in self.routes if pattern.match(path)))
        if not methods:
            return []
        return [name for name in _ORDER if name in methods | {"OPTIONS"} | ({"HEAD"} if "GET" in methods else set())]


def _as_parameter(match: re.Match[bytes]) -> bytes:
    """`value=>50`, a parameter with a comparison as its value."""
    sign = match[2] if match[2].startswith(b"%") else b"%%%02X" % ord(match[2])
    return match[1] + b"value=" + sign + (b"%3D" if match[3] else b"") + match[4]


class _AnsweredHead(Exception):
    """The headers have been sent, and nobody wants the body."""


class Methods:
    """Answers HEAD and OPTIONS, and corrects `Allow`."""

    def __init__(self, app: ASGIApp, table: RouteTable) -> None:
        self._app = app
        self._table = table

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = route_path(scope)
        if path.endswith("/") and len(path) > 1 and not path.endswith("//") and not self._table.methods(path):
            shorter = path.removesuffix("/")
            if self._table.methods(shorter):
                if not shorter.startswith(SERVICES):
                    query: bytes = scope["query_string"]
                    address = below(scope, shorter) + (f"?{query.decode('latin-1')}" if query else "")
                    await RedirectResponse(address, 308)(scope, receive, send)
                    return
                scope["path"] = below(scope, shorter)
                if "raw_path" in scope:
                    scope["raw_path"] = scope["raw_path"].removesuffix(b"/")
        if scope["method"] == "HEAD" or any(name == b"range" for name, _ in scope["headers"]):
            # Lengths and parts are of the file as it is, without compression.
            scope["headers"] = [pair for pair in scope["headers"] if pair[0] != b"accept-encoding"]
        if path.startswith(SERVICES) and _COMPARED.search(scope["query_string"]):
            scope["query_string"] = _COMPARED.sub(_as_parameter, scope["query_string"])
        match scope["method"]:
            case "HEAD":
                await self._head(scope, receive, send)
            case "OPTIONS" if allowed := self._table.methods(route_path(scope)):
                await Response(status_code=204, headers={"Allow": ", ".join(allowed)})(scope, receive, send)
            case _:
                await self._app(scope, receive, self._with_allow(scope, send))

    def _with_allow(self, scope: Scope, send: Send) -> Send:
        async def send_with_allow(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 405:
                allowed = self._table.methods(route_path(scope))
                MutableHeaders(scope=message)["Allow"] = ", ".join(allowed)
            await send(message)

        return send_with_allow

    async def _head(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As GET: the route, its dependencies and the compression need not know. Those around this see HEAD."""
        allow_send = self._with_allow(scope, send)

        async def send_head(message: Message) -> None:
            if message["type"] == "http.response.start":
                scope["method"] = "HEAD"
                await allow_send(message)
            elif message["type"] == "http.response.body":
                await send({"type": "http.response.body", "body": b"", "more_body": False})
                if message.get("more_body", False):
                    raise _AnsweredHead

        scope["method"] = "GET"
        scope[HEAD] = True
        try:
            await self._app(scope, receive, send_head)
        except _AnsweredHead:
            pass
        finally:
            scope["method"] = "HEAD"

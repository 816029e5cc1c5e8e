"""Scripts in pages of other sites may read what anybody may read (CORS, https://fetch.spec.whatwg.org/).

Only GET and HEAD below SERVICES, and never with a credential: what one was shown for is not marked as readable, so that
no cache, proxy or extension between us and the browser can hand it on. Such a script sees open pilots and nothing else.
"""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from techport_dashboards.web.etags import SERVICES
from techport_dashboards.web.paths import route_path

_METHODS = "GET, HEAD, OPTIONS"
_REQUEST_HEADERS = "Accept, Accept-Language, Content-Type, If-Match, If-None-Match, If-Range, Range"
_EXPOSED = (
    "Accept-Ranges, Allow, Content-Disposition, Content-Encoding, Content-Length, Content-Range, ETag, Link, "
    "RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset, Retry-After, Techport-Aggregates, Techport-Zone"
)
_A_DAY = "86400"


def readable_elsewhere(scope: Scope) -> bool:
    """Whether scripts of other sites may read the answer: one of a service, to a request without a credential."""
    if scope["method"] not in ("GET", "HEAD", "OPTIONS") or not route_path(scope).startswith(SERVICES):
        return False
    headers = Headers(scope=scope)
    return "cookie" not in headers and "authorization" not in headers


class CrossOrigin:
    """Adds the headers of CORS to answers of the services, and answers preflights."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not route_path(scope).startswith(SERVICES):
            await self._app(scope, receive, send)
            return
        if scope["method"] == "OPTIONS" and "access-control-request-method" in Headers(scope=scope):
            headers = {
                "Access-Control-Allow-Origin": "*",
                "Access-Control-Allow-Methods": _METHODS,
                "Access-Control-Allow-Headers": _REQUEST_HEADERS,
                "Access-Control-Max-Age": _A_DAY,
            }
            await Response(status_code=204, headers=headers)(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Access-Control-Allow-Origin"] = "*"
                headers["Access-Control-Expose-Headers"] = _EXPOSED
                headers["Cross-Origin-Resource-Policy"] = "cross-origin"
            await send(message)

        await self._app(scope, receive, send_with_headers if readable_elsewhere(scope) else send)

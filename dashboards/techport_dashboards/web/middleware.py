"""What every response passes: security headers, and the metrics of requests."""

from __future__ import annotations

import time
from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from techport_dashboards.settings import Tiles


def content_policy(framed_by: str = "'self'", tiles: Tiles | None = None) -> str:
    """Which sources a page may use, and which sites may show it in a frame. Only `tiles` come from elsewhere."""
    pictures = f"'self' data: blob: {tiles.origin if tiles else ''}".rstrip()
    # Inline styles are what plotly.js draws with; scripts come from our own files only.
    return (
        f"default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src {pictures}; "
        "connect-src 'self'; font-src 'self'; manifest-src 'self'; "
        f"base-uri 'none'; form-action 'self'; frame-ancestors {framed_by}"
    )


ASSETS = "/static/"

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class SecurityHeaders:
    """Adds HEADERS and the policy to every answer, and says that who asks decides what it is.

    All but the files of the pages depend on the credential: a cache in between may not give one visitor's answer to
    another.
    """

    def __init__(self, app: ASGIApp, tiles: Tiles | None = None) -> None:
        self._app = app
        self._headers = {"Content-Security-Policy": content_policy(tiles=tiles), **HEADERS}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
                if not scope["path"].startswith("/static/"):
                    headers.add_vary_header("Cookie, Authorization")
            await send(message)

        await self._app(scope, receive, send_with_headers if scope["type"] == "http" else send)


class PrivateAnswers:
    """Keeps what one person was answered out of caches that others use: `private` where a credential was shown. Assets
    are the same for all."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(ASSETS):
            await self._app(scope, receive, send)
            return
        asked = Headers(scope=scope)
        personal = "cookie" in asked or "authorization" in asked

        async def send_privately(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if personal:
                    headers["Cache-Control"] = _private(headers.get("Cache-Control", "no-cache"))
            await send(message)

        await self._app(scope, receive, send_privately)


def _private(cache_control: str) -> str:
    directives = [part.strip() for part in cache_control.split(",")]
    if "no-store" in directives or "private" in directives:
        return cache_control
    return ", ".join(["private", *(part for part in directives if part != "public")])


class Measured:
    """Counts requests and measures the time to the first byte, by the route's pattern, never by the path requested."""

    def __init__(self, app: ASGIApp, metrics: CollectorRegistry, paths: Mapping[object, str]) -> None:
        """`paths` gives the pattern of each endpoint: a router's own route knows its path without the prefix only."""
        self._app = app
        self._paths = paths
        labels = ("method", "route", "status")
        self._requests = Counter("techport_http_requests", "HTTP requests answered", labels, registry=metrics)
        self._duration = Histogram(
            "techport_http_request_duration_seconds",
            "From the request to the first byte of its answer",
            ("route",),
            registry=metrics,
        )
        # Names of the release before, which dashboards of operators may still ask for.
        self._old_requests = Counter(
            "techport_web_answers", "Old name of techport_http_requests_total", labels, registry=metrics
        )
        self._old_duration = Histogram(
            "techport_web_answer_seconds",
            "Old name of techport_http_request_duration_seconds",
            ("route",),
            registry=metrics,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()

        async def send_measured(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = self._paths.get(scope.get("endpoint"), "none")
                method = scope["method"] if scope["method"] in ("GET", "HEAD", "POST", "OPTIONS") else "other"
                for requests in (self._requests, self._old_requests):
                    requests.labels(method, route, str(message["status"])).inc()
                seconds = time.perf_counter() - started
                for duration in (self._duration, self._old_duration):
                    duration.labels(route).observe(seconds)
            await send(message)

        await self._app(scope, receive, send_measured if scope["type"] == "http" else send)

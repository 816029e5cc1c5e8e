"""Exchanges the one-time token in an address (`/?token=...`) for a session's cookie."""

from __future__ import annotations

from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from techport_dashboards.problems import Problem
from techport_dashboards.settings import WebSettings
from techport_dashboards.viewer import OPERATOR
from techport_dashboards.web import errors
from techport_dashboards.web.audit_trail import record
from techport_pilots.access.audit_log import AuditQueue, Entry
from techport_pilots.access.operator_token import SESSION_LASTS
from techport_pilots.token_bucket import TokenBuckets
from techport_storage.clock import now
from techport_storage.microseconds import SECOND

TRIES = 10
"""Of one client in a minute. A token has 256 bits, so this keeps attempts out of the log rather than from success."""


class SignIn:
    """Answers `GET /?token=`. An address that is opened again by who is signed in already goes on to the page."""

    def __init__(self, app: ASGIApp, settings: WebSettings) -> None:
        self._app = app
        self._settings = settings
        self._tries = TokenBuckets(TRIES, 60 / TRIES, most=10_000)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "GET" and scope["path"] == "/" and scope["query_string"]:
            request = Request(scope)
            token = request.query_params.get("token")
            if token is not None:
                answer = self._exchange(request, token)
                queue: AuditQueue = request.app.state.services.audit
                if "set-cookie" in answer.headers:
                    await record(queue, [Entry(kind="signed-in", who=OPERATOR.who, at=now(), what="GET /")])
                elif answer.status_code >= 400:
                    queue.add(Entry(kind="sign-in-failed", who="", at=now(), what="GET /"))
                await answer(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _exchange(self, request: Request, one_time: str) -> Response:
        token = self._settings.token
        if self._tries.take(request.client.host if request.client else "") < 0:
            return errors.respond(request, Problem("too-many-requests", "Too many attempts to sign in. Wait a minute."))
        rest = [(name, value) for name, value in request.query_params.multi_items() if name != "token"]
        page = RedirectResponse(f"/?{urlencode(rest)}" if rest else "/", 303)
        page.headers.update({"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"})
        if token is None or not token.redeem(one_time):
            if token is not None and token.accepts(request.cookies.get(token.cookie, "")):
                return page
            return errors.respond(
                request,
                Problem(
                    "stale-link",
                    "This sign-in link has been used or has expired. Each is good once, for an hour. Run "
                    "`techport operator-link` on the server's machine and open the address that it prints.",
                ),
            )
        page.set_cookie(
            token.cookie,
            token.new_session(),
            max_age=SESSION_LASTS // SECOND,
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return page

"""The cookie of a person's session: set when they sign in, removed when they sign out."""

from __future__ import annotations

from urllib.parse import urlsplit

from fastapi import Request
from fastapi.responses import RedirectResponse

from techport_dashboards.web import audit_trail
from techport_dashboards.web.access import session_cookie
from techport_dashboards.web.dependencies import Services
from techport_pilots.access.accounts import User
from techport_storage.microseconds import SECOND

_HEADERS = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}


def start_session(
    request: Request, services: Services, user: User, destination: str, provider_token: str | None = None
) -> RedirectResponse:
    """Sign the person in and send them on. SameSite=Lax, so that a link in an e-mail finds them signed in; changes are
    accepted from our own pages only, whatever the cookie says (web/access.py)."""
    sessions = services.people.sessions
    address = request.client.host if request.client else ""
    audit_trail.session_starts(request, user.id)
    token = sessions.start(user.id, address, request.headers.get("user-agent", ""), provider_token)
    answer = redirect(destination)
    answer.set_cookie(
        session_cookie(request),
        token,
        max_age=sessions.lasts // SECOND,
        path="/",
        httponly=True,
        samesite="lax",
        secure=request.url.scheme == "https",
    )
    return answer


def end_session(request: Request, destination: str) -> RedirectResponse:
    """Remove the cookies of the person and of the operator, and send the browser on."""
    answer = redirect(destination)
    token = request.app.state.services.settings.token
    secure = request.url.scheme == "https"
    for name in (session_cookie(request), token.cookie):
        answer.delete_cookie(name, path="/", secure=secure, httponly=True)
    return answer


def redirect(destination: str) -> RedirectResponse:
    return RedirectResponse(destination, 303, _HEADERS)


def local(destination: str) -> str:
    """An address of this server that somebody asked to be sent on to; the overview for anything else."""
    parts = urlsplit(destination.replace("\\", "/"))
    inside = destination.startswith("/") and not destination.startswith("//") and not parts.netloc
    return destination if inside and destination.isprintable() and len(destination) < 2_000 else "/"

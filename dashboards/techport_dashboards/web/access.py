"""Who asks, and whether they may: every route declares the action that it is with `needs`, and passes `allow`.

    @router.get("/pilots/{pilot}/quarantine")
    @needs("see-raw")
    def entries(services: ServicesDep, viewer: ViewerDep, pilot: PilotDep) -> ...

docs/access.md says for each action who may take it. `identify` decides who asks, by what they show and never by where
they are: a proxy, a tunnel and any program of another user have the address of this machine too. What a route shows
must come through the Viewer that `allow` returns. A route that declares nothing is answered to nobody.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeVar

from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection

from techport_dashboards.problems import Problem, forbidden, sign_in_needed
from techport_dashboards.query.names import find_pilot
from techport_dashboards.query.registry_cache import RegistryView
from techport_dashboards.services.shares import admit, reader_of
from techport_dashboards.settings import WebSettings
from techport_dashboards.viewer import COMMAND_LINE, NOBODY, OPERATOR, Viewer
from techport_dashboards.web import audit_trail
from techport_dashboards.web.audit_trail import Logs, When
from techport_dashboards.web.cors import readable_elsewhere
from techport_dashboards.web.etags import SERVICES
from techport_dashboards.web.paths import MEMBER, PREVIEWED, SHARE_KEY, route_path
from techport_dashboards.web.share_lookup import share_at
from techport_pilots.access.api_tokens import PATTERN
from techport_pilots.access.policy import Action
from techport_pilots.access.sessions import Identity
from techport_pilots.handover.dcat.build import shareable

Declared = Action | Literal["account", "device", "nothing"]
"""Actions on pilots and the platform, and three that are none: `account` is about who asks, and needs a person who is
signed in; `device` is checked by the route itself, with the device's own credential; `nothing` tells nothing of pilots
or people and is answered to anybody."""


@dataclass(frozen=True, slots=True)
class Need:
    """What a route is declared to be. `anybody` is the reason why it is answered without signing in, if it is; `logs`
    what it is to the audit log, where `when` says so of the request, and `about` the fields of its form that say what
    it concerns."""

    action: Declared
    anybody: str = ""
    logs: Logs = "by action"
    about: tuple[str, ...] = ()
    when: When | None = None


OPEN_DATA = "readings and description of the pilots that the viewer may see"
NO_PILOT = "says nothing of pilots"

NO_STORE = {"Cache-Control": "no-store"}
"""Headers of an answer that holds a password or messages: nobody may keep it."""

OWN_PAGE = ("same-origin", "none")  # what browsers say of a request from a page of ours, or from no page at all
_READING = ("GET", "HEAD", "OPTIONS")
_ATTRIBUTE = "techport_need"
_Endpoint = TypeVar("_Endpoint", bound=Callable[..., Any])


def needs(
    action: Declared,
    *,
    anybody: str = "",
    logs: Logs = "by action",
    about: tuple[str, ...] = (),
    when: When | None = None,
) -> Callable[[_Endpoint], _Endpoint]:
    """Declares the action that a route is; between the route's own decorator and the function.

    With `anybody`, the reason, the route also answers who has not signed in. It then shows open pilots only, through
    the viewer; for `device` and `nothing` a reason has to be given. In the audit log (docs/access.md) seeing raw data
    and changes are by their action; `logs` says otherwise, such as "exported" or None.
    """
    if action in ("device", "nothing") and not anybody:
        raise ValueError(f"say why {action!r} may be answered to anybody")

    def declare(endpoint: _Endpoint) -> _Endpoint:
        setattr(endpoint, _ATTRIBUTE, Need(action, anybody, logs, about, when))
        return endpoint

    return declare


def declared(endpoint: object) -> Need | None:
    """What `needs` says of the function that answers a route."""
    need = getattr(endpoint, _ATTRIBUTE, None)
    return need if isinstance(need, Need) else None


async def identify(connection: HTTPConnection) -> Viewer:
    """Who asks, by the credential that the request carries: the operator's token, an API token, a session, or none.
    At the address of a share it is a reader of that share, whoever it is besides.

    The only place that decides it. Raises Problem for a token that is wrong, since whoever sends one wants to be
    somebody, and for a share that the caller may not read. Raises RegistryUnavailable.
    """
    caller = await _caller(connection)
    if SHARE_KEY not in connection.scope:
        return caller
    share_found = await share_at(connection.app.state.services.shares, connection.scope[SHARE_KEY])
    share, previewed = admit(share_found, caller)
    connection.scope[PREVIEWED] = previewed
    if share.terms.audience == "organisation":
        connection.scope[MEMBER] = audit_trail.id_of(caller)
    return reader_of(share)


async def _caller(connection: HTTPConnection) -> Viewer:
    services = connection.app.state.services
    settings: WebSettings = services.settings
    open_to_all = partial(open_pilots, services)
    scheme, _, credential = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":  # other schemes are of a proxy in front
        credential = credential.strip()
        if settings.token is not None and settings.token.matches(credential):
            return COMMAND_LINE
        if PATTERN.fullmatch(credential):
            identity = await services.identities.of_api_token(credential)
            if identity is not None:
                return _person(identity, open_to_all)
        raise Problem("bad-token", "The token in the header Authorization is not valid, has expired or was revoked.")
    if settings.token is not None:
        if settings.token.accepts(connection.cookies.get(settings.token.cookie, "")):
            return OPERATOR
        session = connection.cookies.get(session_cookie(connection))
        if session:
            identity = await services.identities.of_session(session)
            if identity is not None:
                return _person(identity, open_to_all)
    return Viewer("anybody", open_pilots=open_to_all)


def session_cookie(connection: HTTPConnection) -> str:
    """Name of the cookie of people's sessions. With TLS browsers take it from this very host and for all its paths
    only (`__Host-`). They send cookies to all ports of a host, so it differs from platform to platform."""
    token = connection.app.state.services.settings.token
    plain = f"techport_session_{token.instance[:8]}"
    return f"__Host-{plain}" if connection.url.scheme in ("https", "wss") else plain


def open_pilots(services: Any) -> frozenset[str]:
    """Pilots that anybody may see. Raises RegistryUnavailable."""
    catalogue: RegistryView = services.registry_cache.current()
    return frozenset(pilot.id for pilot in catalogue.pilots.values() if shareable(pilot))


async def allow(connection: HTTPConnection) -> Viewer:
    """Let the caller in and say who it is, or raise a Problem that says why not and what to do about it.

    Mostly nothing in here waits; were it a plain function, FastAPI would hand every request to a thread for it.
    """
    need = declared(connection.scope.get("endpoint"))
    if need is None:
        raise Problem("internal", "This address does not say who may use it, so nobody may.")
    _refuse_other_sites(connection)
    if connection.scope["method"] not in _READING:
        _refuse_foreign_changes(connection)
    if need.action == "device" or need.action == "nothing":
        if need.logs != "by action":
            audit_trail.begin(connection, need, None)
        return NOBODY
    connection.state.action = need.action
    viewer = connection.state.viewer = await identify(connection)
    if not viewer.signed_in and not need.anybody:
        raise sign_in_needed()
    if need.action == "account":
        if viewer.identity is None or viewer.identity.token is not None:
            raise forbidden("account")
        audit_trail.begin(connection, need, viewer)
        return viewer
    pilot = connection.path_params.get("pilot")
    if pilot is None:
        if need.action != "see" and not viewer.rights.allow_somewhere(need.action):
            raise forbidden(need.action)
    elif not need.anybody and not viewer.rights.allow(need.action, pilot):
        await run_in_threadpool(check, connection, viewer, need.action, pilot)
    audit_trail.begin(connection, need, viewer)
    return viewer


def check(connection: HTTPConnection, viewer: Viewer, action: Action, pilot: str) -> None:
    """Raise Problem unless the viewer may do this: the same one for a pilot that they may not see and for one that
    does not exist; for one that they may see, which right is missing. Raises RegistryUnavailable."""
    find_pilot(connection.app.state.services.registry_cache.current(), viewer, pilot)
    require(viewer, action, pilot)


def require(viewer: Viewer, action: Action, pilot: str | None) -> None:
    """Raise Problem unless the viewer, who may see the pilot, may also do this."""
    if not viewer.may(action, pilot):
        raise forbidden(action) if viewer.signed_in else sign_in_needed()


def _person(identity: Identity, open_to_all: Callable[[], frozenset[str]]) -> Viewer:
    who = identity.user.email
    if identity.token is not None:
        who = f"{who} (token {identity.token_name})"
    return Viewer(who, identity.rights, open_to_all, signed_in=True, identity=identity)


def _refuse_other_sites(connection: HTTPConnection) -> None:
    """Raise Problem for what a page of another site asks for as a part of itself: an image, a script, a fetch.

    It could read none of it, but have the visitor's browser put load on us. Links from other sites are followed, pages
    may be framed where their Content-Security-Policy lets them, and scripts may read open data (web/cors.py).
    """
    site = connection.headers.get("sec-fetch-site")
    if site is None or site in OWN_PAGE:
        return
    reads = connection.headers.get("sec-fetch-mode") == "cors" and readable_elsewhere(connection.scope)
    if reads and connection.app.state.services.settings.cors:
        return
    framed = connection.headers.get("sec-fetch-dest") != "document"
    followed = connection.headers.get("sec-fetch-mode") == "navigate"
    if not followed or (framed and route_path(connection.scope).startswith(SERVICES)):
        raise Problem(
            "forbidden", "Pages of other sites may link to this server, but not use it as a part of themselves."
        )


def _refuse_foreign_changes(connection: HTTPConnection) -> None:
    """Raise Problem for a change that a page of another site asks for.

    A browser says on which page a form stood (Sec-Fetch-Site, or at least Origin); a program says nothing, and has no
    visitor whose cookie it could borrow.
    """
    site, origin = connection.headers.get("sec-fetch-site"), connection.headers.get("origin")
    foreign = site not in OWN_PAGE if site is not None else origin is not None and _host(origin) != _here(connection)
    if foreign:
        raise Problem("forbidden", "Changes are accepted only from this server's own pages, not from other sites.")


def _host(origin: str) -> str:
    return origin.partition("://")[2]  # the origin "null" of a sandboxed page has none


def _here(connection: HTTPConnection) -> str:
    return connection.headers.get("host", "")

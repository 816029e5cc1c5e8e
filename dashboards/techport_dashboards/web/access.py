"""Who may see what, and who may change it. Every route passes `allow`, so that permissions have one home; every route
that changes something passes `allow_change` (decision 16).

`identify` decides who asks, by what they show and never by where they are: a proxy, a tunnel and any program of another
user have the address of this machine too. What a route shows must come through the Viewer that `allow` returns.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from fastapi.routing import iter_route_contexts
from starlette.requests import HTTPConnection
from starlette.routing import BaseRoute

from techport_dashboards.problems import Problem, sign_in_needed
from techport_dashboards.query.registry_cache import RegistryCache
from techport_dashboards.settings import WebSettings
from techport_dashboards.viewer import Viewer
from techport_dashboards.web.etags import SERVICES
from techport_pilots.handover.dcat.build import shareable

PUBLIC: dict[str, str] = {
    "/healthz": "says only that the process is alive; asked by supervisors that have no account",
    "/push/{form}": "takes messages of devices, which prove who they are by their own credential",
}
"""Routes that do not pass `allow`, each with the reason."""

UNCHANGING: dict[str, str] = {
    "/api/v1/decode": "says what would become of a message and keeps nothing",
    "/push/{form}": "adds what a device says to what is known of it, with the device's own credential",
    "/decode": "the page of the same",
}
"""Routes that take a POST and need not pass `allow_change`, each with the reason."""

_OF_OPEN_PILOTS = "readings and description of the pilots that the viewer may see"
_OF_NO_PILOT = "says nothing of pilots"
OPEN: dict[str, str] = {
    "/readyz": "whether the process is ready, without the reasons; asked by supervisors",
    "/static/{version}/{name:path}": _OF_NO_PILOT,
    "/favicon.ico": _OF_NO_PILOT,
    "/api/v1/docs": _OF_NO_PILOT,
    "/api/v1/docs/start.js": _OF_NO_PILOT,
    "/api/v1/docs/{name}": _OF_NO_PILOT,
    "/api/v1/problems": _OF_NO_PILOT,
    "/api/v1/problems/{kind}": _OF_NO_PILOT,
    "/api/v1/openapi.json": "the API, with examples from open pilots",
    "/api/v1/pilots": _OF_OPEN_PILOTS,
    "/api/v1/pilots/{pilot}": _OF_OPEN_PILOTS,
    "/api/v1/devices": _OF_OPEN_PILOTS,
    "/api/v1/streams": _OF_OPEN_PILOTS,
    "/api/v1/quantities": _OF_OPEN_PILOTS,
    "/api/v1/readings": _OF_OPEN_PILOTS,
    "/api/v1/readings/metadata": _OF_OPEN_PILOTS,
    "/api/v1/latest": _OF_OPEN_PILOTS,
    "/api/v1/live": _OF_OPEN_PILOTS,
    "/api/v1/completeness": _OF_OPEN_PILOTS,
    "/api/v1/gaps": _OF_OPEN_PILOTS,
    "/api/v1/pilots/{pilot}/kpis": _OF_OPEN_PILOTS,
    "/api/v1/pilots/{pilot}/kpis/{kpi}/evaluation": _OF_OPEN_PILOTS,
    "/api/v1/pilots/{pilot}/figure.json": _OF_OPEN_PILOTS,
    "/api/v1/pilots/{pilot}/figure.html": _OF_OPEN_PILOTS,
    "/api/v1/snapshots": "citable data of open pilots",
    "/api/v1/snapshots/{id}": "citable data of open pilots",
    "/api/v1/snapshots/{id}/readings.parquet": "citable data of open pilots",
    "/snapshots/{id}": "the page of the same",
    "/sta/v1.1": _OF_OPEN_PILOTS,
    "/sta/v1.1/": _OF_OPEN_PILOTS,
    "/sta/v1.1/{path:path}": _OF_OPEN_PILOTS,
    "/edr": _OF_OPEN_PILOTS,
    "/edr/conformance": _OF_NO_PILOT,
    "/edr/collections": _OF_OPEN_PILOTS,
    "/edr/collections/{pilot}": _OF_OPEN_PILOTS,
    "/edr/collections/{pilot}/locations": _OF_OPEN_PILOTS,
    "/edr/collections/{pilot}/locations/{location}": _OF_OPEN_PILOTS,
    "/edr/collections/{pilot}/position": _OF_OPEN_PILOTS,
    "/edr/collections/{pilot}/area": _OF_OPEN_PILOTS,
    "/catalog": _OF_OPEN_PILOTS,
    "/catalog.ttl": _OF_OPEN_PILOTS,
    "/catalog.jsonld": _OF_OPEN_PILOTS,
    "/catalogue": _OF_OPEN_PILOTS,
    "/p/{pilot}": "the public page of an open pilot",
    "/p/{pilot}/figures": "the public page of an open pilot",
    "/pilots/{pilot}": "with embed=1 a chart of an open pilot in another site's page, where no cookie is sent",
    "/pilots/{pilot}/chart": "the data of that chart",
    "/pilots/{pilot}/kpis": "the KPI that is embedded",
}
"""Routes that answer GET without a credential, about open pilots only, each with the reason. All others need one."""

NO_STORE = {"Cache-Control": "no-store"}
"""Headers of an answer that holds a password or messages: nobody may keep it."""

OWN_PAGE = ("same-origin", "none")  # what browsers say of a request from a page of ours, or from no page at all


def identify(connection: HTTPConnection) -> Viewer:
    """Who asks, by the credential that the request carries: the operator's token, a session's cookie, or none.

    The only place that decides it. Raises Problem for a token that is wrong: whoever sends one wants to be somebody.
    """
    services = connection.app.state.services
    settings: WebSettings = services.settings
    scheme, _, credential = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":  # other schemes are of a proxy in front
        if settings.token is not None and settings.token.matches(credential.strip()):
            return Viewer("token", may_change=True)
        raise Problem(
            "bad-token", "The token in the header Authorization is not the one in the file DATA/token of this server."
        )
    if settings.token is not None and settings.token.accepts(connection.cookies.get(settings.token.cookie, "")):
        return Viewer("operator", may_change=settings.changes)
    return Viewer("anybody", open_pilots=partial(open_pilots, services.registry_cache))


def open_pilots(registry_cache: RegistryCache) -> frozenset[str]:
    """Pilots that anybody may see. Raises RegistryUnavailable."""
    return frozenset(pilot.id for pilot in registry_cache.current().pilots.values() if shareable(pilot))


async def allow(connection: HTTPConnection) -> Viewer:
    """Let the caller in and say who it is, or raise a Problem that says why not and what to do about it.

    Nothing in here waits; were it a plain function, FastAPI would hand every request to a thread for it.
    """
    _refuse_other_sites(connection)
    viewer = identify(connection)
    if not viewer.signed_in and connection.scope.get("endpoint") not in connection.app.state.open_endpoints:
        raise sign_in_needed()
    return viewer


def _refuse_other_sites(connection: HTTPConnection) -> None:
    """Raise Problem for what a page of another site asks for as a part of itself: an image, a script, a fetch.

    It could read none of it, but have the visitor's browser put load on us. Links from other sites are followed, and
    pages may be framed where their Content-Security-Policy lets them.
    """
    site = connection.headers.get("sec-fetch-site")
    if site is None or site in OWN_PAGE:
        return
    framed = connection.headers.get("sec-fetch-dest") != "document"
    followed = connection.headers.get("sec-fetch-mode") == "navigate"
    if not followed or (framed and connection.url.path.startswith(SERVICES)):
        raise Problem(
            "forbidden", "Pages of other sites may link to this server, but not use it as a part of themselves."
        )


async def allow_change(connection: HTTPConnection) -> Viewer:
    """As `allow`, for what changes something: where the settings take changes, and from our own pages or no page.

    A browser says on which page a form stood (Sec-Fetch-Site, or at least Origin); a program says nothing, and has no
    visitor whose cookie it could borrow.
    """
    viewer = await allow(connection)
    site, origin = connection.headers.get("sec-fetch-site"), connection.headers.get("origin")
    foreign = site not in OWN_PAGE if site is not None else origin is not None and _host(origin) != _here(connection)
    if foreign:
        raise Problem("forbidden", "Changes are accepted only from this server's own pages, not from other sites.")
    if not viewer.signed_in:
        raise sign_in_needed()
    if not viewer.may_change:
        raise Problem(
            "forbidden",
            "This server is read-only. Its operator can allow changes through its pages and API with the setting "
            "web_changes. The command line on the server's machine works in the meantime.",
        )
    return viewer


def open_endpoints(routes: Iterable[BaseRoute]) -> frozenset[object]:
    """The functions that answer the addresses in OPEN, and nothing but GET."""
    return frozenset(
        context.endpoint
        for context in iter_route_contexts(list(routes))
        if context.path in OPEN and set(context.methods or ()) <= {"GET", "HEAD"}
    )


def _host(origin: str) -> str:
    return origin.partition("://")[2]  # the origin "null" of a sandboxed page has none


def _here(connection: HTTPConnection) -> str:
    return connection.headers.get("host", "")

"""Who may see what, and who may change it. Every route passes `allow`, from the first day, so that permissions have one
home; every route that changes something passes `allow_change` (decision 7).

Until there are accounts, whoever sits on the machine may read everything, and nobody else anything, unless the settings
open the door. What a route shows must come through the Viewer that `allow` returns.
"""

from __future__ import annotations

from ipaddress import ip_address

from starlette.requests import HTTPConnection

from techport_dashboards.problems import Problem
from techport_dashboards.settings import WebSettings
from techport_dashboards.viewer import Viewer

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

NO_STORE = {"Cache-Control": "no-store"}
"""Headers of an answer that holds a password or messages: nobody may keep it."""

OWN_PAGE = ("same-origin", "none")  # what browsers say of a request from a page of ours, or from no page at all


async def allow(connection: HTTPConnection) -> Viewer:
    """Let the caller in and say who it is, or raise a 403 Problem that says why not and who can change it.

    Behind a proxy the server must be told to trust its X-Forwarded-For, as uvicorn does for one on the same machine.
    Nothing in here waits; were it a plain function, FastAPI would hand every request to a thread for it.
    """
    settings: WebSettings = connection.app.state.services.settings
    if settings.allow_remote:
        return Viewer("anybody", may_change=settings.changes)
    client = connection.client.host if connection.client else ""
    if not is_loopback(client):
        raise Problem(
            "forbidden",
            "This server answers only clients on its own machine, and this request came from {client}. "
            "There are no user accounts yet. Its operator can open it to the network with the setting allow_remote.",
            client=client or "elsewhere",
        )
    # A page of another site could name a host that resolves to this machine and read us through the visitor's browser.
    host = connection.url.hostname or ""
    if not is_loopback(host):
        raise Problem(
            "forbidden",
            "This server must be reached as localhost or 127.0.0.1, not as {host}. "
            "Its operator can allow other names with the setting allow_remote.",
            host=repr(host),
        )
    return Viewer("local", may_change=settings.changes)


async def allow_change(connection: HTTPConnection) -> Viewer:
    """As `allow`, for what changes something: where the settings take changes, and from our own pages or no page.

    A browser says on which page a form stood (Sec-Fetch-Site, or at least Origin); a program says nothing, and has no
    visitor whose place on this machine it could borrow.
    """
    viewer = await allow(connection)
    site, origin = connection.headers.get("sec-fetch-site"), connection.headers.get("origin")
    foreign = site not in OWN_PAGE if site is not None else origin is not None and _host(origin) != _here(connection)
    if foreign:
        raise Problem("forbidden", "Changes are accepted only from this server's own pages, not from other sites.")
    if not viewer.may_change:
        raise Problem(
            "forbidden",
            "This server is read-only. Its operator can allow changes through its pages and API with the setting "
            "web_changes. The command line on the server's machine works in the meantime.",
        )
    return viewer


def _host(origin: str) -> str:
    return origin.partition("://")[2]  # the origin "null" of a sandboxed page has none


def _here(connection: HTTPConnection) -> str:
    return connection.headers.get("host", "")


def is_loopback(host: str) -> bool:
    """True for localhost and the loopback addresses, with IPv4 ones written as IPv6 too."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ip_address(host.strip("[]"))
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback

"""Who may see what. Every route passes `allow`, from the first day, so that permissions have one home.

Until there are accounts, whoever sits on the machine may read everything, and nobody else anything, unless the settings
open the door. What a route shows must come through the Viewer that `allow` returns.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address

from starlette.requests import HTTPConnection

from techport_dashboards.errors import Problem
from techport_dashboards.services import services_of

PUBLIC: dict[str, str] = {
    "/healthz": "says only that the process is alive; asked by supervisors that have no account",
}
"""Routes that do not pass `allow`, each with the reason."""


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who asks. `pilots` are those whose data they may see; None means all."""

    name: str
    pilots: frozenset[str] | None = None

    def may_see(self, pilot: str) -> bool:
        return self.pilots is None or pilot in self.pilots


def allow(connection: HTTPConnection) -> Viewer:
    """Let the caller in and say who it is, or raise a 403 Problem that says why not and who can change it.

    Behind a proxy the server must be told to trust its X-Forwarded-For, as uvicorn does for one on the same machine.
    """
    settings = services_of(connection).settings
    if settings.allow_remote:
        return Viewer("anybody")
    client = connection.client.host if connection.client else ""
    if not is_loopback(client):
        raise Problem(
            "forbidden",
            f"This server answers only clients on its own machine, and this request came from {client or 'elsewhere'}. "
            "There are no accounts yet; its operator can open it to the network with the setting allow_remote.",
        )
    # A page of another site could name a host that resolves to this machine and read us through the visitor's browser.
    host = connection.url.hostname or ""
    if not is_loopback(host):
        raise Problem(
            "forbidden",
            f"This server is reached as localhost or 127.0.0.1, not as {host!r}. "
            "Its operator can allow other names with the setting allow_remote.",
        )
    return Viewer("local")


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

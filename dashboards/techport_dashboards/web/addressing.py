"""Under which name a request came and from whom: the Host header, and what a trusted proxy says of its client.

Forwarding headers are believed from the configured proxies only, and refused from everybody else: ignoring them would
hide that a proxy is in front whose requests all seem to come from this machine. A Host that is not ours is refused: a
page of another site whose name resolves to this machine must not read us through a visitor's browser.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from techport_dashboards.problems import Problem
from techport_dashboards.settings import WebSettings
from techport_dashboards.web import errors

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,255})(?::(\d{1,5}))?")
_PORT = re.compile(r":\d{1,5}$")
_ANY = ("0.0.0.0", "::")


class Addressing:
    """Checks the Host of every request, and puts client, scheme and host as a trusted proxy gives them."""

    def __init__(self, app: ASGIApp, settings: WebSettings) -> None:
        self._app = app
        self._settings = settings
        public = urlsplit(settings.public_url or "")
        self._public_host = (public.hostname or "").lower()
        self._public_https = public.scheme == "https"
        self._names = {self._public_host, settings.listens_on.lower(), *map(str.lower, settings.host_names)} - {
            "",
            *_ANY,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                self._believe_proxy(scope)
                self._check_host(scope)
            except Problem as problem:
                # The answer is made with a Host that can be read.
                headers = [(name, value) for name, value in scope["headers"] if name != b"host"]
                request = Request({**scope, "headers": [*headers, (b"host", b"localhost")]})
                await errors.respond(request, problem)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _check_host(self, scope: Scope) -> None:
        """Raises Problem for a Host that cannot be read or is not ours."""
        hosts = Headers(scope=scope).getlist("host")
        match = _HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
        if match is None:
            raise Problem("bad-host", "The request needs one header Host, such as localhost:8080.")
        name = match[1].strip("[]").lower().rstrip(".")
        if name != self._public_host and not self._is_ours(name):
            raise Problem(
                "wrong-host",
                "This server is not known as {host}. Its operator can give the name with the setting public_url, and "
                "further ones with host_names.",
                host=repr(name[:80]),
            )
        if self._public_https and name == self._public_host and scope["scheme"] == "http":
            scope["scheme"] = "https"  # by which only a proxy with TLS can have been reached

    def _is_ours(self, name: str) -> bool:
        if name == "localhost" or name in self._names:
            return True
        address = _address(name)
        # Other sites reach this machine by names of theirs. Who writes its number knows where they are going.
        return address is not None and (address.is_loopback or self._settings.listens_on in _ANY)

    def _believe_proxy(self, scope: Scope) -> None:
        """Make the scope what the proxy was asked. Raises Problem where no proxy is trusted to say so."""
        headers = Headers(scope=scope)
        forwarding = sorted({name for name in headers if _forwards(name)})
        if not forwarding:
            return
        peer = scope["client"][0] if scope.get("client") else ""
        if not self._trusts(peer):
            raise Problem(
                "untrusted-proxy",
                "The request has the header {header}, as a proxy adds it, and came from {peer}, which is not known as "
                "one. If it is, its operator gives that address with the setting trusted_proxy.",
                header=forwarding[0],
                peer=peer or "an unknown address",
            )
        if "forwarded" in forwarding and any(name.startswith("x-forwarded-") for name in forwarding):
            raise Problem(
                "untrusted-proxy",
                "The request has both Forwarded and X-Forwarded headers, one of which the proxy only passed on. Let "
                "the proxy remove the one that it does not set.",
            )
        forwarded = _of_forwarded(headers) if "forwarded" in forwarding else _of_x_forwarded(headers)
        # In place: what stands around this looks into the same scope for the route that answered.
        scope["headers"] = [pair for pair in scope["headers"] if not _forwards(pair[0].decode("latin-1"))]
        scope["client"] = (self._client(peer, forwarded["for"]), 0)
        if forwarded["proto"] and forwarded["proto"][-1].lower() in ("http", "https"):
            scope["scheme"] = forwarded["proto"][-1].lower()
        if forwarded["host"]:
            MutableHeaders(scope=scope)["host"] = forwarded["host"][-1]

    def _client(self, peer: str, chain: Sequence[str]) -> str:
        """The last address that is not a trusted proxy: what stands before it, whoever asks may have written."""
        client = peer
        for hop in reversed(chain):
            address = _address(hop)
            if address is None:
                break
            client = str(address)
            if not self._trusts(client):
                break
        return client

    def _trusts(self, peer: str) -> bool:
        address = _address(peer)
        return address is not None and any(address in network for network in self._settings.trusted_proxies)


def _forwards(name: str) -> bool:
    return name.lower() in ("forwarded", "x-real-ip") or name.lower().startswith("x-forwarded-")


def _of_x_forwarded(headers: Headers) -> dict[str, list[str]]:
    forwarded = {part: _listed(headers.getlist(f"x-forwarded-{part}")) for part in ("for", "proto", "host")}
    return forwarded if forwarded["for"] else {**forwarded, "for": _listed(headers.getlist("x-real-ip"))}


def _of_forwarded(headers: Headers) -> dict[str, list[str]]:
    """RFC 7239: `for=192.0.2.60;proto=https;host=example.org, for=...`."""
    parsed: dict[str, list[str]] = {"for": [], "proto": [], "host": []}
    for element in _listed(headers.getlist("forwarded")):
        for pair in element.split(";"):
            name, _, value = pair.partition("=")
            if name.strip().lower() in parsed:
                parsed[name.strip().lower()].append(value.strip().strip('"'))
    return parsed


def _listed(values: Sequence[str]) -> list[str]:
    return [part.strip() for value in values for part in value.split(",") if part.strip()]


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """An address as headers write it: 192.0.2.1, 192.0.2.1:4711, [2001:db8::1]:4711."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = _PORT.sub("", text)
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address

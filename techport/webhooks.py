"""Posts to webhooks: JSON to an address of HTTP, other services through apprise where that is installed.

Who edits a pilot names the address, so the platform must not be led to what only it can reach. Unless the operator
allows it (`private_webhooks`), addresses of this machine and of private networks are refused, and the connection goes
to the very address that was checked, whatever the name resolves to a moment later. Redirects are not followed, of the
answer only the status is looked at, and all of it has to be over in ten seconds.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from urllib.parse import urlsplit

import httpx2

from techport.settings import Settings
from techport_pilots.registry.outbox import Mail

TIMEOUT_S = 10.0
"""For everything together: a server that sends its answer byte by byte would hold up all other messages."""

PUBLIC_SERVICES = ("discord", "gchat", "opsgenie", "pagerduty", "pbul", "pover", "slack", "tgram", "webex", "wxteams")
"""Schemes of apprise whose messages go to the service's own address, so that an editor cannot lead them elsewhere. All
others name a host (ntfy://, json://, mailto://) or this machine (syslog://, dbus://)."""

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class WebhookRefused(Exception):
    """The message was not delivered. `for_good`: trying again makes no sense."""

    def __init__(self, why: str, *, for_good: bool = False) -> None:
        super().__init__(why)
        self.for_good = for_good


def post(settings: Settings, mail: Mail) -> None:
    """Deliver one message. Raises WebhookRefused."""
    scheme = mail.recipient.partition("://")[0].lower()
    if scheme not in ("http", "https"):
        if scheme not in PUBLIC_SERVICES and not settings.private_webhooks:
            raise WebhookRefused(f"{scheme}:// may reach this machine: see private_webhooks", for_good=True)
        _notify(mail)
        return
    # `text` is what chat services show; the rest is for programs, which tell a second delivery by the id.
    body = {
        "text": f"{mail.subject}\n{mail.body}",
        "title": mail.subject,
        "body": mail.body,
        "id": f"techport-{mail.created}-{mail.id}",
    }
    try:
        status = asyncio.run(_post(mail.recipient, body, private=settings.private_webhooks))
    except TimeoutError as error:
        raise WebhookRefused(f"the webhook took more than {TIMEOUT_S:.0f} seconds") from error
    except (httpx2.InvalidURL, ValueError) as error:
        raise WebhookRefused("not an address of HTTP", for_good=True) from error
    except httpx2.HTTPError as error:
        raise WebhookRefused(type(error).__name__) from error
    if not 200 <= status < 300:
        raise WebhookRefused(f"the webhook answered {status}", for_good=status in (404, 410))


async def _post(address: str, body: dict[str, str], *, private: bool) -> int:
    """The status of the answer. Raises WebhookRefused, TimeoutError, ValueError, and what httpx2 raises."""
    parts = urlsplit(address)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    url = httpx2.URL(address)
    host = url.raw_host.decode("ascii")
    if not host:
        raise ValueError("no host")
    async with asyncio.timeout(TIMEOUT_S), httpx2.AsyncClient(timeout=TIMEOUT_S) as client:
        if private:
            return await _status(client, client.build_request("POST", url, json=body))
        unreachable: httpx2.ConnectError | None = None
        for public in await _public_addresses(host, port):
            request = client.build_request(
                "POST",
                url.copy_with(host=str(public)),
                json=body,
                headers={"Host": url.netloc.decode("ascii")},
                extensions={"sni_hostname": host},
            )
            try:
                return await _status(client, request)
            except httpx2.ConnectError as error:
                unreachable = error
        raise unreachable or httpx2.ConnectError("no address")


async def _status(client: httpx2.AsyncClient, request: httpx2.Request) -> int:
    """The status alone: the body may be endless."""
    answer = await client.send(request, stream=True, follow_redirects=False)
    await answer.aclose()
    return answer.status_code


async def _public_addresses(host: str, port: int) -> list[IPAddress]:
    """All addresses of the host, of which none is private. Raises WebhookRefused, ValueError."""
    try:
        resolved = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise WebhookRefused(f"no address for {host}") from error
    addresses = list(dict.fromkeys(ipaddress.ip_address(str(entry[4][0])) for entry in resolved))
    if not all(is_public(address) and not _is_of_this_machine(address) for address in addresses):
        raise WebhookRefused(f"{host} is on this machine or in a private network: see private_webhooks", for_good=True)
    return addresses


def is_public(address: IPAddress) -> bool:
    """Whether the address is one of the public internet, also where it stands for an IPv4 address."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if address in _NAT64:
            return is_public(ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF))
        if address not in _GLOBAL_UNICAST or address.sixtofour is not None:
            return False
    return address.is_global and not address.is_multicast


def _is_of_this_machine(address: IPAddress) -> bool:
    """Whether it is a public address of this very machine, behind whose firewall a connection would begin."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_STREAM) as bound:
            bound.bind((str(address), 0))
    except OSError:
        return False
    return True


def _notify(mail: Mail) -> None:
    try:
        import apprise
    except ImportError as error:
        raise WebhookRefused("addresses of this kind need the extra techport[alerts]", for_good=True) from error
    # Apprise.add would take several addresses out of one text.
    service = apprise.Apprise.instantiate(mail.recipient, suppress_exceptions=True)
    if not service:
        raise WebhookRefused("apprise does not know this kind of address", for_good=True)
    if not service.notify(title=mail.subject, body=mail.body):
        raise WebhookRefused("the service did not take the message")

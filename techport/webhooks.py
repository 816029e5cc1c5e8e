"""Posts to webhooks: JSON to an address of HTTP, everything else through apprise where that is installed.

Who edits a pilot names the address, so the platform must not be led to what only it can reach: addresses of this
machine and of private networks are refused unless the operator allows them (`private_webhooks`), redirects are not
followed, and nothing of the answer is shown but its status.
"""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import urlsplit

import httpx2

from techport.settings import Settings
from techport_pilots.registry.outbox import Mail

TIMEOUT_S = 10.0


class WebhookRefused(Exception):
    """The message was not delivered. `for_good`: trying again makes no sense."""

    def __init__(self, why: str, *, for_good: bool = False) -> None:
        super().__init__(why)
        self.for_good = for_good


def post(settings: Settings, mail: Mail) -> None:
    """Deliver one message. Raises WebhookRefused."""
    parts = urlsplit(mail.recipient)
    if parts.scheme not in ("http", "https"):
        _notify(mail)
        return
    if not settings.private_webhooks:
        _refuse_private(parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
    # `text` is what chat services show; the rest is for programs, which tell a second delivery by the id.
    body = {
        "text": f"{mail.subject}\n{mail.body}",
        "title": mail.subject,
        "body": mail.body,
        "id": f"techport-{mail.created}-{mail.id}",
    }
    try:
        answer = httpx2.post(mail.recipient, json=body, timeout=TIMEOUT_S, follow_redirects=False)
    except httpx2.HTTPError as error:
        raise WebhookRefused(type(error).__name__) from error
    if not answer.is_success:
        gone = answer.status_code in (404, 410)
        raise WebhookRefused(f"the webhook answered {answer.status_code}", for_good=gone)


def _refuse_private(host: str, port: int) -> None:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise WebhookRefused(f"no address for {host}") from error
    if not all(ipaddress.ip_address(str(entry[4][0])).is_global for entry in found):
        raise WebhookRefused(f"{host} is on this machine or in a private network: see private_webhooks", for_good=True)


def _notify(mail: Mail) -> None:
    try:
        import apprise
    except ImportError as error:
        raise WebhookRefused("addresses of this kind need the extra techport[alerts]", for_good=True) from error
    service = apprise.Apprise()
    if not service.add(mail.recipient):
        raise WebhookRefused("apprise does not know this kind of address", for_good=True)
    if not service.notify(title=mail.subject, body=mail.body):
        raise WebhookRefused("the service did not take the message")

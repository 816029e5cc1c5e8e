"""techport login | logout: keep a person's token for a platform elsewhere, or forget it."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

import typer

from techport import options
from techport.errors import CannotRun
from techport.kept_tokens import keep_tokens, kept_tokens
from techport.terminal import printable

TIMEOUT_S = 30
Server = Annotated[str, typer.Argument(help="address of the platform, such as https://data.example.org")]


@options.needs("nothing")
def login(server: Server) -> None:
    """Keep an API token for a platform, with which `techport.client` reads as you. Make one on its account page."""
    import httpx2

    address = _checked(server)
    typer.echo(f"Make a token at {address}/account and paste it here.")
    token = typer.prompt("Token", hide_input=True).strip()
    try:
        # Redirects are not followed: the token is for this address alone.
        answer = httpx2.get(f"{address}/api/v1/me", headers={"Authorization": f"Bearer {token}"}, timeout=TIMEOUT_S)
    except (httpx2.HTTPError, ValueError) as error:  # ValueError: a token that no header can hold
        raise CannotRun(f"{address} does not answer as techport does: {error}") from error
    if answer.status_code in (401, 403):
        raise CannotRun(f"{address} refuses this token ({answer.status_code})")
    if answer.is_redirect:
        raise CannotRun(f"{address} leads elsewhere: sign in to the address that it ends at")
    try:
        who = str(answer.raise_for_status().json()["who"])
    except (httpx2.HTTPError, ValueError, KeyError, TypeError) as error:
        raise CannotRun(f"{address} does not answer as techport does: {error}") from error
    keep_tokens({**kept_tokens(), address: token})
    typer.echo(printable(f"Signed in to {address} as {who}"))


@options.needs("nothing")
def logout(server: Server) -> None:
    """Forget the token of a platform. On its account page it can also be revoked."""
    address = _checked(server)
    tokens = kept_tokens()
    if tokens.pop(address, None) is None:
        raise CannotRun(f"not signed in to {address}")
    keep_tokens(tokens)


def _checked(server: str) -> str:
    parts = urlsplit(server)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise CannotRun(f"{server!r} is not an address: write https://data.example.org")
    if parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
        raise CannotRun("a token can be read on the way over http: use https, or the machine itself")
    return server.rstrip("/")

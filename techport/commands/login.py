"""techport login | logout: keep a person's token for a platform elsewhere, or forget it."""

from __future__ import annotations

import json
from typing import Annotated
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import typer

from techport import options
from techport.errors import CannotRun
from techport.kept_tokens import keep_tokens, kept_tokens

TIMEOUT_S = 30
Server = Annotated[str, typer.Argument(help="address of the platform, such as https://data.example.org")]


@options.needs("nothing")
def login(server: Server) -> None:
    """Keep an API token for a platform, with which `techport.client` reads as you. Make one on its account page."""
    address = _checked(server)
    typer.echo(f"Make a token at {address}/account and paste it here.")
    token = typer.prompt("Token", hide_input=True).strip()
    request = Request(f"{address}/api/v1/me", headers={"Authorization": f"Bearer {token}"})
    try:
        with urlopen(request, timeout=TIMEOUT_S) as answer:
            who = json.load(answer)["who"]
    except HTTPError as error:
        raise CannotRun(f"{address} refuses this token ({error.code})") from error
    except (URLError, ValueError, KeyError) as error:
        raise CannotRun(f"{address} does not answer as techport does: {error}") from error
    keep_tokens({**kept_tokens(), address: token})
    typer.echo(f"Signed in to {address} as {who}")


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

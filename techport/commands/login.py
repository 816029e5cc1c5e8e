"""techport login | logout: the command line as a person, over HTTP, from any machine."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import typer

from techport import options
from techport.errors import CannotRun

TIMEOUT_S = 30
Server = Annotated[str, typer.Argument(help="address of the platform, such as https://data.example.org")]


@options.needs("nothing")
def login(server: Server) -> None:
    """Keep an API token for a platform, so that `--server` of other commands is you. Make one on its account page."""
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
    _write({**_read(), address: token})
    typer.echo(f"Signed in to {address} as {who}")


@options.needs("nothing")
def logout(server: Server) -> None:
    """Forget the token of a platform. On its account page it can also be revoked."""
    address = _checked(server)
    known = _read()
    if known.pop(address, None) is None:
        raise CannotRun(f"not signed in to {address}")
    _write(known)


def token_for(server: str) -> str:
    """The token that `login` kept. Raises CannotRun."""
    address = _checked(server)
    token = _read().get(address)
    if token is None:
        raise CannotRun(f"not signed in to {address}: run `techport login {address}` first")
    return token


def credentials_file() -> Path:
    """Where tokens are kept: for the user's eyes only."""
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "techport" / "credentials.json"


def _checked(server: str) -> str:
    parts = urlsplit(server)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise CannotRun(f"{server!r} is not an address: write https://data.example.org")
    if parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
        raise CannotRun("a token can be read on the way over http: use https, or the machine itself")
    return server.rstrip("/")


def _read() -> dict[str, str]:
    try:
        return dict(json.loads(credentials_file().read_text()))
    except FileNotFoundError:
        return {}


def _write(known: dict[str, str]) -> None:
    file = credentials_file()
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = file.with_suffix(".new")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as output:
        json.dump(known, output)
    draft.replace(file)

"""techport operator-link: an address that signs a browser in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from techport import options
from techport.data_dir import owner
from techport.errors import CannotRun
from techport.settings import Settings, load_settings
from techport_pilots.access.operator_token import FILE, OperatorToken

if TYPE_CHECKING:
    from techport_pilots.registry.registry import Registry


@options.needs("admin", logs="shared")
def operator_link(data: options.Data = None, http: options.Http = None, registry: options.RegistryUrl = None) -> None:
    """Print an address that signs one browser in as the operator. It is good once, for an hour."""
    typer.echo(sign_in_address(running_settings(data, http)))


@options.needs("admin", logs="shared")
def link(data: options.Data = None, http: options.Http = None, registry: options.RegistryUrl = None) -> None:
    """The old name of `operator-link`, until people have accounts."""
    from techport.commands.pilots import open_registry

    settings = running_settings(data, http)
    with open_registry(data, registry) as opened:
        if people_sign_in(settings, opened):
            raise CannotRun(
                "people sign in with accounts here. `techport operator-link` prints an address for the operator"
            )
    typer.echo(sign_in_address(settings))


def people_sign_in(settings: Settings, registry: Registry) -> bool:
    """Whether people sign in with accounts of their own: then no address is printed that signs in whoever opens it."""
    from techport_pilots.access.accounts import Accounts

    return settings.oidc_issuer is not None or Accounts(registry.database).any()


def sign_in_address(settings: Settings) -> str:
    """The address of the pages with a new one-time token in it."""
    return f"{settings.web_url}/?token={OperatorToken.of(settings.data).new_link()}"


def running_settings(data: Path | None, http: str | None = None) -> Settings:
    """Settings with the address of the pages that run over this data folder."""
    settings = load_settings({"data": data, "http": http})
    if not (settings.data / FILE).exists():
        raise CannotRun(
            f"{settings.data} has no token yet: start techport with this data folder first, or name it with --data"
        )
    running = owner(settings.data)
    if http is None and running is not None and running.http is not None:
        settings = settings.model_copy(update={"http": running.http})
    return settings

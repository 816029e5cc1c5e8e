"""techport link: an address that signs a browser in."""

from __future__ import annotations

import typer

from techport import options
from techport.data_dir import owner
from techport.errors import CannotRun
from techport.settings import Settings, load_settings
from techport_pilots.access.operator_token import FILE, OperatorToken


@options.needs("admin")
def link(data: options.Data = None, http: options.Http = None) -> None:
    """Print an address that signs one browser in. It is good once, for an hour."""
    settings = load_settings({"data": data, "http": http})
    if not (settings.data / FILE).exists():
        raise CannotRun(
            f"{settings.data} has no token yet: start techport with this data folder first, or name it with --data"
        )
    running = owner(settings.data)
    if http is None and running is not None and running.http is not None:
        settings = settings.model_copy(update={"http": running.http})
    typer.echo(sign_in_address(settings))


def sign_in_address(settings: Settings) -> str:
    """The address of the pages with a new one-time token in it."""
    return f"{settings.web_url}/?token={OperatorToken.of(settings.data).new_link()}"

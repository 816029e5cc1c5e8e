"""techport device unknown | claim."""

from __future__ import annotations

import datetime as dt
import getpass
from typing import Annotated

import typer
from rich.console import Console

from techport import options
from techport.commands.pilots import open_registry

app = typer.Typer(no_args_is_help=True, help="Devices of pilots. Works while the platform runs.")

Pilot = Annotated[str, typer.Argument(help="id of the pilot")]


@app.command("unknown")
def unknown(pilot: Pilot, data: options.Data = None, registry: options.RegistryUrl = None) -> None:
    """Devices that send to the pilot and that its definition does not know."""
    from techport_pilots.onboarding import strangers

    console = Console(highlight=False)
    with open_registry(data, registry) as opened:
        opened.pilot(pilot)
        found = strangers(opened.engine, pilot)
    if not found:
        console.print("every device that sends is known")
    for one in found:
        last = dt.datetime.fromtimestamp(one.last / 1e6, dt.UTC).isoformat(timespec="seconds")
        payload = one.payload[:200].decode(errors="backslashreplace")
        text = f"{one.device}  {one.messages} messages, the last at {last}\n  {one.topic}: {payload}"
        console.print(text, markup=False, soft_wrap=True)


@app.command("claim")
def claim(
    pilot: Pilot,
    name: Annotated[str, typer.Argument(help="the device as its messages call it")],
    data: options.Data = None,
    registry: options.RegistryUrl = None,
    as_: Annotated[str | None, typer.Option("--as", help="id of the device, new or in the definition")] = None,
) -> None:
    """Make an unknown device known, and replay what it sent before."""
    from techport_pilots.onboarding import claim as make_known

    with open_registry(data, registry) as opened:
        claimed = make_known(opened, pilot, name, getpass.getuser(), as_)
    Console(highlight=False).print(
        f"{claimed.device} is in the definition (version {claimed.version}); {claimed.entries} messages are replayed"
    )

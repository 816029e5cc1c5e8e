"""techport certificate: TLS for a trial."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from techport import options
from techport.settings import load_settings


@options.needs("nothing")
def certificate(
    names: Annotated[
        list[str] | None, typer.Argument(help="host names and addresses of this machine, beside localhost")
    ] = None,
    data: options.Data = None,
) -> None:
    """Make a certificate authority for a trial, and a certificate of it for this machine.

    Asked again, it makes another certificate of the same authority, so that devices need no other `ca.pem`.
    """
    from techport.certificates import make

    files = make(load_settings({"data": data}).data / "tls", names or [])
    console = Console(highlight=False)
    console.print(f"Devices and browsers have to trust {files.ca}", soft_wrap=True)
    console.print("Settings of `techport up`, in techport.toml:", soft_wrap=True)
    lines = {"mqtt_ca": files.ca}
    for use in ("broker", "http"):
        lines |= {f"{use}_cert": files.certificate, f"{use}_key": files.key}
    for setting, file in lines.items():
        console.print(f'  {setting} = "{file.resolve()}"', soft_wrap=True)

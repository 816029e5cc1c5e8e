"""techport mcp: the API as tools of a language model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from techport import options
from techport.errors import CannotRun


@options.needs("see")
def mcp(
    address: Annotated[
        str, typer.Option(help="the platform, such as https://data.example.no")
    ] = "http://127.0.0.1:8080",
    token_file: Annotated[
        Path | None, typer.Option(help="a file with an API token; open data needs none", exists=True, dir_okay=False)
    ] = None,
) -> None:
    """Serve a language model over standard input and output: seven tools that read pilots, readings and evaluations."""
    from techport.client import Client

    try:
        from techport.mcp_server import mcp_server
    except ImportError as error:
        raise CannotRun("the package mcp is not installed: pip install 'techport[mcp]'") from error
    with Client(address, token=token_file) as client:
        mcp_server(client).run()

"""The flags that commands share. What is not given is left to TECHPORT_*, the TOML file or the default."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import typer

from techport_pilots.access.policy import Action
from techport_pilots.formats import names

Data = Annotated[Path | None, typer.Option("--data", help="folder of everything that is kept (default: data)")]
Http = Annotated[
    str | None, typer.Option("--http", help="HOST:PORT of the pages and the API (default: 127.0.0.1:8080)")
]
Mqtt = Annotated[str | None, typer.Option("--mqtt", help="HOST:PORT of the MQTT broker (default: 127.0.0.1:1883)")]
Broker = Annotated[str | None, typer.Option("--broker", help="auto, mosquitto, embedded or external (default: auto)")]
Store = Annotated[str | None, typer.Option("--store", help="URL of the time-series store")]
RegistryUrl = Annotated[str | None, typer.Option("--registry", help="URL of the registry database")]
Worker = Annotated[str | None, typer.Option("--worker", help="stable name of this ingest worker")]
Share = Annotated[str | None, typer.Option("--share", help="group name of a shared subscription")]
PilotFiles = Annotated[
    list[Path] | None, typer.Option("--pilot", help="pilot definition to import at the start; may be given again")
]

Insecure = Annotated[
    bool | None,
    typer.Option("--insecure", help="listen beyond this machine without TLS: passwords can be read on the way"),
]

MessageFormat = Annotated[
    str | None,
    typer.Option("--format", help=f"format of the messages, else native: {', '.join(names())}"),
]

_Command = TypeVar("_Command", bound=Callable[..., Any])


def needs(action: Action | Literal["nothing"]) -> Callable[[_Command], _Command]:
    """Declares the action that a command is, as docs/access.md names it; `nothing`: it touches no platform's data.

    Whoever may read the data folder is the operator, who may do everything. What a command asks of a platform over HTTP
    is decided there, by the credential that it sends.
    """

    def declare(command: _Command) -> _Command:
        command.techport_action = action  # type: ignore[attr-defined]
        return command

    return declare

"""The flags that commands share. What is not given is left to TECHPORT_*, the TOML file or the default."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, cast
from urllib.parse import parse_qsl

import typer

from techport_pilots.access.policy import Action
from techport_pilots.formats import names

if TYPE_CHECKING:
    from techport_pilots.access.audit_log import Kind


def without_password(url: str | None) -> str | None:
    """Refuse a URL with a password: every user of the machine can read a command line, and shells keep it.

    Raises typer.BadParameter.
    """
    if url is None:
        return None
    scheme, _, rest = url.partition("://")
    user, at, _ = rest.rpartition("@")  # the last one: a password that nobody quoted may hold an @ or a slash
    names = {name.lower() for name, _ in parse_qsl(url.partition("?")[2])}
    if (scheme not in _FILES and at and ":" in user) or names & _SECRETS:
        raise typer.BadParameter(
            "the URL holds a password, which other users of this machine can read in the list of processes. Put the "
            "password into a file and name that in registry_password_file (TECHPORT_REGISTRY_PASSWORD_FILE), or put "
            "the URL into the environment or techport.toml: see docs/settings.md"
        )
    return url


_FILES = frozenset({"sqlite", "duckdb"})
"""Schemes of URLs that name a file, whose path may hold anything."""

_SECRETS = frozenset({"password", "sslpassword", "token", "secret"})
"""Parameters of a URL that hold a secret."""

_STARTING = frozenset({"up", "demo", "serve", "ingest"})
"""Commands that start something in the folder: they take the default without a word."""


def data_folder(context: typer.Context, folder: Path | None) -> Path | None:
    """Without --data, beside a platform that runs: say which folder is used, and ask where the platform's is another.

    Raises typer.Abort where somebody answers neither.
    """
    if folder is not None or context.resilient_parsing or context.info_name in _STARTING:
        return folder
    from techport.data_dir import running_folders
    from techport.settings import load_settings

    settings = load_settings({})
    running, used = running_folders(), settings.data.resolve()
    if not running:
        return None
    others = [other for other in running if other != used]
    typer.echo(f"data folder: {used}", err=True)
    if "data" in settings.model_fields_set or used in running or not others:
        return None
    several = ", ".join(map(str, others))
    if len(others) > 1 or not sys.stdin.isatty():
        typer.echo(f"no platform runs there, but in {several}: --data names the folder", err=True)
        return None
    question = f"No platform runs there, but in {several}. Use that one?"
    return others[0] if typer.confirm(question, default=True, err=True) else None


Data = Annotated[
    Path | None,
    typer.Option("--data", help="folder of everything that is kept (default: data)", callback=data_folder),
]
Http = Annotated[
    str | None, typer.Option("--http", help="HOST:PORT of the pages and the API (default: 127.0.0.1:8080)")
]
Mqtt = Annotated[
    str | None,
    typer.Option("--mqtt", help="HOST:PORT of the MQTT broker (default: 127.0.0.1:1883), or nats://HOST:PORT,..."),
]
Broker = Annotated[str | None, typer.Option("--broker", help="auto, mosquitto, embedded or external (default: auto)")]
Store = Annotated[str | None, typer.Option("--store", help="URL of the time-series store", callback=without_password)]
RegistryUrl = Annotated[
    str | None,
    typer.Option("--registry", help="URL of the registry database, without a password", callback=without_password),
]
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


_NAME = "techport_name"


def name_commands(app: typer.Typer) -> None:
    """Tell each command how it is typed, which the audit log says of it."""
    groups = [("techport", app), *((f"techport {group.name}", group.typer_instance) for group in app.registered_groups)]
    for words, group in groups:
        for command in [] if group is None else group.registered_commands:
            setattr(command.callback, _NAME, f"{words} {command.name}")


_OF_ACTION: dict[str, Kind] = {
    "see-raw": "saw-raw",
    "edit": "changed",
    "devices": "changed",
    "share": "shared",
    "close": "changed",
    "erase": "erased",
    "admin": "changed",
}
"""What a command is to the audit log, by its action."""


def needs(
    action: Action | Literal["nothing"], *, logs: Kind | Literal["by action"] | None = "by action"
) -> Callable[[_Command], _Command]:
    """Declares the action that a command is, as docs/access.md names it; `nothing`: it touches no platform's data.

    Whoever may read the data folder is the operator, who may do everything. What a command asks of a platform over HTTP
    is decided there, by the credential that it sends. What it does by itself goes into the audit log by its action;
    `logs` says otherwise.
    """
    kind = _OF_ACTION.get(action) if logs == "by action" else logs

    def declare(command: _Command) -> _Command:
        command.techport_action = action  # type: ignore[attr-defined]
        command.techport_logs = kind  # type: ignore[attr-defined]
        if kind is None:
            return command

        @functools.wraps(command)
        def run(*args: Any, **options: Any) -> Any:
            from techport.command_log import logged  # not needed to say what commands there are

            with logged(kind, action, getattr(run, _NAME, "techport"), options):
                return command(*args, **options)

        return cast(_Command, run)

    return declare

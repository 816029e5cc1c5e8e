"""techport pilot import | list | show. What else there is to do with a pilot stands in the pilot_* modules."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from techport import options
from techport.settings import load_settings

if TYPE_CHECKING:
    from techport_pilots.registry import Registry

app = typer.Typer(no_args_is_help=True, help="Pilots in the registry. Works while the platform runs.")

Language = Annotated[str, typer.Option("--lang", help="nb or en")]


@contextmanager
def open_registry(data: Path | None, url: str | None) -> Iterator[Registry]:
    """The registry alone: any number of processes may have it open."""
    from techport_pilots.registry import Registry

    settings = load_settings({"data": data, "registry": url})
    settings.data.mkdir(parents=True, exist_ok=True)
    registry = Registry.open(settings.registry_url)
    try:
        yield registry
    finally:
        registry.close()


@app.command("import")
def import_(
    files: Annotated[list[Path], typer.Argument(help="definition files, YAML or TOML")],
    data: options.Data = None,
    registry: options.RegistryUrl = None,
    check: Annotated[bool, typer.Option("--check", help="only say what is wrong with the files")] = False,
    why: Annotated[str, typer.Option("--why", help="why the definition changes, kept with the version")] = "",
) -> None:
    """Import pilot definitions, or new versions of them."""
    from techport_pilots.definition import read_definition

    definitions = [(file, read_definition(file)) for file in files]
    console = Console(highlight=False)
    if check:
        console.print(f"{len(definitions)} definition(s) without a mistake")
        return
    with open_registry(data, registry) as opened:
        for file, definition in definitions:
            version = opened.import_pilot(definition, file.read_text(encoding="utf-8"), who="command line", why=why)
            console.print(f"{definition.id}: version {version}, {len(definition.devices)} devices")


@app.command("list")
def list_(data: options.Data = None, registry: options.RegistryUrl = None, lang: Language = "en") -> None:
    """All pilots: their states, when they end, and the verdicts of their last reports."""
    from techport_pilots.changes import now
    from techport_pilots.portfolio import portfolio

    table = Table("id", "title", "state", "ends", "devices", "KPIs", "")
    with open_registry(data, registry) as opened:
        for one in portfolio(opened, now()):
            devices = len(opened.pilot(one.pilot).devices)
            verdicts = ", ".join(f"{n} {verdict}" for verdict, n in one.verdicts.items())
            note = "end it: its last phase is over" if one.overdue else "ends soon" if one.ends_soon else ""
            ends = "" if one.ends is None else dt.datetime.fromtimestamp(one.ends / 1e6, dt.UTC).date().isoformat()
            title = one.title.get(lang)
            table.add_row(one.pilot, title, one.state, ends, str(devices), verdicts or str(one.kpis), note)
    Console().print(table)


@app.command("show")
def show(
    pilot: str,
    data: options.Data = None,
    registry: options.RegistryUrl = None,
    lang: Language = "en",
    yaml: Annotated[bool, typer.Option("--yaml", help="the whole definition, as a file to edit and import")] = False,
) -> None:
    """One pilot: its question, phases, devices and streams."""
    console = Console(highlight=False)
    with open_registry(data, registry) as opened:
        definition = opened.pilot(pilot)
        if yaml:
            from techport_pilots.definition import to_yaml

            typer.echo(to_yaml(definition), nl=False)
            return
        console.print(f"[bold]{definition.title.get(lang)}[/bold] ({definition.id})\n{definition.question.get(lang)}")
        console.print(f"  {opened.state(pilot)}")
        for phase in definition.phases:
            console.print(f"  {phase.kind}: {phase.name}, {phase.start.isoformat()} to {phase.end.isoformat()}")
        for event in definition.events:
            about = f" ({event.device})" if event.device else ""
            console.print(f"  {event.time.isoformat()} {event.kind}{about}: {event.text.get(lang)}")
        for window in definition.exclusions:
            console.print(
                f"  left out {window.start.isoformat()} to {window.end.isoformat()}: {window.reason.get(lang)}"
            )
        table = Table("device", "quantity", "title", "unit", "expected every")
        for info in opened.streams(pilot):
            every = f"{info.interval_us / 1e6:g} s" if info.interval_us else ""
            title = info.title.get(lang) if info.described else "not described yet"
            table.add_row(info.stream.device, info.stream.quantity, title, info.unit_label or "", every)
    console.print(table)

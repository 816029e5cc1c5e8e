"""techport pilot import | list | show. What else there is to do with a pilot stands in the pilot_* modules."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from techport import options
from techport.data_dir import platform_at
from techport.running_platform import get
from techport.settings import Settings, load_settings
from techport.terminal import add_row

if TYPE_CHECKING:
    from techport_pilots.registry.registry import Registry

app = typer.Typer(no_args_is_help=True, help="Pilots in the registry. Works while the platform runs.")

Language = Annotated[str, typer.Option("--lang", help="nb or en")]


@contextmanager
def open_registry(data: Path | None, url: str | None) -> Iterator[Registry]:
    """The registry alone: any number of processes may have it open."""
    from techport_pilots.registry.registry import Registry

    settings = load_settings({"data": data, "registry": url})
    settings.data.mkdir(parents=True, exist_ok=True)
    registry = Registry.open(settings.registry_url, settings.registry_seconds)
    try:
        yield registry
    finally:
        registry.close()


@app.command("import")
@options.needs("admin")
def import_(
    files: Annotated[list[Path], typer.Argument(help="definition files, YAML")],
    data: options.Data = None,
    registry: options.RegistryUrl = None,
    check: Annotated[bool, typer.Option("--check", help="only say what is wrong with the files")] = False,
    why: Annotated[str, typer.Option("--why", help="why the definition changes, kept with the version")] = "",
) -> None:
    """Import pilot definitions, or new versions of them."""
    from techport_pilots.definition.load import read_definition
    from techport_pilots.definition.neighbours import everybody

    definitions = [(file, read_definition(file)) for file in files]
    console = Console(highlight=False)
    if check:
        console.print(f"{len(definitions)} definition(s) without a mistake")
        return
    with open_registry(data, registry) as opened:
        for file, definition in definitions:
            text = file.read_text(encoding="utf-8")
            version = opened.import_pilot(definition, text, who="command line", why=why, may_see=everybody)
            console.print(f"{definition.id}: version {version}, {len(definition.devices)} devices")


@app.command("list")
@options.needs("see")
def list_(
    data: options.Data = None, store: options.Store = None, registry: options.RegistryUrl = None, lang: Language = "en"
) -> None:
    """All pilots, worst first: states, devices online, targets met, ends, what needs attention."""
    table = Table("id", "title", "state", "day", "online", "targets met", "ends", "needs attention")
    for row in _portfolio(load_settings({"data": data, "store": store, "registry": registry})):
        day = "" if row["day"] is None else f"{row['day']} of {row['days']}"
        add_row(
            table,
            row["id"],
            row["title"].get(lang) or row["title"]["en"] or row["title"]["nb"],
            row["state"],
            day,
            f"{row['online']} of {row['devices']}",
            f"{row['reached']} of {row['targets']}" if row["verdicts"] and row["targets"] else "",
            (row["ends"] or "")[:10],
            ", ".join(row["attention"]),
        )
    Console().print(table)


def _portfolio(settings: Settings) -> list[dict[str, Any]]:
    """From the platform that runs in the folder, or by ourselves."""
    platform = platform_at(settings.data) if settings.embedded else None
    if platform:
        entries: list[dict[str, Any]] = json.loads(get(platform, "/api/v1/portfolio", {"limit": "50000"}))["items"]
        return entries
    from techport.platform import stores
    from techport_dashboards.query.registry_cache import RegistryCache
    from techport_dashboards.services import portfolio
    from techport_storage.clock import now
    from techport_storage.model import Selection

    with stores(settings) as parts:
        latest = parts.readings.latest(Selection())
        return [
            portfolio.item(row)
            for row in portfolio.rows(RegistryCache(parts.registry).current(), parts.registry, latest, now())
        ]


@app.command("show")
@options.needs("see")
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
            from techport_pilots.definition.load import to_yaml

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
            title = info.title.get(lang) if info.described else "not in the vocabulary"
            add_row(table, info.stream.device, info.stream.quantity, title, info.unit_label or "", every)
    console.print(table)

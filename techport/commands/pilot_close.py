"""techport pilot close | open, and techport retention: the end of a pilot, its package, and forgetting on time."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from techport import options
from techport.commands.pilot_life import Who, Why, name_of
from techport.errors import CannotRun
from techport.folder import holder
from techport.settings import Settings, load_settings

if TYPE_CHECKING:
    from techport.platform import Stores

retention = typer.Typer(no_args_is_help=True, help="Forgetting on time: what is due to be erased, and erasing it.")

Yes = Annotated[bool, typer.Option("--yes", help="do it without asking")]


def close(
    pilot: str,
    yes: Yes = False,
    output: Annotated[
        Path | None, typer.Option("--output", help="folder of the package (default: DATA/packages)")
    ] = None,
    why: Why = "",
    who: Who = None,
    lang: Annotated[str, typer.Option("--lang", help="of the checklist: nb or en")] = "en",
    data: options.Data = None,
    store: options.Store = None,
    registry: options.RegistryUrl = None,
) -> None:
    """Close a pilot for good: a checklist, then frozen data, the report and one package to hand over.

    For a closed pilot, make its package again. Stop the platform first where the store is a DuckDB file.
    """
    from techport_dashboards.basemap import load
    from techport_pilots.changes import now
    from techport_pilots.closeout import checklist, close_pilot

    settings = load_settings({"data": data, "store": store, "registry": registry})
    console = Console(highlight=False)
    with _stores(settings) as parts:
        definition = parts.registry.pilot(pilot)
        items = checklist(parts.registry, parts.readings, definition, now())
        console.print(f"[bold]{definition.title.get(lang)}[/bold]")
        for item in items:
            console.print(f"  {'[green]✓[/green]' if item.good else '[yellow]![/yellow]'} {item.text.get(lang)}")
        if any(item.blocks for item in items):
            raise CannotRun(f"{pilot} cannot be closed yet: see the list above")
        if not yes and not typer.confirm(f"Close {pilot} for good? Its data is frozen, late messages are refused"):
            raise typer.Exit(1)
        with _progress(console) as progress:
            made = close_pilot(
                parts.registry,
                parts.readings,
                parts.books,
                definition,
                output or settings.data / "packages",
                name_of(who),
                why=why,
                ground=load(settings.basemap),
                progress=progress,
            )
    console.print(f"{made.path}\n  {made.rows} readings, SHA-256 {made.sha256}", soft_wrap=True)
    if made.erase_at is not None:
        console.print(f"  the data here will be erased on {_date(made.erase_at)}: `techport retention run`")


def open_(
    package: Annotated[Path, typer.Argument(help="a package of `techport pilot close`, zip or unpacked")],
    who: Who = None,
    data: options.Data = None,
    store: options.Store = None,
    registry: options.RegistryUrl = None,
) -> None:
    """Restore the pilot of a package here, and work its KPIs out again. Exit code 1 when one comes out otherwise."""
    from techport_pilots.package_open import open_package

    if not package.exists():
        raise CannotRun(f"there is no {package}")
    settings = load_settings({"data": data, "store": store, "registry": registry})
    console = Console(highlight=False)
    with _stores(settings) as parts, _progress(console) as progress:
        opened = open_package(package, parts.registry, parts.readings, parts.books, name_of(who), progress)
    console.print(f"{opened.pilot}: {opened.rows} readings; every file is as its SHA-256 says")
    for one in opened.evaluations:
        same = "[red]differs from the package[/red]" if one.kpi in opened.differing else "the same as in the package"
        console.print(f"  {one.kpi}: {one.verdict}, {same}")
    raise typer.Exit(1 if opened.differing else 0)


@retention.command("list")
def list_(data: options.Data = None, registry: options.RegistryUrl = None) -> None:
    """What will be erased when, and what has been."""
    from techport.commands.pilots import open_registry
    from techport_pilots import retention as forgetting

    console = Console(highlight=False)
    with open_registry(data, registry) as opened:
        for due in forgetting.plan(opened):
            console.print(f"{_date(due.at)}  {due.pilot} ({due.state})")
        for receipt in forgetting.receipts(opened.engine):
            console.print(f"{_date(receipt.done or 0)}  {receipt.pilot}: {_erased(receipt)}")


@retention.command("run")
def run(
    yes: Yes = False,
    receipts: Annotated[Path | None, typer.Option("--receipts", help="folder (default: DATA/receipts)")] = None,
    data: options.Data = None,
    store: options.Store = None,
    registry: options.RegistryUrl = None,
) -> None:
    """Erase what is due, from store, quarantine and packages, and keep a receipt. Can be run every night with --yes.

    Stop the platform first where the store is a DuckDB file.
    """
    from techport_pilots import retention as forgetting
    from techport_pilots.changes import now

    settings = load_settings({"data": data, "store": store, "registry": registry})
    console = Console(highlight=False)
    with _stores(settings) as parts:
        at = now()
        due = [one.pilot for one in forgetting.plan(parts.registry) if one.at <= at]
        if not due:
            console.print("nothing is due")
            return
        if not yes and not typer.confirm(f"Erase the data of {', '.join(due)} for good?"):
            raise typer.Exit(1)
        folder = receipts or settings.data / "receipts"
        for receipt in forgetting.run(parts.registry, parts.readings, parts.books, at):
            folder.mkdir(parents=True, exist_ok=True)
            file = folder / f"{receipt.pilot}-{_date(receipt.begun)}-{receipt.begun}.json"
            file.write_bytes(msgspec.json.format(msgspec.json.encode(receipt), indent=2) + b"\n")
            console.print(f"{receipt.pilot}: {_erased(receipt)}; receipt {file}", soft_wrap=True)


@contextmanager
def _stores(settings: Settings) -> Iterator[Stores]:
    """The stores for this process; where a platform has the embedded one open, say what to do."""
    from techport.platform import stores

    running = holder(settings.data)
    if running is not None and settings.store_url.startswith("duckdb:"):
        raise CannotRun(
            f"`techport {running.command}` (process {running.pid}) runs in {settings.data}, and only it "
            "may open the store: stop it (Ctrl-C), run this command, and start it again"
        )
    with stores(settings) as parts:
        yield parts


@contextmanager
def _progress(console: Console) -> Iterator[Callable[[str, int], None]]:
    """A line for each file that is written or read, with the rows so far."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:,.0f}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as shown:
        tasks = {}

        def progress(file: str, rows: int) -> None:
            if file not in tasks:
                tasks[file] = shown.add_task(file, total=None)
            shown.update(tasks[file], completed=rows)

        yield progress


def _erased(receipt: object) -> str:
    rows, entries, packages = (getattr(receipt, name) for name in ("rows", "entries", "packages"))
    return f"{rows} readings, {entries} entries of the quarantine and {len(packages)} packages erased"


def _date(time: int) -> str:
    return dt.datetime.fromtimestamp(time / 1e6, dt.UTC).date().isoformat()

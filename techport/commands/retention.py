"""techport retention list | run: forgetting on time. Works while the platform runs, which then does the erasing."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.console import Console

from techport import options
from techport.client import run_job
from techport.commands.pilot_close import Yes
from techport.data_dir import platform_at
from techport.progress import steps
from techport.settings import Settings, load_settings

if TYPE_CHECKING:
    from techport_pilots.handover.retention import Erasure

app = typer.Typer(no_args_is_help=True, help="Forgetting on time: what is due to be erased, and erasing it.")


@app.command("list")
def list_(data: options.Data = None, registry: options.RegistryUrl = None) -> None:
    """What will be erased when, and what has been."""
    from techport.commands.pilots import open_registry
    from techport_pilots.handover import retention

    console = Console(highlight=False)
    with open_registry(data, registry) as opened:
        for due in retention.plan(opened):
            console.print(f"{_date(due.at)}  {due.pilot} ({due.state})")
        for receipt in retention.receipts(opened.database):
            console.print(f"{_date(receipt.done or 0)}  {receipt.pilot}: {_erased(receipt)}")


@app.command("run")
def run(
    yes: Yes = False,
    receipts: Annotated[Path | None, typer.Option("--receipts", help="folder (default: DATA/receipts)")] = None,
    data: options.Data = None,
    store: options.Store = None,
    registry: options.RegistryUrl = None,
) -> None:
    """Erase what is due, from store, quarantine, packages and snapshots, and keep a receipt.

    Can be run every night with --yes. Works while the platform runs.
    """
    from techport.commands.pilots import open_registry
    from techport_pilots.handover import retention
    from techport_storage.clock import now

    settings = load_settings({"data": data, "store": store, "registry": registry})
    console = Console(highlight=False)
    with open_registry(data, registry) as opened:
        at = now()
        due = [one.pilot for one in retention.plan(opened) if one.at <= at]
    if not due:
        console.print("nothing is due")
        return
    if not yes and not typer.confirm(f"Erase the data of {', '.join(due)} for good?"):
        raise typer.Exit(1)
    _run(settings, console, due)
    folder = receipts or settings.data / "receipts"
    with open_registry(data, registry) as opened:
        written = [one for one in retention.receipts(opened.database) if one.done is not None and one.done >= at]
    for receipt in written:
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{receipt.pilot}-{_date(receipt.begun)}-{receipt.begun}.json"
        file.write_bytes(msgspec.json.format(msgspec.json.encode(receipt), indent=2) + b"\n")
        console.print(f"{receipt.pilot}: {_erased(receipt)}; receipt {file}", soft_wrap=True)
        for missing in receipt.missing:
            console.print(
                f"  [yellow]not found here[/yellow]: {missing}. Where it was moved to, erase it", soft_wrap=True
            )


def _run(settings: Settings, console: Console, due: Sequence[str]) -> None:
    """By the platform that runs in the folder, or by ourselves."""
    from techport.platform import stores
    from techport_dashboards.services.snapshots import SnapshotStore
    from techport_pilots.handover import retention

    http = platform_at(settings.data) if settings.embedded else None
    with steps(console) as progress:
        if http:
            run_job(http, "/api/v1/retention/run", {}, {"pilots": list(due)}, progress)
            return
        with stores(settings) as parts:
            files = SnapshotStore(settings.snapshots_folder).files_of
            retention.run(parts.registry, parts.readings, parts.books, files=files, progress=progress)


def _erased(receipt: Erasure) -> str:
    files = len(receipt.packages) + len(receipt.files)
    return f"{receipt.rows} readings, {receipt.entries} messages set aside or watched, {files} files erased"


def _date(time: int) -> str:
    return dt.datetime.fromtimestamp(time / 1e6, dt.UTC).date().isoformat()

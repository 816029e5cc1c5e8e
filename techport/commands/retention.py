"""techport retention list | run | erase: forgetting on time, or on request.

list and run work while the platform runs, which then does the erasing.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from techport import options
from techport.client import run_job
from techport.commands.pilot_close import Yes
from techport.data_dir import owner, platform_at
from techport.errors import CannotRun
from techport.progress import steps
from techport.settings import Settings, load_settings

if TYPE_CHECKING:
    from techport_pilots.registry.erasures import Erasure

app = typer.Typer(no_args_is_help=True, help="Forgetting on time: what is due to be erased, and erasing it.")


_TIMES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%SZ"]


@app.command("list")
@options.needs("see")
def list_(data: options.Data = None, registry: options.RegistryUrl = None) -> None:
    """What will be erased when, and what has been."""
    from techport.commands.pilots import open_registry
    from techport_pilots.registry import erasures

    console = Console(highlight=False)
    with open_registry(data, registry) as opened:
        for due in erasures.plan(opened):
            console.print(f"{_date(due.at)}  {due.pilot} ({due.state})")
        for receipt in erasures.receipts(opened.database):
            console.print(f"{_date(receipt.done or 0)}  {receipt.pilot}: {_erased(receipt)}")


@app.command("run")
@options.needs("admin")
def run(
    yes: Yes = False,
    receipts: Annotated[Path | None, typer.Option("--receipts", help="folder (default: DATA/receipts)")] = None,
    data: options.Data = None,
    store: options.Store = None,
    registry: options.RegistryUrl = None,
) -> None:
    """Erase what is due, from store, quarantine, packages and snapshots, and keep a receipt.

    `techport up` and `techport serve` do it once an hour; this does it now. Works while the platform runs.
    """
    from techport.commands.pilots import open_registry
    from techport_pilots.handover.retention import write_receipt
    from techport_pilots.registry import erasures
    from techport_storage.clock import now

    settings = load_settings({"data": data, "store": store, "registry": registry})
    console = Console(highlight=False)
    with open_registry(data, registry) as opened:
        at = now()
        due = [one.pilot for one in erasures.plan(opened) if one.at <= at]
    if not due:
        console.print("nothing is due")
        return
    if not yes and not typer.confirm(f"Erase the data of {', '.join(due)} for good?"):
        raise typer.Exit(1)
    _run(settings, console, due)
    folder = receipts or settings.data / "receipts"
    with open_registry(data, registry) as opened:
        written = [one for one in erasures.receipts(opened.database) if one.done is not None and one.done >= at]
    for receipt in written:
        file = write_receipt(folder, receipt)
        console.print(f"{receipt.pilot}: {_erased(receipt)}; receipt {file}", soft_wrap=True)
        for missing in receipt.missing:
            console.print(
                f"  [yellow]not found here[/yellow]: {missing}. Where it was moved to, erase it", soft_wrap=True
            )


@app.command("erase")
@options.needs("erase")
def erase(
    pilot: Annotated[str, typer.Argument(help="id of the pilot")],
    device: Annotated[
        str | None, typer.Option("--device", help="its name as messages bear it, described or not")
    ] = None,
    start: Annotated[
        dt.datetime | None, typer.Option("--start", formats=_TIMES, help="from this time (UTC) on")
    ] = None,
    end: Annotated[dt.datetime | None, typer.Option("--end", formats=_TIMES, help="before this time (UTC)")] = None,
    yes: Yes = False,
    data: options.Data = None,
    store: options.Store = None,
    registry: options.RegistryUrl = None,
) -> None:
    """Erase a device, a period or both out of a pilot: readings, messages, events.

    Packages and snapshots of the pilot go as a whole. Shows first what there is. A platform with an embedded store has
    to be stopped for it.
    """
    from techport.platform import stores
    from techport_dashboards.services.snapshots import SnapshotStore
    from techport_pilots.handover.partial_erasure import Part, count_part, erase_part

    settings = load_settings({"data": data, "store": store, "registry": registry})
    if device is None and start is None and end is None:
        raise CannotRun("say what to erase: --device, --start, --end. A whole pilot: techport retention run")
    running = owner(settings.data) if settings.embedded else None
    if running is not None:
        raise CannotRun(
            f"`techport {running.command}` (process {running.pid}) has the store open: stop it (Ctrl-C), run this "
            "command, and start it again"
        )
    console = Console(highlight=False)
    part = Part(pilot=pilot, device=device, start=_micros(start), end=_micros(end))
    with stores(settings) as parts:
        parts.registry.pilot(pilot)
        files = SnapshotStore(settings.snapshots_folder).files_of
        counted = count_part(parts.registry, parts.readings, parts.books, part, files)
        console.print(
            f"{pilot}: {counted.rows} readings on {counted.device_days} device-days, {counted.entries} messages"
        )
        for file in (*counted.packages, *counted.files, *counted.missing):
            console.print(f"  as a whole: {file}", soft_wrap=True)
        if counted.empty:
            return
        if not yes and not typer.confirm("Erase this for good?"):
            raise typer.Exit(1)
        for receipt in erase_part(parts.registry, parts.readings, parts.books, part, files):
            console.print(f"{receipt.pilot}: {_erased(receipt)}", soft_wrap=True)


def _micros(time: dt.datetime | None) -> int | None:
    return None if time is None else int(time.replace(tzinfo=dt.UTC).timestamp()) * 1_000_000


def _run(settings: Settings, console: Console, due: Sequence[str]) -> None:
    """By the platform that runs in the folder, or by ourselves."""
    from techport.platform import stores
    from techport_dashboards.services.snapshots import SnapshotStore
    from techport_pilots.handover import retention

    platform = platform_at(settings.data) if settings.embedded else None
    with steps(console) as progress:
        if platform:
            run_job(platform, "/api/v1/retention/run", {}, {"pilots": list(due)}, progress)
            return
        with stores(settings) as parts:
            files = SnapshotStore(settings.snapshots_folder).files_of
            retention.run(parts.registry, parts.readings, parts.books, files=files, progress=progress)


def _erased(receipt: Erasure) -> str:
    files = len(receipt.packages) + len(receipt.files)
    return f"{receipt.rows} readings, {receipt.entries} messages set aside or watched, {files} files erased"


def _date(time: int) -> str:
    return dt.datetime.fromtimestamp(time / 1e6, dt.UTC).date().isoformat()

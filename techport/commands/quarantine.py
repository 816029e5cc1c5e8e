"""techport quarantine list | show | replay | discard | expire."""

from __future__ import annotations

import datetime as dt
import getpass
import time
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from techport import options
from techport.commands.pilots import open_registry
from techport.errors import CannotRun
from techport.terminal import add_row, print_text
from techport_pilots.accounting.quarantine import Quarantine
from techport_pilots.i18n.message import visible
from techport_storage.clock import now

if TYPE_CHECKING:
    from techport_pilots.accounting.quarantine import QuarantineFilter, QuarantineRecord

app = typer.Typer(no_args_is_help=True, help="What could not be stored, and why. Works while the platform runs.")

Pilot = Annotated[str | None, typer.Option("--pilot", help="only this pilot")]
Device = Annotated[str | None, typer.Option("--device", help="only this device")]
Reason = Annotated[str | None, typer.Option("--reason", help="only this reason, such as not-a-number")]


@app.command("list")
@options.needs("see-raw")
def list_(
    data: options.Data = None,
    registry: options.RegistryUrl = None,
    pilot: Pilot = None,
    device: Device = None,
    reason: Reason = None,
    entries: Annotated[int, typer.Option(help="how many of the newest entries to show")] = 10,
) -> None:
    """Counts by pilot, device, reason and day, and the newest entries."""
    where = _where(pilot, device, reason)
    console = Console(highlight=False)
    with open_registry(data, registry) as opened:
        counts = Quarantine(opened.database).counts(where)
        newest = Quarantine(opened.database).entries(where, limit=entries).items
    table = Table("pilot", "device", "reason", "day", "entries", "values")
    for group in counts:
        day = (dt.date(1970, 1, 1) + dt.timedelta(days=group.day)).isoformat()
        add_row(table, group.pilot, group.device, group.reason, day, str(group.entries), str(group.values))
    if not counts:
        console.print("nothing is in quarantine")
        return
    console.print(table)
    for entry in newest:
        print_text(console, _line(entry))


@app.command("show")
@options.needs("see-raw")
def show(
    entry: Annotated[int, typer.Argument(help="number of the entry, as `list` shows it")],
    data: options.Data = None,
    registry: options.RegistryUrl = None,
) -> None:
    """One entry: the raw message, what was wrong with it, and what to do."""
    with open_registry(data, registry) as opened:
        record = Quarantine(opened.database).get(entry)
    if record is None:
        raise CannotRun(f"there is no entry {entry} in quarantine (any more)")
    console = Console(highlight=False)
    for line in (
        _line(record),
        f"  what to do: {record.rejection.hint()}",
        f"  topic:      {visible(record.topic)}",
        f"  text:       {record.payload.decode(errors='backslashreplace')}",
        f"  hex:        {record.payload.hex(' ')}",
    ):
        print_text(console, line)
    if record.replay_requested is not None:
        console.print("  waits to be replayed by an ingest worker")


@app.command("replay")
@options.needs("edit")
def replay(
    entries: Annotated[list[int] | None, typer.Argument(help="numbers of entries; or choose with the options")] = None,
    data: options.Data = None,
    registry: options.RegistryUrl = None,
    pilot: Pilot = None,
    device: Device = None,
    reason: Reason = None,
    wait: Annotated[float, typer.Option(help="seconds to wait for the result, at most; 0 does not wait")] = 10.0,
) -> None:
    """Reprocess messages after the cause has been fixed. A running ingest worker does it within a second or two."""
    if not entries and not (pilot or device or reason):
        raise CannotRun("say which entries: their numbers, --pilot, --device or --reason")
    with open_registry(data, registry) as opened:
        asked = Quarantine(opened.database).request_replay(_where(pilot, device, reason, entries), getpass.getuser())
        console = Console(highlight=False)
        console.print(f"{asked.entries} entries are reprocessed; what still cannot be stored comes back as new entries")
        until = time.monotonic() + wait
        while not asked.done and time.monotonic() < until:
            time.sleep(0.2)
            asked = Quarantine(opened.database).outcome(asked.id) or asked
    if wait and not asked.done:
        console.print(f"{asked.waiting} still waiting: no ingest worker has taken them within {wait:g} s")
    elif wait and asked.entries:
        console.print(
            f"{asked.stored} values stored, {asked.duplicates} stored before, "
            f"{asked.corrections} corrected, {asked.rejected} rejected again"
        )


@app.command("discard")
@options.needs("edit")
def discard(
    entries: Annotated[list[int] | None, typer.Argument(help="numbers of entries; or choose with the options")] = None,
    data: options.Data = None,
    registry: options.RegistryUrl = None,
    pilot: Pilot = None,
    device: Device = None,
    reason: Reason = None,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
) -> None:
    """Delete entries permanently, without replaying them. The sums still count them as received and quarantined."""
    if not entries and not (pilot or device or reason):
        raise CannotRun("say which entries: their numbers, --pilot, --device or --reason")
    where = _where(pilot, device, reason, entries)
    with open_registry(data, registry) as opened:
        count = sum(group.entries for group in Quarantine(opened.database).counts(where))
        if count and not yes:
            typer.confirm(f"Delete {count} entries with their messages permanently?", abort=True)
        deleted = Quarantine(opened.database).discard(where)
    Console(highlight=False).print(f"{deleted} entries deleted")


@app.command("expire")
@options.needs("admin")
def expire(
    older_than: Annotated[str, typer.Option("--older-than", help="ISO 8601 duration, such as P90D")],
    data: options.Data = None,
    registry: options.RegistryUrl = None,
    pilot: Pilot = None,
) -> None:
    """Delete old entries permanently. The sums still count them as received and quarantined."""
    from techport_pilots.time import interval_micros

    try:
        age = interval_micros(older_than)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--older-than") from error
    before = now() - age
    with open_registry(data, registry) as opened:
        deleted = Quarantine(opened.database).expire(before, pilot)
    Console(highlight=False).print(f"{deleted} entries deleted")


def _where(
    pilot: str | None, device: str | None, reason: str | None, entries: list[int] | None = None
) -> QuarantineFilter:
    from techport_pilots.accounting.quarantine import QuarantineFilter

    return QuarantineFilter(ids=tuple(entries) if entries else None, pilot=pilot, device=device, reason=reason)


def _line(entry: QuarantineRecord) -> str:
    arrived = dt.datetime.fromtimestamp(entry.received / 1e6, dt.UTC).isoformat(timespec="seconds")
    field = f" {entry.field}" if entry.field else ""
    about = visible(f"{entry.pilot}/{entry.device}{field}")
    return f"{entry.id}  {arrived}  {about}  {entry.reason}: {entry.rejection.detail()}"

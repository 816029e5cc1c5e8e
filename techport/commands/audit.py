"""techport audit: do the sums agree?"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from techport import options
from techport.asking import ask
from techport.folder import holder
from techport.settings import Settings, load_settings

if TYPE_CHECKING:
    from techport_pilots.account import Tally
    from techport_pilots.audit import AuditReport

COLUMNS = ("messages", "received", "stored", "duplicates", "quarantined", "ignored", "erased")


def audit(
    data: options.Data = None,
    store: options.Store = None,
    registry: options.RegistryUrl = None,
    pilot: Annotated[str | None, typer.Option("--pilot", help="only this pilot")] = None,
    every_row: Annotated[bool, typer.Option("--all", help="show every device and day, not only what is off")] = False,
) -> None:
    """Prove that received = stored + duplicates + quarantined + ignored for each device and day, and that the store
    holds just the rows that were stored. Exit code 1 when a sum is off. Works while the platform runs.
    """
    settings = load_settings({"data": data, "store": store, "registry": registry})
    report = _report(settings, pilot)
    console = Console(highlight=False)
    shown = report.rows if every_row else report.off + report.open
    if shown:
        table = Table("pilot", "device", "day", *COLUMNS, "in the store", "")
        for row in shown:
            pilot_id, device, day = row.device_day
            table.add_row(pilot_id, device, _date(day), *_numbers(row.tally), str(row.counted), row.state)
        console.print(table)
    total = report.total
    console.print(
        f"{len(report.rows)} device-days, {total.messages} messages: {total.received} values received = "
        f"{total.stored} stored + {total.duplicates} duplicates + {total.quarantined} quarantined + "
        f"{total.ignored} ignored; {report.counted} rows in the store, {total.erased} erased"
    )
    if report.open:
        console.print(f"{len(report.open)} device-days are being written to at this moment: no verdict on those")
    console.print("[green]the sums agree[/green]" if report.ok else f"[red]{len(report.off)} sums are off[/red]")
    raise typer.Exit(0 if report.ok else 1)


def _report(settings: Settings, pilot: str | None) -> AuditReport:
    """From the platform that runs in the data folder, since it alone may open an embedded store; else by ourselves."""
    from techport_pilots.audit import AuditReport

    running = holder(settings.data)
    if running is None or running.http is None:
        from techport.platform import stores
        from techport_pilots.audit import audit as compare

        with stores(settings) as parts:
            return compare(parts.books, parts.readings, pilot)
    answer = ask(running.http, "/api/v1/audit", {"pilot": pilot} if pilot else {})
    return msgspec.json.decode(answer, type=AuditReport)


def _numbers(tally: Tally) -> list[str]:
    return [str(getattr(tally, name)) for name in COLUMNS]


def _date(day: int) -> str:
    return (dt.date(1970, 1, 1) + dt.timedelta(days=day)).isoformat()

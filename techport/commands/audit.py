"""techport audit: do the sums agree?"""

from __future__ import annotations

import datetime as dt
import getpass
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from techport import options
from techport.commands.pilots import open_registry
from techport.data_dir import Platform, owner
from techport.running_platform import get
from techport.settings import Settings, load_settings
from techport.terminal import print_text

if TYPE_CHECKING:
    from techport_pilots.accounting.audit import AuditReport, AuditRow
    from techport_pilots.accounting.tally import Tally
    from techport_pilots.accounting.worker_sessions import SessionLoss


@options.needs("see")
def audit(
    data: options.Data = None,
    store: options.Store = None,
    registry: options.RegistryUrl = None,
    pilot: Annotated[str | None, typer.Option("--pilot", help="only this pilot")] = None,
    accept: Annotated[
        str | None,
        typer.Option("--accept", help="accept the lost sessions so far, with the reason, after looking into them"),
    ] = None,
    every_row: Annotated[bool, typer.Option("--all", help="show every device and day, not only what is off")] = False,
) -> None:
    """Prove that received = stored + duplicates + corrections + quarantined + ignored for each device and day, that the
    store holds just the rows that were stored, and that no broker lost a worker's session. Exit code 1 otherwise.
    Works while the platform runs.
    """
    settings = load_settings({"data": data, "store": store, "registry": registry})
    if accept is not None:
        _accept(settings, accept)
    report = _report(settings, pilot)
    console = Console(highlight=False)
    for row in report.rows if every_row else report.off + report.open:
        print_text(console, _sentence(row))
    total = report.total
    console.print(
        f"{len(report.rows)} device-days, {total.messages} messages: {total.received} values received = "
        f"{_became(total)}; {report.counted} rows in the store, {total.erased} erased",
        soft_wrap=True,
    )
    if report.open:
        console.print(
            f"{len(report.open)} device-days are being written to at this moment: no verdict on those", soft_wrap=True
        )
    for loss in report.lost:
        console.print(_lost(loss), soft_wrap=True, markup=False)
    if report.lost:
        console.print("Look into it (docs/operations.md, Sessions), then: techport audit --accept WHY", markup=False)
    console.print(f"[red]{len(report.off)} sums are off[/red]" if report.off else "[green]the sums agree[/green]")
    raise typer.Exit(0 if report.ok else 1)


def _accept(settings: Settings, why: str) -> None:
    from techport_pilots.accounting.worker_sessions import WorkerSessions

    with open_registry(settings.data, settings.registry) as registry:
        accepted = WorkerSessions(registry.database).accept(getpass.getuser(), why)
    Console(highlight=False).print(f"{accepted} lost sessions accepted")


def _lost(loss: SessionLoss) -> str:
    at = dt.datetime.fromtimestamp(loss.at / 1e6, dt.UTC).isoformat(timespec="seconds")
    what = {
        "lost": "the broker no longer knew its session",
        "taken-over": "another client connected under its client id",
    }[loss.kind]
    return f"worker {loss.worker} at {at}: {what}. Acknowledged messages may be missing, which no sum shows"


def _report(settings: Settings, pilot: str | None) -> AuditReport:
    """From the platform that runs in the data folder, since it alone may open an embedded store; else by ourselves."""
    running = owner(settings.data)
    if running is None or running.http is None:
        from techport.platform import stores
        from techport_pilots.accounting.audit import audit as compare

        with stores(settings) as parts:
            return compare(parts.ledger, parts.readings, pilot)
    from techport_dashboards.api.accounting import Audited

    answer = get(
        Platform.of(settings.data, running.http, running.certificate),
        "/api/v1/audit",
        {"pilot": pilot} if pilot else {},
    )
    return Audited.model_validate_json(answer).report


def _sentence(row: AuditRow) -> str:
    """`school-air/ila-skole 2026-05-04: ok, 12 messages: 36 values received = ...`, to be read and to be searched."""
    pilot, device, day = row.device_day
    erased = f", {row.tally.erased} erased" if row.tally.erased else ""
    return (
        f"{pilot}/{device} {_date(day)}: {row.state}, {row.tally.messages} messages: {row.tally.received} values "
        f"received = {_became(row.tally)}; {row.counted} rows in the store{erased}"
    )


def _became(tally: Tally) -> str:
    return (
        f"{tally.stored} stored + {tally.duplicates} duplicates + {tally.corrections} corrections + "
        f"{tally.quarantined} quarantined + {tally.ignored} ignored"
    )


def _date(day: int) -> str:
    return (dt.date(1970, 1, 1) + dt.timedelta(days=day)).isoformat()

"""techport audit: do the sums agree? techport audit accept; verify | export: was the audit log changed?"""

from __future__ import annotations

import datetime as dt
import getpass
import sys
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
    from techport_pilots.access.audit_log import Fault
    from techport_pilots.accounting.audit import AuditReport, AuditRow
    from techport_pilots.accounting.tally import Tally
    from techport_pilots.accounting.worker_sessions import SessionLoss


app = typer.Typer(invoke_without_command=True)


@app.callback()
@options.needs("see")
def audit(
    context: typer.Context,
    data: options.Data = None,
    store: options.Store = None,
    registry: options.RegistryUrl = None,
    pilot: Annotated[str | None, typer.Option("--pilot", help="only this pilot")] = None,
    every_row: Annotated[bool, typer.Option("--all", help="show every device and day, not only what is off")] = False,
) -> None:
    """Prove that received = stored + duplicates + corrections + quarantined + ignored for each device and day, that the
    store holds just the rows that were stored, and that no broker lost a worker's session. Exit code 1 otherwise.
    Works while the platform runs.
    """
    if context.invoked_subcommand is not None:
        return
    settings = load_settings({"data": data, "store": store, "registry": registry})
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
        console.print("Look into it (docs/operations.md, Sessions), then: techport audit accept WHY", markup=False)
    console.print(f"[red]{len(report.off)} sums are off[/red]" if report.off else "[green]the sums agree[/green]")
    raise typer.Exit(0 if report.ok else 1)


@app.command("accept")
@options.needs("admin")
def accept(
    why: Annotated[str, typer.Argument(help="the reason, after looking into it")],
    data: options.Data = None,
    registry: options.RegistryUrl = None,
) -> None:
    """Accept the sessions of workers that brokers have lost so far: the audit goes by them from now on."""
    from techport_pilots.accounting.worker_sessions import WorkerSessions

    with open_registry(data, registry) as opened:
        accepted = WorkerSessions(opened.database).accept(getpass.getuser(), why)
    Console(highlight=False).print(f"{accepted} lost sessions accepted")


@app.command("verify")
@options.needs("admin", logs=None)
def verify(
    noted: Annotated[
        str | None,
        typer.Option("--noted", help="NUMBER:HASH as it was printed earlier: the log must still contain that entry"),
    ] = None,
    data: options.Data = None,
    registry: options.RegistryUrl = None,
) -> None:
    """Follow the chain of the audit log from its first entry to its last, and name the first that is wrong. Exit code 1
    when there is one. Note the NUMBER:HASH that is printed somewhere else: nobody can then rewrite what was before.
    """
    from techport_pilots.access import audit_log

    try:
        head = None if noted is None else audit_log.Head.parse(noted)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--noted") from error
    console = Console(highlight=False)
    with open_registry(data, registry) as opened:
        verified = audit_log.verify(opened.database, head)
    if verified.anchor.number:
        console.print(f"the chain begins after entry {verified.anchor}: older ones were removed")
    if verified.fault is not None:
        fault = _FAULTS[verified.fault].format(entry=verified.broken, noted=noted)
        console.print(f"[red]{fault}[/red]; the {verified.entries} entries before are as they were", soft_wrap=True)
        raise typer.Exit(1)
    console.print(f"[green]{verified.entries} entries are as they were written[/green]", soft_wrap=True)
    console.print(f"last entry: {verified.head}", soft_wrap=True)


_FAULTS: dict[Fault, str] = {
    "changed": "entry {entry} was changed",
    "missing": "entry {entry} is missing",
    "text-changed": "who or what entry {entry} is about was changed",
    "cut-off": "entries from {entry} on are missing at the end",
    "anchor": "what was removed before entry {entry} is not what the log recorded",
    "rewritten": "entry {entry} is not the one that was noted ({noted}): the log was rewritten",
}


@app.command("export")
@options.needs("admin", logs="exported")
def export(
    pilot: Annotated[str | None, typer.Option("--pilot", help="only entries of this pilot")] = None,
    data: options.Data = None,
    registry: options.RegistryUrl = None,
) -> None:
    """Write the audit log to standard output as JSON Lines, the oldest entry first, with the hashes."""
    from techport_dashboards.services.audit_log import json_lines
    from techport_pilots.access import audit_log

    with open_registry(data, registry) as opened:
        for lines in json_lines(audit_log.export(opened.database, pilot)):
            sys.stdout.buffer.write(lines)


def _lost(loss: SessionLoss) -> str:
    at = dt.datetime.fromtimestamp(loss.at / 1e6, dt.UTC).isoformat(timespec="seconds")
    cause = {
        "lost": "the broker no longer knew its session",
        "taken-over": "another client connected under its client id",
    }[loss.kind]
    return f"worker {loss.worker} at {at}: {cause}. Acknowledged messages may be missing, which no sum shows"


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

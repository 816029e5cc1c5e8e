"""The command line: `techport COMMAND`. Each command lives in techport/commands and is wired here."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from techport import options
from techport.commands import (
    archive,
    audit,
    broker_access,
    certificate,
    decode,
    deposit,
    device,
    doctor,
    ingest,
    link,
    login,
    mcp,
    people,
    pilot_close,
    pilot_flags,
    pilot_life,
    pilot_plan,
    pilot_report,
    pilots,
    propose,
    publish,
    quarantine,
    retention,
    run,
    share,
    store,
    trace,
)
from techport.data_dir import UMASK, FolderInUse
from techport.errors import CannotRun
from techport.logs import hide_in_text, hide_in_tracebacks
from techport.settings import SettingsError
from techport.terminal import printable
from techport_ingest.brokers.mosquitto import BrokerError
from techport_pilots.errors import PilotsError
from techport_simulators.mapping import MappingError
from techport_simulators.replay import ReplayError
from techport_storage.errors import StoreError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="techport: the data platform for pilots in a living city. `techport demo` shows all of it.",
)
app.command("up")(run.up)
app.command("demo")(run.demo)
app.command("serve")(run.serve)
app.command("operator-link")(link.operator_link)
app.command("link", hidden=True)(link.link)
app.command("login")(login.login)
app.command("logout")(login.logout)
app.command("simulate")(publish.simulate)
app.command("replay")(publish.replay)
app.command("certificate")(certificate.certificate)
app.command("broker-access")(broker_access.broker_access)
app.command("trace")(trace.trace)
app.command("decode")(decode.decode)
app.command("propose")(propose.propose)
app.command("doctor")(doctor.doctor)
app.command("mcp")(mcp.mcp)
app.command("deposit")(deposit.deposit)
pilots.app.command("start")(pilot_life.start)
pilots.app.command("end")(pilot_life.end)
pilots.app.command("event")(pilot_life.event)
pilots.app.command("exclude")(pilot_life.exclude)
pilots.app.command("reflag")(pilot_flags.reflag)
pilots.app.command("close")(pilot_close.close)
pilots.app.command("open")(pilot_close.open_)
pilots.app.command("report")(pilot_report.report)
pilots.app.command("plan")(pilot_plan.plan)
pilots.app.command("recommend")(pilot_plan.recommend)
app.add_typer(ingest.app, name="ingest")
app.add_typer(pilots.app, name="pilot")
app.add_typer(audit.app, name="audit")
app.add_typer(people.app, name="account")
app.add_typer(people.tokens, name="token")
app.add_typer(share.app, name="share")
app.add_typer(retention.app, name="retention")
app.add_typer(device.app, name="device")
app.add_typer(quarantine.app, name="quarantine")
app.add_typer(store.app, name="store")
app.add_typer(archive.app, name="archive")
options.name_commands(app)

EXPECTED = (
    SettingsError,
    FolderInUse,
    StoreError,
    PilotsError,
    BrokerError,
    ReplayError,
    MappingError,
    CannotRun,
)


def main() -> None:
    """Run the command line. What a user can put right is told in a sentence, not in a traceback; exit code 2."""
    os.umask(UMASK)
    hide_in_tracebacks()
    try:
        typer.main.get_command(app)()  # calling `app` itself would put typer's own tracebacks in the place of ours
    except EXPECTED as error:
        _tell(str(error))
    except OSError as error:  # a file that is not there, may not be read, does not fit on the disk
        _tell(f"{error.filename}: {error.strerror}" if error.filename else str(error))


def _tell(problem: str) -> NoReturn:
    console = Console(stderr=True, highlight=False)
    console.print(f"[red]techport:[/red] {escape(printable(hide_in_text(problem)))}", soft_wrap=True)
    sys.exit(2)

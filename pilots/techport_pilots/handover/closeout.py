"""Closing a pilot: a checklist first, then frozen data, report and one package to hand over.

    ended ─► closed ─► credentials taken back, ingest knows it ─► evaluate ─► report ─► package ─► noted in the registry

Stopped anywhere, the pilot is closed and the same call makes the package. Nothing is erased here: see retention.py.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import time
from functools import partial
from pathlib import Path

import msgspec

from techport_pilots.access.credentials import Credentials
from techport_pilots.accounting.ledger import Ledger
from techport_pilots.definition.load import to_yaml
from techport_pilots.devices.photos import PhotoStore
from techport_pilots.devices.visits import VisitLog
from techport_pilots.errors import RegistryUnavailable, WrongState
from techport_pilots.evaluation import agree, evaluate
from techport_pilots.handover import package_metadata
from techport_pilots.handover.archive import ENTITY_IDS
from techport_pilots.handover.checklist import checklist, refuse_blocked
from techport_pilots.handover.dcat import build
from techport_pilots.handover.dcat.build import Distribution
from techport_pilots.handover.package import (
    PackageWriter,
    Progress,
    instant,
    no_progress,
    selection_of,
    write_csv,
    write_parquet,
    write_photos,
    writing_package,
)
from techport_pilots.handover.signature import sign
from techport_pilots.i18n import Message, in_all_languages
from techport_pilots.model import PilotDefinition, Text
from techport_pilots.quality.completeness import stream_completeness
from techport_pilots.quality.people_counts import published
from techport_pilots.registry import erasures, lifecycle, registration
from techport_pilots.registry.database import Database
from techport_pilots.registry.entity_ids import numbered_entities
from techport_pilots.registry.registry import Registry
from techport_pilots.registry.versioning import lock
from techport_pilots.reports.build import Report, build_report, final_evaluations, keep_evaluations, keep_figures
from techport_pilots.reports.html import citation, page
from techport_pilots.reports.plots import Ground
from techport_pilots.reports.privacy_text import privacy_lines
from techport_pilots.reports.text import Words
from techport_storage.clock import now
from techport_storage.model import Micros
from techport_storage.store import ReadingStore

INGEST_KNOWS_S = 2.0  # ingest looks at the registry once a second
PATIENCE_S = 60.0
_EVER = (0, 2**52)  # µs, to the year 2112

_NOTE = (
    "INSERT INTO pilot_packages (pilot, at, path, sha256, rows) VALUES (:pilot, :at, :path, :sha256, :rows)"
    " ON CONFLICT (pilot, at) DO UPDATE SET path = excluded.path, sha256 = excluded.sha256, rows = excluded.rows"
)


_MADE = "SELECT at, path, sha256, rows FROM pilot_packages WHERE pilot = :pilot ORDER BY at DESC"


class MadePackage(msgspec.Struct, frozen=True):
    """A package that was made, as the registry remembers it. The file may have been moved since."""

    at: Micros
    path: str
    sha256: str
    rows: int


class Package(msgspec.Struct, frozen=True):
    """A package that was made."""

    pilot: str
    path: str
    sha256: str
    rows: int
    erase_at: Micros | None  # when the data here is due to be erased; None: it is kept


class Closure(msgspec.Struct, frozen=True):
    """Who closes a pilot and why; the seconds after which every ingest worker knows that it is closed; and where photos
    of devices lie, for the package."""

    who: str
    why: str = ""
    wait: float = INGEST_KNOWS_S
    photos: Path | None = None


def close_pilot(
    registry: Registry,
    store: ReadingStore,
    ledger: Ledger,
    pilot: PilotDefinition,
    folder: Path,
    closure: Closure,
    *,
    ground: Ground | None = None,
    progress: Progress = no_progress,
) -> Package:
    """Close the pilot for good and write its package into `folder`; for a closed one, only the package.

    Its devices' credentials are revoked, and what they still send is quarantined. Raises WrongState when something on
    the checklist blocks, and what store and registry raise.
    """
    refuse_blocked(pilot, checklist(registry, store, pilot, now()))
    if registry.state(pilot.id) != "closed":
        lifecycle.transition(registry.database, pilot, "closed", closure.who, closure.why)
        progress("waiting for ingest", 0, 0)
        time.sleep(closure.wait)
    credentials = Credentials(registry.database)
    for credential in credentials.all(pilot.id):
        credentials.revoke(credential.pilot, credential.device)
    _settled(ledger, pilot.id)
    return write_package(registry, store, pilot, folder, ground, progress, closure.photos)


def write_package(
    registry: Registry,
    store: ReadingStore,
    pilot: PilotDefinition,
    folder: Path,
    ground: Ground | None = None,
    progress: Progress = no_progress,
    photos: Path | None = None,
) -> Package:
    """Write the package of what the store holds now, and note it in the registry. Raises WrongState where the readings
    were erased since."""
    if any(record.pilot == pilot.id and not record.partial for record in erasures.receipts(registry.database)):
        raise WrongState(Message("lifecycle.erased", {"pilot": pilot.id}))
    store = published(store, registry)
    made = now()
    taken = lifecycle.changes(registry.database, pilot.id)
    until, ended = lifecycle.measured_until(taken, made), lifecycle.has_ended(taken)
    lent = registry.lent(pilot)
    evaluations = []
    before = {record.kpi: record for record in final_evaluations(registry.database, pilot) or ()}
    for number, kpi in enumerate(pilot.kpis):
        progress("evaluation", number, len(pilot.kpis))
        evaluation = evaluate(store, pilot, kpi, lent=lent, until=until, ended=ended)
        last = before.get(kpi.id, evaluation)
        evaluations.append(
            last if agree(last, evaluation) else evaluation
        )  # what was handed over stays, to the last digit
    keep_evaluations(registry.database, pilot.id, evaluations, made)
    version = registry.history(pilot.id)[0].version
    state = registry.state(pilot.id)
    report = build_report(
        store, registry, pilot, version=version, state=state, now=made, evaluations=evaluations, lent=lent
    )
    keep_figures(registry.database, report)
    name = f"{pilot.id}-{dt.datetime.fromtimestamp(made / 1e6, dt.UTC):%Y-%m-%d}.zip"
    path = folder / name
    select = selection_of(pilot, store, lent)
    total = sum(
        record.readings for record in stream_completeness(store, dict.fromkeys(select.streams or ()), *_EVER).values()
    )
    with writing_package(path, partial(sign, registry.database), pilot.personal_data) as writer:
        rows = write_parquet(writer, store, select, progress, total)
        if write_csv(writer, store, select, progress, rows) != rows:
            raise WrongState(Message("lifecycle.written-meanwhile", {"pilot": pilot.id}))
        write_photos(writer, [] if photos is None else PhotoStore(photos).files_of(pilot.id))
        _describe(registry, pilot, report, writer, rows, ground)
    made_package = Package(pilot.id, str(path.resolve()), _sha256(path), rows, erasures.due_at(registry, pilot))
    with registry.database.writing() as transaction:
        lock(transaction)
        row = {"pilot": pilot.id, "at": made, "path": made_package.path, "sha256": made_package.sha256, "rows": rows}
        transaction.execute(_NOTE, row)
    return made_package


def packages_of(database: Database, pilot: str) -> list[MadePackage]:
    """The pilot's packages, newest first. May raise RegistryUnavailable."""
    with database.reading() as transaction:
        return [MadePackage(*row) for row in transaction.execute(_MADE, {"pilot": pilot})]


def _describe(
    registry: Registry, pilot: PilotDefinition, report: Report, writer: PackageWriter, rows: int, ground: Ground | None
) -> None:
    """Everything beside the readings, the descriptions of files last."""
    writer.add("devices.csv", package_metadata.devices_csv(pilot))
    writer.add("streams.csv", package_metadata.streams_csv(pilot))
    writer.add("events.csv", package_metadata.events_csv(pilot))
    writer.add("visits.csv", package_metadata.visits_csv(VisitLog(registry.database).of_pilot(pilot.id)))
    writer.add("pilot.yaml", to_yaml(pilot))
    writer.add("evaluation.json", _json([result.evaluation for result in report.results]))
    quality = {
        "since": instant(report.start),
        "until": instant(report.end),
        "whole": report.whole,
        "phases": report.phases,
        "devices": report.devices,
        "set_aside": report.set_aside,
    }
    writer.add("quality.json", _json(quality))
    writer.add("history.json", package_metadata.history(lifecycle.changes(registry.database, pilot.id)))
    writer.add("versions.json", _json(registration.versions(registry.database, pilot.id)))
    writer.add("plan.json", _json(registration.status(registry.database, pilot)))
    writer.add(ENTITY_IDS, _json(numbered_entities(registry.database, pilot.id)))
    for language in ("nb", "en"):
        writer.add(f"report-{language}.html", page(report, language, ground))
    writer.add("LICENCE.txt", package_metadata.licence_text(pilot))
    writer.add("README.md", package_metadata.readme(report, rows, citation(report, Words("en", pilot.timezone))))
    ways = [
        Distribution(f"readings.{kind}", _readings_title(kind), media_type, kind.upper())
        for kind, media_type in (("parquet", "application/vnd.apache.parquet"), ("csv", "text/csv"))
    ]
    first, last = (dt.date.fromisoformat(instant(t)[:10]) for t in (report.start, report.end - 1))
    writer.add("dcat.ttl", build.package(pilot, ways, (first, last), _conditions(report)))
    writer.add("datapackage.json", package_metadata.datapackage(report, writer, rows))
    writer.add("ro-crate-metadata.json", package_metadata.ro_crate(report, writer))


def _readings_title(kind: str) -> Text:
    return Text(**in_all_languages(Message("dcat.readings", {"format": kind})))


def _conditions(report: Report) -> Text | None:
    """What must be known of personal data, as one text."""
    spoken = {
        code: "; ".join(f"{heading}: {text}" for heading, text in privacy_lines(report, Words(code, "UTC")))
        for code in ("nb", "en")
    }
    return Text(**spoken) if spoken["en"] else None


def _settled(ledger: Ledger, pilot: str) -> None:
    """Wait for the batches that were begun before ingest heard that the pilot is closed."""
    deadline = time.monotonic() + PATIENCE_S
    while open_days := [day for day in ledger.open_intents() if day.pilot == pilot]:
        if time.monotonic() > deadline:
            raise RegistryUnavailable(
                f"{len(open_days)} device-days of {pilot} are still being written: `techport audit`, then close again"
            )
        time.sleep(0.5)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _json(value: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"

"""Closing a pilot: a checklist first, then frozen data, report and one package to hand over.

    ended ─► closed ─► credentials taken back, ingest knows it ─► evaluate ─► report ─► package ─► noted in the registry

Stopped anywhere, the pilot is closed and the same call makes the package. Nothing is erased here: see retention.py.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import time
from pathlib import Path

import msgspec
import numpy as np
from sqlalchemy import text

from techport_pilots import dcat, lifecycle, package_metadata, retention
from techport_pilots.books import Books
from techport_pilots.changes import lock, now
from techport_pilots.completeness import pilot_intervals, stream_completeness
from techport_pilots.credentials import Credentials
from techport_pilots.database import writing
from techport_pilots.dcat import Distribution
from techport_pilots.definition import to_yaml
from techport_pilots.errors import RegistryUnavailable, WrongState
from techport_pilots.kpi_time import local, micros_of
from techport_pilots.model import PilotDefinition, Text
from techport_pilots.package import (
    PackageWriter,
    Progress,
    borrowed,
    instant,
    no_progress,
    selection_of,
    write_csv,
    write_parquet,
    writing_package,
)
from techport_pilots.quarantine import Quarantine, Where
from techport_pilots.registry import Registry
from techport_pilots.report import Report, build_report, evaluate_all, keep_evaluations, period
from techport_pilots.report_page import citation, page
from techport_pilots.report_plots import Ground
from techport_pilots.report_words import Words
from techport_storage.model import Micros
from techport_storage.store import ReadingStore

INGEST_KNOWS_S = 2.0  # ingest looks at the registry once a second
PATIENCE_S = 60.0

_NOTE = text(
    "INSERT INTO pilot_packages (pilot, at, path, sha256, rows) VALUES (:pilot, :at, :path, :sha256, :rows)"
    " ON CONFLICT (pilot, at) DO UPDATE SET path = excluded.path, sha256 = excluded.sha256, rows = excluded.rows"
)


class Item(msgspec.Struct, frozen=True):
    """A line of the checklist. `blocks`: the pilot cannot be closed like this."""

    good: bool
    text: Text
    blocks: bool = False


class Package(msgspec.Struct, frozen=True):
    """A package that was made."""

    pilot: str
    path: str
    sha256: str
    rows: int
    erase_at: Micros | None  # when the data here is due to be erased; None: it is kept


def checklist(registry: Registry, store: ReadingStore, pilot: PilotDefinition, at: Micros) -> list[Item]:
    """What to look at before closing, what is in order and what is not. Raises what the two raise."""
    return [
        *_state(registry, pilot),
        *_readings(store, pilot, at),
        *_quarantine(registry, pilot),
        *_papers(pilot),
        *_borrowed(registry, pilot),
        _retention(registry, pilot, at),
    ]


def close_pilot(
    registry: Registry,
    store: ReadingStore,
    books: Books,
    pilot: PilotDefinition,
    folder: Path,
    who: str,
    *,
    why: str = "",
    ground: Ground | None = None,
    progress: Progress = no_progress,
    wait: float = INGEST_KNOWS_S,
) -> Package:
    """Close the pilot for good and write its package into `folder`; for a closed one, only the package.

    Its devices' credentials are taken back, and what they still send is set aside. Raises WrongState when something on
    the checklist blocks, and what store and registry raise.
    """
    blocking = [item.text.en for item in checklist(registry, store, pilot, now()) if item.blocks]
    if blocking:
        raise WrongState(f"{pilot.id} cannot be closed: {' '.join(blocking)}")
    if registry.state(pilot.id) != "closed":
        lifecycle.transition(registry.engine, pilot, "closed", who, why)
        time.sleep(wait)
    credentials = Credentials(registry.engine)
    for credential in credentials.all(pilot.id):
        credentials.revoke(credential.pilot, credential.device)
    _settled(books, pilot.id)
    return write_package(registry, store, pilot, folder, ground, progress)


def write_package(
    registry: Registry,
    store: ReadingStore,
    pilot: PilotDefinition,
    folder: Path,
    ground: Ground | None = None,
    progress: Progress = no_progress,
) -> Package:
    """Write the package of what the store holds now, and note it in the registry."""
    made = now()
    progress("evaluation", 0)
    evaluations = evaluate_all(store, pilot)
    keep_evaluations(registry.engine, pilot.id, evaluations, made)
    version = registry.history(pilot.id)[0].version
    state = registry.state(pilot.id)
    report = build_report(
        store, registry.engine, pilot, version=version, state=state, now=made, evaluations=evaluations
    )
    name = f"{pilot.id}-{dt.datetime.fromtimestamp(made / 1e6, dt.UTC):%Y-%m-%d}.zip"
    path = folder / name
    select = selection_of(pilot, store)
    with writing_package(path) as writer:
        rows = write_parquet(writer, store, select, progress)
        if write_csv(writer, store, select, progress) != rows:
            raise WrongState(f"readings of {pilot.id} were written while it was packed: close it again")
        _describe(registry, pilot, report, writer, rows, ground)
    made_package = Package(pilot.id, str(path.resolve()), _sha256(path), rows, retention.due_at(registry, pilot))
    with writing(registry.engine) as connection:
        lock(connection)
        row = {"pilot": pilot.id, "at": made, "path": made_package.path, "sha256": made_package.sha256, "rows": rows}
        connection.execute(_NOTE, row)
    return made_package


def _describe(
    registry: Registry, pilot: PilotDefinition, report: Report, writer: PackageWriter, rows: int, ground: Ground | None
) -> None:
    """Everything beside the readings, the descriptions of files last."""
    writer.add("devices.csv", package_metadata.devices_csv(pilot))
    writer.add("streams.csv", package_metadata.streams_csv(pilot))
    writer.add("events.csv", package_metadata.events_csv(pilot))
    writer.add("pilot.yaml", to_yaml(pilot))
    writer.add("evaluation.json", _json([result.evaluation for result in report.results]))
    quality = {"whole": report.whole, "phases": report.phases, "devices": report.devices, "set_aside": report.set_aside}
    writer.add("quality.json", _json(quality))
    writer.add("history.json", package_metadata.history(lifecycle.changes(registry.engine, pilot.id)))
    for language in ("nb", "en"):
        writer.add(f"report-{language}.html", page(report, language, ground))
    writer.add("LICENCE.txt", package_metadata.licence_text(pilot))
    writer.add("README.md", package_metadata.readme(report, rows, citation(report, Words("en", pilot.timezone))))
    ways = [
        Distribution(f"readings.{kind}", Text(nb=f"Målinger, {kind}", en=f"Readings, {kind}"), media_type, kind.upper())
        for kind, media_type in (("parquet", "application/vnd.apache.parquet"), ("csv", "text/csv"))
    ]  # fmt: skip
    first, last = (dt.date.fromisoformat(instant(t)[:10]) for t in (report.start, report.end - 1))
    writer.add("dcat.ttl", dcat.package(pilot, ways, (first, last)))
    writer.add("datapackage.json", package_metadata.datapackage(report, writer, rows))
    writer.add("ro-crate-metadata.json", package_metadata.ro_crate(report, writer))


def _settled(books: Books, pilot: str) -> None:
    """Wait for the batches that were begun before ingest heard that the pilot is closed."""
    deadline = time.monotonic() + PATIENCE_S
    while open_days := [day for day in books.open_intents() if day.pilot == pilot]:
        if time.monotonic() > deadline:
            raise RegistryUnavailable(
                f"{len(open_days)} device-days of {pilot} are still being written: `techport audit`, then close again"
            )
        time.sleep(0.5)


def _state(registry: Registry, pilot: PilotDefinition) -> list[Item]:
    state = registry.state(pilot.id)
    if state in ("ended", "closed"):
        return [Item(True, Text(nb="Piloten er avsluttet.", en="The pilot has ended."))]
    return [
        Item(
            False,
            Text(
                nb=f"Piloten er ikke avsluttet: techport pilot end {pilot.id}.",
                en=f"The pilot has not ended: techport pilot end {pilot.id}.",
            ),
            blocks=True,
        )
    ]


def _readings(store: ReadingStore, pilot: PilotDefinition, at: Micros) -> list[Item]:
    if not pilot.devices:
        return []
    found = stream_completeness(store, pilot_intervals(pilot), *period(store, pilot, at))
    silent = sorted({s.device for s in found} - {s.device for s, one in found.items() if one.readings})
    names = ", ".join(silent[:8]) + (" …" if len(silent) > 8 else "")
    rows = sum(one.readings for one in found.values())
    items = [Item(rows > 0, Text(nb=f"{rows} målinger i perioden.", en=f"{rows} readings in the period."))]
    if silent:
        items.append(Item(False, Text(nb=f"Uten en eneste måling: {names}.", en=f"Without a single reading: {names}.")))
    late = [phase.name for phase in pilot.phases if micros_of(phase.end, pilot.timezone) > at]
    if late:
        items.append(Item(False, Text(nb=f"Faser som ikke er over: {late}.", en=f"Phases that are not over: {late}.")))
    return items


def _quarantine(registry: Registry, pilot: PilotDefinition) -> list[Item]:
    values = sum(count.values for count in Quarantine(registry.engine).counts(Where(pilot=pilot.id)))
    if not values:
        return [Item(True, Text(nb="Ingenting er satt til side.", en="Nothing was set aside."))]
    return [
        Item(
            False,
            Text(
                nb=f"{values} verdier er satt til side. Etter lukking kan de ikke legges inn igjen.",
                en=f"{values} values were set aside. After closing they cannot be brought back.",
            ),
        )
    ]


def _papers(pilot: PilotDefinition) -> list[Item]:
    named = bool(pilot.organisations) and pilot.contact is not None
    return [
        Item(
            named,
            Text(nb="Eier og kontakt er oppgitt.", en="Owner and contact are named.")
            if named
            else Text(
                nb="Eier eller kontakt mangler i definisjonen.", en="The definition lacks an owner or a contact."
            ),
        ),
        Item(True, Text(nb=f"Lisensen er {pilot.licence}.", en=f"The licence is {pilot.licence}.")),
    ]


def _borrowed(registry: Registry, pilot: PilotDefinition) -> list[Item]:
    owners = sorted({stream.pilot for stream in borrowed(pilot)})
    classes = {one.id: one.data_class for one in registry.pilots()}
    shut = [owner for owner in owners if classes.get(owner, "internal") != "open"]
    if not owners:
        return []
    if shut:
        names = ", ".join(shut)
        return [
            Item(
                False,
                Text(
                    nb=f"KPI-er justeres med data fra {names}, som ikke er åpne: de kan ikke følge med i pakken.",
                    en=f"KPIs are adjusted for data of {names}, which are not open: they cannot go into the package.",
                ),
                blocks=True,
            )
        ]
    names = ", ".join(owners)
    return [Item(True, Text(nb=f"Pakken tar med data fra {names}.", en=f"The package takes data of {names} along."))]


def _retention(registry: Registry, pilot: PilotDefinition, at: Micros) -> Item:
    due = retention.due_at(registry, pilot) or retention.due_after(pilot, at)
    if due is None:
        missing = pilot.personal_data
        return Item(
            not missing, Text(nb="Dataene beholdes her uten frist.", en="The data is kept here without a time limit.")
        )
    day = np.datetime64(int(local(np.array([due], np.int64), pilot.timezone).day[0]), "D")
    return Item(True, Text(nb=f"Dataene slettes her {day}.", en=f"The data here will be erased on {day}."))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _json(value: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"

"""Closing, opening and forgetting as jobs of this process, for the pages, the API and the command line alike."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from techport_dashboards.dependencies import Services
from techport_dashboards.problems import Problem
from techport_dashboards.query import times
from techport_dashboards.services.basemap import load_basemap
from techport_dashboards.services.jobs import Job
from techport_dashboards.services.snapshots import SnapshotStore
from techport_pilots.accounting.ledger import Ledger
from techport_pilots.handover import retention
from techport_pilots.handover.checklist import Item, checklist
from techport_pilots.handover.closeout import MadePackage, close_pilot, packages_of
from techport_pilots.handover.open import open_package
from techport_pilots.handover.package import Progress
from techport_pilots.model import PilotDefinition
from techport_pilots.registry import lifecycle
from techport_pilots.registry.lifecycle import Change
from techport_pilots.registry.registry import PilotVersion
from techport_storage import clock
from techport_storage.model import Micros

FORGET = "what is due"


class Made(msgspec.Struct, frozen=True):
    """A package that was made here. `here`: its file is still where it was written."""

    at: Micros
    file: str
    sha256: str
    rows: int
    here: bool


class Life(msgspec.Struct, frozen=True):
    """Where a pilot is in its life: steps oldest first, versions of its definition and packages newest first."""

    state: lifecycle.State
    steps: Sequence[Change]
    versions: Sequence[PilotVersion]
    packages: Sequence[Made]
    erase_at: Micros | None
    job: Job | None  # the newest of closing it, as far as this process knows


def life(services: Services, pilot: PilotDefinition) -> Life:
    """May raise RegistryUnavailable."""
    registry = services.registry_cache.registry
    return Life(
        state=registry.state(pilot.id),
        steps=lifecycle.changes(registry.database, pilot.id),
        versions=registry.history(pilot.id),
        packages=[_made(row) for row in _packages(services, pilot.id)],
        erase_at=retention.due_at(registry, pilot),
        job=services.jobs.latest("close", pilot.id),
    )


def closing_checklist(services: Services, pilot: PilotDefinition) -> list[Item]:
    """The checklist as of now."""
    return checklist(services.registry_cache.registry, services.store, pilot, clock.now())


def transition(services: Services, pilot: PilotDefinition, to: lifecycle.State, who: str, why: str) -> Change:
    """Start or end a pilot. Closing is `close`. Raises WrongState."""
    return lifecycle.transition(services.registry_cache.registry.database, pilot, to, who, why)


def start_closing(services: Services, pilot: PilotDefinition, confirmed: str, who: str, why: str) -> Job:
    """Begin to close the pilot, or to make a closed one's package again. Raises Problem."""
    folder, books = _needed(services)
    if confirmed != pilot.id:
        raise Problem(
            "bad-parameter",
            "Closing is permanent. Confirm it with the pilot's id.",
            parameter="confirm",
            example=pilot.id,
        )
    blocking = [item.text.en for item in closing_checklist(services, pilot) if item.blocks]
    if blocking:
        raise Problem("wrong-state", "{pilot} cannot be closed: {why}", pilot=pilot.id, why=" ".join(blocking))
    registry, ground = services.registry_cache.registry, load_basemap(services.settings.basemap)

    def work(progress: Progress) -> object:
        made = close_pilot(
            registry, services.store, books, pilot, folder, who, why=why, ground=ground, progress=progress
        )
        erase_at = None if made.erase_at is None else times.iso(made.erase_at)
        return {"file": Path(made.path).name, "sha256": made.sha256, "rows": made.rows, "erase_at": erase_at}

    return services.jobs.start("close", pilot.id, work)


def packages_folder(services: Services) -> Path:
    """Where packages are kept. Raises Problem where this process keeps none."""
    folder, _ = _needed(services)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


async def receive_package(folder: Path, pieces: AsyncIterator[bytes]) -> Path:
    """Write a package that is sent to a file in the folder. Nothing is left there when the sender goes away."""
    with tempfile.NamedTemporaryFile(dir=folder, prefix="opening-", suffix=".zip", delete=False) as file:
        path = Path(file.name)
        try:
            async for piece in pieces:
                file.write(piece)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
    return path


def import_package(services: Services, name: str, path: Path, who: str) -> Job:
    """Begin to import a package that was received as the file `path`, which is deleted afterwards."""
    _, books = _needed(services)

    def work(progress: Progress) -> object:
        try:
            return open_package(path, services.registry_cache.registry, services.store, books, who, progress)
        finally:
            path.unlink(missing_ok=True)

    return services.jobs.start("open", f"{name} {path.stem[8:]}", work)


def erase_due(services: Services, confirmed: Sequence[str]) -> Job:
    """Begin to erase what is due; `confirmed` must name exactly those pilots. Raises Problem."""
    _, books = _needed(services)
    registry, at = services.registry_cache.registry, clock.now()
    due = sorted(one.pilot for one in retention.plan(registry) if one.at <= at)
    if sorted(confirmed) != due:
        raise Problem(
            "bad-parameter",
            "Erasure is permanent. Name every pilot that is due, and no others.",
            parameter="pilots",
            example=", ".join(due) or "nothing is due",
        )
    snapshots = services.settings.snapshots
    files = SnapshotStore(snapshots).files_of if snapshots is not None else retention.no_files

    def work(progress: Progress) -> object:
        found = retention.run(registry, services.store, books, at, files=files, progress=progress)
        return {"receipts": [receipt(one) for one in found]}

    return services.jobs.start("forget", FORGET, work)


def receipt(one: retention.Erasure) -> dict[str, Any]:
    """A receipt without the machine's paths and its account by day."""
    return {
        "pilot": one.pilot,
        "due": times.iso(one.due),
        "begun": times.iso(one.begun),
        "done": None if one.done is None else times.iso(one.done),
        "rows": one.rows,
        "entries": one.entries,
        "files": len(one.packages) + len(one.files),
    }


def package_file(services: Services, pilot: str, sha256: str) -> Path:
    """The file of a package by its sum. Raises Problem where it is not there, or not any more."""
    path = next((Path(row.path) for row in _packages(services, pilot) if row.sha256 == sha256), None)
    if path is None or not path.is_file():
        raise Problem("not-found", "There is no package {name} of {pilot}.", name=repr(sha256[:64]), pilot=pilot)
    return path


def _packages(services: Services, pilot: str) -> list[MadePackage]:
    return packages_of(services.registry_cache.registry.database, pilot)


def _made(row: MadePackage) -> Made:
    path = Path(row.path)
    return Made(row.at, path.name, row.sha256, row.rows, path.is_file())


def _needed(services: Services) -> tuple[Path, Ledger]:
    if services.settings.packages is None or services.books is None:
        raise Problem("not-found", "This process cannot close or open pilots. Use one that has a folder for packages.")
    return services.settings.packages, services.books

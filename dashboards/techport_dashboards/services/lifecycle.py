"""Closing, opening and forgetting as jobs of this process, for the pages, the API and the command line alike."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import msgspec

from techport_dashboards.problems import Problem
from techport_dashboards.query import times
from techport_dashboards.query.question import instant
from techport_dashboards.services.basemap import load_basemap
from techport_dashboards.services.evaluations import in_words
from techport_dashboards.services.jobs import Job, Jobs
from techport_dashboards.services.snapshots import SnapshotStore
from techport_dashboards.settings import WebSettings
from techport_pilots.accounting.ledger import Ledger
from techport_pilots.devices.photos import PhotoStore
from techport_pilots.errors import BadPackage
from techport_pilots.handover import retention
from techport_pilots.handover.checklist import Item, checklist, refuse_blocked
from techport_pilots.handover.closeout import Closure, MadePackage, close_pilot, packages_of
from techport_pilots.handover.open import open_package
from techport_pilots.handover.package import Progress
from techport_pilots.handover.partial_erasure import Part, count_part, erase_part, find_reference
from techport_pilots.handover.receipts import origin, signed
from techport_pilots.handover.references import SHORTEST
from techport_pilots.model import PilotDefinition
from techport_pilots.registry import erasures, lifecycle
from techport_pilots.registry.lifecycle import Change
from techport_pilots.registry.registry import PilotVersion, Registry
from techport_storage import clock
from techport_storage.model import Micros
from techport_storage.store import ReadingStore

FORGET = "what is due"

SignedBy = Literal["this-platform", "unknown-key", "unsigned", "changed"]
"""What is known of a receipt: signed here, by another platform, by nobody; or signed here and changed since."""


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
    job: Job | None  # the newest of closing it, within a day


class PilotLifecycle:
    """Where pilots are in their life, and its steps; what takes long is a job. Safe to use from several threads."""

    def __init__(
        self,
        registry: Registry,
        store: ReadingStore,
        ledger: Ledger | None,
        settings: WebSettings,
        jobs: Jobs,
    ) -> None:
        self._registry = registry
        self._store = store
        self._ledger = ledger
        self._settings = settings
        self._jobs = jobs

    def life(self, pilot: PilotDefinition) -> Life:
        """May raise RegistryUnavailable."""
        registry = self._registry
        return Life(
            state=registry.state(pilot.id),
            steps=lifecycle.changes(registry.database, pilot.id),
            versions=registry.history(pilot.id),
            packages=[_made(row) for row in self._packages(pilot.id)],
            erase_at=erasures.due_at(registry, pilot),
            job=self._jobs.latest("close", pilot.id),
        )

    def closing_checklist(self, pilot: PilotDefinition) -> list[Item]:
        """The checklist as of now."""
        return checklist(self._registry, self._store, pilot, clock.now())

    def transition(self, pilot: PilotDefinition, to: lifecycle.State, who: str, why: str) -> Change:
        """Start or end a pilot. Closing is `close`. Raises WrongState."""
        return lifecycle.transition(self._registry.database, pilot, to, who, why)

    def start_closing(self, pilot: PilotDefinition, confirmed: str, who: str, why: str) -> Job:
        """Begin to close the pilot, or to make a closed one's package again. Raises Problem."""
        folder, ledger = self._folder_and_ledger()
        if confirmed != pilot.id:
            raise Problem(
                "bad-parameter",
                "Closing is permanent. Confirm it with the pilot's id.",
                parameter="confirm",
                example=pilot.id,
            )
        refuse_blocked(pilot, self.closing_checklist(pilot))
        registry, ground = self._registry, load_basemap(self._settings.basemap)

        def work(progress: Progress) -> object:
            closure = Closure(who, why, photos=self._settings.photos)
            made = close_pilot(registry, self._store, ledger, pilot, folder, closure, ground=ground, progress=progress)
            erase_at = None if made.erase_at is None else times.iso(made.erase_at)
            return {"file": Path(made.path).name, "sha256": made.sha256, "rows": made.rows, "erase_at": erase_at}

        return self._jobs.start("close", pilot.id, work)

    def packages_folder(self) -> Path:
        """Where packages are kept. Raises Problem where this process keeps none."""
        folder, _ = self._folder_and_ledger()
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @property
    def package_bytes(self) -> int:
        """How large a package that is sent may be."""
        return self._settings.package_bytes

    def import_package(self, name: str, path: Path, who: str) -> Job:
        """Begin to import a package that was received as the file `path`, which is deleted afterwards."""
        _, ledger = self._folder_and_ledger()

        def work(progress: Progress) -> object:
            try:
                opened = open_package(path, self._registry, self._store, ledger, who, progress)
            finally:
                path.unlink(missing_ok=True)
            pilot = self._registry.pilot(opened.pilot)
            evaluations = [in_words(pilot, evaluation) for evaluation in opened.evaluations]
            return {**msgspec.to_builtins(opened), "evaluations": evaluations}

        return self._jobs.start("open", f"{name} {path.stem[8:]}", work)

    def erase_due(self, confirmed: Sequence[str]) -> Job:
        """Begin to erase what is due; `confirmed` must name exactly those pilots. Raises Problem."""
        _, ledger = self._folder_and_ledger()
        registry, at = self._registry, clock.now()
        due = sorted(planned.pilot for planned in erasures.plan(registry) if planned.at <= at)
        if sorted(confirmed) != due:
            raise Problem(
                "bad-parameter",
                "Erasure is permanent. Name every pilot that is due, and no others.",
                parameter="pilots",
                example=", ".join(due) or "nothing is due",
            )

        def work(progress: Progress) -> object:
            erased = retention.run(
                registry,
                self._store,
                ledger,
                at,
                files=self._files,
                progress=progress,
                forget_retained=self._settings.forget_retained,
            )
            return {"receipts": [signed(registry.database, receipt(planned)) for planned in erased]}

        return self._jobs.start("forget", FORGET, work)

    def count_part(self, part: Part) -> erasures.Erasure:
        """What erasing the part would erase now. Raises Problem for a part that names nothing."""
        _, ledger = self._folder_and_ledger()
        try:
            return count_part(self._registry, self._store, ledger, part, self._files)
        except ValueError as error:
            raise Problem(
                "bad-parameter",
                "Specify what to erase: a device, a start, an end, or a reference of at least {n} characters.",
                n=SHORTEST,
                parameter="device",
                example="box-7",
            ) from error

    def find_reference(self, pilot: str, text: str) -> Iterator[dict[str, object]]:
        """What is kept that the text occurs in. Raises Problem for one that is too short."""
        findings = find_reference(self._registry, self._store, pilot, text)
        try:
            first = next(findings, None)
        except ValueError as error:
            raise Problem(
                "bad-parameter",
                "Specify what to erase: a device, a start, an end, or a reference of at least {n} characters.",
                n=SHORTEST,
                parameter="reference",
                example="AC:23:3F:A4:C1:38",
            ) from error
        return findings if first is None else chain([first], findings)

    def erase_part(self, part: Part, confirmed: str) -> Job:
        """Begin to erase part of a pilot; `confirmed` must be the pilot's id. Raises Problem."""
        _, ledger = self._folder_and_ledger()
        if confirmed != part.pilot:
            raise Problem(
                "bad-parameter",
                "Erasure is permanent. Confirm it with the pilot's id.",
                parameter="confirm",
                example=part.pilot,
            )
        self.count_part(part)

        def work(progress: Progress) -> object:
            progress("erasing", 0, 0)
            files, forget = self._files, self._settings.forget_retained
            receipts = erase_part(self._registry, self._store, ledger, part, files, forget)
            return {"receipts": [signed(self._registry.database, receipt(erasure)) for erasure in receipts]}

        return self._jobs.start("erase", part.pilot, work)

    def receipts(self, pilot: str) -> list[dict[str, Any]]:
        """Signed receipts of what was erased of the pilot, the newest first. May raise RegistryUnavailable."""
        database = self._registry.database
        erased = [erasure for erasure in erasures.receipts(database) if erasure.pilot == pilot]
        return [signed(database, receipt(erasure)) for erasure in reversed(erased)]

    def who_signed(self, document: Mapping[str, Any]) -> SignedBy:
        """Whether a receipt is this platform's, and as it was signed. May raise RegistryUnavailable."""
        try:
            return origin(self._registry.database, document)
        except BadPackage:
            return "changed"

    def _files(self, pilot: str) -> Sequence[Path]:
        """Those that go when the pilot is erased, beside its packages."""
        snapshots, photos = self._settings.snapshots, self._settings.photos
        return [
            *([] if snapshots is None else SnapshotStore(snapshots).files_of(pilot)),
            *([] if photos is None else PhotoStore(photos).files_of(pilot)),
        ]

    def package_file(self, pilot: str, sha256: str) -> Path:
        """The file of a package by its sum. Raises Problem where it is not there, or not any more."""
        path = next((Path(row.path) for row in self._packages(pilot) if row.sha256 == sha256), None)
        if path is None or not path.is_file():
            raise Problem("not-found", "There is no package {name} of {pilot}.", name=repr(sha256[:64]), pilot=pilot)
        return path

    def _packages(self, pilot: str) -> list[MadePackage]:
        return packages_of(self._registry.database, pilot)

    def _folder_and_ledger(self) -> tuple[Path, Ledger]:
        if self._settings.packages is None or self._ledger is None:
            raise Problem(
                "not-found", "This process cannot close or open pilots. Use one that has a folder for packages."
            )
        return self._settings.packages, self._ledger


def part_of(
    pilot: PilotDefinition, device: str | None, start: str | None, end: str | None, reference: str | None
) -> Part:
    """What somebody asks to be erased, times as the pilot's clocks show them unless they say their zone. Raises Problem
    for a text that is no time."""
    moment = clock.now()
    return Part(
        pilot=pilot.id,
        device=device,
        start=instant("start", start, pilot.timezone, moment, False),
        end=instant("end", end, pilot.timezone, moment, False),
        reference=reference,
    )


async def receive_package(folder: Path, pieces: AsyncIterator[bytes], announced: int, most: int) -> Path:
    """Write a package that is sent to a file in the folder. Nothing is left there when the sender goes away.

    Parameters
    ----------
    folder : Path
        Of the data folder: a temporary folder of the system may be memory.
    pieces : async iterator of bytes
    announced : int
        Bytes that the sender says will come; 0 when it does not say.
    most : int
        Bytes that are accepted.

    Raises
    ------
    Problem
        It is larger than that, or would leave the disk with less than it takes itself (its readings are unpacked).
    """
    _refuse_large(folder, announced, most)
    received = checked = 0
    with tempfile.NamedTemporaryFile(dir=folder, prefix="opening-", suffix=".zip", delete=False) as file:
        path = Path(file.name)
        try:
            async for piece in pieces:
                received += len(piece)
                if received > most or received - checked > _LOOK_EVERY:
                    _refuse_large(folder, received, most)
                    checked = received
                file.write(piece)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
    return path


_LOOK_EVERY = 64 << 20  # bytes that are written between two looks at the disk


def _refuse_large(folder: Path, size: int, most: int) -> None:
    if size > most:
        raise Problem("package-too-large", "A package may have {most} bytes here.", most=most)
    if size > shutil.disk_usage(folder).free:
        raise Problem("package-too-large", "The disk has no room for {size} more bytes.", size=size)


def receipt(erasure: erasures.Erasure) -> dict[str, Any]:
    """A receipt without the machine's paths and its account by day."""
    return {
        "pilot": erasure.pilot,
        "due": times.iso(erasure.due),
        "begun": times.iso(erasure.begun),
        "done": None if erasure.done is None else times.iso(erasure.done),
        "rows": erasure.rows,
        "entries": erasure.entries,
        "files": len(erasure.packages) + len(erasure.files),
        "streams": [_erased_stream(stream) for stream in erasure.streams],
    }


def _erased_stream(stream: erasures.StreamErasure) -> dict[str, Any]:
    until = times.iso(stream.until)
    return {"device": stream.device, "quantity": stream.quantity, "until": until, "rows": stream.rows}


def _made(row: MadePackage) -> Made:
    path = Path(row.path)
    return Made(row.at, path.name, row.sha256, row.rows, path.is_file())

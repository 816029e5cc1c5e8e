"""A pilot's life: start, end, the checklist, closing, packages, erasure. What takes long is a job to be watched."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi import Path as PathParameter
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field

from techport_dashboards.api.kpis import EvaluationItem
from techport_dashboards.api.schema import Listed, Title, listed
from techport_dashboards.api.words import Instant, MaybeInstant, PilotName
from techport_dashboards.problems import Problem
from techport_dashboards.query import times
from techport_dashboards.query.parameters import PageParameters, Parameters
from techport_dashboards.query.streaming import Streamed
from techport_dashboards.services.jobs import Job
from techport_dashboards.services.lifecycle import SignedBy, part_of, receipt, receive_package
from techport_dashboards.viewer import Viewer
from techport_dashboards.web.access import NO_STORE, needs
from techport_dashboards.web.dependencies import PilotDep, ServicesDep, ViewerDep
from techport_dashboards.web.request_slots import SlotRoute
from techport_pilots.handover.partial_erasure import Part
from techport_pilots.handover.references import SHORTEST
from techport_pilots.handover.signature import Origin
from techport_pilots.model import PilotDefinition
from techport_pilots.registry import erasures
from techport_pilots.registry.lifecycle import with_note

router = APIRouter(tags=["life"], route_class=SlotRoute)

ZIP = {"application/zip": {"schema": {"type": "string", "format": "binary"}}}

JSON_LINES = "application/x-ndjson"
FOUND: dict[int | str, dict[str, Any]] = {200: {"content": {JSON_LINES: {"schema": {"type": "string"}}}}}
SENT: dict[str, Any] = {"requestBody": {"required": True, "content": ZIP}}

_TIMES = ("at", "begun", "ended", "erase_at")


NOTE = "A name to note beside the reason. Who made the change is known from the credential."

State = Literal["draft", "running", "ended", "closed"]


class StepItem(BaseModel):
    """A step of a pilot's life."""

    pilot: PilotName
    number: int = Field(description="Of the step, from 1.")
    state: State = Field(description="Where the pilot stood after it.")
    who: str = Field(description="Who took it.")
    why: str = Field(description="The reason given; empty where there was none.")
    at: Instant


class VersionItem(BaseModel):
    """A version of a pilot's definition."""

    pilot: PilotName
    version: int = Field(description="From 1.")
    who: str = Field(description="Who brought it in.")
    at: Instant
    why: str = Field(description="The reason given; empty where there was none.")


class PackageItem(BaseModel):
    """A package that was made on this platform."""

    at: Instant
    file: str = Field(description="Name of the file.")
    sha256: str = Field(description="Checksum of the file, by which it is downloaded.")
    rows: int = Field(description="Readings in it.")
    here: bool = Field(description="The file is still where it was written.")


class ErasedStream(BaseModel):
    """Until when readings of a stream are erased because they are older than its own retention."""

    device: str
    quantity: str
    until: Instant
    rows: int = Field(description="Readings that were erased so far.")


class ErasureItem(BaseModel):
    """The receipt of an erasure."""

    pilot: PilotName
    due: Instant
    begun: Instant
    done: MaybeInstant
    rows: int = Field(description="Readings that were erased.")
    entries: int = Field(description="Entries of the quarantine and watched messages that were erased.")
    files: int = Field(description="Packages and snapshots that were removed.")
    streams: list[ErasedStream] = Field(
        description="With a retention of their own, of a receipt that grows with what is erased of them; else none."
    )
    signature: str | None = Field(
        None, description="By this platform, over everything else of the receipt; null where it is not asked for."
    )


class ClosedResult(BaseModel):
    """What closing a pilot made."""

    file: str = Field(description="Name of the package's file.")
    sha256: str = Field(description="Checksum of the file, by which it is downloaded.")
    rows: int = Field(description="Readings in it.")
    erase_at: MaybeInstant


class OpenedResult(BaseModel):
    """What opening a package restored."""

    pilot: PilotName
    rows: int = Field(description="Readings in the package.")
    written: int = Field(description="Of these, readings that were not here before.")
    left_out: int = Field(description="Readings of other pilots that this platform has itself.")
    origin: Origin = Field(description="this-platform: signed by it; unknown-key: signed by another; unsigned.")
    evaluations: list[EvaluationItem] = Field(description="As the package has them.")
    differing: list[str] = Field(description="Ids of KPIs that come out differently when evaluated here.")


class ErasedResult(BaseModel):
    """What was erased."""

    receipts: list[ErasureItem] = Field(description="One for each pilot.")


class JobItem(BaseModel):
    """Work that outlasts a request."""

    id: str = Field(description="For /jobs/{id}.")
    kind: str = Field(description="close, open, forget or erase.")
    about: str = Field(description="A pilot, or the name of a file.")
    state: Literal["running", "done", "failed"] = Field(description="How far it is.")
    step: str = Field(description="What it does now.")
    done: int = Field(description="How much of the step is done.")
    total: int = Field(description="How much the step has to do; 0 where that is not known.")
    begun: Instant
    ended: MaybeInstant
    problem: str | None = Field(description="Why it failed; null where it did not.")
    result: ClosedResult | OpenedResult | ErasedResult | None = Field(
        description="Once done: the package of close, the pilot of open, the receipts of forget and erase."
    )


class Life(BaseModel):
    state: State = Field(description="Where the pilot stands now.")
    steps: list[StepItem] = Field(description="Oldest first.")
    versions: list[VersionItem] = Field(description="Versions of its definition, newest first.")
    packages: list[PackageItem] = Field(description="Newest first.")
    erase_at: MaybeInstant
    job: JobItem | None = Field(description="The newest job of closing it, for a day.")


class ChecklistItem(BaseModel):
    good: bool = Field(description="Nothing has to be done about it.")
    text: Title
    blocks: bool = Field(description="The pilot cannot be closed like this.")
    about: Literal["look", "happens"] = Field(description="look: what there is now; happens: what closing will do.")
    code: str = Field(description="What the item says, for programs.")
    params: dict[str, Any] = Field(description="What differs each time in the text.")


class DueItem(BaseModel):
    pilot: PilotName
    state: State = Field(description="Where the pilot stands now.")
    at: Instant


class Retention(BaseModel):
    due: list[DueItem] = Field(description="Pilots with a date of erasure.")
    erased: list[ErasureItem] = Field(description="What has been erased.")


class Step(BaseModel, extra="forbid"):
    """A step of a pilot's life. Running again after the end needs a reason."""

    state: Literal["running", "ended"] = Field(examples=["ended"])
    why: str = Field("", max_length=2000, description="Kept beside the change.", examples=["All is measured."])
    who: str = Field("", max_length=200, description=NOTE)


class Closing(BaseModel, extra="forbid"):
    """Closing is for good."""

    confirm: str = Field(max_length=64, description="The pilot's id, once more.", examples=["school-air"])
    why: str = Field("", max_length=2000)
    who: str = Field("", max_length=200, description=NOTE)


class Forgetting(BaseModel, extra="forbid"):
    pilots: list[str] = Field(
        max_length=10_000, description="Exactly those that are due: erasing is for good.", examples=[["school-air"]]
    )


class Erasing(BaseModel, extra="forbid"):
    """Part of a pilot: of a device, of a period, of both; with a reference only what it occurs in."""

    device: str | None = Field(
        None,
        min_length=1,
        max_length=200,
        description="Its name as messages bear it, described or not.",
        examples=["ila-skole"],
    )
    start: str | None = Field(None, max_length=64, description="From this time on: ISO 8601.", examples=["2026-05-01"])
    end: str | None = Field(None, max_length=64, description="Before this time: ISO 8601.", examples=["2026-05-02"])
    reference: str | None = Field(
        None,
        min_length=SHORTEST,
        max_length=200,
        description="A text such as an address, a number or a name: messages and events that it occurs in, and the "
        "readings of devices and streams whose names hold it.",
        examples=["AC:23:3F:A4:C1:38"],
    )


class ConfirmedErasing(Erasing):
    confirm: str = Field(
        max_length=64, description="The pilot's id, once more: erasing is for good.", examples=["school-air"]
    )


class Reference(BaseModel, extra="forbid"):
    reference: str = Field(
        min_length=SHORTEST,
        max_length=200,
        description="A text such as an address, a number or a name.",
        examples=["AC:23:3F:A4:C1:38"],
    )


class ReceiptToVerify(BaseModel, extra="forbid"):
    receipt: dict[str, Any] = Field(
        description="The receipt with its signature, as it was handed out.",
        examples=[{"pilot": "school-air", "rows": 0, "signature": ""}],
    )


class Verification(BaseModel):
    origin: SignedBy = Field(
        description="this-platform: signed here and as it was; changed: signed here, changed since; "
        "unknown-key: signed by another platform; unsigned."
    )


class ErasureCount(BaseModel):
    rows: int = Field(description="Readings.")
    device_days: int = Field(description="Days of devices on which they are.")
    entries: int = Field(description="Messages in quarantine and watched, events, names of streams and the like.")
    files: int = Field(description="Packages and frozen answers of the pilot, which go as a whole.")


class Opening(Parameters):
    name: str = Field("package.zip", max_length=200, description="The file's name, for the history.")
    who: str = Field("", max_length=200, description="Has no effect: whoever sends it is recorded.")


@router.get("/pilots/{pilot}/life", response_model=Life)
@needs("see")
def life(services: ServicesDep, pilot: PilotDep) -> dict[str, Any]:
    """State, every step and every version of the definition with who, when and why; packages; the date of erasure."""
    return plain(services.lifecycle.life(pilot))


@router.get("/pilots/{pilot}/checklist", response_model=list[ChecklistItem])
@needs("see")
def checklist(services: ServicesDep, pilot: PilotDep) -> list[dict[str, Any]]:
    """What to look at before the pilot is closed, and what closing will do. `blocks`: it cannot be closed like this."""
    items = services.lifecycle.closing_checklist(pilot)
    return [item.as_data() for item in items]


@router.post("/pilots/{pilot}/state", response_model=StepItem)
@needs("edit")
def step(services: ServicesDep, viewer: ViewerDep, pilot: PilotDep, asked: Step) -> dict[str, Any]:
    """Start or end the pilot. The answer is the step as it was written down."""
    return plain(services.lifecycle.transition(pilot, asked.state, viewer.who, with_note(asked.why, asked.who)))


@router.post("/pilots/{pilot}/close", status_code=202, response_model=JobItem)
@needs("close")
def close(services: ServicesDep, viewer: ViewerDep, pilot: PilotDep, asked: Closing) -> dict[str, Any]:
    """Close the pilot for good and make its package; for a closed one, make the package again. Watch the job."""
    why = with_note(asked.why, asked.who)
    return plain(services.lifecycle.start_closing(pilot, asked.confirm, viewer.who, why))


@router.post("/pilots/{pilot}/erasure/count", response_model=ErasureCount)
@needs("erase", logs="saw-raw")
def count_erasure(services: ServicesDep, pilot: PilotDep, asked: Erasing) -> dict[str, Any]:
    """What erasing this would erase now. Nothing is changed."""
    counted = services.lifecycle.count_part(_part(pilot, asked))
    files = len(counted.packages) + len(counted.files)
    return {"rows": counted.rows, "device_days": counted.device_days, "entries": counted.entries, "files": files}


@router.post("/pilots/{pilot}/erasure/found", response_class=Response, responses=FOUND)
@needs("erase", logs="exported")
def find_reference(services: ServicesDep, pilot: PilotDep, asked: Reference) -> Response:
    """Everything that a text occurs in, as JSON Lines: for whoever asks what is kept of them, before or instead of
    erasing it. Readings of devices and streams whose names hold it; messages, events and the like with their texts.
    """
    findings = services.lifecycle.find_reference(pilot.id, asked.reference)
    pieces = (msgspec.json.encode(finding) + b"\n" for finding in findings)
    return Streamed(pieces, NO_STORE, JSON_LINES)


@router.post("/pilots/{pilot}/erasure", status_code=202, response_model=JobItem)
@needs("erase")
def erase(services: ServicesDep, pilot: PilotDep, asked: ConfirmedErasing) -> dict[str, Any]:
    """Erase a device, a period or what a reference occurs in out of the pilot, for good: readings, messages, events,
    retained messages at the broker; packages and frozen answers of the pilot as a whole. Watch the job.
    """
    return plain(services.lifecycle.erase_part(_part(pilot, asked), asked.confirm))


@router.get("/pilots/{pilot}/erasure/receipts", response_model=Listed[ErasureItem])
@needs("see")
def receipts(services: ServicesDep, pilot: PilotDep, page: PageParameters) -> dict[str, Any]:
    """What was erased of the pilot, by its retention or because somebody asked for it, each with its signature."""
    items = sorted(services.lifecycle.receipts(pilot.id), key=lambda item: str(item["begun"]))
    return listed(items, ("begun",), page, services.settings)


@router.post("/retention/verify", response_model=Verification)
@needs("see")
def verify_receipt(services: ServicesDep, viewer: ViewerDep, asked: ReceiptToVerify) -> dict[str, Any]:
    """Whether a receipt is this platform's, and as it was when it was signed. Nothing is changed."""
    return {"origin": services.lifecycle.who_signed(asked.receipt)}


def _part(pilot: PilotDefinition, asked: Erasing) -> Part:
    return part_of(pilot, asked.device, asked.start, asked.end, asked.reference)


@router.get("/pilots/{pilot}/packages/{sha256}", response_class=FileResponse, responses={200: {"content": ZIP}})
@needs("see-raw", logs="exported")
def package(services: ServicesDep, pilot: PilotDep, sha256: str) -> FileResponse:
    """A package, by its SHA-256. /pilots/{pilot}/life lists those there are."""
    path = services.lifecycle.package_file(pilot.id, sha256)
    return FileResponse(path, headers={"ETag": f'"{sha256}"'}, media_type="application/zip", filename=path.name)


async def _received(request: Request, services: ServicesDep, viewer: ViewerDep, _: Annotated[Opening, Query()]) -> Path:
    """The package that is sent, as a file. The parameters are checked before it is read."""
    length = request.headers.get("content-length", "0")
    announced = int(length) if length.isdecimal() and len(length) < 20 else 0
    folder, most = services.lifecycle.packages_folder(), services.lifecycle.package_bytes
    return await receive_package(folder, request.stream(), announced, most)


@router.post("/packages", status_code=202, response_model=JobItem, openapi_extra=SENT)
@needs("admin")
def open_package(
    services: ServicesDep,
    viewer: ViewerDep,
    parameters: Annotated[Opening, Query()],
    path: Annotated[Path, Depends(_received)],
) -> dict[str, Any]:
    """Restore the pilot of a package (a zip, as the body) and work its KPIs out again. Watch the job."""
    return plain(services.lifecycle.import_package(parameters.name, path, viewer.who))


@router.get("/retention", response_model=Retention)
@needs("see")
def due(services: ServicesDep, viewer: ViewerDep) -> dict[str, Any]:
    """What will be erased when, and what has been."""
    registry = services.registry_cache.registry
    planned = erasures.plan(registry)
    erased = erasures.receipts(registry.database)
    return {
        "due": [plain(erasure) for erasure in planned if viewer.may_see(erasure.pilot)],
        "erased": [receipt(erasure) for erasure in erased if viewer.may_see(erasure.pilot)],
    }


@router.post("/retention/run", status_code=202, response_model=JobItem)
@needs("admin", logs="erased")
def forget(services: ServicesDep, viewer: ViewerDep, asked: Forgetting) -> dict[str, Any]:
    """Erase what is due for good, and keep a receipt of each pilot. Watch the job."""
    return plain(services.lifecycle.erase_due(asked.pilots))


@router.get("/jobs/{id}", response_model=JobItem)
@needs("see")
def job(services: ServicesDep, viewer: ViewerDep, job_id: Annotated[str, PathParameter(alias="id")]) -> dict[str, Any]:
    """How far a job is, of whichever process it runs in; for a day after it is over. Its process may have been killed:
    then it has failed after half a minute, and can be begun again."""
    requested = services.jobs.get(job_id)
    if requested is None or not _may_watch(viewer, requested):
        raise Problem("not-found", "There is no job {name}.", name=repr(job_id[:40]), parameter="id")
    return plain(requested)


def plain(value: object) -> dict[str, Any]:
    """A struct as JSON, times as the API writes them."""
    built: dict[str, Any] = _iso(msgspec.to_builtins(value))
    return built


def _iso(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: times.iso(inner) if name in _TIMES and isinstance(inner, int) else _iso(inner)
            for name, inner in value.items()
        }
    return [_iso(inner) for inner in value] if isinstance(value, list) else value


def _may_watch(viewer: Viewer, job: Job) -> bool:
    """Closing a pilot is watched by who may close it, what concerns the platform by administrators."""
    if job.kind in ("close", "erase"):
        return viewer.may("close" if job.kind == "close" else "erase", job.about)
    return viewer.may("admin")

"""A pilot's life: start, end, the checklist, closing, packages, erasure. What takes long is a job to be watched."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from techport_dashboards.api.describe import find_pilot, title
from techport_dashboards.api.schema import Parameters
from techport_dashboards.dependencies import Services, services_of
from techport_dashboards.problems import Problem
from techport_dashboards.query import times
from techport_dashboards.services import lifecycle
from techport_dashboards.services.jobs import Job
from techport_dashboards.viewer import Viewer, allow, allow_change
from techport_pilots.handover import retention
from techport_pilots.model import PilotDefinition

router = APIRouter(tags=["life"])
Allowed = Annotated[Viewer, Depends(allow)]
MayChange = Annotated[Viewer, Depends(allow_change)]
ZIP = {"application/zip": {"schema": {"type": "string", "format": "binary"}}}
SENT: dict[str, Any] = {"requestBody": {"required": True, "content": ZIP}}
_TIMES = ("at", "begun", "ended", "erase_at")


class Step(BaseModel, extra="forbid"):
    """A step of a pilot's life. Running again after the end needs a reason."""

    state: Literal["running", "ended"] = Field(examples=["ended"])
    why: str = Field("", max_length=2000, description="Kept beside the change.", examples=["All is measured."])
    who: str = Field("", max_length=200, description="Whose change it is.")


class Closing(BaseModel, extra="forbid"):
    """Closing is for good."""

    confirm: str = Field(max_length=64, description="The pilot's id, once more.", examples=["school-air"])
    why: str = Field("", max_length=2000)
    who: str = Field("", max_length=200)


class Forgetting(BaseModel, extra="forbid"):
    pilots: list[str] = Field(
        max_length=10_000, description="Exactly those that are due: erasing is for good.", examples=[["school-air"]]
    )


class Opening(Parameters):
    name: str = Field("package.zip", max_length=200, description="The file's name, for the history.")
    who: str = Field("", max_length=200)


@router.get("/pilots/{pilot}/life", response_model=dict[str, Any])
async def life(request: Request, viewer: Allowed, pilot: str) -> dict[str, Any]:
    """State, every step and every version of the definition with who, when and why; packages; the date of erasure."""
    services, found = await _pilot(request, viewer, pilot)
    return plain(await run_in_threadpool(lifecycle.life, services, found))


@router.get("/pilots/{pilot}/checklist", response_model=list[dict[str, Any]])
async def checklist(request: Request, viewer: Allowed, pilot: str) -> list[dict[str, Any]]:
    """What to look at before the pilot is closed, and what closing will do. `blocks`: it cannot be closed like this."""
    services, found = await _pilot(request, viewer, pilot)
    items = await run_in_threadpool(lifecycle.closing_checklist, services, found)
    return [{**msgspec.to_builtins(item), "text": title(item.text)} for item in items]


@router.post("/pilots/{pilot}/state", response_model=dict[str, Any])
async def step(request: Request, viewer: MayChange, pilot: str, asked: Step) -> dict[str, Any]:
    """Start or end the pilot. The answer is the step as it was written down."""
    services, found = await _pilot(request, viewer, pilot)
    who = asked.who or viewer.name
    return plain(await run_in_threadpool(lifecycle.transition, services, found, asked.state, who, asked.why))


@router.post("/pilots/{pilot}/close", status_code=202, response_model=dict[str, Any])
async def close(request: Request, viewer: MayChange, pilot: str, asked: Closing) -> dict[str, Any]:
    """Close the pilot for good and make its package; for a closed one, make the package again. Watch the job."""
    services, found = await _pilot(request, viewer, pilot)
    who = asked.who or viewer.name
    return plain(await run_in_threadpool(lifecycle.start_closing, services, found, asked.confirm, who, asked.why))


@router.get("/pilots/{pilot}/packages/{sha256}", response_class=FileResponse, responses={200: {"content": ZIP}})
async def package(request: Request, viewer: Allowed, pilot: str, sha256: str) -> FileResponse:
    """A package, by its SHA-256. /pilots/{pilot}/life lists those there are."""
    services, _ = await _pilot(request, viewer, pilot)
    path = await run_in_threadpool(lifecycle.package_file, services, pilot, sha256)
    return FileResponse(path, headers={"ETag": f'"{sha256}"'}, media_type="application/zip", filename=path.name)


@router.post("/packages", status_code=202, response_model=dict[str, Any], openapi_extra=SENT)
async def open_package(request: Request, viewer: MayChange, parameters: Annotated[Opening, Query()]) -> dict[str, Any]:
    """Restore the pilot of a package (a zip, as the body) and work its KPIs out again. Watch the job."""
    _all(viewer)
    services, who = services_of(request), parameters.who or viewer.name
    return plain(await lifecycle.import_package(services, parameters.name, request.stream(), who))


@router.get("/retention", response_model=dict[str, Any])
async def due(request: Request, viewer: Allowed) -> dict[str, Any]:
    """What will be erased when, and what has been."""
    registry = services_of(request).registry_cache.registry
    planned = await run_in_threadpool(retention.plan, registry)
    erased = await run_in_threadpool(retention.receipts, registry.database)
    return {
        "due": [plain(one) for one in planned if viewer.may_see(one.pilot)],
        "erased": [lifecycle.receipt(one) for one in erased if viewer.may_see(one.pilot)],
    }


@router.post("/retention/run", status_code=202, response_model=dict[str, Any])
async def forget(request: Request, viewer: MayChange, asked: Forgetting) -> dict[str, Any]:
    """Erase what is due for good, and keep a receipt of each pilot. Watch the job."""
    _all(viewer)
    return plain(await run_in_threadpool(lifecycle.erase_due, services_of(request), asked.pilots))


@router.get("/jobs/{id}", response_model=dict[str, Any])
async def job(request: Request, viewer: Allowed, id: str) -> dict[str, Any]:
    """How far a job is. This process forgets its jobs when it ends; what they did stands in the registry."""
    found = services_of(request).jobs.get(id)
    if found is None or not _may_watch(viewer, found):
        raise Problem("not-found", "There is no job {name} in this process.", name=repr(id[:40]), parameter="id")
    return plain(found)


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
    return viewer.may_see(job.about) if job.kind == "close" else viewer.pilots is None


def _all(viewer: Viewer) -> None:
    if viewer.pilots is not None:
        raise Problem("forbidden", "This is about all pilots, and you may see only some of them.")


async def _pilot(request: Request, viewer: Viewer, pilot: str) -> tuple[Services, PilotDefinition]:
    services = services_of(request)
    return services, find_pilot(await run_in_threadpool(services.registry_cache.current), viewer, pilot)

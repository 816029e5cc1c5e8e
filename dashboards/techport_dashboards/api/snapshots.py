"""Snapshots: freeze what /readings answers, get it again unchanged, and cite it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import msgspec
import pyarrow as pa
from fastapi import APIRouter, Request, Response
from fastapi import Path as PathParameter
from fastapi.responses import FileResponse
from pydantic import BaseModel, ConfigDict, Field

from techport_dashboards.api.readings import ReadingsParameters, about, dressing, whole_answer
from techport_dashboards.api.schema import Listed
from techport_dashboards.api.words import (
    Instant,
)
from techport_dashboards.problems import Problem
from techport_dashboards.query import formats, times
from techport_dashboards.query.etags import matches
from techport_dashboards.query.paging import paged
from techport_dashboards.query.parameters import PageParameters
from techport_dashboards.services import citation
from techport_dashboards.services.datacite import JSON as DATACITE
from techport_dashboards.services.datacite import datacite, file_links
from techport_dashboards.services.snapshots import (
    NoRoom,
    Snapshot,
    SnapshotStore,
    Unfinished,
    find_snapshot,
    snapshot_store,
)
from techport_dashboards.viewer import Viewer
from techport_dashboards.web import audit_trail
from techport_dashboards.web.access import needs, require
from techport_dashboards.web.dependencies import Services, ServicesDep, ViewerDep, address_of
from techport_dashboards.web.request_slots import SlotRoute
from techport_pilots.i18n import N_
from techport_storage import clock

router = APIRouter(prefix="/snapshots", tags=["snapshots"], route_class=SlotRoute)


class SnapshotItem(BaseModel):
    model_config = ConfigDict(extra="allow")

    id: str = Field(description="The first 24 digits of the checksum.")
    url: str = Field(description="Permanent address of this description.")
    page: str = Field(description="Permanent address of the same for people.")
    file: str = Field(description="Permanent address of the Parquet file.")
    sha256: str = Field(description="Checksum of the file.")
    rows: int = Field(description="Rows of the file.")
    bytes: int = Field(description="Size of the file.")
    created: Instant
    question: dict[str, Any] = Field(description="The parameters of /readings that it answers.")
    citation: str = Field(description="Text for a list of references.")
    doi: str | None = Field(description="Null until one is registered.")


FOREVER = "max-age=31536000, immutable"


@router.post("", status_code=201, response_model=SnapshotItem)
@needs("see-raw", logs="exported")
def freeze(request: Request, services: ServicesDep, viewer: ViewerDep, question: ReadingsParameters) -> dict[str, Any]:
    """Freeze the answer to a question, with the parameters of /readings as a JSON object.

    It becomes a Parquet file that never changes, whatever arrives later, with a checksum, a permanent address and text
    to cite: of readings and buckets, and of groups, profiles and wide tables too. The same rows again are the same
    snapshot.
    """
    audit_trail.note(request, pilots=question.pilot or None)
    return _freeze(services, snapshot_store(services.settings), viewer, question, address_of(request))


@router.get("", response_model=Listed[SnapshotItem])
@needs("see", anybody="citable data of open pilots")
def listed(request: Request, services: ServicesDep, viewer: ViewerDep, page: PageParameters) -> dict[str, Any]:
    """The snapshots there are."""
    snapshots = snapshot_store(services.settings).all()
    items = [
        citation.described(snapshot, address_of(request))
        for snapshot in snapshots
        if all(map(viewer.may_see, snapshot.pilots))
    ]
    settings = services.settings
    some, following = paged(items, lambda item: str(item["id"]), page, settings.page_size, settings.max_page_size)
    return {"items": some, "next": following}


@router.get("/{id}", response_model=SnapshotItem)
@needs("see", anybody="citable data of open pilots")
def described(
    request: Request, services: ServicesDep, viewer: ViewerDep, snapshot_id: Annotated[str, PathParameter(alias="id")]
) -> dict[str, Any]:
    """One snapshot: the question, the checksum, where the file is, how to cite it."""
    return citation.described(
        find_snapshot(snapshot_store(services.settings), viewer, snapshot_id), address_of(request)
    )


@router.get("/{id}/datacite.json", response_class=Response, responses={200: {"content": {DATACITE: {}}}})
@needs("see", anybody="citable data of open pilots")
def for_repositories(
    request: Request, services: ServicesDep, viewer: ViewerDep, snapshot_id: Annotated[str, PathParameter(alias="id")]
) -> Response:
    """The snapshot as DataCite metadata (kernel 4.5), for a repository that registers a DOI."""
    snapshot = find_snapshot(snapshot_store(services.settings), viewer, snapshot_id)
    body = datacite(snapshot, address_of(request), services.settings.publisher)
    return Response(msgspec.json.encode(body), media_type=DATACITE)


@router.get(
    "/{id}/readings.parquet",
    response_class=Response,
    responses={200: {"content": {formats.PARQUET: {"schema": formats.BINARY}}}},
)
@needs("see", anybody="citable data of open pilots", logs="exported")
def file(
    request: Request, services: ServicesDep, viewer: ViewerDep, snapshot_id: Annotated[str, PathParameter(alias="id")]
) -> Response:
    """The frozen rows. They never change, so the answer may be kept for good; its ETag is the SHA-256."""
    store = snapshot_store(services.settings)
    snapshot = find_snapshot(store, viewer, snapshot_id)
    audit_trail.note(request, pilots=snapshot.pilots)
    kept_by = "private" if viewer.signed_in else "public"  # what somebody without a credential may see is everybody's
    headers = {
        "ETag": f'"{snapshot.sha256}"',
        "Cache-Control": f"{kept_by}, {FOREVER}",
        "Link": file_links(snapshot, address_of(request)),
    }
    if matches(request.headers.get("if-none-match", ""), headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return FileResponse(
        store.path(snapshot_id), headers=headers, media_type=formats.PARQUET, filename=f"techport-{snapshot_id}.parquet"
    )


def _freeze(
    services: Services, folder: SnapshotStore, viewer: Viewer, parameters: ReadingsParameters, base: str
) -> dict[str, Any]:
    for name in ("limit", "cursor", "format", "downsample"):
        if getattr(parameters, name) is not None:
            raise Problem("bad-parameter", "A snapshot always holds the whole response, as Parquet.", parameter=name)
    shape = parameters.as_shape()
    result = whole_answer(services, viewer, parameters)
    for pilot in result.resolved.query.select.pilots or ():
        require(viewer, "see-raw", pilot)
    query, catalogue = result.resolved.query, services.registry_cache.current()
    dress = dressing(query, catalogue, shape, result.groups)
    schema = dress(pa.RecordBatch.from_pylist([], result.rows.schema)).schema
    facts = about(query, catalogue, shape)
    rows = 0

    def counted() -> Iterator[pa.RecordBatch]:
        nonlocal rows
        for batch in formats.pieces(result.rows, dress):
            rows += batch.num_rows
            yield batch

    try:
        snapshot_id, checksum, size = folder.write(formats.parquet(counted(), schema, facts))
    except NoRoom as error:
        raise Problem("no-room", str(error)) from error
    except Unfinished as error:
        raise Problem("wrong-state", _ERASED) from error
    sources = facts["sources"]
    snapshot = Snapshot(
        id=snapshot_id,
        created=times.iso(clock.now()),
        pilots=[source["pilot"] for source in sources],
        question=parameters.model_dump(exclude_defaults=True),
        start=facts["start"],
        end=facts["end"],
        every=facts["every"],
        zone=query.zone,
        rows=rows,
        bytes=size,
        sha256=checksum,
        licences=sorted({source["licence"] for source in sources} - {""}),
        attribution=[source["attribution"] for source in sources],
        titles=[source["title"] for source in sources],
    )
    try:
        return citation.described(folder.describe(snapshot), base)
    except Unfinished as error:
        raise Problem("wrong-state", _ERASED) from error


_ERASED = N_("Something was erased while the snapshot was being written. Ask for it again.")

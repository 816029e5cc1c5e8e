"""A snapshot for people, at the address that papers cite: what it is, how to cite it, and the file."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response
from fastapi import Path as PathParameter

from techport_dashboards.services import citation, datacite
from techport_dashboards.services.snapshots import Snapshot, find_snapshot, snapshot_store
from techport_dashboards.web.access import needs
from techport_dashboards.web.dependencies import ServicesDep, ViewerDep, address_of
from techport_dashboards.web.request_slots import SlotRoute
from techport_dashboards.web.templating import language_of, render
from techport_pilots.i18n import Language

router = APIRouter(route_class=SlotRoute)


@router.get("/snapshots/{id}")
@needs("see", anybody="citable data of open pilots")
def page(
    request: Request, services: ServicesDep, viewer: ViewerDep, snapshot_id: Annotated[str, PathParameter(alias="id")]
) -> Response:
    """One snapshot."""
    snapshot = find_snapshot(snapshot_store(services.settings), viewer, snapshot_id)
    base, language = address_of(request), language_of(request)
    answer = render(
        request,
        "snapshot.html",
        language,
        snapshot=snapshot,
        facts=citation.described(snapshot, base),
        citation=citation.citation(snapshot, base, language),
        bibtex=citation.bibtex(snapshot, base),
        span=citation.span(snapshot, language),
        asked=_asked(snapshot),
        licences=[(name, citation.licence_url(name)) for name in snapshot.licences],
        size=_size(snapshot.bytes, language),
        about=datacite.schema_org(snapshot, base, services.settings.publisher),
    )
    answer.headers["Link"] = datacite.page_links(snapshot, base)
    return answer


def _size(length: int, language: Language) -> str:
    return (
        f"{language.number(length / 1e6, 1)} MB"
        if length >= 1e6
        else f"{language.number(max(length, 1e3) / 1e3, 0)} kB"
    )


def _asked(snapshot: Snapshot) -> str:
    """The question as an address of /readings, which answers it from what there is today."""
    pairs = [
        (name, str(item))
        for name, value in snapshot.question.items()
        for item in (value if isinstance(value, list) else [value])
    ]
    return f"/api/v1/readings?{urlencode(pairs)}"

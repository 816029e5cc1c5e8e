"""What travels with readings in every format: the range, units, zone, licence and attribution."""

from __future__ import annotations

from typing import Any

from fastapi import Request

from techport_dashboards.query import times
from techport_dashboards.query.registry_cache import RegistryView
from techport_dashboards.services.citation import licence_url
from techport_storage.buckets import format_width
from techport_storage.model import Query


def about(query: Query, catalogue: RegistryView) -> dict[str, Any]:
    """The question as it was understood, and what is needed to use and to cite its answer."""
    chosen = catalogue.chosen(query.select)
    present = {info.stream.pilot for info in chosen} or set(query.select.pilots or ())
    pilots = [catalogue.pilots[name] for name in sorted(present) if name in catalogue.pilots]
    return {
        "start": None if query.start is None else times.iso(query.start),
        "end": None if query.end is None else times.iso(query.end),
        "every": format_width(query.every) if query.every else None,
        "zone": query.zone,
        "quality": query.quality,
        "units": {
            info.stream.quantity: {"ucum": info.unit or "", "label": info.unit_label, "title": info.title.get("en")}
            for info in chosen
        },
        "sources": [
            {"pilot": p.id, "title": p.title.get("en"), "licence": p.licence, "attribution": p.attribution}
            for p in pilots
        ],
    }


def links(request: Request, described: dict[str, Any], cursor: str | None) -> str:
    """The header Link: licences, where the metadata is, and the next page."""
    licences = sorted({source["licence"] for source in described["sources"]})
    found = [f'<{url}>; rel="license"' for licence in licences if (url := licence_url(licence))]
    without_page = request.url.remove_query_params(["format", "limit", "cursor"])
    found.append(f'<{without_page.path}/metadata?{without_page.query}>; rel="describedby"; type="application/json"')
    if cursor is not None:
        following = request.url.include_query_params(cursor=cursor)
        found.append(f'<{following.path}?{following.query}>; rel="next"')
    return ", ".join(found)

"""The catalogue of open pilots, for data portals that harvest it (DCAT-AP-NO), as Turtle and as JSON-LD."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from techport_dashboards.problems import Problem
from techport_dashboards.query import times
from techport_dashboards.services.datasets import distributions, open_datasets
from techport_dashboards.texts import in_all_languages
from techport_dashboards.viewer import Viewer
from techport_dashboards.web.access import OPEN_DATA, needs
from techport_dashboards.web.dependencies import Services, ViewerDep, address_of, services_of
from techport_dashboards.web.request_slots import SlotRoute
from techport_pilots.handover.dcat import rdf
from techport_pilots.handover.dcat.build import Offer, Publisher, Service, catalogue
from techport_pilots.handover.dcat.terms import PREFIXES, Profile
from techport_pilots.i18n import N_
from techport_pilots.model import Text

router = APIRouter(tags=["catalogue"], route_class=SlotRoute)
TITLE = in_all_languages(N_("Data from pilots"))
_PROFILE = "https://data.norge.no/specification/dcat-ap-no"
TURTLE, JSON_LD, HTML = "text/turtle", "application/ld+json", "text/html"
ProfileParameter = Annotated[
    Profile,
    Query(
        description="Version of DCAT-AP-NO. 3 adds categories of high-value datasets of the EU and what portals check.",
        examples=["3"],
    ),
]
_EDR = "https://docs.ogc.org/is/19-086r6/19-086r6.html"
_SENSORTHINGS = "https://docs.ogc.org/is/18-088/18-088.html"
_ACCEPTED = {TURTLE: TURTLE, JSON_LD: JSON_LD, HTML: HTML, "application/json": JSON_LD, "text/*": TURTLE, "*/*": TURTLE}


def _content(*media_types: str) -> dict[int | str, dict[str, Any]]:
    schema = {"type": "string"}
    return {200: {"content": {name: {"schema": schema if name == TURTLE else {}} for name in media_types}}}


@router.get("/catalog.ttl", response_class=Response, responses=_content(TURTLE))
@needs("see", anybody=OPEN_DATA)
def turtle(request: Request, viewer: ViewerDep, profile: ProfileParameter = "2.2") -> Response:
    """The open pilots as DCAT-AP-NO in Turtle, a dataset each with every format and service that it is had through."""
    return _written(request, viewer, TURTLE, profile)


@router.get("/catalog.jsonld", response_class=Response, responses=_content(JSON_LD))
@needs("see", anybody=OPEN_DATA)
def json_ld(request: Request, viewer: ViewerDep, profile: ProfileParameter = "2.2") -> Response:
    """The same as JSON-LD."""
    return _written(request, viewer, JSON_LD, profile)


@router.get("/catalog", response_class=Response, responses=_content(TURTLE, JSON_LD))
@needs("see", anybody=OPEN_DATA)
def negotiated(request: Request, viewer: ViewerDep, profile: ProfileParameter = "2.2") -> Response:
    """The same in what the request's Accept prefers: Turtle, JSON-LD, or (303) the page for people."""
    media_type = _preferred(request.headers.get("accept", "*/*"))
    if media_type == HTML:
        return Response(status_code=303, headers={"Location": "/catalogue", "Vary": "Accept"})
    return _written(request, viewer, media_type, profile)


def offers(services: Services, viewer: Viewer, base: str) -> list[Offer]:
    """What the catalogue lists."""
    registry_view = services.registry_cache.current()
    return [
        Offer(
            pilot=pilot,
            modified=times.moment(held.modified).date(),
            period=(times.moment(held.first).date(), times.moment(held.last).date() if held.ended else None),
            distributions=distributions(pilot, registry_view, base),
        )
        for pilot, held in open_datasets(registry_view, services.dataset_stats, viewer)
    ]


def services_at(base: str) -> list[Service]:
    """The interfaces that every open pilot is had through."""
    openapi = f"{base}/api/v1/openapi.json"
    rest = in_all_languages(N_("Readings over HTTP"))
    sta = f"{base}/sta/v1.1"
    return [
        Service(f"{base}/catalog#rest", rest, f"{base}/api/v1", openapi, "https://spec.openapis.org/oas/v3.1.0"),
        Service(f"{base}/catalog#sensorthings", Text(en="OGC SensorThings API 1.1"), sta, sta, _SENSORTHINGS),
        Service(f"{base}/catalog#edr", Text(en="OGC API EDR 1.1"), f"{base}/edr", openapi, _EDR),
    ]


def _written(request: Request, viewer: Viewer, media_type: str, profile: Profile) -> Response:
    services, base = services_of(request), address_of(request)
    publisher = Publisher(services.settings.publisher, base, services.settings.publisher_email)
    nodes = catalogue(offers(services, viewer, base), services_at(base), base, publisher, TITLE, profile)
    write = rdf.turtle if media_type == TURTLE else rdf.json_ld
    return Response(
        write(nodes, PREFIXES),
        200,
        {"Vary": "Accept, Accept-Encoding", "Link": f'<{_PROFILE}>; rel="profile"'},
        media_type,
    )


def _preferred(accept: str) -> str:
    """The form that the header weighs highest, the first of equals. Raises Problem where it takes none of ours."""
    best, highest = "", 0.0
    for part in accept.split(",")[:40]:
        name, *options = (piece.strip().lower() for piece in part.split(";"))
        try:
            weight = next((float(option[2:]) for option in options if option.startswith("q=")), 1.0)
        except ValueError:
            continue
        if name in _ACCEPTED and weight > highest:
            best, highest = _ACCEPTED[name], weight
    if not best:
        raise Problem(
            "not-acceptable", "The catalogue is available as Turtle, JSON-LD or HTML.", example=f"{TURTLE}, {JSON_LD}"
        )
    return best

"""The addresses of EDR: landing page, conformance, collections, and the queries locations, position and area."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import shapely
from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import ConfigDict, Field
from shapely.errors import ShapelyError
from starlette.concurrency import run_in_threadpool

from techport_dashboards import times
from techport_dashboards.access import Viewer, allow
from techport_dashboards.api.describe import find_pilot
from techport_dashboards.api.schema import Parameters
from techport_dashboards.areas import distance
from techport_dashboards.catalogue import Catalogue
from techport_dashboards.edr.coverage import CRS84, coverages, plain_parameter
from techport_dashboards.errors import Problem
from techport_dashboards.names import match
from techport_dashboards.queries import instant
from techport_dashboards.services import Services, services_of
from techport_pilots.model import PilotDefinition
from techport_pilots.registry import DeviceInfo
from techport_storage.model import Micros, Selection

router = APIRouter(prefix="/edr", tags=["edr"])
Allowed = Annotated[Viewer, Depends(allow)]
COVERAGE = "application/prs.coverage+json"
CONFORMANCE = [
    *(f"http://www.opengis.net/spec/ogcapi-edr-1/1.1/conf/{part}" for part in ("core", "collections", "covjson")),
    *(f"http://www.opengis.net/spec/ogcapi-common-1/1.0/conf/{part}" for part in ("core", "json")),
    "http://www.opengis.net/spec/ogcapi-common-2/1.0/conf/collections",
]
NEAREST = 1_000.0
"""Metres within which a position is answered by the nearest device."""
_DATETIME = "2026-11-01T00:00:00Z/2026-11-02T00:00:00Z, ../2026-11-02T00:00:00Z or 2026-11-01T00:00:00Z/.."


class DataParameters(Parameters):
    model_config = ConfigDict(populate_by_name=True)

    datetime: str | None = Field(
        None,
        max_length=130,
        description="An instant or an interval, both ends included.",
        examples=["2026-11-01T00:00:00Z/.."],
    )
    parameter_name: str | None = Field(
        None, alias="parameter-name", max_length=2000, description="Quantities, with commas.", examples=["pm10"]
    )
    crs: str | None = Field(None, description="CRS84 only.")
    f: str | None = Field(None, description="CoverageJSON only.")


class CoordsParameters(DataParameters):
    coords: str = Field(max_length=20_000, description="WKT, longitude first.", examples=["POINT(10.4 63.43)"])


@router.get("", response_model=dict[str, Any])
async def landing(request: Request, viewer: Allowed) -> dict[str, Any]:
    """What there is."""
    base = _base(request)
    links = [
        ("self", "", "This"),
        ("conformance", "/conformance", "Conformance"),
        ("data", "/collections", "Pilots"),
    ]
    api = {"rel": "service-desc", "href": f"{request.base_url}api/v1/openapi.json", "type": "application/json"}
    return {
        "title": "techport",
        "description": "Readings of pilots, a collection each",
        "links": [{"rel": r, "href": base + p, "type": "application/json", "title": t} for r, p, t in links] + [api],
    }


@router.get("/conformance", response_model=dict[str, Any])
async def conformance() -> dict[str, Any]:
    """What is implemented."""
    return {"conformsTo": CONFORMANCE}


@router.get("/collections", response_model=dict[str, Any])
async def collections(request: Request, viewer: Allowed) -> dict[str, Any]:
    """The pilots with a device that stands somewhere."""
    catalogue = await run_in_threadpool(services_of(request).catalogues.current)
    visible = [pilot for pilot in catalogue.pilots.values() if viewer.may_see(pilot.id)]
    found = [_collection(pilot, catalogue, _base(request)) for pilot in visible if _placed(catalogue, pilot.id)]
    link = {"rel": "self", "href": f"{_base(request)}/collections", "type": "application/json"}
    return {"links": [link], "collections": found}


@router.get("/collections/{pilot}", response_model=dict[str, Any])
async def collection(request: Request, viewer: Allowed, pilot: str) -> dict[str, Any]:
    """One pilot: where, when, which quantities, and what may be asked."""
    catalogue = await run_in_threadpool(services_of(request).catalogues.current)
    return _collection(_pilot(catalogue, viewer, pilot), catalogue, _base(request))


@router.get("/collections/{pilot}/locations", response_model=dict[str, Any])
async def locations(request: Request, viewer: Allowed, pilot: str) -> Response:
    """The devices as GeoJSON."""
    catalogue = await run_in_threadpool(services_of(request).catalogues.current)
    found = _placed(catalogue, _pilot(catalogue, viewer, pilot).id)
    features = [
        {
            "type": "Feature",
            "id": device.device,
            "geometry": {"type": "Point", "coordinates": list(_point(device))},
            "properties": {"label": device.title.get("en") or device.device},
        }
        for device in found
    ]
    return Response(
        msgspec.json.encode({"type": "FeatureCollection", "features": features}), media_type="application/geo+json"
    )


@router.get("/collections/{pilot}/locations/{location}", response_model=dict[str, Any])
async def location(
    request: Request, viewer: Allowed, pilot: str, location: str, asked: Annotated[DataParameters, Query()]
) -> Response:
    """The readings of a device."""

    def chosen(devices: list[DeviceInfo]) -> list[DeviceInfo]:
        return [device for device in devices if device.device == location]

    return await run_in_threadpool(_data, services_of(request), viewer, pilot, asked, chosen)


@router.get("/collections/{pilot}/position", response_model=dict[str, Any])
async def position(
    request: Request, viewer: Allowed, pilot: str, asked: Annotated[CoordsParameters, Query()]
) -> Response:
    """The readings of the device nearest to a point, if it is within a kilometre. Its own position is in the answer."""
    point = _shape(asked.coords, ("Point",), "POINT(10.4 63.43)")

    def away(device: DeviceInfo) -> float:
        return distance(point.x, point.y, *_point(device))

    def nearest(devices: list[DeviceInfo]) -> list[DeviceInfo]:
        return sorted((device for device in devices if away(device) <= NEAREST), key=away)[:1]

    return await run_in_threadpool(_data, services_of(request), viewer, pilot, asked, nearest)


@router.get("/collections/{pilot}/area", response_model=dict[str, Any])
async def area(request: Request, viewer: Allowed, pilot: str, asked: Annotated[CoordsParameters, Query()]) -> Response:
    """The readings of the devices in a polygon, its edge included."""
    polygon = _shape(asked.coords, ("Polygon", "MultiPolygon"), "POLYGON((10.3 63.4,10.5 63.4,10.5 63.5,10.3 63.4))")

    def inside(devices: list[DeviceInfo]) -> list[DeviceInfo]:
        return [device for device in devices if shapely.intersects_xy(polygon, *_point(device))]

    return await run_in_threadpool(_data, services_of(request), viewer, pilot, asked, inside)


def _data(services: Services, viewer: Viewer, pilot: str, asked: DataParameters, choose: Any) -> Response:
    catalogue = services.catalogues.current()
    found = _pilot(catalogue, viewer, pilot)
    if asked.crs not in (None, "CRS84", CRS84):
        raise Problem("bad-parameter", "Only one system of coordinates.", parameter="crs", example="CRS84")
    if asked.f not in (None, "CoverageJSON", COVERAGE, "json"):
        raise Problem("bad-parameter", "Only one format.", parameter="f", example="CoverageJSON")
    devices: list[DeviceInfo] = choose(_placed(catalogue, found.id))
    if not devices:
        raise Problem("not-found", "No device is there.", example=f"/edr/collections/{found.id}/locations")
    names = tuple(device.device for device in devices)
    streams = services.store.streams(Selection(pilots=(found.id,), devices=names))
    if asked.parameter_name is not None:
        known = {stream.quantity for stream in catalogue.streams if stream.pilot == found.id}
        wanted = match("parameter-name", [asked.parameter_name], known | {stream.quantity for stream in streams})
        streams = [stream for stream in streams if stream.quantity in wanted]
    start, end = _interval(asked.datetime, found)
    body = coverages(services.store, catalogue, streams, start, end)
    return Response(msgspec.json.encode(body), media_type=COVERAGE)


def _interval(text: str | None, pilot: PilotDefinition) -> tuple[Micros | None, Micros | None]:
    """[start, end) in microseconds; EDR's intervals include their end."""
    if text is None:
        return None, None
    first, slash, last = text.partition("/")
    if not slash:
        last = first
    now = times.now()
    ends = [
        None if part in ("..", "") else instant("datetime", part, pilot.timezone, now, False) for part in (first, last)
    ]
    start, end = ends[0], None if ends[1] is None else ends[1] + 1
    if start is not None and end is not None and end <= start:
        raise Problem("bad-parameter", "The interval is empty.", parameter="datetime", example=_DATETIME)
    return start, end


def _collection(pilot: PilotDefinition, catalogue: Catalogue, base: str) -> dict[str, Any]:
    here = f"{base}/collections/{pilot.id}"
    points = [_point(device) for device in _placed(catalogue, pilot.id)]
    xs, ys = zip(*points, strict=True) if points else ((0.0,), (0.0,))
    variables = {"output_formats": ["CoverageJSON"]}
    queries = {
        kind: {"link": {"href": f"{here}/{kind}", "rel": "data", "variables": {**variables, "query_type": kind}}}
        for kind in ("locations", "position", "area")
    }
    return {
        "id": pilot.id,
        "title": pilot.title.get("en"),
        "description": pilot.question.get("en"),
        "links": [{"rel": "self", "href": here, "type": "application/json"}],
        "extent": {
            "spatial": {"bbox": [[min(xs), min(ys), max(xs), max(ys)]], "crs": CRS84},
        },
        "data_queries": queries,
        "crs": [CRS84],
        "output_formats": ["CoverageJSON"],
        "parameter_names": {
            s.quantity: plain_parameter(i) for s, i in catalogue.streams.items() if s.pilot == pilot.id
        },
    }


def _pilot(catalogue: Catalogue, viewer: Viewer, pilot: str) -> PilotDefinition:
    found = find_pilot(catalogue, viewer, pilot)
    if not _placed(catalogue, pilot):
        raise Problem("not-found", "No device of this pilot has a position, so it is no collection.")
    return found


def _placed(catalogue: Catalogue, pilot: str) -> list[DeviceInfo]:
    return [device for device in catalogue.devices_of(pilot) if device.position is not None]


def _point(device: DeviceInfo) -> tuple[float, float]:
    assert device.position is not None
    return device.position.lon, device.position.lat


def _shape(text: str, kinds: tuple[str, ...], example: str) -> Any:
    try:
        shape = shapely.from_wkt(text)
    except ShapelyError as error:
        raise Problem("bad-parameter", "It is no WKT.", parameter="coords", example=example) from error
    if shape.geom_type not in kinds or shape.is_empty or not shape.is_valid:
        reason = f"It is no {' or '.join(kinds)}, or crosses itself."
        raise Problem("bad-parameter", reason, parameter="coords", example=example)
    return shape


def _base(request: Request) -> str:
    return f"{request.base_url}edr"

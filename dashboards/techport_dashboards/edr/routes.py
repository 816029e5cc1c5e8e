"""The addresses of EDR: landing page, conformance, collections, and the queries locations, position and area."""

from __future__ import annotations

import re
from typing import Annotated, Any

import msgspec
import shapely
from fastapi import APIRouter, Query, Request, Response
from pydantic import ConfigDict, Field
from shapely.errors import ShapelyError

from techport_dashboards.edr import places
from techport_dashboards.edr.coverage import COVERAGE_JSON, CRS84, coverages
from techport_dashboards.edr.places import find_collection, placed, point
from techport_dashboards.edr.schema import Collection, Collections, Conformance, Landing
from techport_dashboards.problems import Problem
from techport_dashboards.query.areas import box, distance
from techport_dashboards.query.names import match
from techport_dashboards.query.parameters import Parameters
from techport_dashboards.query.question import instant
from techport_dashboards.viewer import Viewer
from techport_dashboards.web.access import NO_PILOT, OPEN_DATA, needs
from techport_dashboards.web.dependencies import Services, ServicesDep, ViewerDep
from techport_dashboards.web.request_slots import SlotRoute
from techport_pilots.registry.registry import DeviceInfo
from techport_storage import clock
from techport_storage.microseconds import DAY
from techport_storage.model import Micros, Selection

router = APIRouter(prefix="/edr", tags=["edr"], route_class=SlotRoute)
COVERAGE = "application/prs.coverage+json"
CONFORMANCE = [
    *(
        f"http://www.opengis.net/spec/ogcapi-edr-1/1.1/conf/{part}"
        for part in ("core", "collections", "geojson", "covjson")
    ),
    *(f"http://www.opengis.net/spec/ogcapi-common-1/1.0/conf/{part}" for part in ("core", "json")),
    "http://www.opengis.net/spec/ogcapi-common-2/1.0/conf/collections",
]
GEOJSON = "application/geo+json"
OPENAPI = "application/vnd.oai.openapi+json;version=3.1"
BBOX = "10.36,63.40,10.44,63.44"
JSON, SYSTEMS = ("json", "application/json"), ("CRS84", CRS84)
PLACES, DATA = ("GeoJSON", GEOJSON, "json"), (COVERAGE_JSON, COVERAGE, "json")
"""What `f` and `crs` may say."""
NEAREST = 1_000.0
"""Metres from the nearest device within which a position outside the box of all devices is answered."""
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_DATETIME = "2026-11-01T00:00:00Z/2026-11-02T00:00:00Z, ../2026-11-02T00:00:00Z or 2026-11-01T00:00:00Z/.."


COVERAGES: dict[int | str, dict[str, Any]] = {200: {"content": {COVERAGE: {"schema": {"type": "object"}}}}}


def _one_of(accepted: tuple[str, ...]) -> Any:
    """The description names them all; what is none of them is refused in words of our own."""
    schema: dict[str, Any] = {"enum": [*accepted, None]}
    return Field(
        None, max_length=80, description=f"{accepted[0]} only.", examples=[accepted[0]], json_schema_extra=schema
    )


class PlainParameters(Parameters):
    f: str | None = _one_of(JSON)

    def check(self) -> None:
        """Raises Problem for a format that there is not."""
        if self.f not in (None, *JSON):
            raise Problem("bad-parameter", "Unsupported format.", parameter="f", example="json")


class PlaceParameters(Parameters):
    bbox: str | None = Field(
        None, max_length=200, description="West, south, east, north in degrees (WGS 84).", examples=[BBOX]
    )
    f: str | None = _one_of(PLACES)


class DataParameters(Parameters):
    model_config = ConfigDict(populate_by_name=True)

    datetime: str | None = Field(
        None,
        max_length=130,
        description="An instant or an interval, both ends included; `..` leaves an end open.",
        examples=["2026-01-01T00:00:00Z/.."],
    )
    parameter_name: str | None = Field(
        None, alias="parameter-name", max_length=2000, description="Quantities, with commas.", examples=["pm10"]
    )
    parameter_names: str | None = Field(
        None, max_length=2000, description="The same, as OWSLib spells it.", examples=["pm10"]
    )
    crs: str | None = _one_of(SYSTEMS)
    f: str | None = _one_of(DATA)


class CoordsParameters(DataParameters):
    coords: str = Field(max_length=20_000, description="WKT, longitude first.", examples=["POINT(10.4 63.43)"])


Plain = Annotated[PlainParameters, Query()]


@router.get("", response_model=Landing)
@needs("see", anybody=OPEN_DATA)
def landing(request: Request, asked: Plain) -> dict[str, Any]:
    """The landing page: links to what is implemented, to the description and to the collections."""
    asked.check()
    base = _base(request)
    links = [
        ("self", base, "application/json", "This"),
        ("conformance", f"{base}/conformance", "application/json", "What is implemented"),
        ("data", f"{base}/collections", "application/json", "Pilots"),
        ("service-desc", f"{request.base_url}api/v1/openapi.json", OPENAPI, "The description, for programs"),
        ("service-doc", f"{request.base_url}api/v1/docs", "text/html", "The description, for people"),
    ]
    return {
        "title": "techport",
        "description": "Readings of pilots, a collection each",
        "links": [
            {"rel": rel, "href": href, "type": media_type, "title": title} for rel, href, media_type, title in links
        ],
    }


@router.get("/conformance", response_model=Conformance)
@needs("nothing", anybody=NO_PILOT)
def conformance(asked: Plain) -> dict[str, Any]:
    """The conformance classes of OGC API that are implemented."""
    asked.check()
    return {"conformsTo": CONFORMANCE}


@router.get("/collections", response_model=Collections, response_model_exclude_unset=True)
@needs("see", anybody=OPEN_DATA)
def collections(request: Request, services: ServicesDep, viewer: ViewerDep, asked: Plain) -> dict[str, Any]:
    """The pilots with a device that stands somewhere."""
    asked.check()
    base = _base(request)

    def described() -> list[dict[str, Any]]:
        registry_view = services.registry_cache.current()
        visible = [
            pilot
            for pilot in registry_view.pilots.values()
            if viewer.may_see(pilot.id) and placed(registry_view, pilot.id)
        ]
        return [places.collection(pilot, registry_view, services.dataset_stats.of(pilot), base) for pilot in visible]

    link = {"rel": "self", "href": f"{base}/collections", "type": "application/json", "title": "This"}
    return {"links": [link], "collections": described()}


@router.get("/collections/{pilot}", response_model=Collection, response_model_exclude_unset=True)
@needs("see", anybody=OPEN_DATA)
def collection(request: Request, services: ServicesDep, viewer: ViewerDep, pilot: str, asked: Plain) -> dict[str, Any]:
    """One pilot: where, when, which quantities, and what may be asked."""
    asked.check()

    def described() -> dict[str, Any]:
        registry_view = services.registry_cache.current()
        definition = find_collection(registry_view, viewer, pilot)
        return places.collection(definition, registry_view, services.dataset_stats.of(definition), _base(request))

    return described()


@router.get(
    "/collections/{pilot}/locations",
    response_class=Response,
    responses={200: {"content": {GEOJSON: {"schema": {"type": "object"}}}}},
)
@needs("see", anybody=OPEN_DATA)
def locations(
    request: Request, services: ServicesDep, viewer: ViewerDep, pilot: str, asked: Annotated[PlaceParameters, Query()]
) -> Response:
    """The devices as GeoJSON, with what each measures."""
    if asked.f not in (None, *PLACES):
        raise Problem("bad-parameter", "Unsupported format.", parameter="f", example="GeoJSON")
    catalogue = services.registry_cache.current()
    devices = placed(catalogue, find_collection(catalogue, viewer, pilot).id)
    inside = box(asked.bbox) if asked.bbox is not None else None
    devices = [device for device in devices if inside is None or (device.position and inside(device.position))]
    body = places.locations(devices, catalogue, _base(request))
    return Response(msgspec.json.encode(body), media_type=GEOJSON)


@router.get("/collections/{pilot}/locations/{location}", response_class=Response, responses=COVERAGES)
@needs("see", anybody=OPEN_DATA)
def location(
    services: ServicesDep, viewer: ViewerDep, pilot: str, location: str, asked: Annotated[DataParameters, Query()]
) -> Response:
    """The readings of a device."""

    def chosen(devices: list[DeviceInfo]) -> list[DeviceInfo]:
        return [device for device in devices if device.device == location]

    return _data(services, viewer, pilot, asked, chosen)


@router.get("/collections/{pilot}/position", response_class=Response, responses=COVERAGES)
@needs("see", anybody=OPEN_DATA)
def position(
    services: ServicesDep, viewer: ViewerDep, pilot: str, asked: Annotated[CoordsParameters, Query()]
) -> Response:
    """The readings of the device nearest to a point (or each of several), which is among the devices or within a
    kilometre of one. The device's own position is in the answer.
    """
    shape = _shape(asked.coords, ("Point", "MultiPoint"), "POINT(10.4 63.43)")
    points = [(placed_device.x, placed_device.y) for placed_device in shapely.get_parts(shape)]

    def nearest(devices: list[DeviceInfo]) -> list[DeviceInfo]:
        chosen_devices = []
        among = shapely.MultiPoint([point(device) for device in devices]).envelope
        for x, y in points:
            near = [(distance(x, y, *point(device)), device.device, device) for device in devices]
            inside = bool(shapely.intersects_xy(among, x, y))
            chosen_devices += [
                device
                for away, _, device in sorted(near, key=lambda placed_device: placed_device[:2])[:1]
                if inside or away <= NEAREST
            ]
        return list({device.device: device for device in chosen_devices}.values())

    return _data(services, viewer, pilot, asked, nearest)


@router.get("/collections/{pilot}/area", response_class=Response, responses=COVERAGES)
@needs("see", anybody=OPEN_DATA)
def area(services: ServicesDep, viewer: ViewerDep, pilot: str, asked: Annotated[CoordsParameters, Query()]) -> Response:
    """The readings of the devices in a polygon, its edge included."""
    polygon = _shape(asked.coords, ("Polygon", "MultiPolygon"), "POLYGON((10.3 63.4,10.5 63.4,10.5 63.5,10.3 63.4))")

    def inside(devices: list[DeviceInfo]) -> list[DeviceInfo]:
        return [device for device in devices if shapely.intersects_xy(polygon, *point(device))]

    return _data(services, viewer, pilot, asked, inside)


def _data(services: Services, viewer: Viewer, pilot: str, asked: DataParameters, choose: Any) -> Response:
    catalogue = services.registry_cache.current()
    definition = find_collection(catalogue, viewer, pilot)
    if asked.crs not in (None, *SYSTEMS):
        raise Problem("bad-parameter", "Unsupported coordinate reference system.", parameter="crs", example="CRS84")
    if asked.f not in (None, *DATA):
        raise Problem("bad-parameter", "Unsupported format.", parameter="f", example="CoverageJSON")
    devices: list[DeviceInfo] = choose(placed(catalogue, definition.id))
    if not devices:
        raise Problem(
            "not-found", "There are no devices at this location.", example=f"/edr/collections/{definition.id}/locations"
        )
    names = tuple(device.device for device in devices)
    streams = services.store.streams(Selection(pilots=(definition.id,), devices=names))
    names_asked = asked.parameter_name if asked.parameter_name is not None else asked.parameter_names
    if names_asked is not None:
        described = {stream.quantity for stream in catalogue.streams if stream.pilot == definition.id}
        quantities = match("parameter-name", [names_asked], described | {stream.quantity for stream in streams})
        streams = [stream for stream in streams if stream.quantity in quantities]
    start, end = _interval(asked.datetime)
    body = coverages(services.store, catalogue, streams, start, end)
    return Response(msgspec.json.encode(body), media_type=COVERAGE)


def _interval(text: str | None) -> tuple[Micros | None, Micros | None]:
    """[start, end) in microseconds; EDR's intervals include their end. Dates are days in UTC."""
    if text is None:
        return None, None
    first, slash, last = text.partition("/")
    if not slash:
        last = first
    now = clock.now()
    ends = [None if part in ("..", "") else instant("datetime", part, "UTC", now, False) for part in (first, last)]
    start, end = ends[0], None if ends[1] is None else ends[1] + (DAY if _DATE.fullmatch(last) else 1)
    if start is not None and end is not None and end <= start:
        raise Problem("bad-parameter", "The time interval is empty.", parameter="datetime", example=_DATETIME)
    return start, end


def _shape(text: str, kinds: tuple[str, ...], example: str) -> Any:
    try:
        shape = shapely.from_wkt(text)
    except ShapelyError as error:
        raise Problem("bad-parameter", "Invalid WKT geometry.", parameter="coords", example=example) from error
    if shape.geom_type not in kinds or shape.is_empty or not shape.is_valid:
        reason = f"The geometry must be a valid {' or '.join(kinds)}."
        raise Problem("bad-parameter", reason, parameter="coords", example=example)
    return shape


def _base(request: Request) -> str:
    return f"{request.base_url}edr"

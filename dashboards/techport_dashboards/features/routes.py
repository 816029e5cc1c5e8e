"""The addresses of OGC API Features: landing page, conformance, collections and their items."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote, urlencode

import msgspec
from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from techport_dashboards.problems import Problem
from techport_dashboards.query import rows, times
from techport_dashboards.query.areas import box
from techport_dashboards.query.names import find_pilot
from techport_dashboards.query.parameters import Parameters
from techport_dashboards.query.registry_cache import RegistryView
from techport_dashboards.viewer import Viewer
from techport_dashboards.web.access import NO_PILOT, OPEN_DATA, needs
from techport_dashboards.web.dependencies import Services, ServicesDep, ViewerDep
from techport_dashboards.web.request_slots import SlotRoute
from techport_pilots.model import PilotDefinition
from techport_pilots.registry.registry import DeviceInfo
from techport_storage import clock
from techport_storage.model import Selection

router = APIRouter(prefix="/features", include_in_schema=False, route_class=SlotRoute)
GEOJSON = "application/geo+json"
JSON = "application/json"
CRS84 = "http://www.opengis.net/def/crs/OGC/1.3/CRS84"
CONFORMANCE = [
    f"http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/{name}" for name in ("core", "geojson", "oas30")
]
MOST_ITEMS = 10_000
_OPENAPI = "application/vnd.oai.openapi+json;version=3.0"


class PlainParameters(Parameters):
    f: str | None = Field(None, max_length=40)


class ItemParameters(PlainParameters):
    limit: int = Field(1_000, ge=1)
    offset: int = Field(0, ge=0)
    bbox: str | None = Field(None, max_length=200)
    datetime: str | None = Field(None, max_length=130)
    kind: str | None = Field(None, max_length=200)
    group: str | None = Field(None, max_length=200)


Plain = Annotated[PlainParameters, Query()]


@router.get("")
@needs("see", anybody=OPEN_DATA)
def landing(request: Request, asked: Plain) -> Response:
    """The landing page."""
    base = _base(request)
    return _json(
        {
            "title": "techport",
            "description": "Devices of pilots, with what they measured last",
            "links": [
                _link("self", base, JSON, "This"),
                _link("conformance", f"{base}/conformance", JSON, "What is implemented"),
                _link("data", f"{base}/collections", JSON, "Pilots"),
                _link("service-desc", f"{base}/api", _OPENAPI, "The description, for programs"),
            ],
        }
    )


@router.get("/conformance")
@needs("nothing", anybody=NO_PILOT)
def conformance(asked: Plain) -> Response:
    """The conformance classes that are implemented."""
    return _json({"conformsTo": CONFORMANCE})


@router.get("/api")
@needs("nothing", anybody=NO_PILOT)
def description(request: Request, asked: Plain) -> Response:
    """What programs that read OpenAPI 3.0 need to know: the pages of items and the parameters that they have."""
    numbers = {"type": "integer", "minimum": 1, "maximum": MOST_ITEMS, "default": 1_000}
    schemas: dict[str, dict[str, Any]] = {
        "limit": numbers,
        "offset": {"type": "integer", "minimum": 0, "default": 0},
        "bbox": {"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 6},
        "datetime": {"type": "string"},
        "kind": {"type": "string"},
        "group": {"type": "string"},
    }
    parameters = [
        {"name": name, "in": "query", "required": False, "schema": schema, "style": "form", "explode": False}
        for name, schema in schemas.items()
    ]
    in_path = {"name": "collectionId", "in": "path", "required": True, "schema": {"type": "string"}}
    answers = {"200": {"description": "Devices", "content": {GEOJSON: {"schema": {"type": "object"}}}}}
    operation = {"operationId": "items", "parameters": [in_path, *parameters], "responses": answers}
    return Response(
        msgspec.json.encode(
            {
                "openapi": "3.0.3",
                "info": {"title": "techport", "version": request.app.version},
                "servers": [{"url": _base(request)}],
                "paths": {"/collections/{collectionId}/items": {"get": operation}},
            }
        ),
        media_type=_OPENAPI,
    )


@router.get("/collections")
@needs("see", anybody=OPEN_DATA)
def collections(request: Request, services: ServicesDep, viewer: ViewerDep, asked: Plain) -> Response:
    """The pilots that the viewer may see and that have a device which stands somewhere."""
    catalogue, base = services.registry_cache.current(), _base(request)
    visible = [p for p in catalogue.pilots.values() if viewer.may_see(p.id) and _placed(catalogue, p.id)]
    links = [_link("self", f"{base}/collections", JSON, "This")]
    return _json({"links": links, "collections": [_collection(pilot, catalogue, base) for pilot in visible]})


@router.get("/collections/{pilot}")
@needs("see", anybody=OPEN_DATA)
def collection(request: Request, services: ServicesDep, viewer: ViewerDep, pilot: str, asked: Plain) -> Response:
    """One pilot."""
    catalogue = services.registry_cache.current()
    return _json(_collection(_found(catalogue, viewer, pilot), catalogue, _base(request)))


@router.get("/collections/{pilot}/items")
@needs("see", anybody=OPEN_DATA)
def items(
    request: Request, services: ServicesDep, viewer: ViewerDep, pilot: str, asked: Annotated[ItemParameters, Query()]
) -> Response:
    """The devices of a pilot, each with the latest value of each of its quantities."""
    catalogue = services.registry_cache.current()
    devices = _placed(catalogue, _found(catalogue, viewer, pilot).id)
    if asked.bbox is not None:
        numbers = asked.bbox.split(",")
        inside = box(",".join(numbers[:2] + numbers[3:5]) if len(numbers) == 6 else asked.bbox)
        devices = [device for device in devices if device.position is not None and inside(device.position)]
    for name in ("kind", "group"):
        value = getattr(asked, name)
        devices = [device for device in devices if value is None or getattr(device, name) == value]
    limit = min(asked.limit, MOST_ITEMS)
    page = devices[asked.offset : asked.offset + limit]
    address = f"{_base(request)}/collections/{pilot}/items"
    links = [
        _link("self", f"{address}?{request.url.query}".rstrip("?"), GEOJSON, "This"),
        _link("collection", address.removesuffix("/items"), JSON, "The pilot"),
    ]
    if asked.offset + limit < len(devices):
        further = asked.model_dump(exclude_none=True) | {"limit": limit, "offset": asked.offset + limit}
        links.append(_link("next", f"{address}?{urlencode(further)}", GEOJSON, "The next page"))
    body = {
        "type": "FeatureCollection",
        "features": _features(services, catalogue, page),
        "links": links,
        "timeStamp": times.iso(clock.now()),
        "numberMatched": len(devices),
        "numberReturned": len(page),
    }
    return Response(msgspec.json.encode(body), media_type=GEOJSON)


@router.get("/collections/{pilot}/items/{device}")
@needs("see", anybody=OPEN_DATA)
def item(request: Request, services: ServicesDep, viewer: ViewerDep, pilot: str, device: str, asked: Plain) -> Response:
    """One device."""
    catalogue = services.registry_cache.current()
    devices = [
        candidate for candidate in _placed(catalogue, _found(catalogue, viewer, pilot).id) if candidate.device == device
    ]
    if not devices:
        raise Problem("not-found", "There is no device {name} with a position.", name=repr(device[:80]))
    address = f"{_base(request)}/collections/{pilot}"
    links = [
        _link("self", f"{address}/items/{quote(device, safe='')}", GEOJSON, "This"),
        _link("collection", address, JSON, "The pilot"),
    ]
    body = {**_features(services, catalogue, devices)[0], "links": links}
    return Response(msgspec.json.encode(body), media_type=GEOJSON)


def _collection(pilot: PilotDefinition, catalogue: RegistryView, base: str) -> dict[str, Any]:
    places = [device.position for device in _placed(catalogue, pilot.id) if device.position is not None]
    west, east = min(place.lon for place in places), max(place.lon for place in places)
    south, north = min(place.lat for place in places), max(place.lat for place in places)
    address = f"{base}/collections/{pilot.id}"
    return {
        "id": pilot.id,
        "title": pilot.title.get("en"),
        "description": pilot.question.get("en"),
        "extent": {"spatial": {"bbox": [[west, south, east, north]], "crs": CRS84}},
        "itemType": "feature",
        "crs": [CRS84],
        "links": [
            _link("self", address, JSON, "This"),
            _link("items", f"{address}/items", GEOJSON, "Devices"),
        ],
    }


def _features(services: Services, catalogue: RegistryView, devices: list[DeviceInfo]) -> list[dict[str, Any]]:
    pilots = {device.pilot for device in devices}
    select = Selection(pilots=tuple(pilots), devices=tuple(device.device for device in devices))
    latest: dict[tuple[str, str], dict[str, Any]] = {}
    if devices:
        for reading in rows.items(services.store.latest(select), catalogue):
            values = latest.setdefault((reading["pilot"], reading["device"]), {})
            values |= {reading["quantity"]: reading["value"], f"{reading['quantity']}_time": reading["time"]}
    return [
        {
            "type": "Feature",
            "id": device.device,
            "geometry": {"type": "Point", "coordinates": [device.position.lon, device.position.lat]},
            "properties": {
                **device.tags,
                "pilot": device.pilot,
                "device": device.device,
                "title": device.title.get("en") or device.device,
                "kind": device.kind,
                "group": device.group,
                **latest.get((device.pilot, device.device), {}),
            },
        }
        for device in devices
        if device.position is not None
    ]


def _found(catalogue: RegistryView, viewer: Viewer, pilot: str) -> PilotDefinition:
    definition = find_pilot(catalogue, viewer, pilot)
    if not _placed(catalogue, pilot):
        raise Problem("not-found", "No device of this pilot has a position, so there is no collection for it.")
    return definition


def _placed(catalogue: RegistryView, pilot: str) -> list[DeviceInfo]:
    return [device for device in catalogue.devices_of(pilot) if device.position is not None]


def _link(rel: str, href: str, media_type: str, title: str) -> dict[str, str]:
    return {"rel": rel, "href": href, "type": media_type, "title": title}


def _base(request: Request) -> str:
    return f"{str(request.base_url).rstrip('/')}/features"


def _json(body: Any) -> Response:
    return Response(msgspec.json.encode(body), media_type=JSON)

"""What EDR says of a pilot and its devices: collections, and locations as GeoJSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from techport_dashboards.edr.coverage import COVERAGE_JSON, CRS84, GREGORIAN, plain_parameter
from techport_dashboards.problems import Problem
from techport_dashboards.query import times
from techport_dashboards.query.names import find_pilot
from techport_dashboards.query.registry_cache import RegistryView
from techport_dashboards.services.dataset_stats import DatasetStats
from techport_dashboards.viewer import Viewer
from techport_pilots.model import PilotDefinition
from techport_pilots.registry.registry import DeviceInfo

WKT = 'GEOGCRS["WGS 84 (CRS84)",DATUM["World Geodetic System 1984",ELLIPSOID["WGS 84",6378137,298.257223563]]]'
KINDS = {"locations": "Devices, by name", "position": "The device nearest to a point", "area": "Devices in a polygon"}


def collection(pilot: PilotDefinition, catalogue: RegistryView, held: DatasetStats | None, base: str) -> dict[str, Any]:
    """A pilot: where and when it measures what, and what may be asked."""
    address = f"{base}/collections/{pilot.id}"
    xs, ys = zip(*(point(device) for device in placed(catalogue, pilot.id)), strict=True)
    extent: dict[str, Any] = {"spatial": {"bbox": [[min(xs), min(ys), max(xs), max(ys)]], "crs": CRS84}}
    if held is not None:
        ends = [times.iso(held.first), times.iso(held.last)]
        extent["temporal"] = {"interval": [ends], "values": ["/".join(ends)], "trs": GREGORIAN}
    return {
        "id": pilot.id,
        "title": pilot.title.get("en"),
        "description": pilot.question.get("en"),
        "keywords": sorted({stream.quantity for stream in catalogue.streams if stream.pilot == pilot.id}),
        "links": [
            {"rel": "self", "href": address, "type": "application/json", "title": "This"},
            {"rel": "data", "href": f"{address}/locations", "type": "application/geo+json", "title": "Devices"},
        ],
        "extent": extent,
        "data_queries": {kind: {"link": _query(address, kind, title)} for kind, title in KINDS.items()},
        "crs": ["CRS84"],
        "output_formats": [COVERAGE_JSON],
        "parameter_names": {
            stream.quantity: plain_parameter(info)
            for stream, info in catalogue.streams.items()
            if stream.pilot == pilot.id
        },
    }


def locations(devices: Sequence[DeviceInfo], catalogue: RegistryView, base: str) -> dict[str, Any]:
    """The devices as GeoJSON, with what each measures and where to ask for it."""
    measures: dict[tuple[str, str], list[str]] = {}
    for stream in catalogue.streams:
        measures.setdefault(stream[:2], []).append(stream.quantity)
    features = [
        {
            "type": "Feature",
            "id": device.device,
            "geometry": {"type": "Point", "coordinates": list(point(device))},
            "properties": {
                "label": device.title.get("en") or device.device,
                "parameter-name": measures.get((device.pilot, device.device), []),
                "edrqueryendpoint": f"{base}/collections/{device.pilot}/locations/{quote(device.device, safe='')}",
            },
        }
        for device in devices
    ]
    return {"type": "FeatureCollection", "features": features, "numberReturned": len(features)}


def find_collection(catalogue: RegistryView, viewer: Viewer, pilot: str) -> PilotDefinition:
    """The pilot that the collection is. Raises Problem where there is none."""
    definition = find_pilot(catalogue, viewer, pilot)
    if not placed(catalogue, pilot):
        raise Problem("not-found", "No device of this pilot has a position, so there is no collection for it.")
    return definition


def placed(catalogue: RegistryView, pilot: str) -> list[DeviceInfo]:
    """Its devices that stand somewhere."""
    return [device for device in catalogue.devices_of(pilot) if device.position is not None]


def point(device: DeviceInfo) -> tuple[float, float]:
    """Degrees east and north."""
    assert device.position is not None
    return device.position.lon, device.position.lat


def _query(address: str, kind: str, title: str) -> dict[str, Any]:
    variables = {
        "title": title,
        "query_type": kind,
        "output_formats": [COVERAGE_JSON],
        "default_output_format": COVERAGE_JSON,
        "crs_details": [{"crs": "CRS84", "wkt": WKT}],
    }
    return {"href": f"{address}/{kind}", "rel": "data", "templated": False, "variables": variables}

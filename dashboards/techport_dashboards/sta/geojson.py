"""$resultFormat=GeoJSON: entities as features, with what they say as properties."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from techport_dashboards.sta.entities import EntityGraph

_PLACES = {"Locations": "location", "FeaturesOfInterest": "feature", "Datastreams": "observedArea"}


def features(kind: str, body: Mapping[str, Any], world: EntityGraph) -> dict[str, Any]:
    """A FeatureCollection of a page of an entity set. What stands nowhere has no geometry."""
    collection: dict[str, Any] = {
        "type": "FeatureCollection",
        "features": [_feature(kind, item, world) for item in body["value"]],
    }
    return collection | {name: body[name] for name in ("@iot.nextLink", "@iot.count") if name in body}


def _feature(kind: str, item: Mapping[str, Any], world: EntityGraph) -> dict[str, Any]:
    geometry = item.get(_PLACES.get(kind, ""))
    entity = world.sets[kind].get(item.get("@iot.id", -1))
    if geometry is None and kind == "Things" and entity is not None:
        places = [world.sets["Locations"][entity_id] for entity_id in entity.related["Locations"]]
        geometry = places[0].properties["location"] if places else None
    if isinstance(geometry, Mapping) and geometry.get("type") == "Feature":
        geometry = geometry["geometry"]
    hidden = ("@iot.selfLink", _PLACES.get(kind))
    properties = {n: v for n, v in item.items() if n not in hidden and not n.endswith("navigationLink")}
    return {"type": "Feature", "id": item.get("@iot.id"), "geometry": geometry, "properties": _flat(properties)}


def _flat(properties: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in properties.items():
        flat |= _flat(value, f"{before}{name}/") if isinstance(value, Mapping) else {before + name: value}
    return flat

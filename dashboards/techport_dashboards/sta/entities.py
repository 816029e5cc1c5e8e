"""The entities of SensorThings but for Observations, made from one version of the registry."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from techport_dashboards.query import times
from techport_dashboards.query.registry_cache import RegistryView
from techport_dashboards.viewer import Viewer
from techport_pilots.definition.privacy import licence_of
from techport_pilots.model import PilotDefinition
from techport_pilots.quantities import lookup, vocabulary_of
from techport_pilots.registry.database import Database
from techport_pilots.registry.entity_ids import EntityKey, entity_ids
from techport_pilots.registry.registry import DeviceInfo, StreamInfo
from techport_pilots.time import micros_of
from techport_storage.model import Micros, Selection, Stream
from techport_storage.store import ReadingStore

MEASUREMENT = "http://www.opengis.net/def/observationType/OGC-OM/2.0/OM_Measurement"
GEOJSON = "application/geo+json"
CF_NAMES = "http://vocab.nerc.ac.uk/standard_name/"
UCUM = "http://www.opengis.net/def/uom/UCUM/0/"

RELATIONS: Mapping[str, Mapping[str, str]] = {
    "Things": {
        "Locations": "Locations",
        "HistoricalLocations": "HistoricalLocations",
        "Datastreams": "Datastreams",
    },
    "Locations": {"Things": "Things", "HistoricalLocations": "HistoricalLocations"},
    "HistoricalLocations": {"Thing": "Things", "Locations": "Locations"},
    "Datastreams": {
        "Thing": "Things",
        "Sensor": "Sensors",
        "ObservedProperty": "ObservedProperties",
        "Observations": "Observations",
    },
    "Sensors": {"Datastreams": "Datastreams"},
    "ObservedProperties": {"Datastreams": "Datastreams"},
    "Observations": {"Datastream": "Datastreams", "FeatureOfInterest": "FeaturesOfInterest"},
    "FeaturesOfInterest": {"Observations": "Observations"},
}
"""Of each entity set its relations and the sets they lead to. A name in the singular leads to one entity."""

PROPERTIES: Mapping[str, tuple[str, ...]] = {
    "Things": ("name", "description", "properties"),
    "Locations": ("name", "description", "encodingType", "location", "properties"),
    "HistoricalLocations": ("time",),
    "Datastreams": (
        *("name", "description", "observationType", "unitOfMeasurement"),
        *("observedArea", "phenomenonTime", "resultTime", "properties"),
    ),
    "Sensors": ("name", "description", "encodingType", "metadata", "properties"),
    "ObservedProperties": ("name", "definition", "description", "properties"),
    "Observations": ("phenomenonTime", "resultTime", "result", "resultQuality", "validTime", "parameters"),
    "FeaturesOfInterest": ("name", "description", "encodingType", "feature", "properties"),
}


@dataclass(frozen=True, slots=True)
class Entity:
    kind: str  # the entity set it belongs to
    id: int
    properties: Mapping[str, Any]
    related: Mapping[str, list[int]]  # of each relation the ids; none for Observations, which are in the store


@dataclass(frozen=True, slots=True)
class EntityGraph:
    """All entity sets, each by id and in the order of ids; and which stream a Datastream is."""

    sets: Mapping[str, Mapping[int, Entity]]
    streams: Mapping[int, Stream]
    datastreams: Mapping[Stream, int]
    keys: Mapping[EntityKey, int]
    intervals: Mapping[Stream, Micros]

    def features(self, stream: Stream) -> int:
        """Id of the FeatureOfInterest of the stream's Observations."""
        return self.keys[EntityKey("FeaturesOfInterest", stream.pilot, stream.device)]

    def streams_at(self, feature: int) -> list[Stream]:
        return [stream for stream in self.datastreams if self.features(stream) == feature]


_MOST_KEPT = 8
"""Graphs: one for each set of pilots that somebody may see."""
_OF_DEVICE = ("Things", "Locations", "HistoricalLocations", "FeaturesOfInterest")


def entity_graph(catalogue: RegistryView, stored: Iterable[Stream], viewer: Viewer, database: Database) -> EntityGraph:
    """What the viewer may see. Entities without a number are given one, in the registry's `database`."""
    streams = sorted(s for s in {*catalogue.streams, *stored} if viewer.may_see(s.pilot))
    devices = {stream[:2] for stream in streams} | {key for key in catalogue.devices if viewer.may_see(key[0])}
    keys = {EntityKey(kind, *device) for kind in _OF_DEVICE for device in devices}
    for stream in streams:
        keys |= {EntityKey("Datastreams", *stream), sensor_key(catalogue, stream), property_key(catalogue, stream)}
    ids = entity_ids(database, keys)
    builder = _Builder(catalogue, ids, {})
    for pilot, name in sorted(devices):
        builder.device(pilot, name)
    for stream in streams:
        builder.stream(stream)
    datastreams = {stream: ids[EntityKey("Datastreams", *stream)] for stream in streams}
    intervals = {s: info.interval_us for s in streams if (info := catalogue.stream(s)).interval_us}
    sets = {
        kind: {e.id: e for e in sorted(builder.built.get(kind, {}).values(), key=lambda e: e.id)} for kind in RELATIONS
    }
    return EntityGraph(sets, {i: s for s, i in datastreams.items()}, datastreams, ids, intervals)


def sensor_key(catalogue: RegistryView, stream: Stream) -> EntityKey:
    """Devices of one kind share a Sensor."""
    device = catalogue.devices.get(stream[:2])
    return EntityKey("Sensors", name=(device and device.kind) or "not described")


def property_key(catalogue: RegistryView, stream: Stream) -> EntityKey:
    """Pilots share the ObservedProperties of the vocabulary; a quantity of their own is theirs alone."""
    name = stream.quantity.partition(".")[0]
    return EntityKey("ObservedProperties", "" if lookup(name) is not None else stream.pilot, name=name)


class EntityCache:
    """Gives the entities as they are, built anew only when the registry or the streams of the store have changed."""

    def __init__(self, database: Database) -> None:
        """`database` is the registry's, where entities get their numbers."""
        self._database = database
        self._lock = threading.Lock()
        self._kept: OrderedDict[frozenset[str] | None, tuple[int, list[Stream], EntityGraph]] = OrderedDict()

    def current(self, catalogue: RegistryView, store: ReadingStore, viewer: Viewer) -> EntityGraph:
        """What the viewer may see."""
        pilots = None if viewer.pilots is None else tuple(sorted(viewer.pilots))
        streams_now = store.streams(Selection(pilots=pilots))
        with self._lock:
            version, streams, graph = self._kept.pop(viewer.pilots, (None, [], None))
            if graph is None or version != catalogue.version or streams != streams_now:
                graph = entity_graph(catalogue, streams_now, viewer, self._database)
            self._kept[viewer.pilots] = (catalogue.version, streams_now, graph)
            if len(self._kept) > _MOST_KEPT:
                self._kept.popitem(last=False)
            return graph


@dataclass(frozen=True, slots=True)
class _Builder:
    catalogue: RegistryView
    ids: Mapping[EntityKey, int]
    built: dict[str, dict[int, Entity]]

    def device(self, pilot: str, name: str) -> None:
        definition = self.catalogue.pilots.get(pilot)
        device = self.catalogue.devices.get((pilot, name))
        title = _title(device, name)
        thing, location, since, feature_id = (self.ids[EntityKey(kind, pilot, name)] for kind in _OF_DEVICE)
        geometry = _geometry(device)
        places, moves = ([location], [since]) if geometry else ([], [])
        self._add(
            "Things",
            thing,
            {
                "name": title,
                "description": f"{(device and device.kind) or 'device'} of the pilot {_pilot_title(definition, pilot)}",
                "properties": _thing_properties(definition, device, pilot, name),
            },
            {"Locations": places, "HistoricalLocations": moves, "Datastreams": []},
        )
        about = {"name": title, "description": f"Where {title} stands", "encodingType": GEOJSON}
        own = {"pilot": pilot, "device": name}
        if geometry:
            self._add(
                "Locations",
                location,
                {**about, "location": geometry, "properties": own},
                {"Things": [thing], "HistoricalLocations": moves},
            )
            moment = times.iso(_since(definition, name))
            self._add("HistoricalLocations", since, {"time": moment}, {"Thing": [thing], "Locations": places})
        feature = geometry or {"type": "Feature", "geometry": None, "properties": own}
        self._add("FeaturesOfInterest", feature_id, {**about, "feature": feature, "properties": own}, {})

    def stream(self, stream: Stream) -> None:
        info = self.catalogue.stream(stream)
        device = self.catalogue.devices.get(stream[:2])
        datastream = self.ids[EntityKey("Datastreams", *stream)]
        thing = self.ids[EntityKey("Things", stream.pilot, stream.device)]
        key = sensor_key(self.catalogue, stream)
        sensor = self._shared(
            key,
            {
                "name": key.name,
                "description": f"Devices of the kind {key.name}",
                "encodingType": "text/plain",
                "metadata": key.name,
                "properties": {},
            },
        )
        observed = self._shared(property_key(self.catalogue, stream), self._observed(info))
        for entity in (self.built["Things"][thing], sensor, observed):
            entity.related["Datastreams"].append(datastream)
        title = info.title.get("en") or stream.quantity
        self._add(
            "Datastreams",
            datastream,
            {
                "name": f"{title}, {_title(device, stream.device)}",
                "description": f"{title} as measured by {_title(device, stream.device)}",
                "observationType": MEASUREMENT,
                "unitOfMeasurement": {
                    "name": _words(info) or info.unit_label or info.unit or "not described",
                    "symbol": info.unit_label or info.unit or "",
                    "definition": UCUM + info.unit if info.unit else "",
                },
                "observedArea": _geometry(device),
                "properties": {
                    **stream._asdict(),
                    "described": info.described,
                    "unit": info.unit,
                    **({"states": [word.get("en") for word in info.words]} if info.words else {}),
                    "intervalSeconds": info.interval_us / 1e6 if info.interval_us else None,
                },
            },
            {"Thing": [thing], "Sensor": [sensor.id], "ObservedProperty": [observed.id]},
        )

    def _observed(self, info: StreamInfo) -> dict[str, Any]:
        """Says the same whichever of its streams comes first, so that it does not depend on who looks."""
        name = info.stream.quantity.partition(".")[0]
        pilot = self.catalogue.pilots.get(info.stream.pilot)
        quantity = lookup(name) or (vocabulary_of(pilot).lookup(name) if pilot else None)
        cf_name = quantity.cf_name if quantity else None
        return {
            "name": name,
            "definition": f"{CF_NAMES}{cf_name}/" if cf_name else f"urn:techport:quantity:{name}",
            "description": (quantity.title.get("en") if quantity else "") or name,
            "properties": {
                "unit": quantity.unit if quantity else None,
                "eeaCode": quantity.eea_code if quantity else None,
            },
        }

    def _shared(self, key: EntityKey, properties: dict[str, Any]) -> Entity:
        entity = self.built.get(key.kind, {}).get(self.ids[key])
        return entity or self._add(key.kind, self.ids[key], properties, {"Datastreams": []})

    def _add(self, kind: str, entity_id: int, properties: dict[str, Any], related: dict[str, list[int]]) -> Entity:
        entity = Entity(kind, entity_id, properties, related)
        self.built.setdefault(kind, {})[entity_id] = entity
        return entity


def _words(info: StreamInfo) -> str:
    """What the results of a state mean: "0: closed, 1: open"; "" for other quantities."""
    return ", ".join(f"{number}: {word.get('en')}" for number, word in enumerate(info.words))


def _title(device: DeviceInfo | None, name: str) -> str:
    return (device.title.get("en") if device else "") or name


def _pilot_title(pilot: PilotDefinition | None, name: str) -> str:
    return (pilot.title.get("en") if pilot else "") or name


def _geometry(device: DeviceInfo | None) -> dict[str, Any] | None:
    if device is None or device.position is None:
        return None
    return {"type": "Point", "coordinates": [device.position.lon, device.position.lat]}


def _thing_properties(
    pilot: PilotDefinition | None, device: DeviceInfo | None, pilot_id: str, name: str
) -> dict[str, Any]:
    return {
        "pilot": pilot_id,
        "pilotTitle": _pilot_title(pilot, pilot_id),
        "device": name,
        "kind": device.kind if device else None,
        "group": device.group if device else None,
        "height": device.position.height if device and device.position else None,
        "licence": licence_of(pilot) if pilot else None,
        "attribution": pilot.attribution if pilot else None,
        "described": device.described if device else False,
        **({"tags": dict(device.tags)} if device and device.tags else {}),
    }


def _since(pilot: PilotDefinition | None, device: str) -> Micros:
    """Since when the device stands where it stands: the last time it was installed or moved, else the first phase."""
    if pilot is None:
        return 0
    moves = [
        micros_of(event.time, pilot.timezone)
        for event in pilot.events
        if event.device == device and event.kind in ("installed", "moved")
    ]
    begun = [micros_of(phase.start, pilot.timezone) for phase in pilot.phases]
    return max(moves) if moves else min(begun, default=0)

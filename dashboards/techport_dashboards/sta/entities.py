"""The entities of SensorThings but for Observations, made from one version of the registry."""

from __future__ import annotations

import hashlib
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
from techport_pilots.quantities import Quantity, vocabulary_of
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
    slots: Mapping[Stream, int]
    slot_streams: Mapping[int, Stream]
    intervals: Mapping[Stream, Micros]

    def features(self, stream: Stream) -> int:
        """Id of the FeatureOfInterest of the stream's Observations."""
        return number("feature", stream.pilot, stream.device)

    def streams_at(self, feature: int) -> list[Stream]:
        return [stream for stream in self.datastreams if self.features(stream) == feature]


def number(*parts: str) -> int:
    """An id: the same in every process and for good, and small enough for a number in JavaScript."""
    return int.from_bytes(hashlib.blake2b("\0".join(parts).encode(), digest_size=6).digest())


_MOST_KEPT = 8
"""Worlds: one for each set of pilots that somebody may see."""
SLOTS = 1 << 22
"""Numbers that tell streams apart in an Observation's id, which has to fit into 63 bits beside the time."""


def entity_graph(catalogue: RegistryView, found: Iterable[Stream], viewer: Viewer) -> EntityGraph:
    """What the viewer may see."""
    streams = sorted(s for s in {*catalogue.streams, *found} if viewer.may_see(s.pilot))
    keys = {stream[:2] for stream in streams} | {key for key in catalogue.devices if viewer.may_see(key[0])}
    makers = _Makers(catalogue, {})
    for pilot, name in sorted(keys):
        makers.device(pilot, name)
    for stream in streams:
        makers.stream(stream)
    ids = {stream: number("stream", *stream) for stream in streams}
    slots: dict[Stream, int] = {}
    taken: dict[int, Stream] = {}
    for stream in streams:
        slot = ids[stream] % SLOTS
        while slot in taken:
            slot = (slot + 1) % SLOTS
        slots[stream], taken[slot] = slot, stream
    intervals = {s: info.interval_us for s in streams if (info := catalogue.stream(s)).interval_us}
    sets = {
        kind: {e.id: e for e in sorted(makers.made.get(kind, {}).values(), key=lambda e: e.id)} for kind in RELATIONS
    }
    return EntityGraph(sets, {i: s for s, i in ids.items()}, ids, slots, taken, intervals)


class EntityCache:
    """Gives the world as it is, made anew only when the registry or the streams of the store have changed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[frozenset[str] | None, tuple[int, list[Stream], EntityGraph]] = OrderedDict()

    def current(self, catalogue: RegistryView, store: ReadingStore, viewer: Viewer) -> EntityGraph:
        """What the viewer may see."""
        pilots = None if viewer.pilots is None else tuple(sorted(viewer.pilots))
        found = store.streams(Selection(pilots=pilots))
        with self._lock:
            version, streams, kept = self._kept.pop(viewer.pilots, (None, [], None))
            if kept is None or version != catalogue.version or streams != found:
                kept = entity_graph(catalogue, found, viewer)
            self._kept[viewer.pilots] = (catalogue.version, found, kept)
            if len(self._kept) > _MOST_KEPT:
                self._kept.popitem(last=False)
            return kept


@dataclass(frozen=True, slots=True)
class _Makers:
    catalogue: RegistryView
    made: dict[str, dict[int, Entity]]

    def device(self, pilot: str, name: str) -> None:
        definition = self.catalogue.pilots.get(pilot)
        device = self.catalogue.devices.get((pilot, name))
        title = _title(device, name)
        thing = number("thing", pilot, name)
        place = [number("location", pilot, name)] if device is not None and device.position is not None else []
        since = [number("since", pilot, name)] if place else []
        self._add(
            "Things",
            thing,
            {
                "name": title,
                "description": f"{(device and device.kind) or 'device'} of the pilot {_pilot_title(definition, pilot)}",
                "properties": _thing_properties(definition, device, pilot, name),
            },
            {"Locations": place, "HistoricalLocations": since, "Datastreams": []},
        )
        geometry = _geometry(device)
        about = {"name": title, "description": f"Where {title} stands", "encodingType": GEOJSON}
        own = {"pilot": pilot, "device": name}
        if place:
            self._add(
                "Locations",
                place[0],
                {**about, "location": geometry, "properties": own},
                {"Things": [thing], "HistoricalLocations": since},
            )
            moment = times.iso(_since(definition, name))
            self._add("HistoricalLocations", since[0], {"time": moment}, {"Thing": [thing], "Locations": place})
        feature = geometry or {"type": "Feature", "geometry": None, "properties": own}
        self._add(
            "FeaturesOfInterest", number("feature", pilot, name), {**about, "feature": feature, "properties": own}, {}
        )

    def stream(self, stream: Stream) -> None:
        info = self.catalogue.stream(stream)
        device = self.catalogue.devices.get(stream[:2])
        own = number("stream", *stream)
        thing = number("thing", stream.pilot, stream.device)
        kind = (device and device.kind) or "not described"
        sensor = self._shared(
            "Sensors",
            number("sensor", kind),
            {
                "name": kind,
                "description": f"Devices of the kind {kind}",
                "encodingType": "text/plain",
                "metadata": kind,
                "properties": {},
            },
        )
        observed = self._shared("ObservedProperties", number("quantity", stream.quantity), self._observed(info))
        for entity in (self.made["Things"][thing], sensor, observed):
            entity.related["Datastreams"].append(own)
        title = info.title.get("en") or stream.quantity
        self._add(
            "Datastreams",
            own,
            {
                "name": f"{title}, {_title(device, stream.device)}",
                "description": f"{title} as measured by {_title(device, stream.device)}",
                "observationType": MEASUREMENT,
                "unitOfMeasurement": {
                    "name": info.unit_label or info.unit or "not described",
                    "symbol": info.unit_label or info.unit or "",
                    "definition": UCUM + info.unit if info.unit else "",
                },
                "observedArea": _geometry(device),
                "properties": {
                    **stream._asdict(),
                    "described": info.described,
                    "unit": info.unit,
                    "intervalSeconds": info.interval_us / 1e6 if info.interval_us else None,
                },
            },
            {"Thing": [thing], "Sensor": [sensor.id], "ObservedProperty": [observed.id]},
        )

    def _observed(self, info: StreamInfo) -> dict[str, Any]:
        pilot = self.catalogue.pilots.get(info.stream.pilot)
        quantity: Quantity | None = vocabulary_of(pilot).lookup(info.stream.quantity) if pilot else None
        cf_name = quantity.cf_name if quantity else None
        return {
            "name": info.stream.quantity,
            "definition": f"{CF_NAMES}{cf_name}/" if cf_name else f"urn:techport:quantity:{info.stream.quantity}",
            "description": info.title.get("en") or info.stream.quantity,
            "properties": {"unit": info.unit, "eeaCode": quantity.eea_code if quantity else None},
        }

    def _shared(self, kind: str, entity_id: int, properties: dict[str, Any]) -> Entity:
        known = self.made.get(kind, {}).get(entity_id)
        return known or self._add(kind, entity_id, properties, {"Datastreams": []})

    def _add(self, kind: str, entity_id: int, properties: dict[str, Any], related: dict[str, list[int]]) -> Entity:
        entity = Entity(kind, entity_id, properties, related)
        self.made.setdefault(kind, {})[entity_id] = entity
        return entity


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

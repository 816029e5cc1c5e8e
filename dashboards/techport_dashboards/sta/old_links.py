"""Links of the release before, in which ids were hashes: they lead to the same entities for one more release.

Ids were 48 bits of a hash of the entity's names, and Observations 22 bits of that and 41 bits of the millisecond.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Mapping

from techport_dashboards.query import times
from techport_dashboards.sta.entities import EntityGraph
from techport_pilots.registry.entity_ids import EntityKey
from techport_storage.model import Micros, Stream

LARGEST = 1 << 31
"""Numbers from here on can only be old."""
_FIRST: Micros = times.micros(dt.datetime(2000, 1, 1, tzinfo=dt.UTC))
_MS_BITS = 41
_SLOTS = 1 << 22
_WORDS: Mapping[str, str] = {
    "Things": "thing",
    "Locations": "location",
    "HistoricalLocations": "since",
    "FeaturesOfInterest": "feature",
    "Datastreams": "stream",
    "Sensors": "sensor",
    "ObservedProperties": "quantity",
}
"""What the hash of each kind began with."""


def current_id(kind: str, old: int, graph: EntityGraph) -> int | None:
    """The id of the entity that had the old one."""
    if old < LARGEST:
        return None
    for key, entity_id in graph.keys.items():
        if key.kind == kind and _hash(_WORDS[kind], *_names(key)) == old:
            return entity_id
    if kind == "ObservedProperties":  # there was one for each channel
        for stream, datastream in graph.datastreams.items():
            if _hash("quantity", stream.quantity) == old:
                return graph.sets["Datastreams"][datastream].related["ObservedProperty"][0]
    return None


def observation_at(old: int, graph: EntityGraph) -> tuple[list[Stream], Micros] | None:
    """Streams that an Observation with the old id may be of, and the millisecond in which it is."""
    if old < LARGEST:
        return None
    slot, milliseconds = old >> _MS_BITS, old & (1 << _MS_BITS) - 1
    streams = [stream for stream in graph.datastreams if _hash("stream", *stream) % _SLOTS == slot]
    return (streams, _FIRST + milliseconds * 1000) if streams else None


def _names(key: EntityKey) -> tuple[str, ...]:
    if key.kind in ("Sensors", "ObservedProperties"):
        return (key.name,)
    return (key.pilot, key.device, key.name) if key.kind == "Datastreams" else (key.pilot, key.device)


def _hash(*parts: str) -> int:
    return int.from_bytes(hashlib.blake2b("\0".join(parts).encode(), digest_size=6).digest())

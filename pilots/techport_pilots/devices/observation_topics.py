"""Where new readings are published for who subscribes, as SensorThings names it: v1.1/Datastreams(7)/Observations."""

from __future__ import annotations

import threading

import structlog

from techport_pilots.quality.people_counts import is_people_count
from techport_pilots.registry.entity_ids import EntityKey, entity_ids
from techport_pilots.registry.registry import Registry
from techport_pilots.topics import topic_matches
from techport_storage.model import Stream

log = structlog.get_logger(__name__)

ALL = "v1.1/+/Observations"
"""A filter that takes every one of the topics, and little else."""


def topic_of(datastream: int) -> str:
    return f"v1.1/Datastreams({datastream})/Observations"


class ObservationTopics:
    """The Datastreams of the registry, which are given their numbers here where they have none. Safe to use from
    several threads.

    Counts of people leave the platform as sums only (quality/people_counts.py), so they have no topic. Where a source
    of a pilot reads such topics, as of another SensorThings server behind the same broker, nobody has one: what is
    published would come back as a message.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._lock = threading.Lock()
        self._version: int | None = None
        self._numbers: dict[Stream, int] = {}
        self._of_devices: dict[tuple[str, str], list[int]] = {}

    def numbers(self) -> dict[Stream, int]:
        """The Datastream of every stream that has a topic. May raise RegistryUnavailable."""
        version = self._registry.version()
        with self._lock:
            if version != self._version:
                self._numbers, self._version = self._read(), version
                self._of_devices = {}
                for stream, number in sorted(self._numbers.items(), key=lambda item: item[1]):
                    self._of_devices.setdefault(stream[:2], []).append(number)
            return self._numbers

    def of_device(self, pilot: str, device: str) -> tuple[str, ...]:
        """The topics of a device, by number. May raise RegistryUnavailable."""
        self.numbers()
        with self._lock:
            return tuple(topic_of(number) for number in self._of_devices.get((pilot, device), ()))

    def _read(self) -> dict[Stream, int]:
        pilots = {pilot.id: pilot for pilot in self._registry.pilots()}
        for pilot in pilots.values():
            if any(topic_matches(source.topic, topic_of(1)) for source in pilot.sources):
                log.warning("a source reads topics of SensorThings: Observations are not published", pilot=pilot.id)
                return {}
        streams = [
            info.stream
            for info in self._registry.streams()
            if not is_people_count(pilots[info.stream.pilot], info.stream.quantity)
        ]
        ids = entity_ids(self._registry.database, {EntityKey("Datastreams", *stream) for stream in streams})
        return {stream: ids[EntityKey("Datastreams", *stream)] for stream in streams}

"""What the registry knows, read once for each of its versions and then looked up without asking it again."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass

from techport_pilots.model import PilotDefinition, Text
from techport_pilots.registry import DeviceInfo, Registry, StreamInfo
from techport_storage.model import Stream


@dataclass(frozen=True, slots=True)
class Catalogue:
    """One version of the registry, immutable. Mappings are ordered by their keys."""

    pilots: Mapping[str, PilotDefinition]
    devices: Mapping[tuple[str, str], DeviceInfo]
    streams: Mapping[Stream, StreamInfo]

    def stream(self, stream: Stream) -> StreamInfo:
        """What is known of the stream; for one that the store has and the registry has never heard of, its name."""
        known = self.streams.get(stream)
        return known or StreamInfo(stream=stream, title=Text(en=stream.quantity), described=False)

    def unit(self, stream: Stream) -> str:
        """UCUM; empty where nobody has said."""
        return self.stream(stream).unit or ""

    def devices_of(self, pilot: str) -> list[DeviceInfo]:
        return [device for (owner, _), device in self.devices.items() if owner == pilot]


class Catalogues:
    """Gives the current catalogue. Safe to use from several threads."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._lock = threading.Lock()
        self._current: tuple[int, Catalogue] | None = None

    @property
    def registry(self) -> Registry:
        """What the catalogues are read from, for the few who need more."""
        return self._registry

    def current(self) -> Catalogue:
        """The registry as it is now; read again only when its version has changed. Raises RegistryUnavailable."""
        version = self._registry.version()
        with self._lock:
            if self._current is None or self._current[0] != version:
                self._current = (version, read(self._registry))
            return self._current[1]


def read(registry: Registry) -> Catalogue:
    return Catalogue(
        pilots={pilot.id: pilot for pilot in registry.pilots()},
        devices={(device.pilot, device.device): device for device in registry.devices()},
        streams={info.stream: info for info in registry.streams()},
    )

"""What the registry knows, read once for each of its versions and then looked up without asking it again."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

import msgspec

from techport_pilots.model import PilotDefinition, Text
from techport_pilots.quality.people_counts import interval_handed_on
from techport_pilots.registry.lifecycle import changes, measured_until
from techport_pilots.registry.registry import DeviceInfo, Registry, StreamInfo
from techport_storage.model import BucketWidth, Micros, Selection, Stream

_NEVER: Micros = 2**62
RECENT_S = 0.1


@dataclass(frozen=True, slots=True)
class RegistryView:
    """One version of the registry, immutable. Mappings are ordered by their keys."""

    pilots: Mapping[str, PilotDefinition]
    devices: Mapping[tuple[str, str], DeviceInfo]
    streams: Mapping[Stream, StreamInfo]
    of_device: Mapping[tuple[str, str], Sequence[StreamInfo]]
    device_names: Mapping[str, Set[str]]  # by pilot, of those that have any
    quantity_names: Mapping[str, Set[str]]  # by pilot, of those that have any
    over: Set[str]  # pilots that have ended or are closed, whatever their phases say
    assumed_open: Set[str]  # pilots that are open only because their definition does not say who may read
    version: int
    """The registry's, which another content never has."""
    closed: Set[str] = frozenset()  # of those that are over: closed for good
    ended_at: Mapping[str, Micros] = field(default_factory=dict)  # of those that are over
    width: BucketWidth | None = None  # of the buckets that each of its readings stands for, as in a shared feed

    def measured_until(self, pilot: str, now: Micros) -> Micros:
        """Until when a pilot's days count: its end where it has ended, else `now`."""
        return min(now, self.ended_at.get(pilot, now))

    def stream(self, stream: Stream) -> StreamInfo:
        """What is known of the stream; for one that the store has and the registry has never heard of, its name."""
        described = self.streams.get(stream)
        return described or StreamInfo(stream=stream, title=Text(en=stream.quantity), described=False)

    def unit(self, stream: Stream) -> str:
        """UCUM; empty where nobody has said."""
        described = self.streams.get(stream)
        return (described.unit or "") if described is not None else ""

    def state_words(self, stream: Stream) -> list[str]:
        """What the numbers of a state mean, in English; empty for other quantities."""
        info = self.stream(stream)
        return [title.get("en") for title in info.states] if info.kind == "state" else []

    def chosen(self, select: Selection) -> list[StreamInfo]:
        """The streams of the registry that are selected; the store may know others."""
        if select.streams is not None:
            return [self.streams[stream] for stream in sorted(select.streams) if stream in self.streams]
        if select.devices is not None and len(select.devices) < len(self.of_device):
            pilots = self.pilots if select.pilots is None else select.pilots
            keys = sorted((pilot, device) for pilot in pilots for device in select.devices)
            several = [info for key in keys for info in self.of_device.get(key, ())]
        else:
            several = list(self.streams.values())
        conditions = [
            (place, frozenset(names)) for place, names in enumerate(select_names(select)) if names is not None
        ]
        return [info for info in several if all(info.stream[place] in names for place, names in conditions)]

    def devices_of(self, pilot: str) -> list[DeviceInfo]:
        return [device for (owner, _), device in self.devices.items() if owner == pilot]


class RegistryCache:
    """Gives the current catalogue. Safe to use from several threads."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._lock = threading.Lock()
        self._current: tuple[int, RegistryView] | None = None
        self._asked = float("-inf")  # when it was asked which version there is

    @property
    def registry(self) -> Registry:
        """What the catalogues are read from, for the few who need more."""
        return self._registry

    def current(self) -> RegistryView:
        """The registry as it is now; read again only when its version has changed. Raises RegistryUnavailable."""
        asked = time.monotonic()
        version = self._registry.version()
        with self._lock:
            if self._current is None or self._current[0] != version:
                self._current = (version, read(self._registry, version))
            self._asked = asked
            return self._current[1]

    def recent(self) -> RegistryView:
        """The same, or as it was at most RECENT_S ago: for those whom a request asks that has just looked itself."""
        with self._lock:
            if self._current is not None and time.monotonic() - self._asked <= RECENT_S:
                return self._current[1]
        return self.current()


def select_names(select: Selection) -> tuple[Sequence[str] | None, ...]:
    """What is asked of the three names of a stream, in their order."""
    return select.pilots, select.devices, select.quantities


def _as_handed_on(info: StreamInfo, pilots: Mapping[str, PilotDefinition]) -> StreamInfo:
    """Counts of people come as sums of a width: whoever reads them expects one for each slot."""
    pilot = pilots.get(info.stream.pilot)
    if pilot is None or info.interval_us is None:
        return info
    interval = interval_handed_on(pilot, info.stream.quantity, info.interval_us)
    if interval == info.interval_us:
        return info
    earlier = tuple(
        promise._replace(interval=interval_handed_on(pilot, info.stream.quantity, promise.interval))
        for promise in info.earlier
    )
    return msgspec.structs.replace(info, interval_us=interval, earlier=earlier, arrives_us=info.interval_us)


def read(registry: Registry, version: int) -> RegistryView:
    pilots = {pilot.id: pilot for pilot in registry.pilots()}
    devices = {(device.pilot, device.device): device for device in registry.devices()}
    streams = {info.stream: _as_handed_on(info, pilots) for info in registry.streams()}
    of_device: dict[tuple[str, str], list[StreamInfo]] = {}
    device_names: dict[str, set[str]] = {}
    quantity_names: dict[str, set[str]] = {}
    for pilot, device in devices:
        device_names.setdefault(pilot, set()).add(device)
    for stream, info in streams.items():
        of_device.setdefault(stream[:2], []).append(info)
        quantity_names.setdefault(stream.pilot, set()).add(stream.quantity)
    states = {pilot: registry.state(pilot) for pilot in pilots}
    over = {pilot for pilot, state in states.items() if state in ("ended", "closed")}
    return RegistryView(
        pilots,
        devices,
        streams,
        of_device,
        device_names,
        quantity_names,
        over,
        registry.assumed_open(),
        version,
        {pilot for pilot, state in states.items() if state == "closed"},
        {pilot: measured_until(changes(registry.database, pilot), _NEVER) for pilot in over},
    )

"""What ingest asks of the registry for every message: look-ups in memory, immutable, one for each version."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from techport_pilots.device_names import comparable_name, spellings
from techport_pilots.model import DeviceDefinition, PilotDefinition, SourceDefinition
from techport_pilots.quantities import Vocabulary, vocabulary_of
from techport_pilots.registry.deployments import Deployment, deployments
from techport_pilots.time import interval_micros
from techport_storage.model import Micros, Stream


class Origin(NamedTuple):
    """Which part of a device (sensor, probe, address) the stream without a channel belongs to: the first that sent it.

    With the key "" it is the device's own: the group, application or server that its name is of.
    """

    pilot: str
    device: str
    key: str
    origin: str


class StreamView(msgspec.Struct, frozen=True):
    """A stream and its valid range, both ends included; infinite where nobody has set one."""

    stream: Stream
    lo: float = -math.inf
    hi: float = math.inf
    described: bool = True
    promised: bool = False  # the definition says how often it comes
    unit: str | None = None  # UCUM, of a stream that nobody described, where its messages state one


class DeviceView(msgspec.Struct, frozen=True):
    """A device of a pilot and the streams it is known to have."""

    pilot: str
    id: str
    streams: Mapping[str, StreamView]  # by the key in a payload: quantity, ".channel" may follow
    vocabulary: Vocabulary
    deployment: Deployment | None = None  # where it is now
    undescribed_count: int = 0  # of the streams, how many nobody has described
    origins: Mapping[str, str] = {}  # by key, see Origin
    units: Mapping[str, str] = {}  # that messages state of keys that nobody described

    def stream(self, key: str) -> StreamView | None:
        """The described or seen stream of that key; None when it was never heard of (see `undescribed`)."""
        return self.streams.get(key)

    def undescribed(self, key: str) -> StreamView:
        """A stream for a key that nobody has described: with the vocabulary's range, where it knows the quantity, and
        the unit that its messages state.
        """
        view = _view(Stream(self.pilot, self.id, key), self.vocabulary, None, described=False)
        return msgspec.structs.replace(view, unit=self.units.get(key))


class PilotView(msgspec.Struct, frozen=True):
    """A pilot and its devices."""

    id: str
    timezone: str
    devices: Mapping[str, DeviceView]
    aliases: Mapping[str, str]  # spellings() of ids and other names -> id
    sources: Sequence[SourceDefinition] = ()
    quarantine: Micros | None = None  # how long what is quarantined is kept; None: for ever
    closed: bool = False  # its data no longer changes: what still arrives is quarantined
    moves: float | None = None  # metres that a device has to report itself away before it counts as moved; None: never
    collects: bool = True  # False: a draft with personal data, whose messages are counted and not kept

    def device(self, device: str) -> DeviceView | None:
        """The described device of that id or other name, or None. A name's case and colons do not matter."""
        described = self.devices.get(device)
        if described is None and (device_id := self.aliases.get(comparable_name(device))) is not None:
            described = self.devices.get(device_id)
        return described


class IngestView(msgspec.Struct, frozen=True):
    """All pilots as they were at `version` of the registry."""

    version: int
    pilots: Mapping[str, PilotView]

    def pilot(self, pilot: str) -> PilotView | None:
        return self.pilots.get(pilot)

    @classmethod
    def of(
        cls,
        version: int,
        pilots: Iterable[PilotDefinition],
        seen: Iterable[Stream],
        closed: Collection[str] = (),
        origins: Iterable[Origin] = (),
        not_collecting: Collection[str] = (),
        units: Mapping[Stream, str] | None = None,
    ) -> IngestView:
        """The look-ups for these definitions, for the streams that were seen without being described, and for what is
        known of where values come from and of their units. `closed` and `not_collecting` are pilots by id: see
        PilotView.
        """
        learned: dict[tuple[str, str], _Learned] = {}
        for stream in seen:
            learned.setdefault((stream.pilot, stream.device), _Learned([], {}, {})).keys.append(stream.quantity)
        for owner, device, key, origin in origins:
            learned.setdefault((owner, device), _Learned([], {}, {})).origins[key] = origin
        for stream, unit in (units or {}).items():
            learned.setdefault((stream.pilot, stream.device), _Learned([], {}, {})).units[stream.quantity] = unit
        views = {}
        for pilot in pilots:
            view = _pilot(pilot, learned, pilot.id in closed)
            views[pilot.id] = msgspec.structs.replace(view, collects=pilot.id not in not_collecting)
        return cls(version, views)


class _Learned(NamedTuple):
    """What was learned of a device from its messages."""

    keys: list[str]  # of streams
    origins: dict[str, str]
    units: dict[str, str]  # that messages state, by key


_NOTHING = _Learned([], {}, {})


def _pilot(pilot: PilotDefinition, learned: Mapping[tuple[str, str], _Learned], closed: bool) -> PilotView:
    words = vocabulary_of(pilot)
    devices = {d.id: _device(pilot, d, learned.get((pilot.id, d.id), _NOTHING), words) for d in pilot.devices}
    aliases = {name: d.id for d in pilot.devices for other in (d.id, *d.aliases) for name in spellings(other)}
    quarantine_time = interval_micros(pilot.quarantine) if pilot.quarantine else None
    moves = [source.position.moves for source in pilot.sources if source.position and source.position.moves]
    sources = tuple(pilot.sources)
    return PilotView(
        pilot.id, pilot.timezone, devices, aliases, sources, quarantine_time, closed, min(moves, default=None)
    )


def _device(pilot: PilotDefinition, device: DeviceDefinition, learned: _Learned, words: Vocabulary) -> DeviceView:
    streams = {
        key: msgspec.structs.replace(
            _view(Stream(pilot.id, device.id, key), words, None, described=False), unit=learned.units.get(key)
        )
        for key in learned.keys
    }
    for described in device.streams:
        stream = Stream(pilot.id, device.id, described.quantity)
        view = _view(stream, words, described.range, described=True)
        promised = bool(described.interval or device.interval)
        streams[described.quantity] = msgspec.structs.replace(view, promised=promised)
    undescribed = sum(not stream.described for stream in streams.values())
    place = deployments(pilot, device)[-1]
    return DeviceView(pilot.id, device.id, streams, words, place, undescribed, learned.origins, learned.units)


def _view(stream: Stream, words: Vocabulary, own: tuple[float, float] | None, described: bool) -> StreamView:
    quantity = words.lookup(stream.quantity)
    lo, hi = own or (quantity and quantity.range) or (-math.inf, math.inf)
    return StreamView(stream, lo, hi, described)

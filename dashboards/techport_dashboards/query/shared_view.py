"""A share as a pilot: what its readers find in place of the registry and of the store.

    RegistryCache ─► SharedRegistryCache   one pilot, with the share's id, title, devices and streams
    ReadingStore  ─► DerivedStore          its readings: chosen, in buckets, within the period

What is given to routes in their place is all that they can reach, so what is not shared cannot be asked for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

import msgspec

from techport_dashboards.query import times
from techport_dashboards.query.registry_cache import RegistryCache, RegistryView
from techport_dashboards.query.row_choice import AGGREGATE_OF_KIND
from techport_pilots.access.shares import Share, is_too_fine
from techport_pilots.model import DeviceDefinition, PilotDefinition, Position, StreamDefinition, Text
from techport_pilots.quantities import vocabulary_of
from techport_pilots.registry.registry import DeviceInfo, Registry, StreamInfo
from techport_storage.buckets import fixed_width
from techport_storage.derived_store import Derivation, DerivedStore, DerivedStream
from techport_storage.model import Stream
from techport_storage.store import ReadingStore

_METRES_PER_DEGREE = 111_320.0


@dataclass(frozen=True, slots=True)
class SharedView:
    """A share against one version of the registry."""

    view: RegistryView
    streams: Mapping[Stream, DerivedStream]


class SharedRegistryCache(RegistryCache):
    """Gives the share's view of the registry as it is now. Safe to use from several threads."""

    def __init__(self, source: RegistryCache, share: Share) -> None:
        self._source = source
        self._share = share
        self._made: tuple[RegistryView, SharedView] | None = None

    @property
    def registry(self) -> Registry:
        """Not for readers of a share: raises RuntimeError."""
        withheld("registry")

    def current(self) -> RegistryView:
        """A view with one pilot, or none where there is no such pilot any more. Raises RegistryUnavailable."""
        return self._shared().view

    def streams(self) -> Mapping[Stream, DerivedStream]:
        """Where the readings of each stream come from. Raises RegistryUnavailable."""
        return self._shared().streams

    def _shared(self) -> SharedView:
        source = self._source.current()
        made = self._made
        if made is None or made[0] is not source:
            made = self._made = (source, shared_view(source, self._share))
        return made[1]


def shared_store(store: ReadingStore, cache: SharedRegistryCache, share: Share, zone: str) -> DerivedStore:
    """The readings that the share shows."""
    terms = share.terms
    return DerivedStore(store, Derivation(terms.width, zone, terms.start, terms.end), cache.streams)


def shared_view(source: RegistryView, share: Share) -> SharedView:
    """What there is of the pilot in the share: what its definition names and the share's terms choose. Nothing where
    the pilot has come to have personal data since, for which the share's buckets are too fine."""
    definition = source.pilots.get(share.pilot)
    if definition is None or is_too_fine(definition, share.terms):
        empty = RegistryView({}, {}, {}, {}, {}, {}, frozenset(), frozenset(), source.version)
        return SharedView(empty, {})
    terms = share.terms
    chosen = [
        info
        for stream, info in source.streams.items()
        if stream.pilot == share.pilot
        and info.described
        and stream.quantity in terms.quantities
        and (terms.devices is None or stream.device in terms.devices)
    ]
    devices: dict[tuple[str, str], DeviceInfo] = {}
    streams: dict[Stream, StreamInfo] = {}
    derived: dict[Stream, DerivedStream] = {}
    for info in chosen:
        device = source.devices[info.stream[:2]]
        name = share.device_name(device.device)
        stream = Stream(share.id, name, info.stream.quantity)
        devices[share.id, name] = _device(share, device, name)
        streams[stream] = _stream(share, definition, info, stream)
        derived[stream] = DerivedStream(info.stream, "mean" if terms.width is None else AGGREGATE_OF_KIND[info.kind])
    devices = dict(sorted(devices.items()))
    streams = dict(sorted(streams.items()))
    of_device: dict[tuple[str, str], list[StreamInfo]] = {}
    for stream, info in streams.items():
        of_device.setdefault(stream[:2], []).append(info)
    view = RegistryView(
        pilots={share.id: _pilot(share, definition, list(devices.values()), of_device)},
        devices=devices,
        streams=streams,
        of_device=of_device,
        device_names={share.id: {device for _, device in devices}} if devices else {},
        quantity_names={share.id: {stream.quantity for stream in streams}} if streams else {},
        over=frozenset({share.id} if share.pilot in source.over else ()),
        assumed_open=frozenset(),
        version=source.version,
        ended_at={share.id: source.ended_at[share.pilot]} if share.pilot in source.ended_at else {},
        width=terms.width,
    )
    return SharedView(view, derived)


def rounded(position: Position, metres: int) -> Position:
    """The middle of the square of a fixed grid, so many metres wide, that the position lies in, without its height."""
    rows = metres / _METRES_PER_DEGREE
    row = math.floor(position.lat / rows)
    lat = (row + 0.5) * rows
    columns = rows / max(math.cos(math.radians(lat)), 0.01)
    lon = (math.floor(position.lon / columns) + 0.5) * columns
    return Position(round(max(-90.0, min(90.0, lat)), 6), round(max(-180.0, min(180.0, lon)), 6))


def _pilot(
    share: Share,
    source: PilotDefinition,
    devices: Sequence[DeviceInfo],
    of_device: Mapping[tuple[str, str], Sequence[StreamInfo]],
) -> PilotDefinition:
    """The definition as readers find it: nothing but what the share says, and what its numbers mean."""
    terms = share.terms
    shared = {quantity.partition(".")[0] for quantity in terms.quantities}
    own = [quantity for quantity in source.quantities if quantity.name in shared]
    return PilotDefinition(
        id=share.id,
        title=Text(nb=terms.title, en=terms.title),
        question=Text(),
        devices=[
            DeviceDefinition(
                id=device.device,
                title=device.title,
                kind=device.kind,
                position=device.position,
                group=device.group,
                streams=[StreamDefinition(info.stream.quantity) for info in of_device[device.pilot, device.device]],
            )
            for device in devices
        ],
        personal_data=source.personal_data,
        data_class=source.data_class if source.data_class != "open" else "internal",
        timezone=source.timezone,
        quantities=own,
        licence=terms.licence,
        attribution=terms.attribution,
    )


def _device(share: Share, device: DeviceInfo, name: str) -> DeviceInfo:
    precision, position = share.terms.precision, device.position
    if precision is None:
        position = None
    elif precision > 0 and position is not None:
        position = rounded(position, precision)
    if share.terms.names:  # a tag may say where the device stands, which is the share's to say
        return msgspec.structs.replace(device, pilot=share.id, position=position, tags={})
    return DeviceInfo(pilot=share.id, device=name, title=Text(en=name), described=True, position=position)


def _stream(share: Share, pilot: PilotDefinition, info: StreamInfo, stream: Stream) -> StreamInfo:
    """A stream of the share: a state in buckets is how much of the time something was on."""
    width = share.terms.width
    title = info.title if share.terms.names else _title_of(pilot, stream.quantity)
    interval = info.interval_us if width is None else fixed_width(width) or times.length(width)
    shown = msgspec.structs.replace(
        info,
        stream=stream,
        title=title,
        interval_us=interval,
        earlier=info.earlier if width is None else (),
        arrives_us=None,
        learned_interval_us=None,
        range=None,
    )
    if info.kind == "state" and width is not None:
        return msgspec.structs.replace(
            shown, kind="level", unit="1", unit_label="", decimals=2, chart="line", states=()
        )
    return shown


def _title_of(pilot: PilotDefinition, key: str) -> Text:
    """What the vocabulary calls it: a title of the definition may say where the device is."""
    quantity = vocabulary_of(pilot).lookup(key)
    if quantity is None:
        return Text(en=key)
    channel = key.partition(".")[2]
    if not channel:
        return quantity.title
    nb, en = (f"{text} ({channel})" if text else "" for text in (quantity.title.nb, quantity.title.en))
    return Text(nb=nb, en=en)


def withheld(ability: str) -> NoReturn:
    """Raises RuntimeError: readers of a share must not get there, whatever a route does."""
    raise RuntimeError(f"a shared feed has no {ability}")


class Withheld:
    """Stands for a service that readers of a share must not reach: whatever is asked of it raises RuntimeError."""

    def __init__(self, ability: str) -> None:
        self._what = ability

    def __getattr__(self, name: str) -> NoReturn:
        withheld(self._what)

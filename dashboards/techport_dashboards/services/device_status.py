"""Is it working? What the latest readings say about streams, devices and pilots, worst first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import pyarrow as pa

from techport_dashboards.query import times
from techport_dashboards.query.registry_cache import RegistryView
from techport_pilots.model import Phase, PilotDefinition
from techport_pilots.registry.registry import DeviceInfo, StreamInfo
from techport_storage.microseconds import HOUR, SECOND
from techport_storage.model import Micros, Quality, Stream

GRACE: Micros = 30 * SECOND  # networks are slow sometimes
UNKNOWN_INTERVAL: Micros = HOUR  # for a stream of which nobody said how often it comes
MISSED, LOST = 3, 12
"""A stream that missed 3 readings in a row is late, one that missed 12 is silent; with a learned interval it is silent
after 3, since nobody knows of a reason to wait."""


class State(StrEnum):
    """From worst to best."""

    NEVER = "never"  # not one reading yet
    SILENT = "silent"
    LATE = "late"
    ENDED = "ended"  # silent, as its pilot is over or the device is retired
    LIVE = "live"


@dataclass(frozen=True, slots=True)
class Last:
    """The latest reading of a stream."""

    time: Micros
    received: Micros
    value: float
    quality: int = 0


@dataclass(frozen=True, slots=True)
class StreamNow:
    view: StreamInfo
    last: Last | None
    state: State


@dataclass(frozen=True, slots=True)
class DeviceNow:
    pilot: PilotDefinition
    device: DeviceInfo
    streams: list[StreamNow]
    state: State
    seen: Micros | None  # when its last reading arrived

    @property
    def missing(self) -> list[StreamNow]:
        """Streams that should come and do not, of a device that is otherwise online."""
        return [s for s in self.streams if self.state is State.LIVE and s.state in (State.NEVER, State.SILENT)]

    @property
    def doubtful(self) -> list[StreamNow]:
        """Streams whose latest reading has a doubtful time: it came without one, and late."""
        return [s for s in self.streams if s.last is not None and s.last.quality & Quality.CLOCK]

    @property
    def needs_attention(self) -> bool:
        return self.state in (State.NEVER, State.SILENT, State.LATE) or bool(self.missing)

    @property
    def overdue(self) -> Micros | None:
        """When its next reading was due that has not come; None for a device that is heard, over, or never was."""
        if self.state not in (State.SILENT, State.LATE):
            return None
        return max((s.last.received + interval_of(s.view) for s in self.streams if s.last), default=None)

    @property
    def learned_interval(self) -> Micros | None:
        """The shortest interval that its silence is told by, where no definition says one."""
        learned = [s.view.learned_interval_us for s in self.streams if s.view.learned_interval_us is not None]
        return min(learned, default=None)

    @property
    def battery(self) -> StreamNow | None:
        return self._of("battery_level", "battery_voltage")

    @property
    def signal(self) -> StreamNow | None:
        return self._of("rssi", "snr")

    def _of(self, *quantities: str) -> StreamNow | None:
        """The first of the quantities that the device has sent, on whichever channel."""
        by_quantity = {
            s.view.stream.quantity.partition(".")[0]: s for s in reversed(self.streams) if s.last is not None
        }
        return next((by_quantity[name] for name in quantities if name in by_quantity), None)


@dataclass(frozen=True, slots=True)
class PilotNow:
    pilot: PilotDefinition
    devices: list[DeviceNow]
    phase: Phase | None  # the one that runs, else the last of a pilot that is over
    ended: bool
    closed: bool = False

    @property
    def doubtful(self) -> list[DeviceNow]:
        """Devices whose latest readings have a doubtful time."""
        return [device for device in self.devices if device.doubtful]

    def count(self, state: State) -> int:
        return sum(device.state == state for device in self.devices)

    @property
    def seen(self) -> Micros | None:
        return max((device.seen for device in self.devices if device.seen is not None), default=None)

    @property
    def attention(self) -> list[DeviceNow]:
        return worst_first([self])


def device_statuses(
    catalogue: RegistryView, latest: pa.Table, pilots: Sequence[PilotDefinition], now: Micros
) -> list[PilotNow]:
    """Every device of the pilots, also those that never sent anything. A name that nobody described and that was only
    ever refused is none of its streams.
    """
    last = by_stream(latest)
    streams: dict[tuple[str, str], list[Stream]] = {}
    ranks = {pilot.id: ranks_of(pilot) for pilot in pilots}
    described = (stream for stream, info in catalogue.streams.items() if info.described)
    candidates = (stream for stream in {*described, *last} if stream.pilot in ranks)
    for stream in sorted(candidates, key=lambda s: (ranks[s.pilot].get(s.quantity, len(ranks[s.pilot])), s)):
        streams.setdefault((stream.pilot, stream.device), []).append(stream)
    return [_pilot_now(pilot, catalogue, streams, last, now) for pilot in pilots]


def ranks_of(pilot: PilotDefinition) -> dict[str, int]:
    """Quantities in the order that matters to the pilot: what its KPIs are about, then as its definition lists them."""
    listed = [kpi.quantity for kpi in pilot.kpis] + [s.quantity for device in pilot.devices for s in device.streams]
    return {quantity: rank for rank, quantity in enumerate(dict.fromkeys(listed))}


def by_stream(latest: pa.Table) -> dict[Stream, Last]:
    names = zip(*(latest.column(name).to_pylist() for name in ("pilot", "device", "quantity")), strict=True)
    numbers = (latest.column(name).cast(pa.int64()).to_pylist() for name in ("time", "received"))
    rows = zip(names, *numbers, latest.column("value").to_pylist(), latest.column("quality").to_pylist(), strict=True)
    return {Stream(*name): Last(*numbers_of) for name, *numbers_of in rows}


def _pilot_now(
    pilot: PilotDefinition,
    catalogue: RegistryView,
    streams: Mapping[tuple[str, str], list[Stream]],
    last: Mapping[Stream, Last],
    now: Micros,
) -> PilotNow:
    ended = bool(pilot.phases) and max(times.micros(phase.end) for phase in pilot.phases) <= now
    ended = ended or pilot.id in catalogue.over
    devices = []
    for device in catalogue.devices_of(pilot.id):
        of_device = [
            StreamNow(catalogue.stream(s), last.get(s), stream_state(catalogue.stream(s), last.get(s), now))
            for s in streams.get((pilot.id, device.device), [])
        ]
        retired = device.retired is not None and device.retired <= now
        devices.append(_device_now(pilot, device, of_device, ended or retired))
    return PilotNow(pilot, devices, phase_at(pilot, now), ended, pilot.id in catalogue.closed)


def _device_now(pilot: PilotDefinition, device: DeviceInfo, streams: list[StreamNow], ended: bool) -> DeviceNow:
    """A device has the best state of its streams."""
    state = max((stream.state for stream in streams), key=list(State).index, default=State.NEVER)
    if ended and state is not State.LIVE:
        state = State.ENDED
    seen = max((stream.last.received for stream in streams if stream.last), default=None)
    return DeviceNow(pilot, device, streams, state, seen)


def stream_state(view: StreamInfo, last: Last | None, now: Micros) -> State:
    """By when the latest reading arrived, not by the time it bears: a replay of old data counts as online."""
    if last is None:
        return State.NEVER
    interval = interval_of(view)
    lost = MISSED if view.interval_us is None and view.learned_interval_us is not None else LOST
    age = now - last.received
    if age <= MISSED * interval + GRACE:
        return State.LIVE
    return State.LATE if age <= lost * interval + GRACE else State.SILENT


def interval_of(view: StreamInfo) -> Micros:
    """How often the stream arrives: as its definition says, as its messages show, or an hour where neither is known."""
    return view.arrives_us or view.interval_us or view.learned_interval_us or UNKNOWN_INTERVAL


def phase_at(pilot: PilotDefinition, now: Micros) -> Phase | None:
    """The phase that runs now, else the latest that has begun. An intervention counts before what runs beside it."""
    begun = [phase for phase in pilot.phases if times.micros(phase.start) <= now]
    running = [phase for phase in begun if times.micros(phase.end) > now]
    order = {"intervention": 0, "baseline": 1, "control": 2, "other": 3}
    if running:
        return min(running, key=lambda phase: order[phase.kind])
    return max(begun, key=lambda phase: phase.end, default=None)


def worst_first(pilots: Iterable[PilotNow]) -> list[DeviceNow]:
    """Devices that need a hand: those that never came, then the longest silent."""
    return sorted((d for pilot in pilots for d in pilot.devices if d.needs_attention), key=severity)


def severity(device: DeviceNow) -> tuple[int, int, Micros, str, str]:
    """Ascending from the worst device to one that does well. Those that do well keep their places as they are heard."""
    order = (State.NEVER, State.SILENT, State.LATE, State.LIVE, State.ENDED)
    since = device.seen or 0 if device.needs_attention else 0
    return order.index(device.state), 0 if device.missing else 1, since, device.pilot.id, device.device.device


def by_severity(pilots: Iterable[PilotNow]) -> list[PilotNow]:
    """By the share of their devices that need a hand; those that are over come last."""

    def trouble(status: PilotNow) -> tuple[bool, float, str]:
        return status.ended, -len(status.attention) / max(len(status.devices), 1), status.pilot.id

    return sorted(pilots, key=trouble)

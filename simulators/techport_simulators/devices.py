"""A pilot's definition turned into devices that measure: which quantities, how often, where."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from techport_pilots.model import DeviceDefinition, PilotDefinition, StreamDefinition
from techport_pilots.quantities import Quantity, vocabulary_of
from techport_pilots.time import interval_micros
from techport_simulators.chance import Numbers, Steps, key, uniform
from techport_simulators.effect import Effect, effect_of
from techport_simulators.models import MODELS, wander
from techport_simulators.physics import Moment
from techport_simulators.place import Model, Place
from techport_storage.microseconds import MINUTE

Values = dict[str, float | int]
"""What a device says at one instant: quantity to number, whole numbers without a fraction as int, as firmware does."""

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)

# What a device's `group` says about where it hangs: (nearness to traffic, nearness to students).
_GROUPS: dict[str, tuple[float, float]] = {
    "roadside": (1.0, 0.2),
    "school": (0.35, 0.1),
    "background": (0.12, 0.1),
    "campus": (0.2, 1.0),
    "bridge": (0.9, 0.6),
    "river": (0.0, 0.0),
    "upstream": (0.0, 0.0),
    "tidal": (1.0, 0.0),  # where the fjord comes in
    "new-asphalt": (1.0, 0.1),
    "old-asphalt": (0.9, 0.1),
}


_FAR_FROM_THE_HOSPITAL = frozenset({"new-asphalt", "old-asphalt"})


@dataclass(frozen=True, slots=True)
class Sensor:
    """One stream of a device: the model behind it and the digits it shows."""

    quantity: str
    model: Model
    place: Place
    decimals: int
    effect: Effect | None = None

    def read(self, at: Moment) -> Numbers:
        values = self.model(at, self.place)
        return np.round(values if self.effect is None else self.effect.on(at.time, values), self.decimals)


@dataclass(frozen=True, slots=True)
class Device:
    """Streams of one device that are read at the same instants: every `interval` µs, `offset` µs after the full one."""

    pilot: str
    id: str
    interval: int
    offset: int
    sensors: tuple[Sensor, ...]
    seed: int

    @property
    def topic(self) -> str:
        return f"pilots/{self.pilot}/{self.id}/readings"

    @property
    def key(self) -> int:
        return key(self.seed, self.pilot, self.id, self.interval)

    def latest(self, now: int) -> int:
        """The last instant, not after `now` (µs), at which this device measures."""
        return now - (now - self.offset) % self.interval

    def instants(self, start: int, end: int) -> Steps:
        """All instants in [start, end) at which this device measures, µs, ascending."""
        first = self.latest(start - 1) + self.interval
        return np.arange(first, end, self.interval, dtype=np.int64)

    def measure(self, time: Steps) -> list[Values]:
        """The true readings at these instants, one dict an instant. The same instant gives the same reading, always."""
        if len(time) == 0:
            return []
        at = Moment(time, self.seed)
        columns = [(s.quantity, s.read(at), s.decimals) for s in self.sensors]
        listed = [(name, c.tolist() if digits else c.astype(np.int64).tolist()) for name, c, digits in columns]
        return [{name: numbers[row] for name, numbers in listed} for row in range(len(time))]


def devices_of(pilot: PilotDefinition, seed: int, interval: dt.timedelta | None = None) -> list[Device]:
    """The pilot's devices, one for each interval that a device's streams have; `interval` replaces them all.

    A stream whose definition gives no interval is read once a minute. Devices do not measure at the same instant: each
    has its own offset, in whole milliseconds.
    """
    every = None if interval is None else round(interval / dt.timedelta(microseconds=1))
    return [device for definition in pilot.devices for device in _by_interval(pilot, definition, seed, every)]


def _by_interval(pilot: PilotDefinition, device: DeviceDefinition, seed: int, every: int | None) -> list[Device]:
    groups: dict[int, list[StreamDefinition]] = {}
    for stream in device.streams:
        text = stream.interval or device.interval
        groups.setdefault(every or (interval_micros(text) if text else MINUTE), []).append(stream)
    return [
        Device(
            pilot=pilot.id,
            id=device.id,
            interval=period,
            offset=_offset(key(seed, pilot.id, device.id), period),
            sensors=tuple(_sensor(pilot, device, stream, seed, period) for stream in streams),
            seed=seed,
        )
        for period, streams in groups.items()
    ]


def _offset(of: int, interval: int) -> int:
    share = float(uniform(of, np.zeros(1, np.int64))[0])
    return int(share * interval) // 1000 * 1000


def _sensor(
    pilot: PilotDefinition, device: DeviceDefinition, stream: StreamDefinition, seed: int, every: int
) -> Sensor:
    name = stream.quantity.partition(".")[0]
    quantity = vocabulary_of(pilot).lookup(stream.quantity)
    road, campus = _GROUPS.get(device.group or "", (0.4, 0.2))
    place = Place(
        key=key(seed, pilot.id, device.id, stream.quantity),
        device=key(seed, pilot.id, device.id),
        road=road,
        campus=campus,
        interval=every,
        helicopters=device.group not in _FAR_FROM_THE_HOSPITAL,
        bounds=stream.range or (quantity.range if quantity and quantity.range else (0.0, 100.0)),
    )
    effect = effect_of(pilot, device, stream.quantity, quantity, place.bounds)
    return Sensor(stream.quantity, MODELS.get(name, wander), place, _decimals(quantity), effect)


def _decimals(quantity: Quantity | None) -> int:
    """One digit more than people are shown, as sensors give; counts and states are whole."""
    if quantity is None:
        return 2
    whole = quantity.decimals == 0 and (quantity.kind in ("count", "state") or quantity.unit.startswith("{"))
    return 0 if whole else quantity.decimals + 1


def with_battery(device: Device, life: dt.timedelta, since: int | None = None) -> Device:
    """The same device with a battery that is empty after `life`, and was new at `since` (µs) where that is given."""
    lasts = round(life / dt.timedelta(microseconds=1))
    sensors = tuple(replace(s, place=replace(s.place, battery=lasts, battery_since=since)) for s in device.sensors)
    return replace(device, sensors=sensors)


def iso(time: int) -> str:
    """µs since 1970 as ISO 8601 in UTC, to the microsecond where there is a fraction."""
    return (_EPOCH + dt.timedelta(microseconds=time)).isoformat().replace("+00:00", "Z")


def micros(when: dt.datetime) -> int:
    """An aware datetime as µs since 1970, exactly."""
    return (when - _EPOCH) // dt.timedelta(microseconds=1)


def all_devices(pilots: Sequence[PilotDefinition], seed: int, interval: dt.timedelta | None = None) -> list[Device]:
    return [device for pilot in pilots for device in devices_of(pilot, seed, interval)]

"""The past of a simulated district in bulk: what its devices have measured, as columns instead of messages.

    devices ─► until the interval was changed: hourly means ─┐
               since then: every reading ────────────────────┴─► Past, one for each device and stretch of time

Readings are those that the devices would have published (devices.py); hourly means are made of some instants of the
hour. A device that went silent has no readings since then.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from techport_pilots.model import DeviceDefinition, PilotDefinition
from techport_pilots.quantities import vocabulary_of
from techport_pilots.time import interval_micros, micros_of
from techport_simulators.chance import Numbers, Steps
from techport_simulators.devices import Device, Sensor, devices_of
from techport_simulators.faults import FaultPlan, FaultyDevice, no_faults
from techport_simulators.physics import Moment
from techport_storage.microseconds import DAY, HOUR, SECOND

_ON_THE_WAY = SECOND // 5
_PARTS = 4  # instants of an hour that its mean is made of
_PARTS_OF_SOUND = 12  # a helicopter is there for three minutes
_AT_ONCE = 7 * DAY  # of readings that come often


@dataclass(frozen=True, slots=True)
class Past:
    """What a device measured: `values[i]` are those of `quantities[i]` at each `time` (µs, ascending)."""

    pilot: str
    device: str
    quantities: tuple[str, ...]
    time: Steps
    received: Steps
    values: Numbers  # quantities × times


def past_of(pilot: PilotDefinition, seed: int, start: int, end: int, faults: FaultPlan = no_faults) -> Iterator[Past]:
    """What the pilot's devices measured in [start, end), device by device, each from the oldest to the newest."""
    definitions = {device.id: device for device in pilot.devices}
    hours: dict[tuple[int, int], _Hours] = {}
    for device in devices_of(pilot, seed):
        plan = faults(pilot.id, device.id)
        real = FaultyDevice(device, plan).device
        until = end if plan.silent_from is None else min(end, plan.silent_from)
        changed = min(_changed(pilot, definitions[device.id]) or start, until)
        if start < changed:
            window = (-(-start // HOUR) * HOUR, changed // HOUR * HOUR)
            yield _hourly(pilot, real, hours.setdefault(window, _Hours(*window, seed)))
        for begin in range(max(start, changed), until, _AT_ONCE):
            yield _readings(real, begin, min(begin + _AT_ONCE, until))


def _changed(pilot: PilotDefinition, device: DeviceDefinition) -> int | None:
    """Until when the device sent hourly means."""
    hourly = [settings for settings in device.previous if interval_micros(settings.interval) == HOUR]
    return max((micros_of(settings.until, pilot.timezone) for settings in hourly), default=None)


def _readings(device: Device, start: int, end: int) -> Past:
    time = device.instants(start, end)
    at = Moment(time, device.seed)
    values = np.array([sensor.read(at) for sensor in device.sensors]).reshape(len(device.sensors), len(time))
    return Past(device.pilot, device.id, _quantities(device), time, time + _ON_THE_WAY, values)


class _Hours:
    """The hours of [start, end), and the instants in them that devices measure at; the city's weather is kept."""

    def __init__(self, start: int, end: int, seed: int) -> None:
        self.time: Steps = np.arange(start, end, HOUR, dtype=np.int64)
        self._seed = seed
        self._moments: dict[int, list[Moment]] = {}

    def moments(self, parts: int) -> list[Moment]:
        if parts not in self._moments:
            offsets = [HOUR * (2 * part + 1) // (2 * parts) for part in range(parts)]
            self._moments[parts] = [Moment(self.time + offset, self._seed) for offset in offsets]
        return self._moments[parts]


def _hourly(pilot: PilotDefinition, device: Device, hours: _Hours) -> Past:
    words = vocabulary_of(pilot)
    columns = []
    for sensor in device.sensors:
        quantity = words.lookup(sensor.quantity)
        columns.append(_hourly_values(sensor, "level" if quantity is None else quantity.kind, hours))
    values = np.array(columns).reshape(len(columns), len(hours.time))
    received = hours.time + HOUR + _ON_THE_WAY
    return Past(device.pilot, device.id, _quantities(device), hours.time, received, values)


def _hourly_values(sensor: Sensor, kind: str, hours: _Hours) -> Numbers:
    """What stands for an hour: sums of counts, energy means of levels in decibel, vector means of directions."""
    if kind in ("count", "state"):
        whole = replace(sensor, place=replace(sensor.place, interval=HOUR))
        return whole.read(hours.moments(1)[0])
    sensor = replace(sensor, place=replace(sensor.place, averaged=True))
    if kind == "energy-level":
        levels = np.array([sensor.read(at) for at in hours.moments(_PARTS_OF_SOUND)])
        mean = 10 * np.log10(np.mean(10 ** (levels / 10), axis=0))
    else:
        parts = np.array([sensor.read(at) for at in hours.moments(_PARTS)])
        mean = parts.mean(axis=0)
        if kind == "direction":
            mean = np.angle(np.exp(1j * np.radians(parts)).mean(axis=0), deg=True) % 360.0
    rounded: Numbers = np.round(mean, sensor.decimals)
    return rounded


def _quantities(device: Device) -> tuple[str, ...]:
    return tuple(sensor.quantity for sensor in device.sensors)

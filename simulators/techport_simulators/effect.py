"""What an intervention does to a simulated city, so that a demo has something to find.

Plain and the same everywhere: from the first intervention phase on, what a KPI measures is a fifth better on the
devices that the KPI is about; sound levels are 3 dB better. Control groups, the speed of cars, and what a device says
of itself stay as they were, and no room's air becomes better than outdoor air.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from techport_pilots.model import DeviceDefinition, Kpi, PilotDefinition
from techport_pilots.quantities import Quantity
from techport_simulators.activity import OUTDOOR_CO2
from techport_simulators.chance import Numbers, Steps

SHARE = 0.2
DECIBELS = 3.0
_OF_THE_DEVICE = frozenset({"battery_level", "battery_voltage", "device_temperature", "rssi", "snr"})
_UNMOVED = frozenset({"speed"})  # a wider cycle lane does not let cars exceed the limit
_FLOORS = {"indoor_co2": OUTDOOR_CO2}
"""What no intervention goes below: only what lies above it is made better."""


@dataclass(frozen=True, slots=True)
class Effect:
    """From `start` (µs) on, what of values lies above `floor` is multiplied by `factor`, `offset` is added, and they
    stay within `bounds`."""

    start: int
    factor: float
    offset: float
    bounds: tuple[float, float]
    floor: float = 0.0

    def on(self, time: Steps, values: Numbers) -> Numbers:
        changed = np.clip(self.floor + (values - self.floor) * self.factor + self.offset, *self.bounds)
        return np.where(time >= self.start, changed, values)


def effect_of(
    pilot: PilotDefinition,
    device: DeviceDefinition,
    stream: str,
    quantity: Quantity | None,
    bounds: tuple[float, float],
) -> Effect | None:
    """What the pilot's interventions do to this stream; None for nothing."""
    starts = [round(phase.start.timestamp() * 1e6) for phase in pilot.phases if phase.kind == "intervention"]
    kpi = next((kpi for kpi in pilot.kpis if kpi.quantity == stream and _is_about(kpi, device)), None)
    name = stream.partition(".")[0]
    if not starts or kpi is None or name in _OF_THE_DEVICE | _UNMOVED:
        return None
    sign = -1.0 if kpi.direction == "lower" else 1.0
    if quantity is not None and quantity.kind == "energy-level":
        return Effect(min(starts), 1.0, sign * DECIBELS, bounds)
    return Effect(min(starts), 1.0 + sign * SHARE, 0.0, bounds, _FLOORS.get(name, 0.0))


def _is_about(kpi: Kpi, device: DeviceDefinition) -> bool:
    if device.group in kpi.control:
        return False
    return device.id in kpi.devices or device.group in kpi.groups or not (kpi.devices or kpi.groups)

"""Where a device hangs, what a model of it is, and the noise that every sensor has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from techport_simulators.chance import Numbers, drift, normal, uniform
from techport_simulators.physics import Moment
from techport_storage.microseconds import DAY, HOUR, MINUTE, SECOND


@dataclass(frozen=True, slots=True)
class Place:
    """Where a device hangs, as far as its readings depend on it. Shares are of a typical exposed place, 0..1."""

    key: int  # the stream's own chance
    device: int  # the device's own chance, shared by its streams
    road: float = 0.4  # how close to traffic
    campus: float = 0.0  # how much it follows the students
    interval: int = MINUTE  # µs that a count covers
    battery: int = 400 * DAY  # µs that a battery lasts
    battery_since: int | None = None  # µs when one was new; None: as chance has it
    bounds: tuple[float, float] = (0.0, 100.0)
    helicopters: bool = True  # whether it hears those that fly to the hospital
    averaged: bool = False  # readings are means of hours, in which most of the noise is gone

    @property
    def size(self) -> float:
        """This device's own level, 0.75..1.25 of the usual."""
        return 0.75 + 0.5 * float(uniform(self.device, np.zeros(1, np.int64))[0])


Model = Callable[[Moment, Place], Numbers]


def noise(at: Moment, place: Place, memory: int = 3 * MINUTE, step: int = 30 * SECOND) -> Numbers:
    """The stream's own fluctuation: unit variance, and less of it in means of hours."""
    if place.averaged:
        return float(np.sqrt(2.0 * memory / HOUR)) * normal(place.key, at.time // HOUR)
    return drift(place.key, at.time, step, memory)


def ripple(at: Moment, place: Place) -> Numbers:
    """The sensor's own noise, independent from second to second."""
    return normal(place.key ^ 0xA5A5, at.time // SECOND)

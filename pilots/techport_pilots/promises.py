"""What a device promised before: how often it sent until its interval was changed."""

from __future__ import annotations

from typing import NamedTuple

from techport_pilots.model import DeviceDefinition, PilotDefinition
from techport_pilots.time import interval_micros, micros_of
from techport_storage.model import Micros


class Promise(NamedTuple):
    """What a stream promised until a time; both µs."""

    until: Micros
    interval: Micros


def earlier_of(pilot: PilotDefinition, device: DeviceDefinition) -> tuple[Promise, ...]:
    """What a pilot's device promised before the interval that it has now, the oldest first."""
    return tuple(
        Promise(micros_of(before.until, pilot.timezone), interval_micros(before.interval)) for before in device.previous
    )

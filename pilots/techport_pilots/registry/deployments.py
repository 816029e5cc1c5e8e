"""Where devices have been. A device that was moved starts a new deployment, and its series are split there."""

from __future__ import annotations

import math

import msgspec

from techport_pilots.model import DeviceDefinition, PilotDefinition, Position
from techport_pilots.time import micros_of
from techport_storage.model import Micros

_EARTH = 6_371_008.8  # metres, mean radius


class Deployment(msgspec.Struct, frozen=True):
    """A device at one place, [start, end); None where it has no such end. Its series are not mixed with another's."""

    device: str
    number: int  # from 1
    start: Micros | None
    end: Micros | None
    position: Position | None


def deployments(pilot: PilotDefinition, device: DeviceDefinition) -> list[Deployment]:
    """Where the device has been, in order of time; at least one. Events without a position leave it unknown."""
    moves = sorted(
        (
            (micros_of(event.time, pilot.timezone), event.position)
            for event in pilot.events
            if event.kind == "moved" and event.device == device.id
        ),
        key=lambda move: move[0],
    )
    starts: list[Micros | None] = [None, *(time for time, _ in moves)]
    ends: list[Micros | None] = [*(time for time, _ in moves), None]
    places = [device.position, *(position for _, position in moves)]
    return [
        Deployment(device.id, number, start, end, position)
        for number, (start, end, position) in enumerate(zip(starts, ends, places, strict=True), start=1)
    ]


def elsewhere(deployment: Deployment | None, time: Micros, position: Position, limit: float | None) -> bool:
    """Whether a report of a device says that it is more than `limit` metres from where it is known to be.

    Not where nobody wants to know (None), and not what was said before it came there.
    """
    if limit is None or (deployment is not None and deployment.start is not None and time <= deployment.start):
        return False
    return deployment is None or deployment.position is None or distance(deployment.position, position) > limit


def distance(first: Position, second: Position) -> float:
    """Metres between two positions over the ground (haversine)."""
    north, south = math.radians(first.lat), math.radians(second.lat)
    half = math.sin((north - south) / 2) ** 2
    half += math.cos(north) * math.cos(south) * math.sin(math.radians(first.lon - second.lon) / 2) ** 2
    return 2 * _EARTH * math.asin(math.sqrt(min(1.0, half)))

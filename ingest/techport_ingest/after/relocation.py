"""Devices that say themselves where they are: when one has come to another place.

A receiver's positions jump about. So a device has moved when three reports in a row lie farther from its place in the
registry than the pilot allows, and no farther than that from each other.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import NamedTuple

from techport_pilots.model import Position
from techport_pilots.registry.deployments import distance, elsewhere
from techport_pilots.registry.view import IngestView
from techport_storage.model import Batch, Micros

IN_A_ROW = 3


class Relocation(NamedTuple):
    """A device is at `position` since `time`."""

    pilot: str
    device: str
    time: Micros
    position: Position


class RelocationDetector:
    """Remembers the last reports of up to `devices` devices that are away from their place. Not thread-safe."""

    def __init__(self, devices: int = 10_000) -> None:
        self._devices = devices
        self._away: OrderedDict[tuple[str, str], list[tuple[Micros, Position]]] = OrderedDict()

    def of(self, batch: Batch, snapshot: IngestView) -> list[Relocation]:
        """The moves that a batch completes. Given again it may say the same move again."""
        moves = []
        for pilot, device, time, position in _reports(batch, snapshot):
            if (since := self._judge(pilot, device, time, position, snapshot)) is not None:
                moves.append(Relocation(pilot, device, *since))
        return moves

    def _judge(
        self, pilot: str, device: str, time: Micros, position: Position, snapshot: IngestView
    ) -> tuple[Micros, Position] | None:
        """The first of the reports in a row, if this is the one that makes them enough."""
        view = snapshot.pilots[pilot]
        away = self._away.pop((pilot, device), [])
        far = view.moves or 0.0
        if not elsewhere(view.devices[device].deployment, time, position, view.moves):
            return None
        away = [report for report in away if report[0] < time and distance(report[1], position) <= far]
        away.append((time, position))
        if len(away) >= IN_A_ROW:
            return away[0]
        self._away[pilot, device] = away
        if len(self._away) > self._devices:
            self._away.popitem(last=False)
        return None


def _reports(batch: Batch, snapshot: IngestView) -> Iterator[tuple[str, str, Micros, Position]]:
    """Latitude and longitude of one device and time, where its pilot wants to know, in order of time."""
    devices = {pilot: view.devices for pilot, view in snapshot.pilots.items() if view.moves is not None}
    if not devices:
        return
    halves: dict[tuple[str, str, Micros], dict[str, float]] = {}
    for number, (pilot, device, quantity) in enumerate(batch.streams):
        if quantity not in ("latitude", "longitude") or device not in devices.get(pilot, ()):
            continue
        for row in (batch.stream == number).nonzero()[0].tolist():
            halves.setdefault((pilot, device, int(batch.time[row])), {})[quantity] = float(batch.value[row])
    for (pilot, device, time), halves_of_position in sorted(halves.items(), key=lambda item: item[0][2]):
        if len(halves_of_position) < 2:
            continue
        lat, lon = halves_of_position["latitude"], halves_of_position["longitude"]
        if abs(lat) <= 90 and abs(lon) <= 180 and (lat, lon) != (0, 0):  # what receivers say that know nothing yet
            yield pilot, device, time, Position(lat, lon)

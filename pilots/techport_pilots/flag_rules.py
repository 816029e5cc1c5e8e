"""How the readings of a pilot's streams are judged: ranges, what may jump, moves, and windows to leave out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from techport_pilots.kpi_time import micros_of
from techport_pilots.model import PilotDefinition
from techport_pilots.quantities import vocabulary_of
from techport_storage.model import Micros, Stream

_PLACES = frozenset(("latitude", "longitude", "altitude"))
"""Where a device is rests for years and jumps when it is carried away."""


@dataclass(frozen=True, slots=True)
class Rule:
    """How a stream's readings are judged. `smallest` is the least deviation that can be a spike, in the unit."""

    low: float = -np.inf
    high: float = np.inf
    moves: bool = False  # whether spikes, steps and standstill mean anything
    smallest: float = 0.0


class Rules:
    """The rules of a pilot's streams, those too that its definition does not describe."""

    def __init__(self, pilot: PilotDefinition) -> None:
        self._words = vocabulary_of(pilot)
        self._ranges = {
            Stream(pilot.id, device.id, stream.quantity): stream.range
            for device in pilot.devices
            for stream in device.streams
        }
        self._known: dict[Stream, Rule] = {}

    def __call__(self, stream: Stream) -> Rule:
        rule = self._known.get(stream)
        if rule is None:
            rule = self._known[stream] = self._rule(stream)
        return rule

    def _rule(self, stream: Stream) -> Rule:
        quantity = self._words.lookup(stream.quantity)
        low, high = self._ranges.get(stream) or (quantity and quantity.range) or (-np.inf, np.inf)
        if quantity is None:
            return Rule(low, high)
        moves = quantity.kind in ("level", "energy-level") and quantity.name not in _PLACES
        return Rule(low, high, moves, 10.0**-quantity.decimals)


def moves_of(pilot: PilotDefinition) -> dict[tuple[str, str], list[Micros]]:
    """When devices were moved, by pilot and device."""
    moves: dict[tuple[str, str], list[Micros]] = {}
    for event in pilot.events:
        if event.kind == "moved" and event.device is not None:
            moves.setdefault((pilot.id, event.device), []).append(micros_of(event.time, pilot.timezone))
    return {device: sorted(times) for device, times in moves.items()}


def excluded_windows(pilot: PilotDefinition, stream: Stream) -> list[tuple[Micros, Micros]]:
    """The exclusions of a definition that concern a stream, µs."""
    return [
        (micros_of(one.start, pilot.timezone), micros_of(one.end, pilot.timezone))
        for one in pilot.exclusions
        if one.device in (None, stream.device) and one.quantity in (None, stream.quantity)
    ]

"""What a definition says about quality flags: ranges, what may jump, moves, windows to leave out, and what a change of
it means for readings that are stored already.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from techport_pilots.model import PilotDefinition
from techport_pilots.quantities import vocabulary_of
from techport_pilots.time import micros_of
from techport_storage.model import Micros, Stream

Window = tuple[Micros | None, Micros | None]
"""[start, end) of what is concerned; None: without such an end."""

_PLACES = frozenset(("latitude", "longitude", "altitude"))
"""Where a device is rests for years and jumps when it is carried away."""


@dataclass(frozen=True, slots=True)
class Rule:
    """How a stream's readings are judged. `smallest` is the least deviation that can be a spike, in the unit."""

    low: float = -np.inf
    high: float = np.inf
    moves: bool = False  # whether spikes, steps and standstill mean anything
    smallest: float = 0.0
    rests_at_zero: bool = False  # instruments that cut off their noise say 0 for hours, and are not stuck


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
        return Rule(low, high, moves, 10.0**-quantity.decimals, quantity.lod is not None)


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
        (micros_of(exclusion.start, pilot.timezone), micros_of(exclusion.end, pilot.timezone))
        for exclusion in pilot.exclusions
        if exclusion.device in (None, stream.device) and exclusion.quantity in (None, stream.quantity)
    ]


def windows_of_change(before: PilotDefinition, after: PilotDefinition) -> Iterator[Window]:
    """The windows of readings whose flags another definition may change."""
    if _rules_differ(before, after):
        yield None, None
        return
    old, new = (_all_moves(pilot) for pilot in (before, after))
    if moved := old ^ new:
        yield min(time for _, time in moved), None
    changed = [exclusion for exclusion in before.exclusions if exclusion not in after.exclusions]
    changed += [exclusion for exclusion in after.exclusions if exclusion not in before.exclusions]
    for exclusion in changed:
        yield micros_of(exclusion.start, after.timezone), micros_of(exclusion.end, after.timezone)


def _all_moves(pilot: PilotDefinition) -> set[tuple[tuple[str, str], Micros]]:
    return {(device, time) for device, times in moves_of(pilot).items() for time in times}


def _rules_differ(before: PilotDefinition, after: PilotDefinition) -> bool:
    old, new = Rules(before), Rules(after)
    streams = {Stream(p.id, d.id, s.quantity) for p in (before, after) for d in p.devices for s in d.streams}
    return any(old(stream) != new(stream) for stream in streams)

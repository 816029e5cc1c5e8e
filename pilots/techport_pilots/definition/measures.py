"""What a measure of a KPI means for a pilot's definition: the streams it reads, how they are averaged, and its unit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from techport_pilots.model import DeviceDefinition, Measure, PilotDefinition
from techport_pilots.quantities import Vocabulary
from techport_storage.model import Stream

_SCALES = {"direction": "vector", "energy-level": "energy"}
_SLOTS = {"arithmetic": "mean", "vector": "vector", "energy": "energy"}
_NO_ZERO = ("Cel", "[degF]", "deg", "[pH]")


class Meaning(NamedTuple):
    """How a measure's readings are averaged, and in what unit its statistic is."""

    how: str  # a slot, "auto" resolved
    scale: str  # arithmetic, energy or vector
    unit: str  # of the statistic, UCUM

    @property
    def has_zero(self) -> bool:
        """Whether a change in per cent means something on this scale: not in °C or decibel."""
        return self.unit not in _NO_ZERO and not self.unit.startswith("dB")


def meaning(measure: Measure, words: Vocabulary) -> Meaning:
    """What the vocabulary says of a measure; an unknown quantity is a level without a unit."""
    quantity = words.lookup(measure.quantity)
    kind = quantity.kind if quantity else "level"
    scale = _SCALES.get(kind, "arithmetic")
    if measure.slot in ("energy", "lden"):
        scale = "energy"
    elif measure.slot == "vector":
        scale = "vector"
    how = ("sum" if kind == "count" else _SLOTS[scale]) if measure.slot == "auto" else measure.slot
    return Meaning(how, scale, _unit(measure, quantity.unit if quantity else "1"))


def streams_of(
    pilot: PilotDefinition, measure: Measure, *, only: Sequence[str] = (), never: Sequence[str] = ()
) -> dict[str, list[Stream]]:
    """The streams a measure reads, by device. `only` and `never` name device groups to take instead or to leave out."""
    keys = (measure.quantity, *measure.plus)
    return {
        device.id: [Stream(pilot.id, device.id, key) for key in keys]
        for device in pilot.devices
        if _chosen(device, measure, only, never) and {stream.quantity for stream in device.streams}.issuperset(keys)
    }


def _chosen(device: DeviceDefinition, measure: Measure, only: Sequence[str], never: Sequence[str]) -> bool:
    if only:
        return device.group in only
    if device.group is not None and device.group in never:
        return False
    if not measure.devices and not measure.groups:
        return True
    return device.id in measure.devices or (device.group is not None and device.group in measure.groups)


def _unit(measure: Measure, unit: str) -> str:
    match measure.statistic:
        case "sum":
            return f"{unit}/d"
        case "count":
            return "1/d"
        case "hours_above":
            return "h/d"
        case "share_above":
            return "1"
    return unit

"""What a KPI's measure means for a pilot: which streams it reads, how they are averaged, in which unit the result is.

Needs the definition only: checks of a definition ask it, and so does every evaluation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from techport_pilots.model import DeviceDefinition, Measure, PilotDefinition
from techport_pilots.quantities import Vocabulary
from techport_storage.model import Stream

Scale = Literal["arithmetic", "energy", "vector"]

_SCALES: dict[str, Scale] = {"direction": "vector", "energy-level": "energy"}
_AGGREGATIONS: dict[Scale, str] = {"arithmetic": "mean", "vector": "vector", "energy": "energy"}
_NO_ZERO = ("Cel", "[degF]", "deg", "[pH]")


class ResolvedMeasure(NamedTuple):
    """How a measure's readings are aggregated to samples, and in what unit its statistic is."""

    aggregation: str  # of the readings of a sample, "auto" resolved
    scale: Scale
    unit: str  # of the statistic, UCUM

    @property
    def has_zero(self) -> bool:
        """Whether a change in per cent means something on this scale: not in °C or decibel."""
        return self.unit not in _NO_ZERO and not self.unit.startswith("dB")


def resolve_measure(measure: Measure, vocabulary: Vocabulary) -> ResolvedMeasure:
    """Follow the vocabulary where a measure leaves its aggregation open.

    Parameters
    ----------
    measure : Measure
        As the definition file has it.
    vocabulary : Vocabulary
        Of the pilot. A quantity that it does not have is a level without a unit.

    Returns
    -------
    ResolvedMeasure
        Aggregation, scale and UCUM unit; sums, counts and hours are per local day ("/d").
    """
    quantity = vocabulary.lookup(measure.quantity)
    kind = quantity.kind if quantity else "level"
    scale = _SCALES.get(kind, "arithmetic")
    if measure.slot in ("energy", "lden"):
        scale = "energy"
    elif measure.slot == "vector":
        scale = "vector"
    aggregation: str = measure.slot
    if aggregation == "auto":
        aggregation = "sum" if kind == "count" else _AGGREGATIONS[scale]
    return ResolvedMeasure(aggregation, scale, _unit(measure, quantity.unit if quantity else "1"))


def streams_of(
    pilot: PilotDefinition, measure: Measure, *, only: Sequence[str] = (), never: Sequence[str] = ()
) -> dict[str, list[Stream]]:
    """The streams that a measure reads.

    Parameters
    ----------
    pilot : PilotDefinition
    measure : Measure
        Its `devices` and `groups` choose; without either, every device that measures the quantity.
    only : sequence of str
        Device groups to take instead of those chosen: a control group.
    never : sequence of str
        Device groups to leave out.

    Returns
    -------
    dict of str to list of Stream
        By device; the streams of one device are added up.
    """
    quantities = (measure.quantity, *measure.plus)
    return {
        device.id: [Stream(pilot.id, device.id, quantity) for quantity in quantities]
        for device in pilot.devices
        if _is_chosen(device, measure, only, never)
        and {stream.quantity for stream in device.streams}.issuperset(quantities)
    }


def _is_chosen(device: DeviceDefinition, measure: Measure, only: Sequence[str], never: Sequence[str]) -> bool:
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

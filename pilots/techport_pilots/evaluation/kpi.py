"""What a KPI means for a pilot: which streams, how they are averaged, in which unit, and its value over a time.

Definition (model.Measure) ─► plan_of: streams, scale, unit ─► kpi_slots: values of slots ─► kpi_statistics: one number
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from techport_pilots.definition.measures import Meaning, meaning, streams_of
from techport_pilots.evaluation.samples import Samples, samples_of
from techport_pilots.evaluation.statistics import Summary, summarise
from techport_pilots.model import Comparison, Kpi, Measure, PilotDefinition
from techport_pilots.quantities import vocabulary_of
from techport_pilots.time import interval_micros, micros_of
from techport_storage.model import Micros, Stream
from techport_storage.store import ReadingStore


@dataclass(frozen=True, slots=True)
class Plan:
    """A measure applied to a pilot's devices."""

    measure: Measure
    streams: Mapping[str, Sequence[Stream]]  # device: the streams that are added up
    intervals: Mapping[Stream, Micros]
    without: Mapping[str, Sequence[tuple[Micros, Micros]]]
    meaning: Meaning

    def slots(self, store: ReadingStore, start: Micros, end: Micros, zone: str) -> Samples:
        """Slots of good readings in [start, end)."""
        return samples_of(
            store, self.streams, self.measure, start, end, zone,
            how=self.meaning.how, intervals=self.intervals, without=self.without,
        )  # fmt: skip

    def summary(self, slots: Samples) -> Summary | None:
        """The statistic of the slots, or None."""
        summed = self.measure.statistic in ("sum", "count")
        per_day = slots.per_day * (len(slots.devices) if summed else 1)
        return summarise(slots.value, self.measure, self.meaning.scale, per_day)


@dataclass(frozen=True, slots=True)
class KpiValue:
    """A KPI over a time. `value` is None where there are no readings to speak of."""

    value: float | None
    unit: str
    completeness: float  # slots with a value ÷ slots expected
    slots: int


def plan_of(pilot: PilotDefinition, measure: Measure, *, only: Sequence[str] = (), never: Sequence[str] = ()) -> Plan:
    """Apply a measure to a pilot; `only` and `never` as in streams_of. The definition must have passed its checks."""
    streams = streams_of(pilot, measure, only=only, never=never)
    asked = {stream for some in streams.values() for stream in some}
    intervals = {
        stream: interval_micros(promised)
        for device in pilot.devices
        for measured in device.streams
        for stream, promised in [(Stream(pilot.id, device.id, measured.quantity), measured.interval or device.interval)]
        if stream in asked and promised is not None
    }
    windows = _windows(pilot, (measure.quantity, *measure.plus), list(streams))
    return Plan(measure, streams, intervals, windows, meaning(measure, vocabulary_of(pilot)))


def kpi_value(store: ReadingStore, pilot: PilotDefinition, kpi: Kpi, start: Micros, end: Micros) -> KpiValue:
    """The KPI over [start, end), of good readings outside excluded windows. Raises what the store raises."""
    main = plan_of(pilot, kpi, never=kpi.control)
    slots = main.slots(store, start, end, pilot.timezone)
    summary = main.summary(slots)
    value, completeness, count = summary.value if summary else None, slots.completeness, len(slots)
    if kpi.compare is not None:
        other = plan_of(pilot, kpi.compare.measure, never=kpi.control)
        beside = other.slots(store, start, end, pilot.timezone)
        second = other.summary(beside)
        value = combined(kpi.compare.kind, value, second.value if second else None)
        completeness, count = min(completeness, beside.completeness), min(count, len(beside))
    return KpiValue(value, unit_of(main, kpi.compare), completeness, count)


def combined(kind: str, first: float | None, second: float | None) -> float | None:
    """A ratio, difference or share of two values; None where one is missing or the divisor is zero."""
    if first is None or second is None:
        return None
    if kind == "difference":
        return first - second
    divisor = second if kind == "ratio" else first + second
    return first / divisor if divisor else None


def unit_of(plan: Plan, compare: Comparison | None) -> str:
    return plan.meaning.unit if compare is None or compare.kind == "difference" else "1"


def _windows(
    pilot: PilotDefinition, keys: Sequence[str], devices: Sequence[str]
) -> dict[str, list[tuple[Micros, Micros]]]:
    windows: dict[str, list[tuple[Micros, Micros]]] = {}
    for exclusion in pilot.exclusions:
        if exclusion.quantity is not None and exclusion.quantity not in keys:
            continue
        window = micros_of(exclusion.start, pilot.timezone), micros_of(exclusion.end, pilot.timezone)
        for device in devices if exclusion.device is None else [exclusion.device]:
            windows.setdefault(device, []).append(window)
    return windows

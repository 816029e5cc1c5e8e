"""A KPI of a pilot over a time: one number.

Definition (model.Measure) ─► plan_of: streams, aggregation, unit ─► samples.py: samples ─► statistics.py: one number
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from techport_pilots.definition.measures import ResolvedMeasure, resolve_measure, streams_of
from techport_pilots.evaluation.samples import SamplePlan, Samples, Window, exact_per_day, read_samples
from techport_pilots.evaluation.statistics import Floats, Summary, summarise
from techport_pilots.evaluation.values import adjusted_value
from techport_pilots.model import Comparison, Kpi, Measure, PilotDefinition
from techport_pilots.quality.completeness import earlier_promises
from techport_pilots.quality.people_counts import interval_handed_on
from techport_pilots.quantities import vocabulary_of
from techport_pilots.time import interval_micros, micros_of
from techport_storage.model import Micros, Stream
from techport_storage.store import ReadingStore


@dataclass(frozen=True, slots=True)
class Plan:
    """A measure applied to a pilot's devices."""

    samples: SamplePlan
    resolved: ResolvedMeasure

    @property
    def streams(self) -> int:
        """Number of devices that the measure reads."""
        return len(self.samples.streams)

    def read(self, store: ReadingStore, periods: Sequence[Window], zone: str) -> Samples:
        """Read samples of good readings; see samples.read_samples.

        Parameters
        ----------
        store : ReadingStore
        periods : sequence of (start, end)
            µs since the epoch.
        zone : str
            IANA name; local hours and days are counted in it.

        Returns
        -------
        Samples
            One row for each sample, in the unit of the measure.
        """
        return read_samples(store, self.samples, periods, zone)

    def summary(self, values: Floats, per_day: float, devices: int) -> Summary | None:
        """Work out the statistic of samples.

        Parameters
        ----------
        values : array of float
            In the unit of the quantity.
        per_day : float
            Samples of one device in a day.
        devices : int
            How many devices the values are of.

        Returns
        -------
        Summary or None
            In the unit of the KPI; None where the statistic has no value, such as a direction that cancels out.
        """
        measure = self.samples.measure
        summed = measure.statistic in ("sum", "count")
        return summarise(values, measure, self.resolved.scale, per_day * (devices if summed else 1))


@dataclass(frozen=True, slots=True)
class KpiValue:
    """A KPI over a time. `value` is None where there are no readings to speak of."""

    value: float | None
    unit: str  # UCUM
    completeness: float  # samples with a value ÷ samples expected, 0..1
    samples: int


def plan_of(pilot: PilotDefinition, measure: Measure, *, only: Sequence[str] = (), never: Sequence[str] = ()) -> Plan:
    """Apply a measure to a pilot's devices.

    Parameters
    ----------
    pilot : PilotDefinition
        Must have passed its checks (definition.kpi_checks).
    measure : Measure
    only, never : sequence of str
        Device groups to take instead, or to leave out; see definition.measures.streams_of.

    Returns
    -------
    Plan
    """
    streams = streams_of(pilot, measure, only=only, never=never)
    measured = {stream for of_device in streams.values() for stream in of_device}
    intervals = {
        stream: interval_handed_on(pilot, described.quantity, interval_micros(interval))
        for device in pilot.devices
        for described in device.streams
        for stream, interval in [
            (Stream(pilot.id, device.id, described.quantity), described.interval or device.interval)
        ]
        if stream in measured and interval is not None
    }
    excluded = _excluded(pilot, (measure.quantity, *measure.plus), list(streams))
    resolved = resolve_measure(measure, vocabulary_of(pilot))
    earlier = {
        stream: [
            promise._replace(interval=interval_handed_on(pilot, stream.quantity, promise.interval))
            for promise in promises
        ]
        for stream, promises in earlier_promises(pilot).items()
        if stream in measured
    }
    return Plan(SamplePlan(measure, streams, resolved.aggregation, intervals, excluded, earlier), resolved)


def kpi_value(store: ReadingStore, pilot: PilotDefinition, kpi: Kpi, start: Micros, end: Micros) -> KpiValue:
    """A KPI over any time.

    Parameters
    ----------
    store : ReadingStore
    pilot : PilotDefinition
    kpi : Kpi
        Devices of its control groups are left out.
    start, end : int
        Half-open range, µs since the epoch (UTC). Only samples that lie in it as a whole count.

    Returns
    -------
    KpiValue
        Of good readings outside excluded windows.

    Raises
    ------
    StoreError
        What the store raises.
    """
    main = plan_of(pilot, kpi, never=kpi.control)
    samples = main.read(store, [(start, end)], pilot.timezone)
    value, completeness, count = _value(main, samples), samples.completeness, len(samples)
    if kpi.compare is not None:
        other = plan_of(pilot, kpi.compare.measure, never=kpi.control)
        second_samples = other.read(store, [(start, end)], pilot.timezone)
        value = combined(kpi.compare.kind, value, _value(other, second_samples))
        completeness = min(completeness, second_samples.completeness)
        count = min(count, len(second_samples))
    return KpiValue(value, unit_of(main, kpi.compare), completeness, count)


def _value(plan: Plan, samples: Samples) -> float | None:
    """The statistic, adjusted for devices and hours that are missing."""
    summary = plan.summary(samples.value, exact_per_day(samples.details, samples.per_day), plan.streams)
    if summary is None or summary.pseudo is None or plan.resolved.scale == "vector":
        return summary.value if summary else None
    frame = samples.frame.assign(pseudo_value=summary.pseudo)
    slots = sum(detail.slots for detail in samples.details)
    return adjusted_value(frame, summary.value, samples.per_day, slots)


def combined(kind: str, first: float | None, second: float | None) -> float | None:
    """Two values as one.

    Parameters
    ----------
    kind : {"ratio", "difference", "share"}
        "share": the first of the sum of both.
    first, second : float or None
        In the units of their measures.

    Returns
    -------
    float or None
        A ratio, a share 0..1 or a difference in the unit of both; None where one is missing or the divisor is zero.
    """
    if first is None or second is None:
        return None
    if kind == "difference":
        return first - second
    divisor = second if kind == "ratio" else first + second
    return first / divisor if divisor else None


def unit_of(plan: Plan, compare: Comparison | None) -> str:
    """The unit of a KPI.

    Parameters
    ----------
    plan : Plan
        Of its measure.
    compare : Comparison or None
        A second measure.

    Returns
    -------
    str
        UCUM: that of the measure; "1" for a ratio or share of two.
    """
    return plan.resolved.unit if compare is None or compare.kind == "difference" else "1"


_FOREVER: Micros = 1 << 62


def _excluded(pilot: PilotDefinition, quantities: Sequence[str], devices: Sequence[str]) -> dict[str, list[Window]]:
    """Windows that evaluation leaves out, by device: exclusions, and the time after a device was retired."""
    windows: dict[str, list[Window]] = {}
    for described in pilot.devices:
        if described.retired is not None and described.id in devices:
            windows[described.id] = [(micros_of(described.retired, pilot.timezone), _FOREVER)]
    for exclusion in pilot.exclusions:
        if exclusion.quantity is not None and exclusion.quantity not in quantities:
            continue
        window = micros_of(exclusion.start, pilot.timezone), micros_of(exclusion.end, pilot.timezone)
        for device in devices if exclusion.device is None else [exclusion.device]:
            windows.setdefault(device, []).append(window)
    return windows

"""Which effect a pilot that is being written could find: by its own baseline, else by other pilots' days."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from techport_pilots.definition.measures import streams_of
from techport_pilots.evaluation.phases import phases_of
from techport_pilots.evaluation.power import Power, detectable, power, power_by, power_note
from techport_pilots.i18n import Message
from techport_pilots.model import Kpi, PilotDefinition
from techport_pilots.time import micros_of
from techport_storage.microseconds import DAY
from techport_storage.model import Micros, Selection
from techport_storage.store import ReadingStore

WEEKS = (4, 8, 12, 26)
_MOST_MODELS = 3
"""Other pilots that are tried for one KPI: each reads weeks of readings."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a KPI could find. `sizes` are the smallest differences by weeks of intervention, in the KPI's unit and in
    per cent of its level; `planned` is the one for what is planned. `model` is the other pilot that it was judged by.
    """

    kpi: Kpi
    power: Power
    devices: int
    weeks: float
    planned: float | None
    sizes: Sequence[tuple[int, float]]
    model: PilotDefinition | None
    note: Message | None

    def percent(self, size: float) -> float | None:
        """The size in per cent of the level; None where the KPI has none that would mean something."""
        if not self.power.level or all(point.percent is None for point in self.power.points):
            return None
        return 100 * size / abs(self.power.level)


def estimates(
    store: ReadingStore, pilot: PilotDefinition, others: Iterable[PilotDefinition], now: Micros
) -> list[Estimate]:
    """An estimate for each of the pilot's KPIs.

    Parameters
    ----------
    store : ReadingStore
    pilot : PilotDefinition
        As it is planned; it need not be saved.
    others : iterable of PilotDefinition
        Pilots that the author may see, whose days may stand in for a baseline that there is not yet.
    now : int
        µs.

    Raises
    ------
    StoreError
        What the store raises.
    """
    candidates = [other for other in others if other.id != pilot.id]
    return [_estimate(store, pilot, kpi, candidates, now) for kpi in pilot.kpis]


def _estimate(
    store: ReadingStore, pilot: PilotDefinition, kpi: Kpi, others: Sequence[PilotDefinition], now: Micros
) -> Estimate:
    judged, model = power(store, pilot, kpi, now), None
    if judged.obstacle is not None:
        for other, until in _models(store, kpi, others):
            by_other = power_by(store, pilot, kpi, other, until)
            if by_other.obstacle is None:
                judged, model = by_other, other
                break
    devices = len(streams_of(pilot, kpi, never=kpi.control))
    _, intervention = phases_of(pilot)
    span = sum(micros_of(p.end, pilot.timezone) - micros_of(p.start, pilot.timezone) for p in intervention)
    weeks = span / DAY / 7
    sizes = [(number, size) for number in WEEKS if (size := detectable(judged, number, devices)) is not None]
    note = judged.obstacle or power_note(kpi, judged)
    return Estimate(kpi, judged, devices, weeks, detectable(judged, weeks, devices), sizes, model, note)


def _models(store: ReadingStore, kpi: Kpi, others: Sequence[PilotDefinition]) -> list[tuple[PilotDefinition, Micros]]:
    """Pilots that measure the KPI's quantities, each with its latest reading of them, the newest first."""
    quantities = (kpi.quantity, *kpi.plus)
    measuring = {
        other.id: other
        for other in others
        if any({stream.quantity for stream in device.streams}.issuperset(quantities) for device in other.devices)
    }
    if not measuring:
        return []
    latest: dict[str, Micros] = {}
    rows = store.latest(Selection(pilots=tuple(measuring), quantities=quantities))
    for name, time in zip(rows["pilot"].to_pylist(), rows["time"].cast("int64").to_pylist(), strict=True):
        latest[name] = max(time, latest.get(name, time))
    newest_first = sorted(latest, key=lambda name: -latest[name])
    return [(measuring[name], latest[name]) for name in newest_first[:_MOST_MODELS]]

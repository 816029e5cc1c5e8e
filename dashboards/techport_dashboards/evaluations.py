"""What the pilots' KPIs say so far: worked out in the background of a page, kept for some minutes.

An evaluation reads all of a pilot's phases, so a page does not wait for it: static/js/kpis.js fetches it afterwards.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

from techport_dashboards import times
from techport_pilots.completeness import Completeness, pilot_intervals, stream_completeness, together
from techport_pilots.evaluation import Evaluation, evaluate
from techport_pilots.model import Kpi, PilotDefinition
from techport_storage.model import Micros
from techport_storage.store import ReadingStore

FRESH: Micros = 10 * times.MINUTE
RECENT: Micros = times.DAY


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a pilot stands: each KPI with its evaluation, and how complete the last day was."""

    at: Micros
    definition: PilotDefinition
    kpis: list[tuple[Kpi, Evaluation]]
    recent: Completeness


class Evaluations:
    """Gives a pilot's standing, at most FRESH old. Safe to use from several threads; works one out at a time."""

    def __init__(self, store: ReadingStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._kept: dict[str, Standing] = {}

    def standing(self, pilot: PilotDefinition) -> Standing:
        """Of the pilot as it is defined now. Raises what the store raises."""
        with self._lock:
            kept = self._kept.get(pilot.id)
            now = times.now()
            if kept is None or kept.definition is not pilot or now - kept.at > FRESH:
                kept = self._kept[pilot.id] = _work_out(self._store, pilot, now)
            return kept


def _work_out(store: ReadingStore, pilot: PilotDefinition, now: Micros) -> Standing:
    kpis = [(kpi, evaluate(store, pilot, kpi, second_opinion=False)) for kpi in pilot.kpis]
    recent = stream_completeness(store, pilot_intervals(pilot), now - RECENT, now)
    return Standing(now, pilot, kpis, together(recent.values()))

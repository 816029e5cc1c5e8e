"""What the pilots' KPIs say so far: worked out in the background of a page, kept for some minutes.

An evaluation reads all of a pilot's phases, so a page does not wait for it: static/js/kpis.js fetches it afterwards.
"""

from __future__ import annotations

import dataclasses
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import msgspec

from techport_pilots.evaluation import Evaluation, Reason, evaluate
from techport_pilots.evaluation.power import Power, power, power_note
from techport_pilots.i18n import Language
from techport_pilots.model import Kpi, PilotDefinition
from techport_pilots.quality.completeness import SinceStart, since_start
from techport_pilots.registry import registration
from techport_pilots.registry.lifecycle import changes, has_ended, measured_until
from techport_pilots.registry.registration import PlanStatus
from techport_pilots.registry.registry import Registry
from techport_pilots.reports.build import final_evaluations, keep_evaluations
from techport_pilots.reports.kpi_text import describe_kpi
from techport_pilots.reports.plan_text import with_plan
from techport_storage import clock
from techport_storage.microseconds import MINUTE
from techport_storage.model import Micros
from techport_storage.store import ReadingStore

FRESH: Micros = 10 * MINUTE
THREADS = 2
"""That evaluate for the API at the same time, for each holds the processor for seconds."""

OTHERS = 100  # answers to questions that no KPI asks, before they are forgotten


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a pilot stands: each KPI with its evaluation, and how complete its data is."""

    at: Micros
    definition: PilotDefinition
    kpis: list[tuple[Kpi, Evaluation]]
    complete: SinceStart


def in_words(pilot: PilotDefinition, evaluation: Evaluation) -> dict[str, Any]:
    """The evaluation of one of the pilot's KPIs as the API gives it: with its sentence, and the value expected."""
    kpi = next(kpi for kpi in pilot.kpis if kpi.id == evaluation.kpi)
    texts = {code: describe_kpi(pilot, kpi, evaluation, Language(code)).whole for code in ("nb", "en")}
    return {"sentence": texts, "expected": evaluation.expected, **msgspec.to_builtins(evaluation)}


class Evaluations:
    """Gives a pilot's standing, at most FRESH old. Safe to use from several threads; works one out at a time."""

    def __init__(self, registry: Registry, store: ReadingStore) -> None:
        self._registry = registry
        self._store = store
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="evaluation")
        self._kept: dict[str, Standing] = {}
        self._others: dict[tuple[str, bytes], tuple[Micros, PilotDefinition, Evaluation]] = {}

    def standing(self, pilot: PilotDefinition) -> Standing:
        """Of the pilot as it is defined now. Raises what the store raises."""
        with self._lock:
            cached = self._kept.get(pilot.id)
            now = clock.now()
            if cached is None or cached.definition is not pilot or now - cached.at > FRESH:
                cached = self._work_out(pilot, now)
                self._remember(cached)
                plan = registration.status(self._registry.database, pilot)
                shown = [(kpi, self._planned(pilot, kpi, answer, plan)) for kpi, answer in cached.kpis]
                cached = self._kept[pilot.id] = dataclasses.replace(cached, kpis=shown)
            return cached

    def power(self, pilot: PilotDefinition, kpi: Kpi) -> Power:
        """What the KPI can find, judged by the days of its baseline so far."""
        return power(self._store, pilot, kpi, clock.now())

    def _planned(self, pilot: PilotDefinition, kpi: Kpi, answer: Evaluation, plan: PlanStatus) -> Evaluation:
        """The evaluation with how it was planned and, before it decides, whether it can see its target."""
        answer = with_plan(pilot, kpi, answer, plan)
        if answer.final:
            return answer
        note = power_note(kpi, self.power(pilot, kpi))
        if note is None:
            return answer
        return msgspec.structs.replace(answer, reasons=[*answer.reasons, Reason.of(note)])

    def one(self, pilot: PilotDefinition, kpi: Kpi) -> Evaluation:
        """One of the pilot's KPIs, or one made up for a question about its phases."""
        if kpi in pilot.kpis:
            return next(evaluation for own, evaluation in self.standing(pilot).kpis if own == kpi)
        key = pilot.id, msgspec.json.encode(kpi)
        with self._lock:
            now = clock.now()
            at, definition, evaluation = self._others.get(key, (0, None, None))
            if evaluation is None or definition is not pilot or now - at > FRESH:
                evaluation = self._as_of(pilot, kpi, now)
                if len(self._others) >= OTHERS:
                    self._others.clear()
                self._others[key] = now, pilot, evaluation
            return evaluation

    def fresh(self, pilot: PilotDefinition, kpi: Kpi, seconds: float) -> Evaluation:
        """One of the pilot's KPIs as of now; of a closed pilot what was found.

        Raises TimeoutError when that takes longer than `seconds`: the thread finishes, but nobody waits for it.
        """
        return self._threads.submit(self._evaluate, pilot, kpi).result(seconds)

    def _evaluate(self, pilot: PilotDefinition, kpi: Kpi) -> Evaluation:
        final = final_evaluations(self._registry.database, pilot)
        plan = registration.status(self._registry.database, pilot)
        if final is not None:
            return with_plan(pilot, kpi, final[pilot.kpis.index(kpi)], plan)
        return with_plan(pilot, kpi, self._as_of(pilot, kpi, clock.now()), plan)

    def _as_of(self, pilot: PilotDefinition, kpi: Kpi, now: Micros) -> Evaluation:
        """The answer up to when the pilot's phases are judged."""
        taken = changes(self._registry.database, pilot.id)
        lent = self._registry.lent(pilot)
        return evaluate(self._store, pilot, kpi, lent=lent, until=measured_until(taken, now), ended=has_ended(taken))

    def _remember(self, standing: Standing) -> None:
        """For the portfolio. What a closed pilot's package says stays as it is."""
        if self._registry.state(standing.definition.id) != "closed":
            evaluations = [evaluation for _, evaluation in standing.kpis]
            keep_evaluations(self._registry.database, standing.definition.id, evaluations, standing.at)

    def _work_out(self, pilot: PilotDefinition, now: Micros) -> Standing:
        evaluations = final_evaluations(self._registry.database, pilot)
        if evaluations is None:
            evaluations = [self._as_of(pilot, kpi, now) for kpi in pilot.kpis]
        until = measured_until(changes(self._registry.database, pilot.id), now)
        complete = since_start(self._store, pilot, until)
        return Standing(now, pilot, list(zip(pilot.kpis, evaluations, strict=True)), complete)

"""All pilots at once: which run, end soon, reached their targets. From the registry alone, so it is quick."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec

from techport_pilots.evaluation import Evaluation, in_its_words
from techport_pilots.evaluation.roles import primary_kpi
from techport_pilots.model import PilotDefinition, Text
from techport_pilots.registry import erasures, lifecycle, registration
from techport_pilots.registry.lifecycle import State
from techport_pilots.registry.registry import Registry
from techport_pilots.reports.build import kept_evaluations
from techport_pilots.reports.plan_text import with_plan
from techport_pilots.time import micros_of
from techport_storage.microseconds import DAY
from techport_storage.model import Micros

SOON: Micros = 30 * DAY


class PilotStanding(msgspec.Struct, frozen=True, kw_only=True):
    """Where a pilot stands. `verdicts` counts those of its last evaluation; KPIs without one are not in it. `reached`
    are KPIs whose target is met, out of `targets`; what came out otherwise when a package was opened here is
    `differing`, and not reached."""

    pilot: str
    title: Text
    state: State
    phases: list[str]  # that it is in now
    day: int | None  # of `days`, from 1; None before the first phase and after the last
    days: int | None  # from the first phase to the end of the last
    ends: Micros | None  # of the last phase, or when the pilot was ended before that
    ends_soon: bool  # runs, and ends within SOON
    overdue: bool  # runs, though its last phase is over: end it, or plan on
    kpis: int
    targets: int  # KPIs that have one
    reached: int
    differing: int
    verdicts: dict[str, int]
    primary: Evaluation | None  # the last one of the primary KPI
    erase_at: Micros | None
    erasure_overdue: bool  # that date is over, and readings are still there
    not_collected: int  # values that came for a draft with personal data, and were not kept
    draft_holds: bool  # a draft with personal data of which there are readings, from before


def portfolio(registry: Registry, at: Micros) -> list[PilotStanding]:
    """Every pilot, by id. Raises RegistryUnavailable."""
    stored = kept_evaluations(registry.database)
    holding = erasures.holding_readings(registry.database)
    dropped = erasures.not_collected(registry.database)
    standings = [_standing(registry, pilot, stored, pilot.id in holding, at) for pilot in registry.pilots()]
    return [msgspec.structs.replace(standing, not_collected=dropped.get(standing.pilot, 0)) for standing in standings]


def _standing(
    registry: Registry, pilot: PilotDefinition, stored: Mapping[str, list[Evaluation]], holds: bool, at: Micros
) -> PilotStanding:
    state = registry.state(pilot.id)
    zone, kpis = pilot.timezone, {kpi.id: kpi for kpi in pilot.kpis}
    evaluations = [
        in_its_words(kpis[evaluation.kpi], evaluation)
        for evaluation in stored.get(pilot.id, [])
        if evaluation.kpi in kpis
    ]
    verdicts = Counter(evaluation.verdict for evaluation in evaluations)
    spans = [(micros_of(phase.start, zone), micros_of(phase.end, zone), phase.name) for phase in pilot.phases]
    ends: Micros | None = None
    days = day = None
    if spans:
        starts, ends = min(span[0] for span in spans), max(span[1] for span in spans)
        days = -(-(ends - starts) // DAY)
        day = (at - starts) // DAY + 1 if starts <= at < ends else None
        if state in ("ended", "closed"):
            ends = min(ends, lifecycle.measured_until(lifecycle.changes(registry.database, pilot.id), ends))
    runs = state == "running"
    erase_at = erasures.due_at(registry, pilot)
    collects = lifecycle.collects(pilot, state)
    return PilotStanding(
        pilot=pilot.id,
        title=pilot.title,
        state=state,
        phases=[name for start, end, name in spans if start <= at < end],
        day=day,
        days=days,
        ends=ends,
        ends_soon=runs and ends is not None and at < ends <= at + SOON,
        overdue=runs and ends is not None and ends <= at,
        kpis=len(pilot.kpis),
        targets=sum(kpi.target is not None for kpi in pilot.kpis),
        reached=sum(
            evaluation.verdict == "target met" and evaluation.recalculated is None for evaluation in evaluations
        ),
        differing=sum(evaluation.recalculated is not None for evaluation in evaluations),
        verdicts=dict(sorted(verdicts.items())),
        primary=_primary(registry, pilot, evaluations),
        erase_at=erase_at,
        erasure_overdue=holds and erase_at is not None and erase_at <= at,
        not_collected=0,
        draft_holds=holds and not collects,
    )


def _primary(registry: Registry, pilot: PilotDefinition, evaluations: Sequence[Evaluation]) -> Evaluation | None:
    """The last evaluation of the KPI that decides, with what is to be known of its plan."""
    kpi = primary_kpi(pilot)
    answer = next((evaluation for evaluation in evaluations if kpi is not None and evaluation.kpi == kpi.id), None)
    if kpi is None or answer is None:
        return None
    return with_plan(pilot, kpi, answer, registration.status(registry.database, pilot))

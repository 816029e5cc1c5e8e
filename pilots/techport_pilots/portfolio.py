"""All pilots at once: which run, end soon, reached their targets. From the registry alone, so it is quick."""

from __future__ import annotations

from collections import Counter

import msgspec

from techport_pilots import retention
from techport_pilots.kpi_time import micros_of
from techport_pilots.lifecycle import State
from techport_pilots.model import Text
from techport_pilots.registry import Registry
from techport_pilots.report import kept_evaluations
from techport_storage.model import Micros

SOON: Micros = 30 * 86_400_000_000


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """Where a pilot stands. `verdicts` counts those of its last report or package; KPIs without one are not in it."""

    pilot: str
    title: Text
    state: State
    phases: list[str]  # that it is in now
    ends: Micros | None  # of the last phase
    ends_soon: bool  # runs, and ends within SOON
    overdue: bool  # runs, though its last phase is over: end it, or plan on
    kpis: int
    verdicts: dict[str, int]
    erase_at: Micros | None


def portfolio(registry: Registry, at: Micros) -> list[Standing]:
    """Every pilot, by id. Raises RegistryUnavailable."""
    kept = kept_evaluations(registry.engine)
    return [_standing(registry, pilot.id, Counter(one.verdict for one in kept.get(pilot.id, [])), at)
            for pilot in registry.pilots()]  # fmt: skip


def _standing(registry: Registry, id: str, verdicts: Counter[str], at: Micros) -> Standing:
    pilot, state = registry.pilot(id), registry.state(id)
    spans = [
        (micros_of(phase.start, pilot.timezone), micros_of(phase.end, pilot.timezone), phase.name)
        for phase in pilot.phases
    ]
    ends = max((end for _, end, _ in spans), default=None)
    runs = state == "running" and ends is not None
    return Standing(
        pilot=id,
        title=pilot.title,
        state=state,
        phases=[name for start, end, name in spans if start <= at < end],
        ends=ends,
        ends_soon=runs and ends is not None and at < ends <= at + SOON,
        overdue=runs and ends is not None and ends <= at,
        kpis=len(pilot.kpis),
        verdicts=dict(sorted(verdicts.items())),
        erase_at=retention.due_at(registry, pilot),
    )

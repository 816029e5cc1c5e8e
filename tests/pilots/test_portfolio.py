"""All pilots at once: states, ends and verdicts."""

from __future__ import annotations

import msgspec
import pytest

from techport_pilots.evaluation import Evaluation, Recalculated
from techport_pilots.handover.portfolio import portfolio
from techport_pilots.registry import lifecycle
from techport_pilots.registry.registry import Registry
from techport_pilots.reports.build import keep_evaluations
from techport_storage.microseconds import DAY
from tests.pilots import trial

pytestmark = pytest.mark.dates


def test_where_each_pilot_stands(registry: Registry) -> None:
    for name in ("a", "b"):
        registry.import_pilot(msgspec.structs.replace(trial.definition(), id=name), "", "test")
    lifecycle.transition(registry.database, registry.pilot("b"), "running", "test")
    answers = [
        Evaluation(kpi="dust", unit="ug/m3", verdict="target met", reasons=[]),
        Evaluation(kpi="dusty", unit="1", verdict="target met", reasons=[]),  # by an earlier version; it has no target
    ]
    keep_evaluations(registry.database, "b", answers, 1)
    draft, running = portfolio(registry, trial.START + 40 * DAY)
    assert (draft.pilot, draft.state, draft.ends_soon, draft.overdue, draft.verdicts) == (
        "a",
        "draft",
        False,
        False,
        {},
    )
    assert (running.state, running.phases, running.ends_soon) == ("running", ["sweeping"], True)
    assert running.verdicts == {"effect shown": 1, "target met": 1}
    assert (running.reached, running.targets, running.kpis) == (1, 1, 2), "one of the two has a target"
    assert (running.reached, running.day, running.days) == (1, 41, 60)
    assert portfolio(registry, trial.START + 10 * DAY)[1].ends_soon is False
    late = portfolio(registry, trial.START + 90 * DAY)[1]
    assert (late.overdue, late.ends_soon, late.phases, late.erase_at) == (True, False, [], None)
    lifecycle.transition(registry.database, registry.pilot("b"), "ended", "test")
    ended = portfolio(registry, trial.START + 90 * DAY)[1]
    assert not ended.overdue
    assert ended.erase_at is not None


def test_a_pilot_without_phases_never_ends_by_itself(registry: Registry) -> None:
    registry.import_pilot(msgspec.structs.replace(trial.definition(), phases=[], kpis=[]), "", "test")
    (one,) = portfolio(registry, trial.START)
    assert (one.ends, one.kpis, one.overdue) == (None, 0, False)


def test_what_differs_from_its_package_is_not_reached(registry: Registry) -> None:
    registry.import_pilot(trial.definition(), "", "test")
    said = Evaluation(kpi="dust", unit="ug/m3", verdict="target met", reasons=[])
    here = Recalculated(verdict="inconclusive")
    keep_evaluations(registry.database, "elgeseter", [msgspec.structs.replace(said, recalculated=here)], 1)
    (one,) = portfolio(registry, trial.START)
    assert (one.reached, one.differing) == (0, 1)

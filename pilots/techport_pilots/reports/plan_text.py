"""What the history of a pilot's plan means for its results, as reasons that stand beside each verdict."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import msgspec

from techport_pilots.evaluation import Evaluation, Reason
from techport_pilots.evaluation.messages import message
from techport_pilots.evaluation.roles import role_note
from techport_pilots.i18n import Message
from techport_pilots.model import Kpi, PilotDefinition
from techport_pilots.registry.registration import Change, PlanStatus
from techport_storage.model import Micros

_LONGEST = 60  # characters of a value in a sentence


def with_plan(pilot: PilotDefinition, kpi: Kpi, evaluation: Evaluation, plan: PlanStatus) -> Evaluation:
    """The evaluation with what a reader must know of how it was planned: for display, not to be kept."""
    notes = [Reason.of(note) for note in plan_notes(pilot, kpi, plan)]
    return msgspec.structs.replace(evaluation, reasons=[*evaluation.reasons, *notes]) if notes else evaluation


def plan_notes(pilot: PilotDefinition, kpi: Kpi, plan: PlanStatus) -> list[Message]:
    """Changes after the start, a plan that is younger than the intervention, and the KPI's part among several."""
    notes = []
    if changes := plan.concerning(kpi.id):
        notes.append(message("changed-after-start", what=[_change(change) for change in changes]))
    if plan.days_late:
        notes.append(message("written-late", days=plan.days_late))
    if (note := role_note(pilot, kpi)) is not None:
        notes.append(note)
    return notes


def changed_kpis(pilot: PilotDefinition, plan: PlanStatus) -> Sequence[str]:
    """KPIs whose result depends on something that was changed after the start."""
    return [kpi.id for kpi in pilot.kpis if plan.concerning(kpi.id)]


def _change(change: Change) -> Message:
    params = {"field": change.field, "before": _short(change.before), "after": _short(change.after)}
    return message("changed-after-start.field", **params, day=_day(change.at))


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _day(time: Micros) -> str:
    return dt.datetime.fromtimestamp(time / 1e6, dt.UTC).date().isoformat()

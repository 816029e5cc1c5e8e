"""Evaluation of a pilot: did the KPI change, by how much, and how sure is that? See docs/method.md."""

from techport_pilots.evaluation.compare import daily_curve, evaluate
from techport_pilots.evaluation.looking import MIN_DAYS
from techport_pilots.evaluation.model import (
    Check,
    Effect,
    Evaluation,
    Interval,
    LeftOut,
    Look,
    PhaseValue,
    Progress,
    Reason,
    Recalculated,
    Verdict,
    agree,
    recalculated,
)
from techport_pilots.evaluation.phases import so_far
from techport_pilots.evaluation.verdict import in_its_words

__all__ = [
    "MIN_DAYS",
    "Check",
    "Effect",
    "Evaluation",
    "Interval",
    "LeftOut",
    "Look",
    "PhaseValue",
    "Progress",
    "Reason",
    "Recalculated",
    "Verdict",
    "agree",
    "daily_curve",
    "evaluate",
    "in_its_words",
    "recalculated",
    "so_far",
]

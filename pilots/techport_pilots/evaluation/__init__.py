"""Evaluation of a pilot: did the KPI change, by how much, and how sure is that? See docs/method.md."""

from techport_pilots.evaluation.compare import MIN_DAYS, evaluate
from techport_pilots.evaluation.model import Effect, Evaluation, Interval, LeftOut, PhaseValue, Reason, Verdict, agree
from techport_pilots.evaluation.phases import so_far

__all__ = [
    "MIN_DAYS",
    "Effect",
    "Evaluation",
    "Interval",
    "LeftOut",
    "PhaseValue",
    "Reason",
    "Verdict",
    "agree",
    "evaluate",
    "so_far",
]

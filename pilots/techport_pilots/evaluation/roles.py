"""The part that each KPI plays: one decides, others are corrected for being several, or say that they explore."""

from __future__ import annotations

from typing import Literal

from techport_pilots.evaluation.interval import CONFIDENCE
from techport_pilots.evaluation.messages import message
from techport_pilots.i18n import Message
from techport_pilots.model import Kpi, PilotDefinition

Role = Literal["primary", "secondary", "exploratory"]


def role_of(pilot: PilotDefinition, kpi: Kpi) -> Role:
    """As the definition says; where it does not, the first KPI is the primary one unless another is, and the others
    explore. A KPI that was made up for a question explores too."""
    if kpi.role is not None:
        return kpi.role
    if any(other.role == "primary" for other in pilot.kpis):
        return "exploratory"
    return "primary" if pilot.kpis and pilot.kpis[0].id == kpi.id else "exploratory"


def primary_kpi(pilot: PilotDefinition) -> Kpi | None:
    """The KPI that decides; None for a pilot without any."""
    return next((kpi for kpi in pilot.kpis if role_of(pilot, kpi) == "primary"), None)


def confidence_of(pilot: PilotDefinition, kpi: Kpi) -> float:
    """The confidence of a KPI's intervals.

    Parameters
    ----------
    pilot : PilotDefinition
    kpi : Kpi

    Returns
    -------
    float
        0.95; of secondary KPIs so much more each that all of them together hold with 0.95 (Bonferroni).
    """
    if role_of(pilot, kpi) != "secondary":
        return CONFIDENCE
    return 1 - (1 - CONFIDENCE) / max(1, sum(role_of(pilot, other) == "secondary" for other in pilot.kpis))


def role_note(pilot: PilotDefinition, kpi: Kpi) -> Message | None:
    """What a reader has to know of a KPI that is not the primary one; None for one that is alone or decides."""
    role = role_of(pilot, kpi)
    if role == "primary" or len(pilot.kpis) < 2:
        return None
    same = sum(role_of(pilot, other) == role for other in pilot.kpis)
    if role == "exploratory":
        return message("exploratory", n=same)
    return message("secondary", n=same, confidence=round(100 * confidence_of(pilot, kpi), 2))

"""The limit that stands beside a measured value: the pilot's own target, else what a directive or guideline says."""

from __future__ import annotations

from dataclasses import dataclass

from techport_pilots.definition.limits import built_ins
from techport_pilots.model import Kpi, PilotDefinition, Text

_PREFERRED = ("no2022", "eu2024", "t1442-road-yellow", "en16798-co2", "en16798-warm")
_SPANS = ("hour", "day", "8h", "year")


@dataclass(frozen=True, slots=True)
class LimitValue:
    """`span` is over which time the limit is a mean: hour, day, 8h, year, lden, use; empty for a pilot's own target."""

    value: float
    span: str
    title: Text
    source: str
    applies_from: str | None = None  # date, of a limit that is not in force yet


def limit_of(pilot: PilotDefinition, quantity: str) -> LimitValue | None:
    """The one in force where there is one, else one to come with its date; None where nobody has set one.

    A value of this moment is not a mean: a limit is there to compare with.
    """
    base = quantity.partition(".")[0]
    own = next((kpi for kpi in pilot.kpis if kpi.quantity in (quantity, base) and _plain(kpi)), None)
    if own is not None and own.target is not None:
        return LimitValue(own.target, "", own.title, "")
    candidates = [candidate for candidate in built_ins().values() if candidate.kpi.quantity == base]
    for prefix in _PREFERRED:
        for candidate in candidates:
            kpi = candidate.kpi
            value = kpi.target if kpi.threshold is None else kpi.threshold
            if value is not None and kpi.id.startswith(prefix) and not kpi.id.endswith("-year"):
                return LimitValue(value, _span(kpi.id), kpi.title, candidate.source, candidate.applies_from)
    return None


def _plain(kpi: Kpi) -> bool:
    """Whether its target is a value of the quantity that less is better than."""
    simple = kpi.statistic in ("mean", "median", "max") and kpi.compare is None
    return simple and kpi.target is not None and kpi.target_is == "value" and kpi.direction == "lower"


def _span(limit_id: str) -> str:
    if limit_id.startswith("t1442"):
        return "lden"
    return next((span for span in _SPANS if limit_id.endswith(f"-{span}")), "use")

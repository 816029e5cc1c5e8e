"""Days before the baseline, of the same streams: time in which nothing was done."""

from __future__ import annotations

import msgspec
import pandas as pd

from techport_pilots.evaluation.kpi import plan_of
from techport_pilots.evaluation.phases import baseline_vs_intervention, phases_of
from techport_pilots.model import Kpi, Phase, PilotDefinition
from techport_pilots.time import micros_of
from techport_storage.microseconds import DAY
from techport_storage.store import ReadingStore

LOOK_BACK = 2 * 366 * DAY
"""How far before the baseline readings are read."""


def earlier_levels(store: ReadingStore, pilot: PilotDefinition, kpi: Kpi) -> pd.Series[float] | None:
    """Levels of the days before the baseline, less the control group's where there is one.

    Parameters
    ----------
    store : ReadingStore
    pilot : PilotDefinition
    kpi : Kpi
        One that compares phases.

    Returns
    -------
    pandas.Series or None
        By local date, ascending; None where there are no such readings, and for KPIs of two measures. Days before a
        device was moved are of another place, so a pilot with moves has none.

    Raises
    ------
    StoreError
        What the store raises.
    """
    before, after = phases_of(pilot)
    if not before or not after or kpi.compare is not None or any(event.kind == "moved" for event in pilot.events):
        return None
    start = min(micros_of(phase.start, pilot.timezone) for phase in (*before, *after))
    begin = pd.Timestamp(start - LOOK_BACK, unit="us", tz="UTC").to_pydatetime()
    end = pd.Timestamp(start, unit="us", tz="UTC").to_pydatetime()
    alone = msgspec.structs.replace(pilot, phases=[Phase("before", "baseline", begin, end)], events=[])
    street = baseline_vs_intervention(store, alone, plan_of(pilot, kpi, never=kpi.control)).days
    if street is None or not len(street):
        return None
    level: pd.Series[float] = street["level"]
    if kpi.control:
        control = baseline_vs_intervention(store, alone, plan_of(pilot, kpi, only=kpi.control)).days
        if control is None:
            return None
        level = level - control["level"].reindex(level.index)
    return level.dropna()

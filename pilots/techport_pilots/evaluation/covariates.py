"""Weather, traffic and the week as columns of a regression on days."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from techport_pilots.evaluation.days import Days, day_levels
from techport_pilots.evaluation.samples import samples_of
from techport_pilots.model import Covariate, Measure, PilotDefinition
from techport_pilots.quantities import vocabulary_of
from techport_pilots.time import WEEKDAYS
from techport_storage.model import Micros, Stream
from techport_storage.store import ReadingStore

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Columns:
    """Regressors of days: `values` (n, k) with a name each; NaN where a day has no value."""

    names: list[str]
    values: Floats

    def and_(self, other: Columns) -> Columns:
        return Columns([*self.names, *other.names], np.concatenate([self.values, other.values], axis=1))

    def of(self, rows: NDArray[np.bool_]) -> Columns:
        """Those days, without the columns that are the same on all of them, centred."""
        values = self.values[rows]
        varying = np.ptp(values, axis=0) > 0 if len(values) else np.zeros(len(self.names), bool)
        kept = values[:, varying]
        names = [name for name, keep in zip(self.names, varying, strict=True) if keep]
        return Columns(names, kept - kept.mean(axis=0) if len(kept) else kept)


def no_columns(n: int) -> Columns:
    return Columns([], np.empty((n, 0)))


def weekdays(day: Ints) -> Columns:
    """One column a weekday that occurs; the first that occurs is the one the others differ from."""
    weekday = (day + 3) % 7
    seen = np.unique(weekday)[1:]
    return Columns([WEEKDAYS[i] for i in seen], (weekday[:, None] == seen[None, :]).astype(float))


def daily_covariate(
    store: ReadingStore, pilot: PilotDefinition, covariate: Covariate, start: Micros, end: Micros
) -> dict[str, Days]:
    """Daily levels of a covariate by column name: one, or east and north parts for a direction. Per hour for counts."""
    quantity = vocabulary_of(pilot).lookup(covariate.quantity)
    kind = quantity.kind if quantity else "level"
    stream = Stream(covariate.pilot or pilot.id, covariate.device, covariate.quantity)
    how = {"count": "sum", "direction": "vector", "energy-level": "energy"}.get(kind, "mean")
    measure = Measure(quantity=covariate.quantity)
    slots = samples_of(store, {covariate.device: [stream]}, measure, start, end, pilot.timezone, how=how)
    if kind != "direction":
        return {covariate.quantity: day_levels(slots, slots.value)}
    radians = np.deg2rad(slots.value)
    return {
        f"{covariate.quantity} (east)": day_levels(slots, np.sin(radians)),
        f"{covariate.quantity} (north)": day_levels(slots, np.cos(radians)),
    }


def covariate_columns(
    store: ReadingStore, pilot: PilotDefinition, covariates: Sequence[Covariate], day: Ints, start: Micros, end: Micros
) -> Columns:
    """Columns of all covariates on the given days."""
    columns = no_columns(len(day))
    for covariate in covariates:
        for name, days in daily_covariate(store, pilot, covariate, start, end).items():
            columns = columns.and_(Columns([name], days.at(day)[:, None]))
    return columns

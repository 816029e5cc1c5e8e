"""Weather, traffic and the week as columns of a regression on days: tables with a row a day and a name a column."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from techport_pilots.evaluation.days import day_levels
from techport_pilots.evaluation.samples import SamplePlan, Window, read_samples
from techport_pilots.model import Covariate, Measure, PilotDefinition
from techport_pilots.quantities import vocabulary_of
from techport_pilots.time import WEEKDAYS
from techport_storage.model import Stream
from techport_storage.store import ReadingStore


def centred(columns: pd.DataFrame) -> pd.DataFrame:
    """Regressors about zero.

    Parameters
    ----------
    columns : DataFrame
        One row for each day.

    Returns
    -------
    DataFrame
        The columns that vary, less their means; rows and units as they were.
    """
    values = columns.to_numpy(float)
    if not len(values):
        return columns.iloc[:, :0]
    varying = np.ptp(values, axis=0) > 0
    values = values[:, varying]
    return pd.DataFrame(values - values.mean(axis=0), columns.index, columns.columns[varying])


def weekdays(days: pd.DatetimeIndex) -> pd.DataFrame:
    """Regressors that tell the days of the week apart.

    Parameters
    ----------
    days : DatetimeIndex
        Local days.

    Returns
    -------
    DataFrame
        0 or 1; one column for each weekday that occurs but the first, from which the others differ.
    """
    weekday = days.day_of_week.to_numpy()
    seen = np.unique(weekday)[1:]
    return pd.DataFrame(
        (weekday[:, None] == seen[None, :]).astype(float),
        index=days,
        columns=pd.Index([WEEKDAYS[i] for i in seen], dtype=object),
    )


def daily_covariate(
    store: ReadingStore, pilot: PilotDefinition, covariate: Covariate, period: Window
) -> list[pd.Series[float]]:
    """Daily levels of a covariate: one column, or the east and north parts of a direction.

    Parameters
    ----------
    store : ReadingStore
    pilot : PilotDefinition
        Whose vocabulary and time zone count; the covariate's stream may be of another pilot, which lends it (evaluate).
    covariate : Covariate
    period : (start, end)
        µs since the epoch, half-open.

    Returns
    -------
    list of pandas.Series
        Named after the quantity, by local date, in the quantity's unit; counts are per hour, directions without a unit.
    """
    quantity = vocabulary_of(pilot).lookup(covariate.quantity)
    kind = quantity.kind if quantity else "level"
    stream = Stream(covariate.pilot or pilot.id, covariate.device, covariate.quantity)
    aggregation = {"count": "sum", "direction": "vector", "energy-level": "energy"}.get(kind, "mean")
    plan = SamplePlan(Measure(quantity=covariate.quantity), {covariate.device: [stream]}, aggregation)
    samples = read_samples(store, plan, [period], pilot.timezone)
    name, frame = covariate.quantity, samples.frame
    if kind != "direction":
        return [day_levels(frame, "value", samples.per_day).rename(name)]
    radians = np.deg2rad(frame["value"])
    parts = frame.assign(east=np.sin(radians), north=np.cos(radians))
    return [day_levels(parts, part, samples.per_day).rename(f"{name} ({part})") for part in ("east", "north")]


def covariate_columns(
    store: ReadingStore,
    pilot: PilotDefinition,
    covariates: Sequence[Covariate],
    days: pd.DatetimeIndex,
    period: Window,
    *,
    day_before: bool = False,
) -> pd.DataFrame:
    """Columns of all covariates on the given days, NaN where a day has no value.

    Parameters
    ----------
    store, pilot, period
        As for daily_covariate.
    covariates : sequence of Covariate
    days : pandas.DatetimeIndex
        Local dates, ascending.
    day_before : bool
        Add each covariate's value of the day before as a column "<name>, day before".

    Returns
    -------
    pandas.DataFrame
        Index `days`, a column of floats for each covariate (two for a direction).
    """
    columns: list[pd.Series[float]] = []
    for covariate in covariates:
        for levels in daily_covariate(store, pilot, covariate, period):
            columns.append(levels.reindex(days))
            if day_before:
                earlier = levels.reindex(days - pd.Timedelta(days=1)).to_numpy()
                columns.append(pd.Series(earlier, days, name=f"{levels.name}, day before"))
    return pd.concat(columns, axis=1) if columns else pd.DataFrame(index=days)

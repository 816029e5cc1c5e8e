"""One value a local day from many samples of many devices, fair to gaps.

A plain daily mean jumps when a night is missing or a dirty street's device falls silent. Here each sample is

    value = level of its day + pattern of its time of day + habit of its device

and the day's level is what is compared: least squares, solved by taking the three means off in turns.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from techport_pilots.evaluation.samples import dates, device_codes

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MINIMUM_OF_A_DAY = 0.5
"""Share of a day's samples that must be there, of at least one device each."""

_ITERATIONS = 200
_TOLERANCE = 1e-9


def day_levels(samples: pd.DataFrame, column: str, per_day: float) -> pd.Series[float]:
    """The level of each local day.

    Parameters
    ----------
    samples : pandas.DataFrame
        With the columns of samples.Samples.
    column : str
        What is averaged: "value", or pseudo-values in a column of their own.
    per_day : float
        Samples of one device in an ordinary day.

    Returns
    -------
    pandas.Series
        Named "level", in the unit of the column. Its index `day` (datetime64[s], local dates) ascends; days with fewer
        than half of their samples are left out.
    """
    day, days = _numbered(samples["day"].to_numpy().astype("datetime64[D]").astype(np.int64))
    time, times = _numbered(np.round(samples["hour"].to_numpy() * 3600).astype(np.int64))
    level = _day_effects(samples[column].to_numpy(), day, [time, device_codes(samples)])
    filled = np.zeros((len(days), len(times)), bool)
    filled[day, time] = True
    enough = filled.sum(axis=1) >= MINIMUM_OF_A_DAY * per_day
    return pd.Series(level[enough], pd.DatetimeIndex(dates(days[enough]), name="day"), name="level")


def _numbered(values: Ints) -> tuple[Ints, Ints]:
    """The number of each value among the distinct ones, and these in order."""
    if not len(values):
        return values, values
    lowest = values.min()
    occurs = np.bincount(values - lowest) > 0
    return (np.cumsum(occurs) - 1)[values - lowest], np.flatnonzero(occurs) + lowest


def _day_effects(values: Floats, day: Ints, others: list[Ints]) -> Floats:
    """Least-squares day effects of an additive model. The other effects have mean zero over their levels."""
    if not len(values):
        return np.empty(0)
    others = [factor for factor in others if factor.max(initial=0) > 0]
    effects = [np.zeros(factor.max() + 1) for factor in others]
    level = _means(values, day)
    scale = float(np.abs(values - values.mean()).max()) or 1.0
    for _ in range(_ITERATIONS if others else 0):
        moved = 0.0
        for i, factor in enumerate(others):
            rest = values - level[day] - sum(effects[j][others[j]] for j in range(len(others)) if j != i)
            effect = _means(rest, factor)
            effect -= effect[np.unique(factor)].mean()
            moved = max(moved, float(np.abs(effect - effects[i]).max()))
            effects[i] = effect
        level = _means(values - sum(effect[factor] for effect, factor in zip(effects, others, strict=True)), day)
        if moved <= _TOLERANCE * scale:
            break
    return level


def _means(values: Floats, group: Ints) -> Floats:
    count = np.bincount(group)
    return np.asarray(np.bincount(group, values) / np.maximum(count, 1))

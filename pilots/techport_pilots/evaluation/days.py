"""One value a local day from many slots of many devices, fair to gaps.

A plain daily mean jumps when a night is missing or a dirty street's device falls silent. Here each slot is

    value = level of its day + pattern of its time of day + habit of its device

and the day's level is what is compared: least squares, solved by taking the three means off in turns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from techport_pilots.evaluation.samples import Samples

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

ENOUGH_OF_A_DAY = 0.5  # of the day's slots, at least one device each
_TURNS = 200
_CLOSE = 1e-9


@dataclass(frozen=True, slots=True)
class Days:
    """Levels of local days: `day` ascends, without the days that have too little."""

    day: Ints
    value: Floats

    def at(self, days: Ints) -> Floats:
        """Values of the days, NaN where there is none."""
        answer = np.full(len(days), np.nan)
        if len(self.day):
            place = np.clip(np.searchsorted(self.day, days), 0, len(self.day) - 1)
            found = self.day[place] == days
            answer[found] = self.value[place[found]]
        return answer


def day_levels(slots: Samples, values: Floats) -> Days:
    """The level of each local day. `values` (one for each slot) are what is averaged: values or pseudo-values."""
    days, day = np.unique(slots.day, return_inverse=True)
    if not len(days):
        return Days(days, np.empty(0))
    _, time = np.unique(np.round(slots.hour * 3600).astype(np.int64), return_inverse=True)
    level = _day_effects(values, day, [time, slots.device])
    distinct = np.unique(np.stack([day, time]), axis=1)
    enough = np.bincount(distinct[0], minlength=len(days)) >= ENOUGH_OF_A_DAY * slots.per_day
    return Days(days[enough], level[enough])


def paired_devices(slots: Samples, intervention: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Slots of devices that have data on both sides: the others cannot tell a change from a different place."""
    n = len(slots.devices)
    before = np.bincount(slots.device[~intervention], minlength=n) > 0
    after = np.bincount(slots.device[intervention], minlength=n) > 0
    return (before & after)[slots.device]


def _day_effects(values: Floats, day: Ints, others: list[Ints]) -> Floats:
    """Least-squares day effects of an additive model. The other effects have mean zero over their levels."""
    others = [factor for factor in others if factor.max(initial=0) > 0]
    effects = [np.zeros(factor.max() + 1) for factor in others]
    level = _means(values, day)
    scale = float(np.abs(values - values.mean()).max()) or 1.0
    for _ in range(_TURNS if others else 0):
        moved = 0.0
        for i, factor in enumerate(others):
            rest = values - level[day] - sum(effects[j][others[j]] for j in range(len(others)) if j != i)
            fresh = _means(rest, factor)
            fresh -= fresh[np.unique(factor)].mean()
            moved = max(moved, float(np.abs(fresh - effects[i]).max()))
            effects[i] = fresh
        level = _means(values - sum(effect[factor] for effect, factor in zip(effects, others, strict=True)), day)
        if moved <= _CLOSE * scale:
            break
    return level


def _means(values: Floats, group: Ints) -> Floats:
    count = np.bincount(group)
    return np.asarray(np.bincount(group, values) / np.maximum(count, 1))

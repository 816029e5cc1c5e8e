"""How an evaluation stays honest while people look at it every morning.

A 95 % interval is right one time; a team that looks at it daily and stops at the first effect is wrong in 15-20 % of
pilots without any. So there is a plan: the pilot decides on the day its compared phases end, and on the days its
definition names as `looks`. Before that there is an interval, but no verdict, and the interval is wide enough that all
of them together leave the truth out in at most DAILY_ERROR of pilots.

How wide that is depends on how much a day resembles the one before. It is found by simulation: differences of means of
autocorrelated noise on the very days of the plan, each divided by an error that is itself estimated from few days.
Looks that were planned share the 5 % between them and the final one after Lan and DeMets (1983,
doi:10.1093/biomet/70.3.659) with the spending function of O'Brien and Fleming.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import msgspec
import numpy as np
from numpy.typing import NDArray

from techport_pilots.evaluation.interval import BASIS, CONFIDENCE
from techport_pilots.evaluation.phases import phases_of
from techport_pilots.model import PilotDefinition
from techport_pilots.time import date_of, day_starts, local, micros_of
from techport_storage.model import Micros

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MIN_DAYS = 14
"""On each side: below two weeks neither the week nor the autocorrelation can be told."""

DAILY_ERROR = 0.01
"""Share of pilots in which any of the daily intervals before the end may leave the truth out."""

_PATHS = 4000
_LONGEST_SIMULATED = 400
"""Days. A longer schedule is simulated in steps of several days: what that costs grows with the cube of the steps, but
the boundary hardly grows any more (with the iterated logarithm of the number of looks)."""
_PERSISTENCE = (0.0, 0.2, 0.4, 0.6, 0.75, 0.85, 0.92)


class Schedule(msgspec.Struct, frozen=True):
    """When a pilot decides, and how far it is. Days are local ones since 1970-01-01."""

    baseline: tuple[int, ...]
    intervention: tuple[int, ...]
    at: Micros  # readings before it count
    looks: tuple[int, ...]  # the first day that no longer counts at each planned look, ascending
    until: int  # the first day that does not count yet
    end: int  # the first day after the last compared phase

    @property
    def final(self) -> bool:
        """Whether every compared phase is over."""
        return self.until >= self.end

    @property
    def days(self) -> int:
        """Days of the intervention that have passed."""
        return sum(day < self.until for day in self.intervention)


def schedule_of(pilot: PilotDefinition, until: Micros | None, *, every_phase: bool = False) -> Schedule | None:
    """The days on which a pilot may decide.

    Parameters
    ----------
    pilot : PilotDefinition
        As it was planned: its phases not cut off.
    until : int or None
        µs since the epoch; up to when days count. None: all of them.
    every_phase : bool
        An event study compares the days of all phases, whatever their kind.

    Returns
    -------
    Schedule or None
        None for a pilot that compares nothing: it has no intervention.
    """
    before, after = phases_of(pilot)
    if every_phase:
        before, after = [], sorted(pilot.phases, key=lambda phase: phase.start)
    if not after:
        return None
    zone = pilot.timezone
    end = max(micros_of(phase.end, zone) for phase in (*before, *after))
    sides = []
    for side in (before, after):
        days: set[int] = set()
        for phase in side:
            first, last = micros_of(phase.start, zone), micros_of(phase.end, zone) - 1
            start, stop = local(np.array([first, last], np.int64), zone).day.tolist()
            days.update(range(start, stop + 1))
        sides.append(tuple(sorted(days)))
    last_day = int(local(np.array([end - 1], np.int64), zone).day[0])
    looks = local(np.array([micros_of(look, zone) for look in pilot.looks], np.int64), zone).day.tolist()
    now = last_day + 1 if until is None or until >= end else int(local(np.array([until], np.int64), zone).day[0])
    planned = tuple(sorted({int(day) for day in looks if day <= last_day}))
    return Schedule(sides[0], sides[1], end if until is None else min(until, end), planned, now, last_day + 1)


def date_text(day: int) -> str:
    """A local day as ISO 8601."""
    return date_of(day).isoformat()


def instant_of(day: int, zone: str) -> Micros:
    """The first instant of a local day.

    Parameters
    ----------
    day : int
        Local days since 1 January 1970.
    zone : str
        IANA name.

    Returns
    -------
    int
        µs since the epoch.
    """
    return int(day_starts(np.array([day], np.int64), zone)[0])


def daily_factor(schedule: Schedule, autocorrelation: float) -> float:
    """How many times as wide an interval must be that is looked at every morning until the end.

    Parameters
    ----------
    schedule : Schedule
    autocorrelation : float
        From one day to the next, as the pilot's own days have it.

    Returns
    -------
    float
        At least 1.
    """
    baseline, intervention, stride = _thinned(schedule)
    return _daily_factor(baseline, intervention, _near(autocorrelation) ** stride)


def _thinned(schedule: Schedule) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    """Baseline and intervention in steps of so many days that the simulation stays small, and that number of days."""
    days = (*schedule.baseline, *schedule.intervention)
    stride = -(-(max(days) + 1 - min(days)) // _LONGEST_SIMULATED)
    if stride == 1:
        return schedule.baseline, schedule.intervention, 1
    before, after = ({day // stride for day in side} for side in (schedule.baseline, schedule.intervention))
    return tuple(sorted(before)), tuple(sorted(after)), stride


def planned_factors(schedule: Schedule, autocorrelation: float) -> list[float]:
    """How many times as wide the interval is at each planned look, and at the end.

    Parameters
    ----------
    schedule : Schedule
    autocorrelation : float
        From one day to the next.

    Returns
    -------
    list of float
        One for each look and one for the end. Together they leave the truth out in 5 % of pilots.
    """
    if not schedule.looks:
        return [1.0]
    baseline, intervention, stride = _thinned(schedule)
    looks = tuple(look // stride for look in schedule.looks)
    return list(_planned_factors(baseline, intervention, looks, _near(autocorrelation) ** stride))


def _near(autocorrelation: float) -> float:
    """The value of the grid that is no smaller."""
    return next((value for value in _PERSISTENCE if value >= autocorrelation - 0.02), _PERSISTENCE[-1])


@lru_cache(maxsize=256)
def _daily_factor(baseline: tuple[int, ...], intervention: tuple[int, ...], persistence: float) -> float:
    end = max((*baseline, *intervention)) + 1
    first = sorted(intervention)[0] + 1
    ratios, _ = _ratios(baseline, intervention, tuple(range(first, end)), persistence)
    if not ratios.shape[0]:
        return 1.0
    highest = ratios.max(axis=0)
    return float(max(1.0, np.quantile(highest, 1 - DAILY_ERROR)))


@lru_cache(maxsize=256)
def _planned_factors(
    baseline: tuple[int, ...], intervention: tuple[int, ...], looks: tuple[int, ...], persistence: float
) -> tuple[float, ...]:
    from scipy.special import ndtr, ndtri

    end = max((*baseline, *intervention)) + 1
    ratios, variance = _ratios(baseline, intervention, (*looks, end), persistence, paths=5 * _PATHS)
    missing = 1 + len(looks) - ratios.shape[0]  # looks before two weeks of either side: nothing is shown at them
    factors, spent, remaining = [], 0.0, np.ones(ratios.shape[1], bool)
    for number, ratio in enumerate(ratios):
        share = min(1.0, variance[-1] / variance[number])
        allowed = 2 - 2 * ndtr(ndtri((1 + CONFIDENCE) / 2) / np.sqrt(share))
        fraction = (allowed - spent) / max(remaining.mean(), 1e-9)
        factor = float(np.quantile(ratio[remaining], 1 - min(max(fraction, 0.0), 1.0)))
        factors.append(max(1.0, factor))
        remaining &= ratio <= factors[-1]
        spent = allowed
    return (*([float("inf")] * missing), *factors)


def _ratios(
    baseline: Sequence[int],
    intervention: Sequence[int],
    looks: Sequence[int],
    persistence: float,
    paths: int = _PATHS,
) -> tuple[Floats, Floats]:
    """Simulated |effect| in half widths of the plain interval (looks x paths), and each look's variance.

    Looks at which either side has fewer than MIN_DAYS days are left out: the first rows are missing then.
    """
    from scipy.special import stdtrit

    before, after = np.array(sorted(baseline), np.int64), np.array(sorted(intervention), np.int64)
    start, end = int(min([*before, *after])), int(max([*before, *after])) + 1
    random = np.random.default_rng(20260101)
    steps = random.standard_normal((end - start + 200, paths))
    for step in range(1, len(steps)):
        steps[step] += persistence * steps[step - 1]
    noise = steps[200:] * np.sqrt(1 - persistence**2)
    lengths = np.arange(end - start)
    squares = np.cumsum(random.standard_normal((2 * (end - start), paths)) ** 2, axis=0)
    rows, variances = [], []
    for look in looks:
        days = [side[side < look] - start for side in (before, after)]
        if not len(before):  # an event study: half of the days stand on either side
            days = [days[1][0::2], days[1][1::2]]
        if min(map(len, days)) < MIN_DAYS:
            continue
        weights = np.zeros(end - start)
        weights[days[0]], weights[days[1]] = -1 / len(days[0]), 1 / len(days[1])
        covariance = _quadratic(weights, np.asarray(persistence**lengths, np.float64))
        effect = np.einsum("i,ij->j", weights, noise)
        freedom = sum(max(1, round(BASIS * len(side) ** (2 / 3)) - 1) for side in days)
        error = np.sqrt(squares[freedom - 1] / freedom * covariance)
        rows.append(np.abs(effect) / (stdtrit(freedom, (1 + CONFIDENCE) / 2) * error))
        variances.append(covariance)
    return np.array(rows).reshape(len(rows), paths), np.array(variances)


def _quadratic(weights: Floats, by_lag: Floats) -> float:
    """The variance of a weighted sum of a stationary series."""
    products = np.correlate(weights, weights, "full")[len(weights) - 1 :]
    return float(products[0] * by_lag[0] + 2 * (products[1:] * by_lag[1:]).sum())

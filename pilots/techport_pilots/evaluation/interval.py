"""How sure is a difference between days, when one day resembles the next?

Ordinary least squares on daily values; its error is estimated in four steps that each repair something a plain robust
interval gets wrong when there are only weeks of data (docs/statistics.md shows the coverage with and without):

1. *Pre-whitening.* One autocorrelation from day to day, taken from the residuals and corrected for what fitting removed
   from them: the value whose *expected* residual autocorrelation, given this very design matrix and these gaps, is the
   observed one (method of moments; the idea of Andrews and Monahan 1992, doi:10.2307/2951574).
2. *Series estimate* of what is left: each phase's whitened residuals are projected on a few slow cosines
   (equal-weighted cosine transform; Lazarus, Lewis, Stock and Watson 2018, doi:10.1080/07350015.2018.1506926). Each
   squared projection is one nearly independent estimate of the long-run variance, divided by its expectation, which
   undoes the loss to fitted regressors.
3. *Recolouring* with the autocorrelation between the actual dates, so that missing days count as missing.
4. *Student's t* with as many degrees of freedom as there were projections (fixed-b reasoning) less one for what was
   estimated on the way, pooled over the phases as Welch and Satterthwaite do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from techport_pilots.evaluation.messages import message, remedies
from techport_pilots.evaluation.model import Interval
from techport_pilots.i18n import Message

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_AUTOCORRELATIONS = np.concatenate([np.arange(-0.3, 0.9, 0.04), [0.9, 0.92, 0.94, 0.95, 0.96, 0.97]])
CONFIDENCE = 0.95
"""Of an interval, unless something else is asked for."""

BASIS = 0.6
"""Cosines = 0.6 n^(2/3): the compromise of size and power that the coverage trials confirmed."""

_NEGLIGIBLE = 1e-10
_PERSISTENT = 0.5  # day-to-day autocorrelation above which its own error widens the interval


class NoInterval(ValueError):
    """These numbers have no interval; `message` says why."""

    def __init__(self, code: str, **params: Any) -> None:
        self.message = message(f"no-interval.{code}", **params)
        super().__init__(self.message)

    @property
    def reason(self) -> Message:
        """As a sentence of its own."""
        return message("no-interval", why=self.message)

    @property
    def reasons(self) -> list[Message]:
        """That sentence, and what to do about it."""
        return [self.reason, *remedies([self.message])]


@dataclass(frozen=True, slots=True)
class Fit:
    """One coefficient of a regression on daily values, with its honest error.

    `variance` has a part for each group of days (the phases), `freedom` the degrees of freedom of each part;
    `contributions` sum over days to the coefficient's deviation: what a bootstrap resamples (benchmarks).
    """

    value: float
    variance: Floats
    freedom: Floats
    autocorrelation: float
    independent_days: float
    contributions: Floats
    residuals: Floats

    @property
    def error(self) -> float:
        """Standard error."""
        return float(np.sqrt(self.variance.sum()))

    @property
    def degrees(self) -> float:
        return welch(self.variance, self.freedom)


class ErrorPart(NamedTuple):
    """One independent part of an estimate's error, and how much of it enters the effect and the level."""

    variance: float  # unit²
    freedom: float
    on_effect: float
    on_level: float


def percent_change(
    effect: float, level: float, parts: Sequence[ErrorPart], confidence: float = CONFIDENCE
) -> tuple[float, float] | None:
    """An effect in per cent of a level whose own error counts too (delta method).

    Parameters
    ----------
    effect, level : float
        In one unit, on a scale with a natural zero.
    parts : sequence of ErrorPart
        Independent errors of effect and level. Of a difference `after - before` in per cent of `before`, the error of
        `before` enters the effect with -1 and the level with 1.
    confidence : float
        0..1.

    Returns
    -------
    (percent, half width) or None
        None for a level within two standard errors of zero.
    """
    variance, freedom, on_effect, on_level = np.array(parts, float).T
    if level <= 0 or level < 2 * np.sqrt((on_level**2 * variance).sum()):
        return None
    share = effect / level
    relative = variance * (on_effect - share * on_level) ** 2 / level**2
    return 100 * share, 100 * half_width(relative, freedom, confidence)


def welch(variance: Floats, freedom: Floats) -> float:
    """Degrees of freedom of a sum of independent variance estimates.

    Parameters
    ----------
    variance : array of float
        The estimates, squared units.
    freedom : array of float
        Degrees of freedom of each; one with none adds nothing.

    Returns
    -------
    float
        0 where no estimate has any. After Welch (1947, doi:10.1093/biomet/34.1-2.28) and Satterthwaite (1946,
        doi:10.2307/3002019).
    """
    parts = np.where(freedom > 0, variance**2 / np.maximum(freedom, 1), 0.0).sum()
    return float(variance.sum() ** 2 / parts) if parts > 0 else 0.0


def half_width(variance: Floats, freedom: Floats, confidence: float = CONFIDENCE) -> float:
    """Half the width of the two-sided interval.

    Parameters
    ----------
    variance, freedom : array of float
        Independent estimates and their degrees of freedom, as for `welch`.
    confidence : float
        0..1.

    Returns
    -------
    float
        In the unit whose square `variance` has: a quantile of Student's t times the standard error.
    """
    from scipy.special import stdtrit  # Student's quantiles; heavy, and only needed here

    return float(stdtrit(welch(variance, freedom), 0.5 + confidence / 2) * np.sqrt(variance.sum()))


def interval_of(estimate: Fit, confidence: float = CONFIDENCE) -> Interval:
    """The two-sided interval around an estimate.

    Parameters
    ----------
    estimate : Fit
    confidence : float
        Share of such intervals that hold the true value, 0..1.

    Returns
    -------
    Interval
        In the unit of the estimate.
    """
    half = half_width(estimate.variance, estimate.freedom, confidence)
    return Interval(estimate.value - half, estimate.value + half)


def fit(values: Floats, design: Floats, day: Ints, group: Ints, column: int) -> Fit:
    """Least squares of daily values on a design, and the error of one coefficient.

    Parameters
    ----------
    values : array of float, shape (n,)
        One value for each day, in the KPI's unit.
    design : array of float, shape (n, k)
        Regressors, the intercept among them.
    day : array of int, shape (n,)
        Dates as days since 1970-01-01, strictly increasing; days may be missing.
    group : array of int, shape (n,)
        Numbers of the stretches (phases), whose noise may differ in size.
    column : int
        The column of `design` whose coefficient is asked for.

    Returns
    -------
    Fit
        The coefficient in the KPI's unit, a variance and degrees of freedom for each group, and the autocorrelation.
        docs/statistics.md gives the formulas, their sources and how often the intervals are right.

    Raises
    ------
    NoInterval
        Where the regressors cannot be told apart, too few days are left, or nothing varies.
    """
    n, k = design.shape
    if np.linalg.matrix_rank(design) < k:
        raise NoInterval("collinear")
    inverse = np.linalg.pinv(design)
    coefficients = inverse @ values
    residuals = values - design @ coefficients
    spread = float(np.abs(values - values.mean()).max())
    if spread <= _NEGLIGIBLE * max(1.0, float(np.abs(values).max())):
        raise NoInterval("constant")
    if np.abs(residuals).max() <= _NEGLIGIBLE * spread:
        raise NoInterval("exact-fit")
    maker = np.eye(n) - design @ inverse
    distance = np.abs(day[:, None] - day[None, :])
    rho = _autocorrelation(residuals, maker, distance, group)
    # Of an AR(1) with innovations of variance one.
    covariance = (rho ** np.arange(distance.max() + 1))[distance] / (1 - rho**2)
    weights = inverse[column]
    groups = np.unique(group)
    sizes, freedom = np.zeros(len(groups)), np.zeros(len(groups))
    for i, name in enumerate(groups):
        rows = np.flatnonzero(group == name)
        sizes[i], freedom[i] = _innovations(residuals, maker, covariance, day, rows, rho)
    sizes, freedom = _not_degenerate(sizes, freedom)
    variance = sizes * _shapes(weights, covariance, group, groups)
    doubt = 0.5 * min(max((rho - _PERSISTENT) / (0.9 - _PERSISTENT), 0.0), 1.0)
    if doubt > 0:
        # Where days resemble each other for long, few of them tell how much: half of the error is that of an
        # autocorrelation which the days allow as well, one and a half standard errors higher.
        higher = float(min(np.tanh(np.arctanh(rho) + 1.5 / np.sqrt(n)), _AUTOCORRELATIONS[-1]))
        longer = (higher ** np.arange(distance.max() + 1))[distance] / (1 - higher**2)
        other = np.array(
            [_innovations(residuals, maker, longer, day, np.flatnonzero(group == g), higher)[0] for g in groups]
        )
        other, _ = _not_degenerate(other, freedom)
        variance = (1 - doubt) * variance + doubt * other * _shapes(weights, longer, group, groups)
    independent = float(sum(sizes[i] / (1 - rho**2) * (weights[group == g] ** 2).sum() for i, g in enumerate(groups)))
    return Fit(
        value=float(coefficients[column]),
        variance=variance,
        freedom=freedom,
        autocorrelation=rho,
        independent_days=float(min(n, n * independent / variance.sum())),
        contributions=weights * residuals,
        residuals=residuals,
    )


def fit_in_turns(values: Floats, design: Floats, day: Ints) -> Fit:
    """The effect of something that is switched on and off by turns, by generalised least squares.

    A slow change falls on both sides alike then, so an estimate that weighs neighbouring days against each other is
    much surer than a difference of means. Days are whitened with the autocorrelation of the plain fit; what is left
    is estimated like any other error.

    Parameters
    ----------
    values, design, day
        As for `fit`; the effect is column 1.

    Returns
    -------
    Fit
        With one group. After Prais and Winsten (1954), with gaps.

    Raises
    ------
    NoInterval
        As `fit`.
    """
    one_group = np.zeros(len(day), np.int64)
    plain = fit(values, design, day, one_group, 1)
    covariance = plain.autocorrelation ** np.abs(day[:, None] - day[None, :]).astype(float)
    factor = np.linalg.cholesky(covariance)
    whiten = np.linalg.inv(factor)
    sharp = fit(whiten @ values, whiten @ design, day, one_group, 1)
    return replace(
        sharp,
        autocorrelation=plain.autocorrelation,
        independent_days=plain.independent_days,
        residuals=factor @ sharp.residuals,
    )


def _shapes(weights: Floats, covariance: Floats, group: Ints, groups: Ints) -> Floats:
    """What each group's unit innovations add to the coefficient's variance."""
    rows = [np.flatnonzero(group == name) for name in groups]
    return np.array([weights[of] @ covariance[np.ix_(of, of)] @ weights[of] for of in rows])


def _autocorrelation(residuals: Floats, maker: Floats, distance: Ints, group: Ints) -> float:
    """The day-to-day autocorrelation whose expectation in residuals of this design is what was observed."""
    next_to = (distance == 1) & (group[:, None] == group[None, :])
    pairs = 0.5 * next_to
    observed = float(residuals @ pairs @ residuals / (residuals @ residuals))
    by_distance = [np.bincount(distance.ravel(), m.ravel()) for m in (maker @ pairs @ maker, maker)]
    powers = _AUTOCORRELATIONS[:, None] ** np.arange(len(by_distance[1]))
    expected = (powers @ by_distance[0]) / (powers @ by_distance[1])
    return float(np.interp(observed, np.maximum.accumulate(expected), _AUTOCORRELATIONS))


def _innovations(
    residuals: Floats, maker: Floats, covariance: Floats, day: Ints, rows: Ints, rho: float
) -> tuple[float, float]:
    """Long-run variance of the whitened residuals of one group, and its degrees of freedom."""
    steps = np.flatnonzero(np.diff(day[rows]) == 1)
    if len(steps) < 4:
        raise NoInterval("no-consecutive-days")
    current, before = rows[steps + 1], rows[steps]
    count = max(2, round(BASIS * len(steps) ** (2 / 3)))
    position = (day[current] - day[rows[0]]) / (day[rows[-1]] - day[rows[0]] + 1)
    cosines = np.sqrt(2 / len(steps)) * np.cos(np.pi * np.outer(np.arange(1, count + 1), position))
    projection = cosines @ (residuals[current] - rho * residuals[before])
    from_noise = cosines @ (maker[current] - rho * maker[before])
    expected = ((from_noise @ covariance) * from_noise).sum(axis=1)
    usable = expected > 0.05  # a cosine that a regressor has taken away says nothing
    if not usable.any():
        raise NoInterval("nothing-left")
    return float((projection[usable] ** 2 / expected[usable]).mean()), float(max(1, usable.sum() - 1))


def _not_degenerate(sizes: Floats, freedom: Floats) -> tuple[Floats, Floats]:
    """A group without variation (no hour above the threshold) is not certain: it takes the largest one's variance."""
    largest = int(np.argmax(sizes))
    still = sizes <= _NEGLIGIBLE * sizes[largest]
    return np.where(still, sizes[largest], sizes), np.where(still, freedom[largest], freedom)

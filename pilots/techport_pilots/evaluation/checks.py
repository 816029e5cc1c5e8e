"""How an evaluation doubts itself: is what looks like an effect there without the intervention too?

An interval holds the truth only where days differ by noise and by what the regression knows. A fall that had begun
before, a season, a control group that reacts half as strongly, a device that drifts, weather that the baseline never
saw, or days that were chosen because of their dust look like effects as well. Each check tries one of these on the same
days, so they cost a few regressions. One that "disagrees" keeps the effect from being called shown and says what would
settle it; docs/statistics.md says how often they are right.

The thresholds are a compromise: in worlds that suit the method, together they withhold fewer than one in ten of the
effects that are there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from techport_pilots.evaluation.interval import Fit, Floats, Ints, NoInterval, fit, fit_in_turns, interval_of
from techport_pilots.evaluation.messages import message
from techport_pilots.evaluation.model import Check, Interval, Reason
from techport_pilots.evaluation.samples import device_codes
from techport_pilots.i18n import Message

MIN_INDEPENDENT = 8.0
"""Independent days, of both sides together, below which the error itself is a guess."""

SMOOTH = 0.85
"""Log of how much likelier a course without a step must make the days than the step does, to be held against it.

Within a few weeks a trend and a step of the same fit lie about one standard error apart, so no check tells them apart
without costing real effects (docs/statistics.md has the bound)."""

REMAINS = 0.5
"""Share of the effect that must be left beyond the change in the same weeks of earlier years."""

HINT = 0.87
"""How sure that change must be to be held against an effect: one and a half standard errors."""

CLEAR_TREND = 0.998
"""How sure a trend must be to be adjusted for. At 0.95, trends found by chance made coverage fall to 89 %."""

NAMED = 0.6
"""Share below which that is told though the verdict stands."""

WEIGHTED_REMAINS = 0.7
"""Share that must be left when the control group's weight is estimated instead of one."""

WITHOUT_REMAINS = 0.5
"""Share that must be left without a device that went its own way."""

UNUSUAL = 0.1
"""Share of earlier windows without any intervention that may show as much as was found."""

MIN_WINDOWS = 8
OUTSIDE = 0.25
"""Share of the intervention's days whose weather the baseline has never had."""

_MAXIMUM_DEVICES = 12
_CERTAIN = 0.99  # for signs that are looked for at each of several devices
_LEAST_NOISE = 0.1  # of one side, as a share of the other's
_STEP = 7  # days from one earlier window to the next
_YEAR = 364  # days: whole weeks, so that weekdays stand against weekdays
_EARLIER_YEARS = 2


@dataclass(frozen=True, slots=True)
class ComparedDays:
    """The days of a comparison of phases, as its regression has them.

    `design` has the intercept, the side and everything adjusted for; `level` is less the control group's. `street` and
    `control` are the two levels where there is a control group. `raw` are the covariates as measured.
    """

    level: Floats
    side: Ints
    day: Ints
    design: Floats
    group: Ints
    raw: pd.DataFrame
    confidence: float
    street: Floats | None = None
    control: Floats | None = None
    devices: pd.DataFrame | None = None  # daily means of single devices, see by_device
    has_zero: bool = False
    earlier: pd.Series[float] | None = None  # levels of days before the baseline, where there are some


def excludes_zero(interval: Interval) -> bool:
    return interval.low > 0 or interval.high < 0


def trend_column(day: Ints) -> Floats:
    """The regressor of a straight trend.

    Parameters
    ----------
    day : array of int
        Local days since the epoch.

    Returns
    -------
    array of float, one for each day
        Weeks since the mean of the days.
    """
    return np.asarray((day - day.mean()) / 7.0, np.float64)


def season_columns(day: Ints) -> Floats:
    """The course of a year and of half a year."""
    angle = 2 * np.pi * day / 365.25
    waves = [np.cos(angle), np.sin(angle), np.cos(2 * angle), np.sin(2 * angle)]
    return np.asarray(np.column_stack(waves) - np.mean(waves, axis=1), np.float64)


def alternates(side: Ints) -> bool:
    """Whether the sides take turns: then a trend falls on both alike.

    Parameters
    ----------
    side : array of int
        0 for a day of the baseline, 1 for one of the intervention, in order of time.

    Returns
    -------
    bool
        True from the third change of sides.
    """
    return int(np.count_nonzero(np.diff(side))) >= 3


def estimate_effect(days: ComparedDays) -> tuple[ComparedDays, Fit, list[str]]:
    """The effect of a comparison of phases.

    Phases that take turns are compared by generalised least squares. Otherwise a baseline of a year or more tells the
    season, which is allowed for, and a straight trend is where the days within the phases show one.

    Parameters
    ----------
    days : ComparedDays

    Returns
    -------
    (ComparedDays, Fit, list of str)
        The days with the design that was used, the effect, and what was allowed for: "season", "trend".

    Raises
    ------
    NoInterval
        Where the regressors cannot be told apart, too few days are left, or nothing varies.
    """
    if alternates(days.side):
        return days, fit_in_turns(days.level, days.design, days.day), []
    allowed = []
    if _knows_a_year(days):
        with_season = dataclasses.replace(days, design=np.column_stack([days.design, season_columns(days.day)]))
        if _refit(with_season, with_season.design) is not None:
            days, allowed = with_season, ["season"]
    design = np.column_stack([days.design, trend_column(days.day)])
    slope = _refit(days, design, column=design.shape[1] - 1)
    if slope is not None and excludes_zero(interval_of(slope, CLEAR_TREND)):
        with_trend = dataclasses.replace(days, design=design)
        effect = _refit(with_trend, design)
        if effect is not None:
            return with_trend, effect, [*allowed, "trend"]
    return days, fit(days.level, days.design, days.day, days.group, 1), allowed


def _knows_a_year(days: ComparedDays) -> bool:
    """Whether the baseline has a whole course of the seasons, so that they are told from the intervention."""
    baseline = days.day[days.side == 0]
    return int(np.ptp(baseline)) >= _YEAR - 1 and len(baseline) >= 0.75 * _YEAR


def run_checks(days: ComparedDays, estimate: Fit) -> list[Check]:
    """All checks of a comparison of phases.

    Parameters
    ----------
    days : ComparedDays
    estimate : Fit
        The effect that is doubted.

    Returns
    -------
    list of Check
        Those that can be made with these data, in the order of what usually matters.
    """
    made = [
        _independent(estimate),
        _trend(days, estimate),
        _placebo(days, estimate),
        _earlier(days, estimate),
        _season(days, estimate),
        _control(days, estimate),
        _without_control(days, estimate),
        _drift(days, estimate),
        _weather(days),
        _logarithms(days, estimate),
    ]
    return [result for result in made if result is not None]


def check(
    code: str,
    outcome: Literal["agrees", "warns", "disagrees", "not possible"],
    text: Message,
    would_settle: Message | None = None,
) -> Check:
    settle = Reason.of(would_settle) if would_settle is not None and outcome == "disagrees" else None
    return Check(code=code, outcome=outcome, text=Reason.of(text), would_settle=settle)


def _independent(estimate: Fit) -> Check:
    independent = round(estimate.independent_days, 1)
    if estimate.independent_days >= MIN_INDEPENDENT:
        return check("independent-days", "agrees", message("check.independent-days.agrees", independent=independent))
    return check(
        "independent-days",
        "disagrees",
        message("check.independent-days.disagrees", independent=independent),
        message("settle.longer"),
    )


def _trend(days: ComparedDays, estimate: Fit) -> Check | None:
    """Does a smooth course that knows nothing of the intervention explain the days better than a step?"""
    if alternates(days.side):
        return check("trend", "agrees", message("check.trend.alternates"))
    with_trend = _refit(days, np.column_stack([days.design, trend_column(days.day)]))
    params = {"effect": _short((with_trend or estimate).value)}
    if smooth_evidence(days, with_trend or estimate) > SMOOTH:
        settle = message("settle.control-or-longer-baseline")
        return check("trend", "disagrees", message("check.trend.disagrees", **params), settle)
    if with_trend is None:  # it is among the columns
        return check("trend", "agrees", message("check.trend.adjusted"))
    left = with_trend.value / estimate.value if estimate.value else 1.0
    if left >= NAMED:
        return check("trend", "agrees", message("check.trend.agrees", **params))
    return check("trend", "warns", message("check.trend.warns", **params))


def smooth_evidence(days: ComparedDays, both: Fit) -> float:
    """How much likelier than a step a smooth course makes the days.

    Parameters
    ----------
    days : ComparedDays
    both : Fit
        Of step and trend together. Its residuals tell the noise: the day-to-day autocorrelation, and its size on either
        side. A trend that a step leaves in the days looks like persistence, which hides it; and where a threshold is no
        longer exceeded at all, days that hardly vary say more than those that did before.

    Returns
    -------
    float
        Log-likelihood ratio of the better of a straight trend and half a wave (the rise or fall between two seasons),
        each instead of the step, against the step. Both have one parameter, so it needs no penalty. Where a trend is
        allowed for, that of the half wave.
    """
    distance = np.abs(days.day[:, None] - days.day[None, :])
    sizes = np.array([np.sqrt((both.residuals[days.side == side] ** 2).mean()) for side in (0, 1)])
    sizes = np.maximum(sizes, _LEAST_NOISE * sizes.max())[days.side]
    whiten = np.linalg.inv(np.linalg.cholesky(max(0.0, both.autocorrelation) ** distance.astype(float))) / sizes
    level = whiten @ days.level
    adjusted = whiten @ np.column_stack([np.ones(len(days.day)), days.design[:, 2:]])
    passed = (days.day - days.day.min()) / (np.ptp(days.day) + 1)
    step, trend, wave = (whiten @ column for column in (days.design[:, 1], passed - 0.5, -np.cos(np.pi * passed)))

    def left(*columns: Floats) -> float:
        design = np.column_stack([adjusted, *columns])
        solution, *_ = np.linalg.lstsq(design, level, rcond=None)
        return float(((level - design @ solution) ** 2).sum())

    variance = left(step, trend) / max(1, len(level) - adjusted.shape[1] - 2)
    return (left(step) - min(left(trend), left(wave))) / (2 * variance) if variance > 0 else 0.0


def _placebo(days: ComparedDays, estimate: Fit) -> Check | None:
    """The same comparison within the baseline, half against half.

    It only warns: what it finds is a trend or a season, which `_trend` tells from a step with all of the days.
    """
    rows = np.flatnonzero(days.side == 0)
    if alternates(days.side) or len(rows) < 20:
        return None
    half = (np.arange(len(rows)) >= len(rows) // 2).astype(np.int64)
    others = [column for column in days.design[rows].T[2:] if np.ptp(column) > 0]
    design = np.column_stack([np.ones(len(rows)), half, *others])
    try:
        placebo = fit(days.level[rows], design, days.day[rows], half, 1)
    except NoInterval:
        return None
    interval = interval_of(placebo, days.confidence)
    params = {"effect": _short(placebo.value)}
    if excludes_zero(interval) and abs(placebo.value) >= abs(estimate.value) / 2:
        return check("placebo", "warns", message("check.placebo.disagrees", **params))
    return check("placebo", "agrees", message("check.placebo.agrees", **params))


def _earlier(days: ComparedDays, estimate: Fit) -> Check | None:
    """The same comparison in windows of the same lengths before the baseline, as often as there are."""
    effects = placebo_effects(days)
    if len(effects) < MIN_WINDOWS:
        return None
    share = float((np.abs(effects) >= abs(estimate.value)).mean())
    params = {"windows": len(effects), "share": share}
    if share > UNUSUAL:
        return check(
            "placebo-earlier",
            "disagrees",
            message("check.earlier.disagrees", **params),
            message("settle.control-or-alternate"),
        )
    return check("placebo-earlier", "agrees", message("check.earlier.agrees", **params))


def placebo_effects(days: ComparedDays) -> Floats:
    """Differences of means, weekday against weekday, in windows before the baseline in which nothing was done.

    Parameters
    ----------
    days : ComparedDays
        With `earlier`: levels by local date, less the control group's where there is one.

    Returns
    -------
    array of float
        One effect for each window that has three quarters of its days on both sides, a week apart.
    """
    if days.earlier is None or alternates(days.side) or not len(days.earlier):
        return np.empty(0)
    dates = pd.DatetimeIndex(days.earlier.index).to_numpy().astype("datetime64[D]").astype(np.int64)
    first, last = int(days.day.min()), int(days.day.max()) + 1
    turn = int(days.day[days.side == 1].min())
    level = np.full(first - int(dates[0]), np.nan)
    level[dates - int(dates[0])] = days.earlier.to_numpy()
    before, after = turn - first, last - turn
    effects = []
    for end in range(len(level), before + after - 1, -_STEP):
        window = level[end - before - after : end]
        present = np.isfinite(window)
        if min(present[:before].mean(), present[before:].mean()) < 0.75:
            continue
        position = np.arange(len(window))[present]
        weekday = np.eye(7)[(position + end) % 7]
        columns = [column for column in weekday.T[1:] if column.any()]
        if _knows_a_year(days):
            columns += [*season_columns(position + first - len(level) + end - before - after).T]
        design = np.column_stack([np.ones(len(position)), position >= before, *columns])
        solution, *_ = np.linalg.lstsq(design, window[present], rcond=None)
        effects.append(float(solution[1]))
    return np.array(effects)


def _season(days: ComparedDays, estimate: Fit) -> Check | None:
    """The same weeks of earlier years: how much did they change, with nothing done?"""
    if _knows_a_year(days):  # it is among the columns
        return None
    years = [change for years in range(1, _EARLIER_YEARS + 1) if (change := _same_weeks(days, years)) is not None]
    if not years:
        return None
    usual = float(np.mean([change.value for change in years]))
    params = {"years": len(years), "change": _short(usual), "effect": _short(estimate.value - usual)}
    left = 1 - usual / estimate.value if estimate.value else 1.0
    if left >= NAMED:
        return check("season", "agrees", message("check.season.agrees", **params))
    if left >= REMAINS or not any(excludes_zero(interval_of(change, HINT)) for change in years):
        return check("season", "warns", message("check.season.warns", **params))
    return check("season", "disagrees", message("check.season.disagrees", **params), message("settle.control-or-year"))


def _same_weeks(days: ComparedDays, years: int) -> Fit | None:
    """The comparison on the days so many years before, weekday against weekday; None where a quarter is missing."""
    if days.earlier is None or alternates(days.side) or not len(days.earlier):
        return None
    then = days.day - years * _YEAR
    index = pd.DatetimeIndex(then.astype("datetime64[D]").astype("datetime64[s]"))
    level = np.asarray(days.earlier.reindex(index), np.float64)
    present = np.isfinite(level)
    if min(present[days.side == side].mean() for side in (0, 1)) < 0.75:
        return None
    weekday = np.eye(7)[then[present] % 7]
    columns = [column for column in weekday.T[1:] if column.any()]
    design = np.column_stack([np.ones(present.sum()), days.side[present], *columns])
    try:
        return fit(level[present], design, then[present], days.side[present], 1)
    except NoInterval:
        return None


def _control(days: ComparedDays, estimate: Fit) -> Check | None:
    """The control group with an estimated weight instead of one: does the effect hang on reacting alike?"""
    if days.control is None or days.street is None or np.ptp(days.control) == 0:
        return None
    design = np.column_stack([days.design, days.control - days.control.mean()])
    weighted = _refit(days, design, days.street)
    if weighted is None:
        return None
    weight = fit(days.street, design, days.day, days.group, design.shape[1] - 1)
    if not excludes_zero(interval_of(weight, _CERTAIN)):
        return check("control", "warns", message("check.control.unrelated"))
    params = {"effect": _short(weighted.value), "weight": _short(weight.value)}
    left = weighted.value / estimate.value if estimate.value else 1.0
    if left >= WEIGHTED_REMAINS:
        return check("control", "agrees", message("check.control.agrees", **params))
    return check("control", "disagrees", message("check.control.disagrees", **params), message("settle.better-control"))


def _without_control(days: ComparedDays, estimate: Fit) -> Check | None:
    """The street by itself: does the control group make the effect? A season may be why it should, so it only warns."""
    alone = None if days.street is None else _refit(days, days.design, days.street)
    if alone is None:
        return None
    effect = _short(alone.value)
    if alone.value * estimate.value > 0:
        return check("without-control", "agrees", message("check.without-control.agrees", effect=effect))
    return check("without-control", "warns", message("check.without-control.warns", effect=effect))


def _drift(days: ComparedDays, estimate: Fit) -> Check | None:
    """Each device against the others: one that went its own way, and without which the effect is gone."""
    table = days.devices
    if table is None:
        return None
    for name in table.columns:
        others = table.drop(columns=name).mean(axis=1)
        own = (table[name] - others).to_numpy()
        present = np.isfinite(own) & np.isfinite(others.to_numpy())
        if min((present & (days.side == side)).sum() for side in (0, 1)) < 10:
            continue
        try:
            step = fit(own[present], days.design[present], days.day[present], days.group[present], 1)
            if not excludes_zero(interval_of(step, _CERTAIN)):
                continue
            without = fit(
                _less_control(days, others.to_numpy())[present],
                days.design[present],
                days.day[present],
                days.group[present],
                1,
            )
        except NoInterval:
            continue
        left = without.value / estimate.value if estimate.value else 1.0
        if left < WITHOUT_REMAINS:
            params = {"device": str(name), "effect": _short(without.value)}
            return check(
                "device-drift", "disagrees", message("check.drift.disagrees", **params), message("settle.check-device")
            )
    return check("device-drift", "agrees", message("check.drift.agrees"))


def by_device(frame: pd.DataFrame, day: Ints) -> pd.DataFrame | None:
    """Daily means of each device about its own mean.

    Parameters
    ----------
    frame : pandas.DataFrame
        Samples, with `day`, `device` and `pseudo_value`.
    day : array of int
        The compared days, since 1970-01-01.

    Returns
    -------
    pandas.DataFrame or None
        A row for each compared day, a column for each device, NaN where it has none; None for fewer than three devices
        or more than _MAXIMUM_DEVICES.
    """
    number = len(np.unique(device_codes(frame)))
    if not 3 <= number <= _MAXIMUM_DEVICES:
        return None
    means = frame.groupby(["day", "device"], observed=True)["pseudo_value"].mean().unstack("device")
    index = pd.DatetimeIndex(day.astype("datetime64[D]").astype("datetime64[s]"))
    table = means.reindex(index)
    return table - table.mean()


def _less_control(days: ComparedDays, level: Floats) -> Floats:
    return level if days.control is None else level - days.control


def _weather(days: ComparedDays) -> Check | None:
    """Days of the intervention whose covariates lie outside everything that the baseline had."""
    if not len(days.raw.columns):
        return None
    values = days.raw.to_numpy(float)
    before, during = values[days.side == 0], values[days.side == 1]
    margin = 0.1 * np.ptp(before, axis=0)
    outside = (during < before.min(axis=0) - margin) | (during > before.max(axis=0) + margin)
    share = float(outside.any(axis=1).mean())
    worst = str(days.raw.columns[int(outside.mean(axis=0).argmax())])
    params = {"share": share, "covariate": worst}
    if share > OUTSIDE:
        return check(
            "weather", "disagrees", message("check.weather.disagrees", **params), message("settle.same-weather")
        )
    return check("weather", "agrees", message("check.weather.agrees", **params))


def _logarithms(days: ComparedDays, estimate: Fit) -> Check | None:
    """On the scale of ratios, where a few high days weigh less. Only for levels that are all above zero."""
    if not days.has_zero or days.control is not None or (days.level <= 0).any():
        return None
    ratio = _refit(days, days.design, np.log(days.level))
    if ratio is None:
        return None
    percent = {"effect": _short(100 * (np.exp(ratio.value) - 1))}
    if np.sign(ratio.value) == np.sign(estimate.value) and abs(ratio.value) >= ratio.error:
        return check("logarithms", "agrees", message("check.logarithms.agrees", **percent))
    return check(
        "logarithms", "disagrees", message("check.logarithms.disagrees", **percent), message("settle.median-or-longer")
    )


def _refit(days: ComparedDays, design: Floats, level: Floats | None = None, column: int = 1) -> Fit | None:
    try:
        return fit(days.level if level is None else level, design, days.day, days.group, column)
    except NoInterval:
        return None


def chosen_days(level_before: Floats, columns: NDArray[np.float64], exposed: NDArray[np.bool_], day: Ints) -> Check:
    """Whether days of an event study were chosen because of the level before them.

    Parameters
    ----------
    level_before : array of float
        The KPI's level on the last day before the event could act, NaN where it is not known.
    columns : array of float, shape (n, k)
        Months and weekdays, centred.
    exposed : array of bool
    day : array of int
        Since 1970-01-01.

    Returns
    -------
    Check
        It disagrees where exposed days had other levels before than days like them: what follows is then also the
        return to the ordinary level.
    """
    present = np.isfinite(level_before)
    design = np.column_stack([np.ones(present.sum()), exposed[present], columns[present]])
    design = design[:, [0, 1, *[i for i in range(2, design.shape[1]) if np.ptp(design[:, i]) > 0]]]
    try:
        difference = fit(level_before[present], design, day[present], np.zeros(present.sum(), np.int64), 1)
    except NoInterval:
        return check("chosen-days", "not possible", message("check.chosen-days.not-possible"))
    params = {"difference": _short(difference.value)}
    if excludes_zero(interval_of(difference)):
        return check(
            "chosen-days", "disagrees", message("check.chosen-days.disagrees", **params), message("settle.level-before")
        )
    return check("chosen-days", "agrees", message("check.chosen-days.agrees", **params))


def disagreeing(checks: Sequence[Check]) -> list[Check]:
    return [result for result in checks if result.outcome == "disagrees"]


def _short(value: float) -> float:
    """For a sentence: three digits."""
    return float(f"{value:.3g}")

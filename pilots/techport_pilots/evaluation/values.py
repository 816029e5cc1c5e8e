"""A KPI's own value over a time, fair to what is missing, and an interval that stays within what is possible.

A normal interval around a mean of days is right for means, and for shares where there are many days of either kind. It
is not for what is rare: no hour above a limit in a year is not certainty, and the 99th percentile of 56 days lies
beyond all of them. So

- shares and hours above a threshold on few days: Clopper and Pearson's exact interval (1934,
  doi:10.1093/biomet/26.4.404) over days, with as many days as are independent;
- percentiles: order statistics. The interval runs between two of the values, and where the upper or lower one would lie
  beyond all of them there is none;
- the highest and lowest value: facts of what was measured, and bounds of the phase while hours are missing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from techport_pilots.evaluation.days import day_levels
from techport_pilots.evaluation.interval import Fit, Floats, Ints, NoInterval, fit, half_width
from techport_pilots.evaluation.messages import message
from techport_pilots.evaluation.model import Interval
from techport_pilots.evaluation.samples import day_numbers, device_codes
from techport_pilots.evaluation.statistics import is_above, rounded
from techport_pilots.i18n import Message
from techport_pilots.model import Kpi, Measure

RARE = 10
"""Days with the rarer outcome, below which a share's interval is exact instead of normal."""

COMPLETE = 0.995
"""Share of the samples from which the highest one counts as the phase's."""


@dataclass(frozen=True, slots=True)
class OwnValue:
    """The interval of a value. Infinite ends are not published, but a verdict can rest on the other end."""

    interval: Interval | None
    refused: Message | None = None  # why the data cannot hold the statistic
    hopeless: bool = False  # not even if all days were independent
    notes: tuple[Message, ...] = ()

    @property
    def published(self) -> Interval | None:
        if self.interval is None or not np.isfinite([self.interval.low, self.interval.high]).all():
            return None
        return self.interval


def adjusted_value(frame: pd.DataFrame, value: float, per_day: float, slots: int) -> float:
    """A value as it would be if no device and no hour were missing more often than others.

    Parameters
    ----------
    frame : pandas.DataFrame
        Samples of one side, with the columns of samples.Samples and `pseudo_value`.
    value : float
        The statistic of the samples as they are: the mean of the pseudo-values.
    per_day : float
        Samples of one device in an ordinary day.
    slots : int
        Samples that one device was asked for.

    Returns
    -------
    float
        `value` itself where nothing is missing; else the mean of the days' levels (days.day_levels).
    """
    devices = len(np.unique(device_codes(frame)))
    if len(frame) >= slots * devices:
        return value
    levels = day_levels(frame, "pseudo_value", per_day)
    return float(levels.to_numpy().mean()) if len(levels) else value


def own_value(
    kpi: Kpi, value: float, frame: pd.DataFrame, levels: pd.Series[float] | None, completeness: float, confidence: float
) -> OwnValue:
    """The interval of a KPI's value during the intervention.

    Parameters
    ----------
    kpi : Kpi
    value : float
        In the KPI's unit.
    frame : pandas.DataFrame
        Samples of the intervention.
    levels : pandas.Series or None
        Level of each of its days, of the pseudo-values, by local date.
    completeness : float
        Samples with a value ÷ samples expected, 0..1.
    confidence : float
        Of the interval, 0..1.

    Returns
    -------
    OwnValue
    """
    if kpi.compare is None and kpi.statistic in ("min", "max"):
        return _extreme(kpi, value, completeness)
    if levels is None:
        return OwnValue(Interval(value, value) if is_extreme(kpi) else None)
    day = day_numbers(pd.DatetimeIndex(levels.index))
    if kpi.compare is None and kpi.statistic in ("percentile", "median"):
        share = 0.5 if kpi.statistic == "median" else (kpi.percentile or 50.0) / 100
        return percentile_interval(frame["value"].to_numpy(), frame["day"].to_numpy(), share, confidence)
    mean = _mean(np.asarray(levels, np.float64), day)
    plain = None
    if mean is not None:
        half = half_width(mean.variance, mean.freedom, confidence)
        plain = Interval(value - half, value + half)
    if kpi.compare is None and kpi.statistic in ("share_above", "hours_above"):
        scale = 1.0 if kpi.statistic == "share_above" else _hours_of_a_day(frame, kpi)
        notes = _bounds(value, scale, completeness)
        return OwnValue(_share_interval(kpi, value, frame, mean, plain, scale, confidence), notes=notes)
    lowest, highest = _possible(kpi, frame)
    if plain is not None:
        plain = Interval(max(plain.low, min(lowest, value)), min(plain.high, max(highest, value)))
    return OwnValue(plain)


def percentile_interval(values: Floats, dates: Floats, share: float, confidence: float) -> OwnValue:
    """The interval of a percentile between two of the values, after Clopper and Pearson, with independent days.

    Parameters
    ----------
    values : array of float
        Samples.
    dates : array of datetime64
        The local date of each.
    share : float
        Of values below, 0..1.
    confidence : float
        0..1.

    Returns
    -------
    OwnValue
        `refused` where an end lies beyond all values: the message says how many independent values it takes.
    """
    from scipy.special import betaincinv, ndtri

    quantile = np.quantile(values, share)
    days, number = np.unique(dates, return_inverse=True)
    below = np.bincount(number, values <= quantile) / np.bincount(number)
    one_a_day = len(values) == len(days)
    mean = _mean(np.asarray(below, np.float64), day_numbers(pd.DatetimeIndex(days)))
    effective = float(len(days))
    if mean is not None:
        wide = half_width(mean.variance, mean.freedom, confidence) / float(ndtri((1 + confidence) / 2))
        effective = share * (1 - share) / max(wide**2, 1e-12)
        effective = min(effective, float(len(days) if one_a_day else len(values)))
    tail = (1 - confidence) / 2
    needed = float(np.log(tail) / np.log(max(share, 1 - share)))
    beneath, above = effective * share, effective * (1 - share)
    low_share, high_share = betaincinv(beneath, above + 1, tail), betaincinv(beneath + 1, above, 1 - tail)
    low, high = float(np.quantile(values, low_share)), float(np.quantile(values, high_share))
    if effective >= needed:
        return OwnValue(Interval(low, high))
    refused = message(
        "percentile-too-rare", percentile=100 * share, independent=int(effective), required=int(np.ceil(needed))
    )
    ends = (low, np.inf) if share >= 0.5 else (-np.inf, high)
    return OwnValue(Interval(*ends), refused, hopeless=len(values) < needed)


def limit_rounding(kpi: Kpi) -> float:
    """By how much a value may exceed a target that is a limit value, which is compared in the limit's own accuracy.

    Parameters
    ----------
    kpi : Kpi

    Returns
    -------
    float
        In the KPI's unit; 0 where the target is no limit value.
    """
    if kpi.decimals is None or kpi.target_is != "value" or kpi.statistic in ("share_above", "hours_above"):
        return 0.0
    target = kpi.target or 0.0
    half = 0.5 * 10.0**-kpi.decimals
    return half * (1 - 1e-9) if rounded(target, kpi.decimals) == target else 0.0


def _extreme(kpi: Kpi, value: float, completeness: float) -> OwnValue:
    """The highest of what was measured is the phase's where nothing is missing, else the phase's may be higher."""
    if completeness >= COMPLETE:
        return OwnValue(Interval(value, value))
    if kpi.statistic == "max":
        return OwnValue(Interval(value, np.inf), notes=(message("missing.max", share=1 - completeness),))
    return OwnValue(Interval(-np.inf, value), notes=(message("missing.min", share=1 - completeness),))


def is_extreme(kpi: Kpi) -> bool:
    """Whether it is, or is compared with, the highest or lowest value: a fact of a phase, with nothing to estimate."""
    measures: list[Measure] = [kpi, kpi.compare.measure] if kpi.compare else [kpi]
    return any(measure.statistic in ("min", "max") for measure in measures)


def _mean(levels: Floats, day: Ints) -> Fit | None:
    try:
        return fit(levels, np.ones((len(day), 1)), day, np.zeros(len(day), np.int64), 0)
    except NoInterval:
        return None


def _hours_of_a_day(frame: pd.DataFrame, kpi: Kpi) -> float:
    """Hours per day of a threshold that is always exceeded."""
    above = is_above(frame["value"].to_numpy(), kpi)
    pseudo = frame["pseudo_value"].to_numpy()
    if above.any():
        return float(pseudo[above].max())
    return float(frame.groupby("device", observed=True)["hour"].nunique().max() or 24)


def _share_interval(
    kpi: Kpi,
    value: float,
    frame: pd.DataFrame,
    mean: Fit | None,
    plain: Interval | None,
    scale: float,
    confidence: float,
) -> Interval:
    """Of a share of samples, in units of `scale`: exact over days where few days differ from the others."""
    days, number = np.unique(frame["day"].to_numpy(), return_inverse=True)
    samples = np.bincount(number)
    share = np.bincount(number, is_above(frame["value"].to_numpy(), kpi)) / samples
    independent = 1.0 if mean is None else min(1.0, mean.independent_days / len(days))
    some, not_all = int((share > 0).sum()), int((share < 1).sum())
    one_sample = 1 / float(samples.max())
    ends = [max(0.0, plain.low), min(scale, plain.high)] if plain is not None else [value, value]
    if some < RARE:
        part = float(share[share > 0].mean()) if some else one_sample
        low, high = _clopper_pearson(some, len(days), independent if some > 2 else 1.0, confidence)
        ends = [min(ends[0], scale * part * low), max(ends[1], scale * part * high)]
    if not_all < RARE:
        part = float((1 - share[share < 1]).mean()) if not_all else one_sample
        low, high = _clopper_pearson(not_all, len(days), independent if not_all > 2 else 1.0, confidence)
        ends = [min(ends[0], scale * (1 - part * high)), max(ends[1], scale * (1 - part * low))]
    return Interval(min(ends[0], value), max(ends[1], value))


def _clopper_pearson(events: int, days: int, independent: float, confidence: float) -> tuple[float, float]:
    from scipy.special import betaincinv

    tail = (1 - confidence) / 2
    k, n = events * independent, days * independent
    low = 0.0 if events == 0 else float(betaincinv(k, n - k + 1, tail))
    high = 1.0 if events == days else float(betaincinv(k + 1, n - k, 1 - tail))
    return low, high


def _bounds(value: float, scale: float, completeness: float) -> tuple[Message, ...]:
    """What the share would be if none, or all, of what is missing were above."""
    if completeness >= COMPLETE:
        return ()
    low, high = value * completeness, value * completeness + scale * (1 - completeness)
    return (message("missing.bounds", share=1 - completeness, low=float(f"{low:.3g}"), high=float(f"{high:.3g}")),)


def _possible(kpi: Kpi, frame: pd.DataFrame) -> tuple[float, float]:
    """Lowest and highest value that can be: counts are not negative, shares at most one."""
    counted = kpi.statistic == "count" or (kpi.statistic == "sum" and bool((frame["value"].to_numpy() >= 0).all()))
    if kpi.compare is not None and kpi.compare.kind == "share":
        return 0.0, 1.0
    if kpi.compare is not None:
        return -np.inf, np.inf
    return (0.0 if counted else -np.inf), np.inf

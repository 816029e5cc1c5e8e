"""Statistics of slot values, each with its pseudo-values.

A pseudo-value is what one slot says about the statistic: the statistic plus that slot's influence on it. Their mean is
the statistic, so whatever is known about means of days (regression, intervals for autocorrelated days) serves
percentiles, energy means and wind directions too. For a mean the pseudo-values are the values themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from techport_pilots.model import Measure
from techport_pilots.time import interval_micros
from techport_storage.microseconds import HOUR

Floats = NDArray[np.float64]

_DECIBEL = 10 / np.log(10)
_SAME_WAY = 0.1  # below this mean resultant length winds blow from everywhere: there is no mean direction


@dataclass(frozen=True, slots=True)
class Summary:
    """A statistic and its pseudo-values (n), or None where a statistic has none (the extremes) or nothing varies."""

    value: float
    pseudo: Floats | None


def summarise(values: Floats, measure: Measure, scale: str, per_day: float) -> Summary | None:
    """The measure's statistic of slot values.

    `scale` is "arithmetic", "energy" or "vector"; `per_day` slots (all devices) make a local day within the measure's
    hours, which turns means into daily sums. None where there is no value, or no meaningful one: directions from
    everywhere.
    """
    if not len(values):
        return None
    match measure.statistic:
        case "mean":
            return _MEANS[scale](values)
        case "sum" | "count":
            return _arithmetic(values * per_day)
        case "share_above":
            return _arithmetic((values > _needed(measure.threshold)).astype(float))
        case "hours_above":
            above = (values > _needed(measure.threshold)).astype(float)
            return _arithmetic(above * per_day * _slot_hours(measure))
        case "median":
            return _percentile(values, 0.5)
        case "percentile":
            return _percentile(values, _needed(measure.percentile) / 100)
        case "min":
            return Summary(float(values.min()), None)
        case "max":
            return Summary(float(values.max()), None)


def energy_mean(levels: Floats) -> float:
    """Mean of decibels as energy: Leq = 10 lg(mean(10^(L/10))). Shifted by the maximum, so that nothing overflows."""
    top = float(levels.max())
    return top + float(10 * np.log10(np.mean(10 ** ((levels - top) / 10))))


def lden(day: float, evening: float, night: float) -> float:
    """Day-evening-night level of a day's LAeq 07-19, 19-23 and 23-07 (Directive 2002/49/EC, annex I; T-1442)."""
    weighted = ((12, day), (4, evening + 5), (8, night + 10))
    top = max(level for _, level in weighted)  # taken off, so that nothing overflows
    return top + float(10 * np.log10(sum(hours * 10 ** ((level - top) / 10) for hours, level in weighted) / 24))


def mean_direction(degrees: Floats) -> float | None:
    """Mean of directions as unit vectors, [0, 360). None where they cancel out."""
    summary = _vector(degrees)
    return summary.value if summary else None


def turn(degrees: float) -> float:
    """A difference of directions as the shorter way round, in [-180, 180)."""
    return (degrees + 180) % 360 - 180


def _arithmetic(values: Floats) -> Summary:
    return Summary(float(values.mean()), values)


def _energy(levels: Floats) -> Summary:
    level = energy_mean(levels)
    return Summary(level, level + _DECIBEL * (10 ** ((levels - level) / 10) - 1))


def _vector(degrees: Floats) -> Summary | None:
    radians = np.deg2rad(degrees)
    east, north = float(np.sin(radians).mean()), float(np.cos(radians).mean())
    length = float(np.hypot(east, north))
    if length < _SAME_WAY:
        return None
    mean = float(np.arctan2(east, north))
    value = float(np.rad2deg(mean) % 360)
    return Summary(value, value + np.rad2deg(np.sin(radians - mean) / length))


_MEANS = {"arithmetic": _arithmetic, "energy": _energy, "vector": _vector}


def _percentile(values: Floats, share: float) -> Summary:
    """Influence (share - 1{x <= q}) / density; the density is a difference quotient of quantiles (Siddiqui 1960) with
    Hall and Sheather's (1988) bandwidth."""
    value = float(np.quantile(values, share))
    normal = NormalDist()
    z = normal.inv_cdf(min(max(share, 0.01), 0.99))
    curve = 1.5 * normal.pdf(z) ** 2 / (2 * z**2 + 1)
    width = float(len(values) ** (-1 / 3) * 1.96 ** (2 / 3) * curve ** (1 / 3))
    below, above = max(share - width, 0.0), min(share + width, 1.0)
    rise = float(np.quantile(values, above) - np.quantile(values, below))
    if above <= below or rise <= 0:
        return Summary(value, None)
    # Values as instruments round them sit on the quantile in numbers: they count half on either side.
    beneath = 0.5 * ((values < value).astype(float) + (values <= value))
    return Summary(value, value + (beneath.mean() - beneath) * rise / (above - below))


def _needed(number: float | None) -> float:
    assert number is not None, "checked by kpi_checks"
    return number


def _slot_hours(measure: Measure) -> float:
    return interval_micros(measure.interval) / HOUR

"""Statistics of sample values, each with its pseudo-values.

A pseudo-value is what one sample says about the statistic: the statistic plus that sample's influence on it. Their mean
is the statistic, so whatever is known about means of days (regression, intervals for autocorrelated days) serves
percentiles, energy means and wind directions too. For a mean the pseudo-values are the values themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from techport_pilots.definition.measures import Scale
from techport_pilots.model import Measure
from techport_pilots.time import interval_micros
from techport_storage.microseconds import HOUR

Floats = NDArray[np.float64]

_DECIBEL = 10 / np.log(10)
_MINIMUM_RESULTANT = 0.1  # below this mean resultant length winds blow from everywhere: there is no mean direction


@dataclass(frozen=True, slots=True)
class Summary:
    """A statistic and its pseudo-values (n), or None where a statistic has none (the extremes) or nothing varies."""

    value: float
    pseudo: Floats | None


def summarise(values: Floats, measure: Measure, scale: Scale, per_day: float) -> Summary | None:
    """The measure's statistic of sample values.

    Parameters
    ----------
    values : array of float
        Of samples, in the unit of the quantity.
    measure : Measure
        With the statistic, and its percentile or threshold.
    scale : {"arithmetic", "energy", "vector"}
        How means are taken.
    per_day : float
        Samples of all devices that make a local day within the measure's hours; turns means into daily sums.

    Returns
    -------
    Summary or None
        In the unit of the quantity, per day for sums and counts, hours per day for `hours_above`, 0..1 for
        `share_above`. None where there is no value, or no meaningful one: directions from everywhere.
    """
    if not len(values):
        return None
    match measure.statistic:
        case "mean":
            return _MEANS[scale](values)
        case "sum" | "count":
            return _arithmetic(values * per_day)
        case "share_above":
            return _arithmetic(is_above(values, measure).astype(float))
        case "hours_above":
            return _arithmetic(is_above(values, measure).astype(float) * per_day * _slot_hours(measure))
        case "median":
            return _percentile(values, 0.5)
        case "percentile":
            return _percentile(values, _needed(measure.percentile) / 100, by_position=measure.by_position)
        case "min":
            return Summary(float(values.min()), None)
        case "max":
            return Summary(float(values.max()), None)


def is_above(values: Floats, measure: Measure) -> NDArray[np.bool_]:
    """Which samples exceed the measure's threshold.

    Parameters
    ----------
    values : array of float
    measure : Measure
        With a threshold. Its `decimals` are those of a limit value: 50.4 does not exceed a limit of 50, since values
        are compared in the limit's own accuracy (guidance to Decision 2011/850/EU). Its `at_least` counts equality.

    Returns
    -------
    array of bool
    """
    threshold = _needed(measure.threshold)
    compared = values if measure.decimals is None else rounded(values, measure.decimals)
    return np.asarray(compared >= threshold if measure.at_least else compared > threshold)


def rounded(values: Any, decimals: int) -> Any:
    """Round half up, as limit values are rounded, and not to the even neighbour.

    Parameters
    ----------
    values : float or array of float
        In any unit.
    decimals : int
        Of the limit value: 0 for 50 µg/m³.

    Returns
    -------
    float or array of float
        Of the same shape and unit.
    """
    scale = 10.0**decimals
    return np.floor(values * scale + 0.5 + 1e-9) / scale


def to_power(levels: Any) -> Any:
    """Turn decibels into power, 10^(L/10).

    Parameters
    ----------
    levels : float, array or table of float
        dB.

    Returns
    -------
    float, array or table of float
        Of the same shape; relative to the reference of the level.
    """
    return 10 ** (levels / 10)


def energy_mean(levels: Floats) -> float:
    """Mean of decibels as energy: Leq = 10 lg(mean(10^(L/10))).

    Parameters
    ----------
    levels : array of float
        dB, at least one.

    Returns
    -------
    float
        dB. The highest level is taken off meanwhile, so that nothing overflows.
    """
    top = float(levels.max())
    return top + float(10 * np.log10(np.mean(to_power(levels - top))))


def lden(day: Floats, evening: Floats, night: Floats) -> Floats:
    """Day-evening-night levels (Directive 2002/49/EC, annex I; T-1442).

    Parameters
    ----------
    day, evening, night : array of float
        LAeq 07-19, 19-23 and 23-07 of local days, dB; NaN where there is none.

    Returns
    -------
    array of float
        dB, NaN where one of the three is.
    """
    weighted = np.stack([day, evening + 5, night + 10])
    top = weighted.max(axis=0)  # taken off, so that nothing overflows
    power = np.tensordot([12 / 24, 4 / 24, 8 / 24], to_power(weighted - top), axes=1)
    return np.asarray(top + 10 * np.log10(power))


def mean_direction(degrees: Floats) -> float | None:
    """Mean of directions as unit vectors.

    Parameters
    ----------
    degrees : array of float
        Clockwise from north, at least one.

    Returns
    -------
    float or None
        Degrees in [0, 360); None where the vectors cancel out.
    """
    summary = _vector(degrees)
    return summary.value if summary else None


def mean_vector(east: Floats, north: Floats) -> Floats:
    """Directions of mean unit vectors.

    Parameters
    ----------
    east, north : array of float, the same shape
        Means of the sine and the cosine of directions, −1..1.

    Returns
    -------
    array of float
        Degrees in [0, 360), of the same shape; NaN where the vectors cancel out.
    """
    degrees = np.rad2deg(np.arctan2(east, north)) % 360
    degrees = np.where(degrees >= 360, 0.0, degrees)  # a tiny negative number
    return np.where(np.hypot(east, north) < _MINIMUM_RESULTANT, np.nan, degrees)


def direction(degrees: float) -> float:
    """Bring an angle to [0, 360): a tiny negative number modulo 360 is 360 in floating point.

    Parameters
    ----------
    degrees : float
        Any angle.

    Returns
    -------
    float
        Degrees in [0, 360).
    """
    value = degrees % 360
    return 0.0 if value >= 360 else value


def turn(degrees: float) -> float:
    """Bring a difference of directions to the shorter way round.

    Parameters
    ----------
    degrees : float
        Any difference of two angles.

    Returns
    -------
    float
        Degrees in [−180, 180).
    """
    return direction(degrees + 180) - 180


def _arithmetic(values: Floats) -> Summary:
    return Summary(float(values.mean()), values)


def _energy(levels: Floats) -> Summary:
    level = energy_mean(levels)
    return Summary(level, level + _DECIBEL * (10 ** ((levels - level) / 10) - 1))


def _vector(degrees: Floats) -> Summary | None:
    radians = np.deg2rad(degrees)
    east, north = float(np.sin(radians).mean()), float(np.cos(radians).mean())
    length = float(np.hypot(east, north))
    if length < _MINIMUM_RESULTANT:
        return None
    mean = float(np.arctan2(east, north))
    value = direction(float(np.rad2deg(mean)))
    return Summary(value, value + np.rad2deg(np.sin(radians - mean) / length))


_MEANS = {"arithmetic": _arithmetic, "energy": _energy, "vector": _vector}


def _percentile(values: Floats, share: float, *, by_position: bool = False) -> Summary:
    """Influence (share - 1{x <= q}) / density; the density is a difference quotient of quantiles (Siddiqui 1960) with
    Hall and Sheather's (1988) bandwidth."""
    value = float(np.quantile(values, share, method="inverted_cdf" if by_position else "linear"))
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

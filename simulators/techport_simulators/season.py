"""The city's calendar: local time, rush hours, studded tyres, heating and terms, as functions of UTC microseconds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from techport_simulators.chance import Numbers, Steps

ZONE = "Europe/Oslo"

# Share of the busiest hour, by local hour. Working days peak at 07-08 and 15-16, as the counts at Elgeseter gate do.
_WORKDAY = (6, 4, 3, 3, 5, 10, 40, 78, 77, 67, 70, 73, 76, 79, 88, 100, 81, 62, 53, 44, 38, 35, 27, 15)
_WEEKEND = (14, 11, 9, 8, 7, 6, 8, 11, 18, 29, 41, 52, 58, 60, 59, 57, 54, 50, 45, 38, 32, 27, 22, 17)
_CAMPUS = (1, 0, 0, 0, 0, 1, 3, 20, 70, 90, 100, 96, 80, 92, 88, 70, 50, 36, 30, 26, 20, 12, 6, 3)
_LUNCH = (0, 0, 0, 0, 0, 0, 0, 2, 8, 15, 35, 100, 80, 35, 20, 15, 10, 6, 4, 2, 1, 0, 0, 0)
_FIXED_HOLIDAYS = ((1, 1), (5, 1), (5, 17), (12, 24), (12, 25), (12, 26), (12, 31))


@dataclass(frozen=True, slots=True)
class LocalTime:
    """Wall clock in Trondheim: `hour` with its fraction, `weekday` 0 is Monday, `day` of the year with its fraction."""

    hour: Numbers
    weekday: NDArray[np.int64]
    day: Numbers
    free: NDArray[np.bool_]  # weekend or holiday

    @classmethod
    def at(cls, time: Steps) -> LocalTime:
        """The wall clock at `time` (µs, UTC), summer time included."""
        clock = pd.DatetimeIndex(time.astype("datetime64[us]"), tz="UTC").tz_convert(ZONE)
        seconds = clock.hour * 3600 + clock.minute * 60 + clock.second
        hour = np.asarray(seconds, np.float64) / 3600.0
        weekday = np.asarray(clock.day_of_week, np.int64)
        date = np.asarray(clock.month * 100 + clock.day, np.int64)
        holiday = np.isin(date, [month * 100 + day for month, day in _FIXED_HOLIDAYS])
        return cls(hour, weekday, np.asarray(clock.day_of_year, np.float64) + hour / 24.0, (weekday >= 5) | holiday)


def by_hour(profile: tuple[int, ...], hour: Numbers) -> Numbers:
    """A 24 hour profile in percent as a smooth share: each value holds at the middle of its hour."""
    middles = np.arange(-0.5, 25.0)
    values = np.array([profile[-1], *profile, profile[0]], np.float64) / 100.0
    return np.interp(hour, middles, values)


def _ramp(day: Numbers, start: float, end: float) -> Numbers:
    share: Numbers = np.clip((day - start) / (end - start), 0.0, 1.0)
    return share


def traffic(local: LocalTime) -> Numbers:
    """Road traffic as a share of the busiest hour of an ordinary working day; July is quiet."""
    usual = np.where(local.free, by_hour(_WEEKEND, local.hour), by_hour(_WORKDAY, local.hour))
    july = _ramp(local.day, 178, 190) * (1.0 - _ramp(local.day, 212, 226))
    return usual * (1.0 - 0.25 * july)


def studded_tyres(local: LocalTime) -> Numbers:
    """Share of the year's peak of cars on studs: allowed from 1 November until after Easter."""
    autumn = _ramp(local.day, 293, 325)
    spring = 1.0 - _ramp(local.day, 98, 122)
    return np.maximum(autumn, spring)


def term(local: LocalTime) -> Numbers:
    """1 while lectures run (mid-August to mid-December, mid-January to early June), 0.15 otherwise."""
    spring = _ramp(local.day, 7, 14) * (1.0 - _ramp(local.day, 152, 166))
    autumn = _ramp(local.day, 224, 232) * (1.0 - _ramp(local.day, 346, 355))
    return 0.15 + 0.85 * (spring + autumn)


def students(local: LocalTime) -> Numbers:
    """People on campus as a share of the fullest hour."""
    return term(local) * by_hour(_CAMPUS, local.hour) * np.where(local.free, 0.18, 1.0)


def lunch(local: LocalTime) -> Numbers:
    """The tide to the canteens, as a share of its peak."""
    return term(local) * by_hour(_LUNCH, local.hour) * np.where(local.free, 0.15, 1.0)


def awake(local: LocalTime) -> Numbers:
    """How much of the city is up and about, 0..1."""
    return 0.04 + 0.96 * np.clip(np.sin((local.hour - 5.5) / 18.0 * np.pi), 0.0, 1.0)

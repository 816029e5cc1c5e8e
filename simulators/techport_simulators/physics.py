"""What happens in the city at an instant, the same for all devices of a seed: sun, weather, roads, people.

Plausible, not a forecast: climate figures are rounded from MET Norway's normals for Trondheim 1991-2020.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from techport_simulators import season
from techport_simulators.chance import Numbers, Steps, drift, key
from techport_storage.microseconds import DAY, HOUR, MINUTE

LATITUDE, LONGITUDE = 63.43, 10.39


def solar_elevation(time: Steps, lat: float = LATITUDE, lon: float = LONGITUDE) -> Numbers:
    """Height of the sun above the horizon in degrees, without refraction.

    Low-precision formulas of the Astronomical Almanac (about 0.01 degrees between 1950 and 2050).
    """
    days = time / DAY - 10957.5  # since 2000-01-01 12:00 UTC
    anomaly = np.radians(357.528 + 0.9856003 * days)
    ecliptic = np.radians(280.460 + 0.9856474 * days + 1.915 * np.sin(anomaly) + 0.020 * np.sin(2 * anomaly))
    tilt = np.radians(23.439 - 0.0000004 * days)
    ascension = np.arctan2(np.cos(tilt) * np.sin(ecliptic), np.cos(ecliptic))
    declination = np.arcsin(np.sin(tilt) * np.sin(ecliptic))
    sidereal = np.radians((280.46062 + 360.98564737 * days) % 360.0 + lon)
    latitude = np.radians(lat)
    sine = np.sin(latitude) * np.sin(declination) + np.cos(latitude) * np.cos(declination) * np.cos(
        sidereal - ascension
    )
    elevation: Numbers = np.degrees(np.arcsin(np.clip(sine, -1.0, 1.0)))
    return elevation


@dataclass(frozen=True)
class Moment:
    """The city at instants `time` (µs, UTC) under a seed. Each property is an array as long as `time`."""

    time: Steps
    seed: int

    def earlier(self, by: int) -> Moment:
        return Moment(self.time - by, self.seed)

    def process(self, name: str, memory: int, step: int = HOUR) -> Numbers:
        """A process shared by the whole city: unit variance, forgets within `memory` µs."""
        return drift(key(self.seed, "city", name), self.time, step, memory)

    @cached_property
    def local(self) -> season.LocalTime:
        return season.LocalTime.at(self.time)

    @cached_property
    def elevation(self) -> Numbers:
        """Solar elevation, degrees."""
        return solar_elevation(self.time)

    @cached_property
    def cloud(self) -> Numbers:
        """Cloud cover 0..1; Trondheim has more of it than of sun."""
        cover: Numbers = 1.0 / (1.0 + np.exp(-2.2 * (self.process("cloud", 18 * HOUR) + 0.4)))
        return cover

    @cached_property
    def radiation(self) -> Numbers:
        """Global radiation, W/m²: clear sky after Haurwitz (1945), weakened by cloud (Kasten, Czeplak 1980)."""
        height = np.maximum(np.sin(np.radians(self.elevation)), 0.0)
        clear = 1098.0 * height * np.exp(-0.057 / np.maximum(height, 1e-3))
        return clear * (1.0 - 0.75 * self.cloud**3.4)

    @cached_property
    def temperature(self) -> Numbers:
        """Air temperature, °C: season, weather of the last days, and the sun of the last hours."""
        seasonal = 5.6 - 8.4 * np.cos(2 * np.pi * (self.local.day - 22.0) / 365.25)
        sunny = self.earlier(2 * HOUR).radiation / 110.0 + self.earlier(4 * HOUR).radiation / 160.0
        return seasonal - 2.0 + sunny + 3.6 * self.process("temperature", 3 * DAY)

    @cached_property
    def rain(self) -> Numbers:
        """Precipitation, mm/h: showers when the process is high, mostly under cloud."""
        wet = self.process("rain", 4 * HOUR, 30 * MINUTE) + 1.2 * (self.cloud - 0.6) - 1.0
        return np.where(wet > 0, 1.6 * np.maximum(wet, 0.0) ** 1.4, 0.0)

    @cached_property
    def wetness(self) -> Numbers:
        """How wet the streets are, 0..1: rain of the last six hours, drying as it gets older."""
        fallen = sum((self.earlier(h * HOUR).rain * np.exp(-h / 3.0) for h in range(7)), np.zeros(len(self.time)))
        wet: Numbers = 1.0 - np.exp(-1.5 * fallen)
        return wet

    @cached_property
    def wind(self) -> Numbers:
        """Wind speed, m/s, ten minute mean: log-normal around 2.4 with gusts of the hour."""
        calm = 0.55 * self.process("wind", 14 * HOUR) + 0.18 * self.process("gust", 20 * MINUTE, 5 * MINUTE)
        speed: Numbers = 2.4 * np.exp(calm)
        return speed

    @cached_property
    def wind_direction(self) -> Numbers:
        """Where the wind comes from, degrees: along the valley, from the south-west more often than from the fjord."""
        swing = self.process("direction", 16 * HOUR)
        return (np.where(swing > 0.7, 345.0, 215.0) + 35.0 * self.process("veer", 2 * HOUR, 10 * MINUTE)) % 360.0

    @cached_property
    def humidity(self) -> Numbers:
        """Relative humidity, %: falls as the day warms up, near saturation in rain."""
        dry = 82.0 - self.radiation / 22.0 + 8.0 * self.process("humidity", 12 * HOUR)
        return np.clip(dry + 14.0 * self.wetness, 18.0, 100.0)

    @cached_property
    def pressure(self) -> Numbers:
        """Air pressure at sea level, hPa; more unsettled in winter."""
        winter = 1.0 + 0.4 * np.cos(2 * np.pi * (self.local.day - 15.0) / 365.25)
        return 1009.0 + 9.5 * winter * self.process("pressure", 3 * DAY)

    @cached_property
    def traffic(self) -> Numbers:
        """Road traffic as a share of the busiest ordinary hour."""
        busy: Numbers = season.traffic(self.local) * (1.0 + 0.06 * self.process("traffic", 3 * HOUR, 10 * MINUTE))
        return np.maximum(busy, 0.0)

    @cached_property
    def stagnation(self) -> Numbers:
        """How much emissions pile up: 1 on an ordinary day, up to 4 on cold, calm winter days under an inversion."""
        cold = np.clip((2.0 - self.temperature) / 12.0, 0.0, 1.0)
        return np.clip((2.4 / np.maximum(self.wind, 0.4)) ** 0.6 * (1.0 + 0.9 * cold), 0.4, 4.0)

    @cached_property
    def heating(self) -> Numbers:
        """Need for heating in kelvin below 17 °C (the degree-day base used in Norway), smoothed over half a day."""
        recent = (self.temperature + self.earlier(6 * HOUR).temperature + self.earlier(12 * HOUR).temperature) / 3.0
        return np.maximum(17.0 - recent, 0.0)

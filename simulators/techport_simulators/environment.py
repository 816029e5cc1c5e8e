"""What devices of the city's surroundings read: air, weather, sound and water."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from techport_simulators import season
from techport_simulators.chance import Numbers, key, uniform
from techport_simulators.physics import Moment
from techport_simulators.place import Place, noise, ripple
from techport_storage.microseconds import DAY, HOUR, MINUTE

# --- air --------------------------------------------------------------------------------------------------------------


def pm10(at: Moment, place: Place) -> Numbers:
    """µg/m³. Road dust: studded tyres on dry streets in traffic, piling up when the air stands still."""
    dry = 1.0 - 0.85 * at.wetness
    dust = 42.0 * place.road * at.traffic * (0.12 + season.studded_tyres(at.local)) * dry
    background = 4.5 + 2.0 * at.stagnation
    level: Numbers = (background + dust * at.stagnation**0.7) * place.size * np.exp(0.22 * noise(at, place))
    return level


def pm25(at: Moment, place: Place) -> Numbers:
    """µg/m³. Wood stoves on cold evenings more than traffic."""
    evening = np.clip(np.cos((at.local.hour - 20.5) / 24.0 * 2 * np.pi), 0.0, 1.0)
    stoves = 0.45 * at.heating * (0.35 + 0.65 * evening)
    roads = 4.0 * place.road * at.traffic
    level: Numbers = (2.2 + (stoves + roads) * at.stagnation) * place.size * np.exp(0.18 * noise(at, place))
    return level


def pm1(at: Moment, place: Place) -> Numbers:
    return 0.62 * pm25(at, place)


def no2(at: Moment, place: Place) -> Numbers:
    """µg/m³. Exhaust: follows traffic at once, more so in standing air."""
    exhaust = 38.0 * place.road * at.traffic * at.stagnation
    level: Numbers = (4.0 + exhaust) * place.size * np.exp(0.15 * noise(at, place))
    return level


def no(at: Moment, place: Place) -> Numbers:
    return np.maximum(0.85 * no2(at, place) - 4.0, 0.3)


def o3(at: Moment, place: Place) -> Numbers:
    """µg/m³. Made by sun, eaten by exhaust."""
    return np.maximum(58.0 + at.radiation / 30.0 - 0.6 * no2(at, place) + 3.0 * noise(at, place), 1.0)


# --- weather ----------------------------------------------------------------------------------------------------------


def air_temperature(at: Moment, place: Place) -> Numbers:
    return at.temperature + 1.2 * (place.size - 1.0) + 0.25 * noise(at, place) + 0.03 * ripple(at, place)


def device_temperature(at: Moment, place: Place) -> Numbers:
    """°C inside the box: air, and what sun there is."""
    return air_temperature(at, place) + 1.0 + at.radiation / 80.0


def relative_humidity(at: Moment, place: Place) -> Numbers:
    return np.clip(at.humidity + 1.5 * noise(at, place), 10.0, 100.0)


def air_pressure(at: Moment, place: Place) -> Numbers:
    return at.pressure + 0.05 * ripple(at, place)


def wind_speed(at: Moment, place: Place) -> Numbers:
    return np.maximum(at.wind * place.size * (1.0 + 0.25 * noise(at, place)), 0.0)


def wind_from_direction(at: Moment, place: Place) -> Numbers:
    return (at.wind_direction + 8.0 * noise(at, place)) % 360.0


def precipitation(at: Moment, place: Place) -> Numbers:
    """mm in the interval that the reading covers."""
    return at.rain * place.interval / HOUR


def solar_irradiance(at: Moment, place: Place) -> Numbers:
    return np.maximum(at.radiation * (1.0 + 0.03 * noise(at, place)), 0.0)


def illuminance(at: Moment, place: Place) -> Numbers:
    """lux. 120 lux a W/m² by day, street lamps by night, twilight between -6° and 0°."""
    twilight = 400.0 * np.clip(1.0 + at.elevation / 6.0, 0.0, 1.0) ** 2
    lamps = np.where(at.elevation < -2.0, 12.0, 0.0)
    return 120.0 * at.radiation + twilight + lamps


# --- noise ------------------------------------------------------------------------------------------------------------


def laeq(at: Moment, place: Place) -> Numbers:
    """dB(A), equivalent level. Ten decibels a decade of traffic over the city's night floor, helicopters on top."""
    cars = 10.0 * np.log10(10 ** (38.0 / 10) + 10 ** (66.0 / 10) * place.road * np.maximum(at.traffic, 0.005))
    rotor = 74.0 + 8.0 * (place.size - 1.0) + 2.0 * noise(at, place)
    helicopter = np.where(helicopter_near(at) & place.helicopters, 10 ** (rotor / 10), 0.0)
    level: Numbers = 10.0 * np.log10(10 ** (cars / 10) + helicopter) + 1.3 * noise(at, place)
    return level


def lamax(at: Moment, place: Place) -> Numbers:
    """dB(A), the loudest moment: 6 to 14 dB above the equivalent level."""
    return laeq(at, place) + 8.0 + np.abs(2.5 * ripple(at, place))


def helicopter_near(at: Moment) -> NDArray[np.bool_]:
    """True in the three minutes of an approach to the hospital: about eight in 24 hours, fewer at night."""
    slot, within = np.divmod(at.time, 30 * MINUTE)
    chance = uniform(key(at.seed, "helicopter"), slot)
    start = (uniform(key(at.seed, "helicopter", "start"), slot) * 26 * MINUTE).astype(np.int64)
    flying = chance < 0.08 + 0.18 * season.awake(at.local)
    return np.asarray(flying & (within >= start) & (within < start + 3 * MINUTE), np.bool_)


# --- water ------------------------------------------------------------------------------------------------------------


def _river(at: Moment) -> Numbers:
    """Flow of Nidelva, m³/s: let out by the power stations with the day's need, snow melt in May and June."""
    melt = 90.0 * np.exp(-(((at.local.day - 148.0) / 20.0) ** 2))
    demand = 20.0 * at.earlier(2 * HOUR).traffic
    flow: Numbers = 55.0 + melt + demand + 18.0 * at.process("river", 3 * DAY)
    return np.maximum(flow, 30.0)


def river_flow(at: Moment, place: Place) -> Numbers:
    return _river(at) * (1.0 + 0.01 * noise(at, place))


def water_level(at: Moment, place: Place) -> Numbers:
    """m. A rating curve over the flow; below Gamle bybro the fjord's tide (12.42 h, M2) comes in."""
    moon = 1.0 + 0.25 * np.cos(2 * np.pi * at.time / (14.77 * DAY))
    tide: Numbers = 0.35 * moon * np.sin(2 * np.pi * at.time / (12.4206 * HOUR)) * place.road
    return 0.14 * _river(at) ** 0.6 + tide + 0.01 * noise(at, place)


def water_temperature(at: Moment, place: Place) -> Numbers:
    """°C. The season of the lake it comes from, six weeks behind the air."""
    lake = 6.8 - 6.0 * np.cos(2 * np.pi * (at.local.day - 50.0) / 365.25) + 0.5 * at.process("river warmth", 5 * DAY)
    return np.maximum(lake + 0.1 * noise(at, place), 0.1)


def turbidity(at: Moment, place: Place) -> Numbers:
    """FNU. Clear; streets wash into it when it rains."""
    level: Numbers = (1.1 + 14.0 * at.wetness**2 * place.size) * np.exp(0.12 * noise(at, place))
    return level


def water_conductivity(at: Moment, place: Place) -> Numbers:
    """µS/cm. Road salt in winter."""
    salt = 60.0 * season.studded_tyres(at.local) * at.wetness
    return 34.0 + salt * place.size + 1.5 * noise(at, place)

"""What a device of each quantity would read: one small function a quantity, from the city's state and the place.

To simulate another quantity, write a function here and add its line to MODELS. A quantity without a line wanders within
the range that its definition gives.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from techport_simulators import season
from techport_simulators.chance import Numbers, drift, key, normal, poisson, uniform
from techport_simulators.physics import DAY, HOUR, MINUTE, SECOND, Moment


@dataclass(frozen=True, slots=True)
class Place:
    """Where a device hangs, as far as its readings depend on it. Shares are of a typical exposed place, 0..1."""

    key: int  # the stream's own chance
    device: int  # the device's own chance, shared by its streams
    road: float = 0.4  # how close to traffic
    campus: float = 0.0  # how much it follows the students
    interval: int = MINUTE  # µs that a count covers
    battery: int = 400 * DAY  # µs that a battery lasts
    bounds: tuple[float, float] = (0.0, 100.0)

    @property
    def size(self) -> float:
        """This device's own level, 0.75..1.25 of the usual."""
        return 0.75 + 0.5 * float(uniform(self.device, np.zeros(1, np.int64))[0])


Model = Callable[[Moment, Place], Numbers]


def _noise(at: Moment, place: Place, memory: int = 3 * MINUTE, step: int = 30 * SECOND) -> Numbers:
    """The stream's own fluctuation: unit variance."""
    return drift(place.key, at.time, step, memory)


def _ripple(at: Moment, place: Place) -> Numbers:
    """The sensor's own noise, independent from second to second."""
    return normal(place.key ^ 0xA5A5, at.time // SECOND)


# --- air ------------------------------------------------------------------------------------------------------------


def pm10(at: Moment, place: Place) -> Numbers:
    """µg/m³. Road dust: studded tyres on dry streets in traffic, piling up when the air stands still."""
    dry = 1.0 - 0.85 * at.wetness
    dust = 42.0 * place.road * at.traffic * (0.12 + season.studded_tyres(at.local)) * dry
    background = 4.5 + 2.0 * at.stagnation
    level: Numbers = (background + dust * at.stagnation**0.7) * place.size * np.exp(0.22 * _noise(at, place))
    return level


def pm25(at: Moment, place: Place) -> Numbers:
    """µg/m³. Wood stoves on cold evenings more than traffic."""
    evening = np.clip(np.cos((at.local.hour - 20.5) / 24.0 * 2 * np.pi), 0.0, 1.0)
    stoves = 0.45 * at.heating * (0.35 + 0.65 * evening)
    roads = 4.0 * place.road * at.traffic
    level: Numbers = (2.2 + (stoves + roads) * at.stagnation) * place.size * np.exp(0.18 * _noise(at, place))
    return level


def pm1(at: Moment, place: Place) -> Numbers:
    return 0.62 * pm25(at, place)


def no2(at: Moment, place: Place) -> Numbers:
    """µg/m³. Exhaust: follows traffic at once, more so in standing air."""
    exhaust = 38.0 * place.road * at.traffic * at.stagnation
    level: Numbers = (4.0 + exhaust) * place.size * np.exp(0.15 * _noise(at, place))
    return level


def no(at: Moment, place: Place) -> Numbers:
    return np.maximum(0.85 * no2(at, place) - 4.0, 0.3)


def o3(at: Moment, place: Place) -> Numbers:
    """µg/m³. Made by sun, eaten by exhaust."""
    return np.maximum(58.0 + at.radiation / 30.0 - 0.6 * no2(at, place) + 3.0 * _noise(at, place), 1.0)


# --- weather --------------------------------------------------------------------------------------------------------


def air_temperature(at: Moment, place: Place) -> Numbers:
    return at.temperature + 1.2 * (place.size - 1.0) + 0.25 * _noise(at, place) + 0.03 * _ripple(at, place)


def device_temperature(at: Moment, place: Place) -> Numbers:
    """°C inside the box: air, and what sun there is."""
    return air_temperature(at, place) + 1.0 + at.radiation / 80.0


def relative_humidity(at: Moment, place: Place) -> Numbers:
    return np.clip(at.humidity + 1.5 * _noise(at, place), 10.0, 100.0)


def air_pressure(at: Moment, place: Place) -> Numbers:
    return at.pressure + 0.05 * _ripple(at, place)


def wind_speed(at: Moment, place: Place) -> Numbers:
    return np.maximum(at.wind * place.size * (1.0 + 0.25 * _noise(at, place)), 0.0)


def wind_from_direction(at: Moment, place: Place) -> Numbers:
    return (at.wind_direction + 8.0 * _noise(at, place)) % 360.0


def precipitation(at: Moment, place: Place) -> Numbers:
    """mm in the interval that the reading covers."""
    return at.rain * place.interval / HOUR


def solar_irradiance(at: Moment, place: Place) -> Numbers:
    return np.maximum(at.radiation * (1.0 + 0.03 * _noise(at, place)), 0.0)


def illuminance(at: Moment, place: Place) -> Numbers:
    """lux. 120 lux a W/m² by day, street lamps by night, twilight between -6° and 0°."""
    twilight = 400.0 * np.clip(1.0 + at.elevation / 6.0, 0.0, 1.0) ** 2
    lamps = np.where(at.elevation < -2.0, 12.0, 0.0)
    return 120.0 * at.radiation + twilight + lamps


# --- noise ----------------------------------------------------------------------------------------------------------


def laeq(at: Moment, place: Place) -> Numbers:
    """dB(A), equivalent level. Ten decibels a decade of traffic over the city's night floor, helicopters on top."""
    cars = 10.0 * np.log10(10 ** (38.0 / 10) + 10 ** (66.0 / 10) * place.road * np.maximum(at.traffic, 0.005))
    rotor = 74.0 + 8.0 * (place.size - 1.0) + 2.0 * _noise(at, place)
    helicopter = np.where(helicopter_near(at), 10 ** (rotor / 10), 0.0)
    level: Numbers = 10.0 * np.log10(10 ** (cars / 10) + helicopter) + 1.3 * _noise(at, place)
    return level


def lamax(at: Moment, place: Place) -> Numbers:
    """dB(A), the loudest moment: 6 to 14 dB above the equivalent level."""
    return laeq(at, place) + 8.0 + np.abs(2.5 * _ripple(at, place))


def helicopter_near(at: Moment) -> NDArray[np.bool_]:
    """True in the three minutes of an approach to the hospital: about eight in 24 hours, fewer at night."""
    slot, within = np.divmod(at.time, 30 * MINUTE)
    chance = uniform(key(at.seed, "helicopter"), slot)
    start = (uniform(key(at.seed, "helicopter", "start"), slot) * 26 * MINUTE).astype(np.int64)
    flying = chance < 0.08 + 0.18 * season.awake(at.local)
    return np.asarray(flying & (within >= start) & (within < start + 3 * MINUTE), np.bool_)


# --- indoors and energy ---------------------------------------------------------------------------------------------


def people_count(at: Moment, place: Place) -> Numbers:
    """People in the room."""
    expected = 60.0 * place.size * season.students(at.local)
    return poisson(place.device, at.time // (5 * MINUTE), expected)


def indoor_co2(at: Moment, place: Place) -> Numbers:
    """ppm. Outdoor air plus what people breathe out, with the room's memory of a quarter of an hour."""
    lags = (0, 10, 20, 30)
    people = sum(
        (people_count(at.earlier(m * MINUTE), place) * np.exp(-m / 15.0) for m in lags), np.zeros(len(at.time))
    )
    return 421.0 + 9.0 * people / place.size + 6.0 * _noise(at, place)


def indoor_temperature(at: Moment, place: Place) -> Numbers:
    warm = 20.8 + 0.02 * people_count(at, place) + at.radiation / 300.0 + 0.02 * (at.temperature - 5.0)
    return np.where(at.local.free, warm - 1.2, warm) + 0.2 * _noise(at, place)


def indoor_humidity(at: Moment, place: Place) -> Numbers:
    """Outdoor air warmed up: very dry in winter, moister with people."""
    outdoors = at.humidity / 100.0 * _saturation(at.temperature)
    inside = 100.0 * outdoors / _saturation(indoor_temperature(at, place))
    return np.clip(inside + 4.0 + 0.06 * people_count(at, place) + _noise(at, place), 8.0, 85.0)


def _saturation(celsius: Numbers) -> Numbers:
    """Saturation vapour pressure, hPa (Magnus form, WMO 2008)."""
    pressure: Numbers = 6.112 * np.exp(17.62 * celsius / (243.12 + celsius))
    return pressure


def active_power(at: Moment, place: Place) -> Numbers:
    """kW of a university building: base load, people, and some heating on the coldest days."""
    load = 28.0 + 85.0 * season.students(at.local) + 1.2 * at.heating
    return load * place.size * (1.0 + 0.04 * _noise(at, place))


def heat_power(at: Moment, place: Place) -> Numbers:
    """kW of district heating: degrees below 17 °C, turned down at night and on free days."""
    schedule = np.where(at.local.free | (at.local.hour < 5) | (at.local.hour > 20), 0.6, 1.0)
    return (4.0 + 9.5 * at.heating * schedule) * place.size * (1.0 + 0.03 * _noise(at, place))


# --- moving about ---------------------------------------------------------------------------------------------------


def _count(at: Moment, place: Place, hourly: Numbers) -> Numbers:
    mean = np.maximum(hourly, 0.0) * place.size * place.interval / HOUR
    return poisson(place.key, at.time // min(place.interval, SECOND), mean)


def bicycle_count(at: Moment, place: Place) -> Numbers:
    """Bicycles in the interval: commuters, fewer in cold, rain and snow, never none."""
    weather = np.clip(0.25 + at.temperature / 18.0, 0.15, 1.1) * (1.0 - 0.5 * at.wetness)
    return _count(at, place, 420.0 * at.traffic * weather * (0.6 + 0.4 * season.term(at.local)))


def pedestrian_count(at: Moment, place: Place) -> Numbers:
    """People on foot in the interval: commuters, students, and those who go out at night at weekends."""
    going_out = np.where((at.local.weekday >= 5) & (at.local.hour < 3.0), 0.35, 0.0)
    tide = 0.5 * at.traffic + 0.9 * place.campus * season.lunch(at.local) + 0.3 * season.awake(at.local) + going_out
    return _count(at, place, 600.0 * tide * (1.0 - 0.3 * at.wetness))


def vehicle_count(at: Moment, place: Place) -> Numbers:
    """Motor vehicles in the interval; 1,900 an hour when Elgeseter gate is busiest."""
    return _count(at, place, 1900.0 * at.traffic * (0.4 + 0.6 * place.road))


def speed(at: Moment, place: Place) -> Numbers:
    """km/h. The limit is 40; queues form above 80 % of capacity."""
    queue = np.clip((at.traffic - 0.8) / 0.3, 0.0, 1.0)
    return np.clip(41.0 - 22.0 * queue - 3.0 * at.wetness + 1.8 * _noise(at, place), 4.0, 80.0)


def parking_free(at: Moment, place: Place) -> Numbers:
    """Free spaces of 120: full at working hours."""
    taken = 120.0 * np.clip(0.1 + 0.9 * np.sqrt(season.students(at.local)) + 0.03 * _noise(at, place), 0.0, 1.0)
    return np.round(120.0 - taken)


# --- water ----------------------------------------------------------------------------------------------------------


def _river(at: Moment) -> Numbers:
    """Flow of Nidelva, m³/s: let out by the power stations with the day's need, snow melt in May and June."""
    melt = 90.0 * np.exp(-(((at.local.day - 148.0) / 20.0) ** 2))
    demand = 20.0 * at.earlier(2 * HOUR).traffic
    flow: Numbers = 55.0 + melt + demand + 18.0 * at.process("river", 3 * DAY)
    return np.maximum(flow, 30.0)


def river_flow(at: Moment, place: Place) -> Numbers:
    return _river(at) * (1.0 + 0.01 * _noise(at, place))


def water_level(at: Moment, place: Place) -> Numbers:
    """m. A rating curve over the flow; below Gamle bybro the fjord's tide (12.42 h, M2) comes in."""
    moon = 1.0 + 0.25 * np.cos(2 * np.pi * at.time / (14.77 * DAY))
    tide: Numbers = 0.35 * moon * np.sin(2 * np.pi * at.time / (12.4206 * HOUR)) * place.road
    return 0.14 * _river(at) ** 0.6 + tide + 0.01 * _noise(at, place)


def water_temperature(at: Moment, place: Place) -> Numbers:
    """°C. The season of the lake it comes from, six weeks behind the air."""
    lake = 6.8 - 6.0 * np.cos(2 * np.pi * (at.local.day - 50.0) / 365.25) + 0.5 * at.process("river warmth", 5 * DAY)
    return np.maximum(lake + 0.1 * _noise(at, place), 0.1)


def turbidity(at: Moment, place: Place) -> Numbers:
    """FNU. Clear; streets wash into it when it rains."""
    level: Numbers = (1.1 + 14.0 * at.wetness**2 * place.size) * np.exp(0.12 * _noise(at, place))
    return level


def water_conductivity(at: Moment, place: Place) -> Numbers:
    """µS/cm. Road salt in winter."""
    salt = 60.0 * season.studded_tyres(at.local) * at.wetness
    return 34.0 + salt * place.size + 1.5 * _noise(at, place)


# --- things ---------------------------------------------------------------------------------------------------------


def fill_level(at: Moment, place: Place) -> Numbers:
    """% of a waste bin: people fill it by day, a lorry empties it every two to four days."""
    period = 2 * DAY + round((place.size - 0.75) * 4 * DAY)
    since = (at.time + place.device % period) % period
    day = at.time / DAY + 1.0 / 24.0
    before = (at.time - since) / DAY + 1.0 / 24.0
    wave = 0.9 / (2 * np.pi)  # thrown in from morning to evening, hardly any at night
    used = (day - wave * np.sin(2 * np.pi * (day - 0.08))) - (before - wave * np.sin(2 * np.pi * (before - 0.08)))
    level = 3.0 + 92.0 * used / (period / DAY) * (0.8 + 0.2 * place.size)
    return np.clip(level + 0.4 * _ripple(at, place), 0.0, 100.0)


def battery_level(at: Moment, place: Place) -> Numbers:
    """%. Falls over the battery's life, faster in the cold; somebody changes it at the end."""
    used = ((at.time + place.device % place.battery) % place.battery) / place.battery
    cold = 2.0 * np.clip(-at.temperature / 10.0, 0.0, 1.0)
    return np.clip(100.0 * (1.0 - used**1.3) - cold, 0.0, 100.0)


def battery_voltage(at: Moment, place: Place) -> Numbers:
    return 3.0 + 1.2 * np.sqrt(battery_level(at, place) / 100.0)


def rssi(at: Moment, place: Place) -> Numbers:
    """dBm of the radio link; rain and leaves are in the way."""
    return -118.0 + 40.0 * place.size - 3.0 * at.wetness + 2.5 * _noise(at, place)


def wander(at: Moment, place: Place) -> Numbers:
    """For a quantity without a model of its own: around the middle of its range."""
    low, high = place.bounds
    middle, half = (low + high) / 2.0, (high - low) / 2.0
    level: Numbers = middle + half * np.tanh(0.5 * drift(place.key, at.time, 5 * MINUTE, 3 * HOUR))
    return level


MODELS: dict[str, Model] = {
    model.__name__: model
    for model in (
        *(pm1, pm25, pm10, no, no2, o3),
        *(air_temperature, relative_humidity, air_pressure, wind_speed, wind_from_direction, precipitation),
        *(solar_irradiance, illuminance, laeq, lamax),
        *(people_count, indoor_co2, indoor_temperature, indoor_humidity, active_power, heat_power),
        *(bicycle_count, pedestrian_count, vehicle_count, speed, parking_free),
        *(river_flow, water_level, water_temperature, turbidity, water_conductivity),
        *(fill_level, device_temperature, battery_level, battery_voltage, rssi),
    )
}
"""By the vocabulary's name for the quantity, which is the function's name."""

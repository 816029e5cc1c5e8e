"""What devices of the city's life read: rooms, energy, people and vehicles, bins and batteries."""

from __future__ import annotations

import numpy as np

from techport_simulators import season
from techport_simulators.chance import Numbers, poisson
from techport_simulators.physics import Moment
from techport_simulators.place import Place, noise, ripple
from techport_storage.microseconds import DAY, HOUR, MINUTE, SECOND

OUTDOOR_CO2 = 425.0
"""ppm in 2025 (NOAA, Mauna Loa); no room has less."""

# --- indoors and energy -----------------------------------------------------------------------------------------------


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
    return np.maximum(OUTDOOR_CO2, OUTDOOR_CO2 + 4.0 + 9.0 * people / place.size + 6.0 * noise(at, place))


def indoor_temperature(at: Moment, place: Place) -> Numbers:
    warm = 20.8 + 0.02 * people_count(at, place) + at.radiation / 300.0 + 0.02 * (at.temperature - 5.0)
    return np.where(at.local.free, warm - 1.2, warm) + 0.2 * noise(at, place)


def indoor_humidity(at: Moment, place: Place) -> Numbers:
    """Outdoor air warmed up: very dry in winter, moister with people."""
    outdoors = at.humidity / 100.0 * _saturation(at.temperature)
    inside = 100.0 * outdoors / _saturation(indoor_temperature(at, place))
    return np.clip(inside + 4.0 + 0.06 * people_count(at, place) + noise(at, place), 8.0, 85.0)


def _saturation(celsius: Numbers) -> Numbers:
    """Saturation vapour pressure, hPa (Magnus form, WMO 2008)."""
    pressure: Numbers = 6.112 * np.exp(17.62 * celsius / (243.12 + celsius))
    return pressure


def active_power(at: Moment, place: Place) -> Numbers:
    """kW of a university building: base load, people, and some heating on the coldest days."""
    load = 28.0 + 85.0 * season.students(at.local) + 1.2 * at.heating
    return load * place.size * (1.0 + 0.04 * noise(at, place))


def heat_power(at: Moment, place: Place) -> Numbers:
    """kW of district heating: degrees below 17 °C, turned down at night and on free days."""
    schedule = np.where(at.local.free | (at.local.hour < 5) | (at.local.hour > 20), 0.6, 1.0)
    return (4.0 + 9.5 * at.heating * schedule) * place.size * (1.0 + 0.03 * noise(at, place))


# --- moving about -----------------------------------------------------------------------------------------------------


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
    return np.clip(41.0 - 22.0 * queue - 3.0 * at.wetness + 1.8 * noise(at, place), 4.0, 80.0)


def parking_free(at: Moment, place: Place) -> Numbers:
    """Free spaces of 120: full at working hours."""
    taken = 120.0 * np.clip(0.1 + 0.9 * np.sqrt(season.students(at.local)) + 0.03 * noise(at, place), 0.0, 1.0)
    return np.round(120.0 - taken)


# --- things -----------------------------------------------------------------------------------------------------------


def fill_level(at: Moment, place: Place) -> Numbers:
    """% of a waste bin: people fill it by day, a lorry empties it every two to four days."""
    period = 2 * DAY + round((place.size - 0.75) * 4 * DAY)
    since = (at.time + place.device % period) % period
    day = at.time / DAY + 1.0 / 24.0
    before = (at.time - since) / DAY + 1.0 / 24.0
    wave = 0.9 / (2 * np.pi)  # thrown in from morning to evening, hardly any at night
    used = (day - wave * np.sin(2 * np.pi * (day - 0.08))) - (before - wave * np.sin(2 * np.pi * (before - 0.08)))
    level = 3.0 + 92.0 * used / (period / DAY) * (0.8 + 0.2 * place.size)
    return np.clip(level + 0.4 * ripple(at, place), 0.0, 100.0)


def battery_level(at: Moment, place: Place) -> Numbers:
    """%. Falls over the battery's life, faster in the cold; somebody changes it at the end."""
    new = -(place.device % place.battery) if place.battery_since is None else place.battery_since
    used = ((at.time - new) % place.battery) / place.battery
    cold = 2.0 * np.clip(-at.temperature / 10.0, 0.0, 1.0)
    return np.clip(100.0 * (1.0 - used**1.3) - cold, 0.0, 100.0)


def battery_voltage(at: Moment, place: Place) -> Numbers:
    return 3.0 + 1.2 * np.sqrt(battery_level(at, place) / 100.0)


def rssi(at: Moment, place: Place) -> Numbers:
    """dBm of the radio link; rain and leaves are in the way."""
    return -118.0 + 40.0 * place.size - 3.0 * at.wetness + 2.5 * noise(at, place)

"""Which model reads which quantity.

To simulate another quantity, write a function (Moment, Place) -> array in environment.py or activity.py, named as the
vocabulary names the quantity, and add it to MODELS. A quantity without a model wanders within its range.
"""

from __future__ import annotations

import numpy as np

from techport_simulators import activity, environment
from techport_simulators.chance import Numbers, drift
from techport_simulators.physics import Moment
from techport_simulators.place import Model, Place
from techport_storage.microseconds import HOUR, MINUTE


def wander(at: Moment, place: Place) -> Numbers:
    """For a quantity without a model of its own: around the middle of its range."""
    low, high = place.bounds
    middle, half = (low + high) / 2.0, (high - low) / 2.0
    level: Numbers = middle + half * np.tanh(0.5 * drift(place.key, at.time, 5 * MINUTE, 3 * HOUR))
    return level


MODELS: dict[str, Model] = {
    model.__name__: model
    for model in (
        environment.pm1,
        environment.pm25,
        environment.pm10,
        environment.no,
        environment.no2,
        environment.o3,
        environment.air_temperature,
        environment.relative_humidity,
        environment.air_pressure,
        environment.wind_speed,
        environment.wind_from_direction,
        environment.precipitation,
        environment.solar_irradiance,
        environment.illuminance,
        environment.laeq,
        environment.lamax,
        environment.river_flow,
        environment.water_level,
        environment.water_temperature,
        environment.turbidity,
        environment.water_conductivity,
        activity.people_count,
        activity.indoor_co2,
        activity.indoor_temperature,
        activity.indoor_humidity,
        activity.active_power,
        activity.heat_power,
        activity.bicycle_count,
        activity.pedestrian_count,
        activity.vehicle_count,
        activity.speed,
        activity.parking_free,
        activity.fill_level,
        environment.device_temperature,
        activity.battery_level,
        activity.battery_voltage,
        activity.rssi,
    )
}
"""By the vocabulary's name for the quantity, which is the function's name."""

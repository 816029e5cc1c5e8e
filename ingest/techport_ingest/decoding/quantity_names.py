"""What makers call a quantity, and what the vocabulary calls it.

Only names that mean one thing wherever they stand are here; which unit a number is in that has none beside it is
decided later (bare_numbers.py). Decoders that know more (a unit, a component) have tables of their own. A name that is
not known stays as it is and becomes a stream that is "not described yet".
"""

from __future__ import annotations

import re
from types import MappingProxyType

from techport_ingest.checking.key_cache import remembered
from techport_ingest.decoding.key_words import quantity_in
from techport_pilots.quantities import builtin

QUANTITIES = MappingProxyType(
    {
        # air
        "temperature": "air_temperature",
        "temp": "air_temperature",
        "airtemperature": "air_temperature",
        "air_temp": "air_temperature",
        "ambient_temperature": "air_temperature",
        "temperatur": "air_temperature",
        "humidity": "relative_humidity",
        "hum": "relative_humidity",
        "rh": "relative_humidity",
        "air_humidity": "relative_humidity",
        "relativehumidity": "relative_humidity",
        "pressure": "air_pressure",
        "barometric_pressure": "air_pressure",
        "barometer": "air_pressure",
        "atmospheric_pressure": "air_pressure",
        "pm1_0": "pm1",
        "pm2_5": "pm25",
        "pm2.5": "pm25",
        "pm4_0": "pm4",
        "pm10_0": "pm10",
        "voc": "tvoc",
        "dewpoint": "dew_point",
        "sealevelpressure": "air_pressure_sea_level",
        "carbon_dioxide": "co2",
        "eco2": "co2",
        # Norwegian, as files of measuring networks and spreadsheets have it
        "lufttemperatur": "air_temperature",
        "temp.": "air_temperature",
        "luftfuktighet": "relative_humidity",
        "relativ luftfuktighet": "relative_humidity",
        "rel. fuktighet": "relative_humidity",
        "fuktighet": "relative_humidity",
        "fukt": "relative_humidity",
        "lufttrykk": "air_pressure",
        "trykk": "air_pressure",
        "nedbør": "precipitation",
        "nedbor": "precipitation",
        "vindhastighet": "wind_speed",
        "vindstyrke": "wind_speed",
        "vindkast": "wind_gust",
        "vindretning": "wind_from_direction",
        "snødybde": "snow_depth",
        "globalstråling": "solar_irradiance",
        "veitemperatur": "road_temperature",
        "veibanetemperatur": "road_temperature",
        "vannstand": "water_level",
        "vannføring": "river_flow",
        "vanntemperatur": "water_temperature",
        "jordtemperatur": "soil_temperature",
        "jordfuktighet": "soil_moisture",
        "støynivå": "laeq",
        "batterispenning": "battery_voltage",
        # noise, weather, people
        "soundavg": "laeq",
        "laeq_db": "laeq",
        "windspeed": "wind_speed",
        "wind_direction": "wind_from_direction",
        "winddirection": "wind_from_direction",
        "maximum_wind_speed": "wind_gust",
        "wind_gust_speed": "wind_gust",
        "rain_intensity": "precipitation_rate",
        "rainfall_rate": "precipitation_rate",
        "uvindex": "uv_index",
        "solar_radiation": "solar_irradiance",
        "illumination": "illuminance",
        "lux": "illuminance",
        "light": "illuminance",
        "luminosity": "illuminance",
        "light_intensity": "illuminance",
        "lightintensity": "illuminance",
        "occupancy": "room_occupied",
        "occupied": "room_occupied",
        "people_count_all": "people_count",
        "period_in": "people_in",
        "period_out": "people_out",
        # ground, water
        "soil_temp": "soil_temperature",
        "soil_humidity": "soil_moisture",
        "watertemperature": "water_temperature",
        "water_temp": "water_temperature",
        # energy
        "powerfactor": "power_factor",
        "pf": "power_factor",
        "freq": "frequency",
        # the device itself
        "battery": "battery_level",
        "bat": "battery_level",
        "batt": "battery_level",
        "batterylevel": "battery_level",
        "battery_percent": "battery_level",
        "batteryvoltage": "battery_voltage",
        "vbat": "battery_voltage",
    }
)

UNKNOWN_UNIT = "raw."
"""In front of the maker's key of a value whose unit nobody knows: the key may be a word of the vocabulary."""

_NUMBERED = re.compile(r"([a-z][a-z0-9_.]*?[a-z])[_-](\d{1,3})")


@remembered(8192)
def quantity(key: str) -> str:
    """The vocabulary's name for a maker's key, or the key itself. "temperature_3" is channel 3: "air_temperature.3"."""
    lower = key.lower()
    name_in_vocabulary = QUANTITIES.get(lower)
    if name_in_vocabulary is not None:
        return name_in_vocabulary
    numbered = _NUMBERED.fullmatch(lower)
    if numbered is not None:
        base = QUANTITIES.get(numbered[1], numbered[1])
        if base in builtin():
            return f"{base}.{numbered[2]}"
    if key in builtin():
        return key
    return quantity_in(key) or (lower if lower in builtin() else key)


CONTAINERS = frozenset(
    (
        *(
            "d",
            "messages",
            "message",
            "data",
            "values",
            "measurements",
            "measures",
            "readings",
            "records",
            "list",
            "payload",
        ),
        *(
            "object",
            "items",
            "results",
            "result",
            "body",
            "content",
            "properties",
            "telemetry",
            "metrics",
            "fields",
            "params",
        ),
        *("payload_fields", "decoded", "decoded_payload", "decodedpayload", "uplink", "sensordata", "sensor_data"),
        *("dashboard_data", "observation", "observations", "current", "attributes", "attrs", "reported"),
    )
)
"""Names of objects and lists that say nothing about what is in them, in lower case."""

_PARTS = frozenset(
    ("sensors", "probes", "channels", "devices", "nodes", "modules", "inputs", "ports", "zones", "rooms", "points")
)
"""Names of lists and objects whose members are parts of a device, each under the name that it has there."""

_PART_OF_A_LIST = 3  # list, name, quantity
_NOT_IN_A_CHANNEL = re.compile(r"[^a-z0-9_-]+")

_NO_CHANNEL = frozenset(
    (
        *(
            "threshold",
            "limit",
            "limits",
            "alarm",
            "alert",
            "setpoint",
            "target",
            "status",
            "state",
            "mode",
            "brightness",
        ),
        *("offset", "calibration", "enabled", "interval", "unit", "id", "error", "valid", "is_valid", "trend", "index"),
        *("uncertainty", "samples", "count", "std", "stddev", "variance", "confidence", "quality", "flag", "flags"),
        *("code", "version", "revision", "resolution", "precision", "accuracy"),
    )
)
"""What stands beside a value within an object, and is no value of that kind itself."""


_ID = re.compile(r"(?:[a-z0-9]I[dD]|_id)$")
"""The end of a key that numbers something."""


@remembered(8192)
def quantity_of_path(path: tuple[str, ...]) -> str:
    """The key of a value inside nested objects: ("temperature", "min") is "air_temperature.min", and so is ("data",
    "temperature", "min").
    """
    if len(path) == 1:
        return quantity(path[0])
    within = (*(step for step in path[:-1] if step.lower() not in CONTAINERS), path[-1])
    if len(within) < len(path) and not any(step.isdecimal() for step in within):  # a position names nothing
        name = quantity_of_path(within)
        if name in builtin():
            return name
    if (
        len(path) == _PART_OF_A_LIST
        and path[0].lower() in _PARTS
        and len(path[1]) > 2
        and quantity(path[2]) in builtin()
    ):
        return f"{quantity(path[2])}.{_NOT_IN_A_CHANNEL.sub('-', path[1].lower()).strip('-')}"
    whole = QUANTITIES.get("_".join(path).lower()) or (quantity_in(" ".join(path)) if len(path) == 2 else None)
    if whole is not None:
        return whole
    other = path[-1].lower() in _NO_CHANNEL or _ID.search(path[-1]) is not None or quantity(path[-1]) in builtin()
    if other and path[0] in builtin():  # co2.limit would be a channel of co2
        return "_".join(path)
    return ".".join((path[0] if other else quantity(path[0]), *path[1:]))

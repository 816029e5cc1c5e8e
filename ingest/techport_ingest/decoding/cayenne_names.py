"""What network servers' own codecs for Cayenne LPP call values.

    ChirpStack          {"temperatureSensor": {"1": 21.5}, "gpsLocation": {"2": {"latitude": 59.9, ...}}}
    The Things Stack    {"accelerometer_3": {"x": 0, ...}, "gps_2": {"latitude": 59.9, ...}}; its single numbers are
                        called temperature_1, which needs no table

Units are those of the Cayenne LPP data types (https://docs.mydevices.com/docs/lorawan/cayenne-lpp).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

NAMES = MappingProxyType(
    {
        "temperatureSensor": ("air_temperature", "°C"),
        "humiditySensor": ("relative_humidity", "%"),
        "barometer": ("air_pressure", "hPa"),
        "illuminanceSensor": ("illuminance", "lx"),
        "presenceSensor": ("room_occupied", None),
        "analogInput": ("analog_in", None),
        "analogOutput": ("analog_out", None),
        "digitalInput": ("digital_in", None),
        "digitalOutput": ("digital_out", None),
        "accelerometer": ("acceleration", "[g]"),
        "gyrometer": ("angular_velocity", "deg/s"),
        "voltageSensor": ("voltage", "V"),
        "currentSensor": ("current", "A"),
        "powerSensor": ("active_power", "W"),
    }
)

_NUMBERED = re.compile(r"(gps|accelerometer|gyrometer)_(\d{1,3})")
"""What The Things Stack calls values of several parts (go.thethings.network/lorawan-stack, cayennelpp formatter)."""

_LOCATION = (("latitude", "deg"), ("longitude", "deg"), ("altitude", "m"))


class CayenneValue(NamedTuple):
    """One value of a Cayenne object."""

    path: tuple[str, ...]
    key: str
    value: Any
    unit: str | None


def is_cayenne(key: str, value: object) -> bool:
    """Whether a key of an uplink's object is a network server's word for a Cayenne data type of which it holds an
    object: by channels that are numbers, or of one channel that the key names.
    """
    if type(value) is dict and _NUMBERED.fullmatch(key):
        return True
    return (
        (key in NAMES or key == "gpsLocation")
        and type(value) is dict
        and bool(value)
        and all(channel.isdecimal() for channel in value)
    )


def cayenne_values(key: str, channels: Mapping[str, Any]) -> Iterator[CayenneValue]:
    """The values of one data type. A position needs no channel: a device is in one place."""
    numbered = _NUMBERED.fullmatch(key)
    if numbered is not None:
        kind = "gpsLocation" if numbered[1] == "gps" else numbered[1]
        for value in cayenne_values(kind, {numbered[2]: channels}):
            yield value._replace(path=(key, *value.path[2:]))
        return
    for channel, value in channels.items():
        if key == "gpsLocation":
            where = value if type(value) is dict else {}
            for part, unit_of_part in _LOCATION:
                if part in where:
                    yield CayenneValue((key, channel, part), part, where[part], unit_of_part)
            continue
        name, unit = NAMES[key]
        parts = value if type(value) is dict else {"": value}
        for part, inner in parts.items():
            path = tuple(step for step in (key, channel, part) if step)
            yield CayenneValue(path, f"{name}.{channel}{f'-{part}' if part else ''}", inner, unit)

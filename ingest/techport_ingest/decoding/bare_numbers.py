"""Where the unit of a number comes from that its message gives without one.

In this order:

    the message     says it, or its key does: temperature_C, battery_mV
    the source      `fields` of the definition
    the format      its table (`KNOWN`, `LEAVES`, ...), which names what its documentation lays down
    the maker       lorawan_makers.py: what a maker's decoders are known to send
    the quantity    AGREED: what everybody sends in one unit; BY_SIZE: what the number itself tells
    nobody          the value is stored under the maker's key behind "raw.", without a unit, until somebody says which

`native` is told by us: a name of the vocabulary there has the vocabulary's unit. So it is in other formats whose keys
a sender chooses, on topics below pilots/.
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from techport_ingest.checking.key_cache import remembered
from techport_ingest.checking.unit_names import ENDINGS, Divided, divided, stated_unit
from techport_ingest.checking.units import NotConvertible, Units, UnknownUnit
from techport_ingest.decoding.quantity_names import UNKNOWN_UNIT, quantity
from techport_ingest.message import Observed
from techport_pilots.quantities import builtin

AGREED = frozenset(
    (
        # degrees Celsius: The Things Network, and the decoders of Milesight, Dragino, Elsys, Decentlab,
        # SenseCAP, Tektelic and Netvox; Fahrenheit is named in the key
        *("air_temperature", "dew_point", "road_temperature", "soil_temperature", "water_temperature"),
        *("indoor_temperature", "supply_temperature", "return_temperature", "device_temperature"),
        *("surface_temperature", "leaf_temperature", "target_temperature"),
        # per cent: the same; SHT, BME280 and DHT libraries
        *("relative_humidity", "indoor_humidity", "soil_moisture", "cloud_cover", "fill_level", "road_occupancy"),
        # ppm: Sensirion SCD, SenseAir, Winsen; the same decoders
        *("co2", "indoor_co2"),
        # µg/m³: Sensirion SPS30, Plantower PMS, Nova SDS011
        *("pm1", "pm25", "pm4", "pm10", "tsp"),
        # lx, degrees, W/m², dB, dBm, Hz, pH
        *("illuminance", "wind_from_direction", "latitude", "longitude", "solar_irradiance"),
        *("laeq", "lamax", "lamin", "la10", "la90", "lceq", "lden", "rssi", "frequency", "ph"),
        # m/s and mm/h: WMO-No. 8; Decentlab, Milesight WTS, SenseCAP; others name km/h or mph in the key
        *("wind_speed", "wind_gust", "precipitation_rate"),
    )
)
"""Quantities that senders without a unit give in the vocabulary's. Counts, states and indices need none."""


class Size(NamedTuple):
    """Numbers from `low` to `high` are in `unit`, of `quantity`."""

    low: float
    high: float
    unit: str
    quantity: str
    fraction: bool = False  # only numbers that are not whole


_PRESSURE = tuple(
    Size(low, high, unit, "air_pressure")  # the records of pressure at sea level are 870 and 1085 hPa (WMO)
    for low, high, unit in ((700, 1_100, "hPa"), (70_000, 110_000, "Pa"), (70, 110, "kPa"))
)
_CELL = (
    Size(0.8, 60, "V", "battery_voltage"),  # from one NiMH cell to a 48 V system
    Size(800, 60_000, "mV", "battery_voltage"),
)

BY_SIZE = MappingProxyType(
    {
        "air_pressure": _PRESSURE,
        "air_pressure_sea_level": tuple(size._replace(quantity="air_pressure_sea_level") for size in _PRESSURE),
        "battery_voltage": _CELL,
        # "battery" is per cent for Milesight, SenseCAP and Tektelic, volts for Dragino and in The Things Network's
        # schema, millivolts for Elsys. A lithium cell has 2.0 to 4.3 V. A whole number up to 5 may be either.
        "battery_level": (
            Size(1.0, 5.0, "V", "battery_voltage", fraction=True),
            Size(1_000, 5_000, "mV", "battery_voltage"),
            Size(0, 0, "%", "battery_level"),
            Size(6, 100, "%", "battery_level"),
            Size(255, 255, "%", "battery_level"),  # no measurement: the check finds it outside the range
        ),
        "power_factor": (Size(-1, 1, "1", "power_factor"), Size(2, 100, "%", "power_factor")),
    }
)
"""Quantities whose number tells its unit, since the values of one unit cannot be those of another."""

_ENDINGS = MappingProxyType(
    {
        # unit of the vocabulary: endings of keys, and the unit that each of them means
        "Cel": {"c": "°C", "degc": "°C", "celsius": "°C", "f": "°F", "degf": "°F", "fahrenheit": "°F"},
        "hPa": {"hpa": "hPa", "kpa": "kPa", "pa": "Pa", "mbar": "mbar"},
        "V": {"v": "V", "mv": "mV", "volt": "V", "volts": "V"},
        "A": {"ma": "mA", "amp": "A", "amps": "A"},
        "kW": {"w": "W", "kw": "kW", "watt": "W", "watts": "W"},
        "kW.h": {"wh": "Wh", "kwh": "kWh"},
        "%": {"percent": "%", "pct": "%", "perc": "%", "prosent": "%"},
        "[ppm]": {"ppm": "ppm"},
        "[ppb]": {"ppb": "ppb", "ppm": "ppm"},
        "ug/m3": {"ugm3": "µg/m³", "ug_m3": "µg/m³"},
        "lx": {"lx": "lx", "lux": "lx"},
        "m": {"m": "m", "cm": "cm", "mm": "mm"},
        "cm": {"m": "m", "cm": "cm", "mm": "mm"},
        "mm": {"mm": "mm"},
        "m/s": {"m_s": "m/s", "ms": "m/s", "km_h": "km/h", "kmh": "km/h", "mi_h": "mph", "mph": "mph"},
        "km/h": {"m_s": "m/s", "km_h": "km/h", "kmh": "km/h", "mph": "mph"},
        "mm/h": {"mm_h": "mm/h"},
        "Hz": {"hz": "Hz"},
        "deg": {"deg": "deg"},
        "dB{mW}": {"dbm": "dBm"},
        "dB[SPL]": {"dba": "dB(A)", "db": "dB(A)"},
        "Bq/m3": {"bq": "Bq/m³", "bqm3": "Bq/m³"},
    }
)


class Rule(NamedTuple):
    """What is known of a quantity's unit where the message states none."""

    channel: str  # ".2", or ""
    sizes: tuple[Size, ...]  # the first that fits; none: nobody knows


@remembered(8192)
def rule_of(key: str) -> Rule | None:
    """How the unit of a bare number of this stream is found; None where it needs none, or has no known quantity."""
    described = builtin().lookup(key)
    if described is None or described.name in AGREED or described.kind == "state":
        return None
    if described.name not in BY_SIZE and (described.unit == "1" or re.fullmatch(r"\{\w+\}", described.unit)):
        return None
    return Rule(key[len(described.name) :], BY_SIZE.get(described.name, ()))


@remembered(8192)
def unit_in_name(key: str) -> tuple[str, str] | None:
    """The quantity and the unit of a key that ends with one: "pressure_hPa" is ("air_pressure", "hPa"), and
    "depth (cm)" is ("depth", "cm").

    Letters count as a unit only behind a name whose quantity can have it: "voltage_a" is a phase.
    """
    for way in divided(key):
        name = quantity(way.name)
        described = builtin().lookup(name)
        if described is None:
            continue
        if described.name == "battery_level" and way.letters.lower() in _ENDINGS["V"]:
            return f"battery_voltage{name[len(described.name) :]}", _ENDINGS["V"][way.letters.lower()]
        unit = _fitting(described.unit, way)
        if unit is not None:
            return name, unit
    return None


def _fitting(unit: str, way: Divided) -> str | None:
    """The unit that letters behind a name mean, of a quantity that has this one."""
    fitting = _ENDINGS.get(unit, {}).get(way.letters.lower())
    if fitting is not None:
        return way.letters if way.bracketed and _UNITS.normalise(way.letters) is not None else fitting
    written = way.letters if way.bracketed else ENDINGS.get(way.letters)
    if written is None or unit in _SEVERAL_MEANINGS:
        return None
    if _UNITS.normalise(written) == unit:
        return written
    try:
        _UNITS.convert(1.0, written, unit)
    except (UnknownUnit, NotConvertible):
        return None
    return written


_UNITS = Units()
_SEVERAL_MEANINGS = frozenset(("1", "hPa"))
"""A pressure in bar or psi is in a pipe, not in the air; what has no unit takes any."""


@remembered(8192)
def key_unit(key: str, quantity_name: str) -> str | None:
    """The unit that a key states of a value which a definition gives a quantity: millimetres, where "level_mm" is
    mapped to a level in metres. None where it states none that the quantity can have.
    """
    described = builtin().lookup(quantity_name)
    if described is None:
        return stated_unit(key)
    return next((unit for way in divided(key) if (unit := _fitting(described.unit, way)) is not None), None)


def with_unit(observed: Observed) -> Observed:
    """A number without a unit, with the unit that follows from it and its name; or under its maker's key, without one.

    Parameters
    ----------
    observed : Observed
        With `unit` None, and a value of any type: what is no number is given back as it is.

    Returns
    -------
    Observed
        With a unit; as it was, where its quantity needs none or is not known; or with the key `raw.<maker's key>`.
    """
    value = observed.value
    if (type(value) is not float and type(value) is not int) or observed.unit is not None:
        return observed
    rule = rule_of(observed.key)
    if rule is None and observed.key in builtin():
        return observed
    named = unit_in_name(observed.maker or observed.key)
    if named is not None:
        return _with(observed, *named)
    if rule is None:
        return observed
    for size in rule.sizes:
        if size.low <= value <= size.high and not (size.fraction and value == int(value)):
            return _with(observed, size.quantity + rule.channel, size.unit)
    return msgspec.structs.replace(observed, key=f"{UNKNOWN_UNIT}{observed.maker or observed.key}")


def _with(observed: Observed, key: str, unit: str) -> Observed:
    """The value with a unit; without one where it is the vocabulary's, so that nothing is converted."""
    described = builtin().lookup(key)
    if described is not None and described.unit == unit:
        return observed if key == observed.key else msgspec.structs.replace(observed, key=key)
    return msgspec.structs.replace(observed, key=key, unit=unit)

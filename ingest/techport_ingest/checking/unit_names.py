"""Units that keys state themselves: "level_mm", "depth (cm)", "flow_m3_h", "pressureKPa".

Only letters that mean a unit wherever they stand at the end of a key are here. Whether "temp_c", "voltage_a" or
"Phase (A)" end in one depends on the quantity in front of it: decoding/bare_numbers.py.
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import NamedTuple

from techport_ingest.checking.key_cache import LONGEST_READ, remembered

ENDINGS = MappingProxyType(
    {
        **dict.fromkeys(("mm", "millimeter", "millimeters"), "mm"),
        **dict.fromkeys(("cm", "centimeter", "centimeters"), "cm"),
        **dict.fromkeys(("km", "kilometer", "kilometers"), "km"),
        **dict.fromkeys(("meter", "meters", "metres"), "m"),
        **dict.fromkeys(("degc", "celsius"), "°C"),
        **dict.fromkeys(("degf", "fahrenheit"), "°F"),
        "kelvin": "K",
        **{
            unit.lower(): unit
            for unit in ("hPa", "kPa", "mbar", "bar", "psi", "mV", "kV", "kVA", "kW", "kWh", "Wh", "MWh")
        },
        **dict.fromkeys(("volt", "volts"), "V"),
        **dict.fromkeys(("amp", "amps", "ampere"), "A"),
        **dict.fromkeys(("watt", "watts"), "W"),
        "kvar": "kvar",
        "mah": "mAh",
        **dict.fromkeys(("ohm", "ohms"), "Ohm"),
        **dict.fromkeys(("lpm", "l_min", "liter_per_minute"), "L/min"),
        **dict.fromkeys(("l_h", "lph"), "L/h"),
        "l_s": "L/s",
        **dict.fromkeys(("liter", "liters", "litre", "litres"), "L"),
        "m3": "m3",
        **dict.fromkeys(("m3_h", "m3h"), "m3/h"),
        **dict.fromkeys(("m3_s", "m3s"), "m3/s"),
        **dict.fromkeys(("km_h", "kmh", "kph"), "km/h"),
        **dict.fromkeys(("m_s", "mps"), "m/s"),
        "mph": "mph",
        **dict.fromkeys(("mm_h", "mmh"), "mm/h"),
        **dict.fromkeys(("percent", "pct", "perc", "prosent"), "%"),
        "ppm": "ppm",
        "ppb": "ppb",
        **dict.fromkeys(("ug_m3", "ugm3"), "ug/m3"),
        **dict.fromkeys(("mg_m3", "mgm3"), "mg/m3"),
        **dict.fromkeys(("mg_l", "mgl"), "mg/L"),
        **dict.fromkeys(("us_cm", "uscm"), "uS/cm"),
        **dict.fromkeys(("ms_cm", "mscm"), "mS/cm"),
        **dict.fromkeys(("w_m2", "wm2"), "W/m2"),
        **dict.fromkeys(("lx", "lux"), "lx"),
        "db": "dB",
        "dba": "dB(A)",
        "dbm": "dBm",
        "hz": "Hz",
        "khz": "kHz",
        "mhz": "MHz",
        "rpm": "rpm",
        "kg": "kg",
        **dict.fromkeys(("deg", "degrees"), "deg"),
        **dict.fromkeys(("sec", "secs", "seconds"), "s"),
        **dict.fromkeys(("minutes", "mins"), "min"),
        "hours": "h",
        "days": "d",
    }
)
"""The last words of a key, joined by _, and the unit that they are wherever they stand. "ma", "var", "min", "pa" and
single letters mean other things as well: moving average, variance, the lowest, a phase.
"""

_IN_BRACKETS = MappingProxyType(
    {
        unit: unit
        for unit in (
            *(
                "°C",
                "degC",
                "deg C",
                "Deg C",
                "℃",
                "°F",
                "degF",
                "°K",
                "%",
                "% RH",
                "%RH",
                "m",
                "cm",
                "mm",
                "km",
                "m³",
                "m3",
                "V",
                "mV",
            ),
            *(
                "Volts",
                "mA",
                "W",
                "kW",
                "Wh",
                "kWh",
                "MWh",
                "kVA",
                "Pa",
                "hPa",
                "kPa",
                "mbar",
                "bar",
                "mmHg",
                "inHg",
                "psi",
            ),
            *(
                "ppm",
                "ppb",
                "µg/m³",
                "μg/m³",
                "ug/m3",
                "ug/m^3",
                "µg/m3",
                "mg/m³",
                "mg/m3",
                "mg/L",
                "mg/l",
                "lx",
                "lux",
            ),
            *(
                "dB",
                "dB(A)",
                "dBA",
                "dBm",
                "Hz",
                "kHz",
                "m/s",
                "meters/second",
                "km/h",
                "km/t",
                "mph",
                "knots",
                "mm/h",
                "mm/t",
            ),
            *(
                "l/min",
                "L/min",
                "l/s",
                "L/s",
                "m³/h",
                "m3/h",
                "m³/s",
                "m3/s",
                "W/m²",
                "W/m2",
                "W/m^2",
                "µS/cm",
                "uS/cm",
                "mS/cm",
            ),
            *(
                "kg",
                "rpm",
                "NTU",
                "FNU",
                "pH",
                "deg",
                "degrees",
                "°",
                "s",
                "sec",
                "minutes",
                "hours",
                "liter",
                "litres",
                "Ohm",
                "kOhm",
            ),
            *("Bq/m³", "Bq/m3"),
        )
    }
)
"""What stands in brackets behind a name and is a unit. Others may be a place, a phase or a number: "(A)", "(1)"."""

_BRACKETS = re.compile(r"(?P<name>\S.*?|\S)\s*(?:\((?P<round>[^()]{1,20})\)|\[(?P<square>[^\[\]]{1,20})\])")
_WORDS = re.compile(r"[_\-\s]+")
_HUMPS = re.compile(r"(?<=[a-z0-9])(?=[A-Z][A-Za-z]*$)")


class Divided(NamedTuple):
    """A key, and the letters behind it that may be a unit."""

    name: str
    letters: str
    bracketed: bool


@remembered(8192)
def divided(key: str) -> tuple[Divided, ...]:
    """How a key may be divided into a name and a unit, the longest unit first.

    Parameters
    ----------
    key : str
        As a message writes it.

    Returns
    -------
    tuple of Divided
        ("flow", "m3_h"), ("flow_m3", "h") of "flow_m3_h"; letters in brackets as they are written, others in lower
        case. Empty where the key is one word.
    """
    if len(key) > LONGEST_READ:
        return ()
    brackets = _BRACKETS.fullmatch(key)
    if brackets is not None:
        return (Divided(brackets["name"], (brackets["round"] or brackets["square"]).strip(), True),)
    ways: list[Divided] = []
    for text in dict.fromkeys((key, _HUMPS.sub("_", key))):
        words = [word for word in _WORDS.split(text) if word]
        for count in (2, 1):
            if len(words) > count:
                ways.append(Divided("_".join(words[:-count]), "_".join(words[-count:]).lower(), False))
    return tuple(ways)


@remembered(8192)
def stated_unit(key: str) -> str | None:
    """The unit that a key states whatever is measured, as a payload would write it; None for others.

    Channels and paths do not matter: "tank.level_mm" and "level_mm.inlet" are in millimetres.
    """
    if len(key) > LONGEST_READ:
        return None
    for part in dict.fromkeys((key, key.rpartition(".")[2], key.partition(".")[0])):
        for way in divided(part):
            unit = _IN_BRACKETS.get(way.letters) if way.bracketed else ENDINGS.get(way.letters)
            if unit is not None:
                return unit
    return None

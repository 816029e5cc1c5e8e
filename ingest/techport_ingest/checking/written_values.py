"""Numbers that are written as text: "23.50", "19,5", "2.7V", "0x1F".

    read("19,5")      Written(19.5, None)
    read("1 013,2 hPa")   Written(1013.2, "hPa")
    read("0x1F")      Written(31.0, None)
    read("firmware 1.2")  None

A foreign format that sends numbers as text is not converted behind its sender's back: the value goes to quarantine with
the number that it seems to be, and `text: true` in the source's `fields` says that it is one.
"""

from __future__ import annotations

import re
from math import isfinite
from typing import NamedTuple

from techport_ingest.checking.units import ALIASES

_LONGEST = 60
_DECIMAL = re.compile(
    r"(?P<sign>[+-]?)(?P<number>\d{1,3}(?:[ \u00a0\u202f]\d{3})+(?:[.,]\d+)?|\d+(?:[.,]\d*)?|[.,]\d+)"
    r"(?P<exponent>[eE][+-]?\d{1,3})?"
    r"\s*(?P<unit>[^\d\s.,:;_\-+][^\d:;_]{0,15}\d?(?:/[A-Za-zµ³²0-9]{1,6})?)?",
)
_UNITS = frozenset(
    (
        *ALIASES,
        *ALIASES.values(),
        *("K", "Pa", "hPa", "kPa", "bar", "V", "mV", "kV", "A", "mA", "W", "kW", "Hz", "kHz", "lx", "J", "kJ"),
        *("m", "cm", "mm", "km", "g", "kg", "s", "ms", "min", "h", "m/s", "km/h", "mm/h", "%", "dB"),
        *("L", "L/min", "L/s", "µg/m³", "ug/m3", "mg/m³", "mg/m3", "mg/l", "m³", "m3", "m³/h", "W/m²"),
        *("Bq/m³", "µS/cm"),
    )
)
"""What may stand behind a number. Other letters make it a name: "4G", "12b"."""

_HEXADECIMAL = re.compile(r"0[xX](?P<digits>[0-9a-fA-F]{1,13})")


class Written(NamedTuple):
    """A number and the unit behind it, as written; None where there is none."""

    value: float
    unit: str | None


def read(text: str) -> Written | None:
    """The number that a text writes, or None: with a decimal comma, groups of three digits, a unit, or hexadecimal.

    What looks like an identifier is none: more than fifteen digits, or a zero in front of others.
    """
    text = text.strip()
    if not text or len(text) > _LONGEST:
        return None
    hexadecimal = _HEXADECIMAL.fullmatch(text)
    if hexadecimal is not None:
        return Written(float(int(hexadecimal["digits"], 16)), None)
    decimal = _DECIMAL.fullmatch(text.replace("\u2212", "-"))
    if decimal is None:
        return None
    unit = decimal["unit"] and decimal["unit"].strip()
    digits = re.sub(r"[ \u00a0\u202f]", "", decimal["number"]).replace(",", ".")
    if (unit and unit not in _UNITS) or len(digits) > 16 or (len(digits) > 1 and digits[0] == "0" and digits[1] != "."):
        return None
    value = float(f"{decimal['sign']}{digits}{decimal['exponent'] or ''}")
    return Written(value, unit or None) if isfinite(value) else None

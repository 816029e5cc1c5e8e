"""Units as payloads write them, and conversion to the vocabulary's.

Payloads say "µg/m³", "°C", "dB(A)" or "ppm"; the vocabulary says it in UCUM codes (https://ucum.org/ucum).
`normalise` knows both and answers UCUM. The arithmetic is Pint's, which reads UCUM through ucumvert; here it is
reduced to a factor and an offset for each pair of units, computed once, so that a conversion on the way to the store
is one multiplication.

    units = Units()
    units.normalise("µg/m³")               "ug/m3"
    units.convert(68.0, "°F", "Cel")       20.0
"""

from __future__ import annotations

from fractions import Fraction
from math import isclose
from types import MappingProxyType
from typing import Any, NamedTuple

ALIASES = MappingProxyType(
    {
        # temperature
        "°C": "Cel",
        "℃": "Cel",
        "C": "Cel",
        "degC": "Cel",
        "deg C": "Cel",
        "celsius": "Cel",
        "celcius": "Cel",  # so written by Helium's Cayenne decoder
        "Celsius": "Cel",
        "°F": "[degF]",
        "℉": "[degF]",
        "F": "[degF]",
        "degF": "[degF]",
        "deg F": "[degF]",
        "fahrenheit": "[degF]",
        "Fahrenheit": "[degF]",
        "kelvin": "K",
        "Kelvin": "K",
        "°K": "K",
        # as Campbell's loggers and their manuals write them
        "Deg C": "Cel",
        "Deg_C": "Cel",
        "deg_C": "Cel",
        "Degrees C": "Cel",
        "Volts": "V",
        "volts": "V",
        "meters/second": "m/s",
        "m/sec": "m/s",
        "Degrees": "deg",
        "watts/meter^2": "W/m2",
        "W/meter^2": "W/m2",
        "Amps": "A",
        "amps": "A",
        # air
        "ppm": "[ppm]",
        "PPM": "[ppm]",
        "ppb": "[ppb]",
        "PPB": "[ppb]",
        "ug/m^3": "ug/m3",
        "mcg/m3": "ug/m3",
        "mg/m^3": "mg/m3",
        "ugm3": "ug/m3",
        "%RH": "%",
        "% RH": "%",
        "%rh": "%",
        "% r.h.": "%",
        "%EL": "%",
        "percent": "%",
        "pct": "%",
        # pressure
        "mbar": "mbar",
        "mb": "mbar",
        "hpa": "hPa",
        "HPA": "hPa",
        "pa": "Pa",
        "mmHg": "mm[Hg]",
        "inHg": "[in_i'Hg]",
        "psi": "[psi]",
        # sound, radio
        "dB(A)": "dB[SPL]",
        "dBA": "dB[SPL]",
        "dB(C)": "dB[SPL]",
        "dB SPL": "dB[SPL]",
        "dBSPL": "dB[SPL]",
        "dB A": "dB[SPL]",
        "dBm": "dB{mW}",
        "DBM": "dB{mW}",
        "dBW": "dB[W]",
        # light, radiation
        "lux": "lx",
        "Lux": "lx",
        "LUX": "lx",
        "W/m^2": "W/m2",
        "W/m2": "W/m2",
        "UV index": "1",
        "bq/m3": "Bq/m3",
        # electricity
        "kWh": "kW.h",
        "KWh": "kW.h",
        "Wh": "W.h",
        "MWh": "MW.h",
        "VA": "V.A",
        "kVA": "kV.A",
        "var": "V.A{reactive}",
        "VAr": "V.A{reactive}",
        "kvar": "kV.A{reactive}",
        "kVAr": "kV.A{reactive}",
        "volt": "V",
        "Volt": "V",
        "ampere": "A",
        "watt": "W",
        "Watt": "W",
        "Ah": "A.h",
        "mAh": "mA.h",
        "ohm": "Ohm",
        "Ω": "Ohm",
        "kΩ": "kOhm",
        "kohm": "kOhm",
        # wind, rain, motion
        "mps": "m/s",
        "kmh": "km/h",
        "kph": "km/h",
        "km/t": "km/h",
        "mph": "[mi_i]/h",
        "kn": "[kn_i]",
        "kt": "[kn_i]",
        "knots": "[kn_i]",
        "mm/hr": "mm/h",
        "mm/t": "mm/h",
        "in": "[in_i]",
        "inch": "[in_i]",
        "ft": "[ft_i]",
        "°": "deg",
        "lat": "deg",
        "lon": "deg",
        "degrees": "deg",
        "degree": "deg",
        "º": "deg",
        # water
        "l/min": "L/min",
        "l/s": "L/s",
        "l": "L",
        "ltr": "L",
        "m^3": "m3",
        "m^3/h": "m3/h",
        "m^3/s": "m3/s",
        "m3/hr": "m3/h",
        "µS/cm": "uS/cm",
        "pH": "[pH]",
        "ph": "[pH]",
        "NTU": "{NTU}",
        "FNU": "{FNU}",
        "ppt": "[ppth]",
        # time, counts
        "sec": "s",
        "seconds": "s",
        "minutes": "min",
        "mins": "min",
        "hr": "h",
        "hours": "h",
        "days": "d",
        "count": "1",
        "counts": "1",
        "": "1",
        "#": "1",
        "rpm": "1/min",
        "1/min": "1/min",
        "particles/cm3": "{particles}/cm3",
    }
)
"""What payloads write -> UCUM. Letters with accents are put right before the look-up (µ, ³, ·, ⁻¹)."""

_CODES = frozenset(ALIASES.values())
_PLAIN = str.maketrans({"µ": "u", "μ": "u", "²": "2", "³": "3", "·": ".", "⋅": ".", "⁻": "-", "¹": "1", "−": "-"})
_MOST = 2_000
_LONGEST = 40  # letters of a unit; longer texts are not remembered either


class UnknownUnit(ValueError):
    """A text that is no unit that anybody knows."""


class NotConvertible(ValueError):
    """Two units that do not measure the same thing, or that need more than the number (ppm to µg/m³)."""


class _Line(NamedTuple):
    """(value + shift) * factor / divisor."""

    shift: float
    factor: float
    divisor: float


_SAME = _Line(0.0, 1.0, 1.0)


class Units:
    """Remembers what it worked out, 2,000 units and pairs at most. Pint is loaded at the first unit that needs it."""

    def __init__(self) -> None:
        self._registry: Any = None
        self._ucum: dict[str, str | None] = {}
        self._lines: dict[tuple[str, str], _Line | None] = {}

    def normalise(self, text: str) -> str | None:
        """The UCUM code of a unit as a payload writes it, or None."""
        try:
            return self._ucum[text]
        except KeyError:
            pass
        if len(text) > _LONGEST:
            return None
        if len(self._ucum) >= _MOST:
            self._ucum.clear()
        unit = self._ucum[text] = self._find(text)
        return unit

    def convert(self, value: float, from_unit: str, to_ucum: str) -> float:
        """`value` of a payload's unit in a UCUM unit. Raises UnknownUnit or NotConvertible (both ValueError)."""
        if from_unit == to_ucum:
            return value
        try:
            line = self._lines[from_unit, to_ucum]
        except KeyError:
            if len(from_unit) > _LONGEST:
                raise UnknownUnit(from_unit) from None
            if len(self._lines) >= _MOST:
                self._lines.clear()
            line = self._lines[from_unit, to_ucum] = self._line(from_unit, to_ucum)
        if line is None:
            if self.normalise(from_unit) is None:
                raise UnknownUnit(from_unit)
            raise NotConvertible(from_unit, to_ucum)
        return (value + line.shift) * line.factor / line.divisor

    def is_same(self, from_unit: str, to_ucum: str) -> bool:
        """Whether numbers of a unit that was converted before are the same in the other."""
        return from_unit == to_ucum or self._lines.get((from_unit, to_ucum)) is _SAME

    def _find(self, text: str) -> str | None:
        text = text.strip()
        plain = text.translate(_PLAIN)
        for candidate in (text, plain):
            if candidate in ALIASES:
                return ALIASES[candidate]
            if candidate in _CODES:
                return candidate
        for candidate in (plain, plain.replace("^", ""), plain.replace(" ", "")):
            if self._dimension(candidate) is not None:
                return candidate
        return None

    def _line(self, from_unit: str, to_ucum: str) -> _Line | None:
        """How to get from one unit to the other, or None where a straight line does not do it."""
        source = self.normalise(from_unit)
        if source is None:
            return None
        if source == to_ucum or _bare(source) == _bare(to_ucum):
            return _SAME
        if "B" in source or "B" in to_ucum:
            return _levels(source, to_ucum)
        first, second = self._dimension(source), self._dimension(to_ucum)
        if first is None or second is None or first.dimensionality != second.dimensionality:
            return None
        quantity = self._load().Quantity
        zero = quantity(0.0, first.units).to(second.units).magnitude
        thousand = quantity(1000.0, first.units).to(second.units).magnitude
        return _exact((thousand - zero) / 1000, zero)

    def _dimension(self, ucum: str) -> Any:
        """The Pint quantity of a UCUM code, or None for what is none."""
        from lark.exceptions import LarkError
        from pint.errors import PintError

        try:
            return self._load().from_ucum(_bare(ucum))
        except (LarkError, PintError, ValueError, AttributeError, KeyError, TypeError, RecursionError):
            return None

    def _load(self) -> Any:
        if self._registry is None:
            from ucumvert import PintUcumRegistry  # half a second: only where a unit needs it

            self._registry = PintUcumRegistry()
        return self._registry


def _bare(ucum: str) -> str:
    """A UCUM code without its {annotations}, which say nothing about size: "{vehicle}" is "1"."""
    bare = ucum
    while "{" in bare and "}" in bare:
        start, end = bare.index("{"), bare.index("}")
        if end < start:
            return ucum
        bare = bare[:start] + ("1" if start == 0 or bare[start - 1] in "./" else "") + bare[end + 1 :]
    return bare or "1"


def _levels(source: str, target: str) -> _Line | None:
    """Decibels are not converted, but a payload that says "dB" of sound or radio means the level that is asked for."""
    if source == "dB" and target.startswith("dB"):
        return _SAME
    return _Line(30.0, 1.0, 1.0) if (source, target) == ("dB[W]", "dB{mW}") else None


def _exact(factor: float, offset: float) -> _Line:
    """The line of a factor and an offset, as a ratio of whole numbers where it is one: a factor of 0.001 is a
    division by 1000, and °F to °C is (value - 32) * 5 / 9, which floats do without an error of their own.
    """
    shift = round(offset / factor, 9)
    ratio = Fraction(factor).limit_denominator(10_000_000)
    if ratio and isclose(factor, ratio, rel_tol=1e-12):
        return _Line(shift, float(ratio.numerator), float(ratio.denominator))
    return _Line(shift, factor, 1.0)

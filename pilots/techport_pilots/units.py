"""Units as UCUM writes them (https://ucum.org/ucum, case-sensitive codes), as far as city pilots need them.

A unit is factors joined by `.` and `/`; a factor is a number, a `{note}`, or an atom with an optional prefix, exponent
and note: `ug/m3`, `kW.h`, `{vehicle}`, `dB[SPL]`, `Cel`, `L/min`.
"""

from __future__ import annotations

import re

# Atoms that take a prefix (k, m, u, ...) and those that do not. Not the whole of UCUM: what sensors in a city report.
_METRIC = frozenset(
    "m g s A K cd mol rad Hz N Pa J W V F Ohm S C lm lx Bq Gy Sv L l Cel bar t B eq cal Wb T H B[SPL] B[V] B[W]".split()  # noqa: SIM905 - a list of forty quoted letters is harder to read
)
_PLAIN = frozenset("% [ppth] [ppm] [ppb] [pH] deg min h d wk mo a ar har [degF] [mi_i] [kn_i]".split())  # noqa: SIM905
_PREFIXES = ("da", "Y", "Z", "E", "P", "T", "G", "M", "k", "h", "d", "c", "m", "u", "n", "p", "f", "a", "z", "y")
_FACTOR = re.compile(
    r"(?P<atom>[A-Za-z%'\[][A-Za-z_%'\[\]]*)(?P<exponent>[+-]?[1-9]\d*)?(?P<note>\{[!-z|~ ]*\})?"
    r"|10\*\d+|\d+|\{[!-z|~ ]+\}"
)

# What people write instead, and what UCUM wants.
_INSTEAD = {
    "°c": "Cel",
    "c": "Cel",
    "degc": "Cel",
    "celsius": "Cel",
    "ppm": "[ppm]",
    "ppb": "[ppb]",
    "db(a)": "dB[SPL]",
    "dba": "dB[SPL]",
    "db": "dB[SPL]",
    "dbm": "dB{mW}",
    "°": "deg",
    "degrees": "deg",
    "mm/t": "mm/h",
    "km/t": "km/h",
    "kmh": "km/h",
    "kmt": "km/h",
    "mps": "m/s",
    "l/m": "L/min",
    "hpa": "hPa",
    "mbar": "hPa",
    "mb": "hPa",
    "pa": "Pa",
    "kwh": "kW.h",
    "wh": "W.h",
    "mwh": "MW.h",
    "kwh/h": "kW",
    "kw": "kW",
    "w": "W",
    "v": "V",
    "mv": "mV",
    "a": "A",
    "ma": "mA",
    "lux": "lx",
    "percent": "%",
    "prosent": "%",
    "pct": "%",
    "ph": "[pH]",
    "ntu": "{NTU}",
    "fnu": "{FNU}",
    "ugm3": "ug/m3",
    "mcg/m3": "ug/m3",
    "sec": "s",
    "sek": "s",
    "minutes": "min",
    "hour": "h",
    "hours": "h",
    "time": "h",
    "hz": "Hz",
    "k": "K",
    "count": "1",
    "antall": "1",
    "": "1",
    "-": "1",
    "m²": "m2",
    "w/m²": "W/m2",
}


def is_unit(code: str) -> bool:
    """Whether `code` is written as UCUM writes units: `ug/m3` yes, `µg/m³` no."""
    if not code or len(code) > 64:
        return False
    return all(_is_factor(factor) for factor in re.split(r"[./](?![^{]*\})", code.removeprefix("/")))


def suggest_unit(code: str) -> str | None:
    """The UCUM code that was probably meant by what is not one, or None."""
    plain = code.strip().replace("µ", "u").replace("μ", "u").replace("³", "3").replace("²", "2").replace("·", ".")
    plain = plain.replace("^", "").replace(" ", "")
    for candidate in (_INSTEAD.get(code.strip().lower()), _INSTEAD.get(plain.lower()), plain):
        if candidate and is_unit(candidate):
            return candidate
    return f"{{{plain}}}" if is_unit(f"{{{plain}}}") else None


def _is_factor(factor: str) -> bool:
    match = _FACTOR.fullmatch(factor)
    if match is None:
        return False
    atom = match["atom"]
    if atom is None or atom in _METRIC or atom in _PLAIN:
        return True
    return any(atom.startswith(prefix) and atom[len(prefix) :] in _METRIC for prefix in _PREFIXES)


# -- UDUNITS, in which the CF conventions want units.

_UDUNITS = {
    "Cel": "degree_Celsius",
    "deg": "degree",
    "[degF]": "degree_Fahrenheit",
    "%": "percent",
    "[ppth]": "1e-3",
    "[ppm]": "1e-6",
    "[ppb]": "1e-9",
    "Ohm": "ohm",
    "L": "litre",
    "l": "litre",
    "d": "day",
    "wk": "week",
    "a": "year",
    "h": "hour",
    "[mi_i]": "international_mile",
    "[kn_i]": "knot",
}
_LOGARITHMIC = re.compile(r"[a-z]?B(\[.*\]|\{.*\})?")
_POWER = re.compile(r"(?P<name>[A-Za-z%'_\[\]]+)(?P<exponent>[+-]?\d+)?")


def udunits(code: str) -> str:
    """A UCUM code as UDUNITS writes it: `ug m-3` for `ug/m3`.

    What is counted (`{bicycle}`) has the unit 1, and so have levels in decibel and [pH], for whose scales UDUNITS has
    no name without a reference: the code itself has to stand beside it.
    """
    plain = re.sub(r"\{[^}]*\}", "", code)
    if not plain or "[pH]" in code or _LOGARITHMIC.fullmatch(code):
        return "1"
    factors, sign = [], 1
    for part in re.split(r"([./])", plain):
        if part in ("", ".", "/"):
            sign = {"/": -1, ".": 1}.get(part, sign)
            continue
        match = _POWER.fullmatch(part)
        if match is None:
            factors.append(part if sign == 1 else f"{part}-1")
            continue
        name, power = match["name"], sign * int(match["exponent"] or 1)
        written = _in_udunits(name)
        factors.append(written if power == 1 else f"{written}{power}")
    return " ".join(factors) or "1"


def _in_udunits(atom: str) -> str:
    if atom in _UDUNITS:
        return _UDUNITS[atom]
    for prefix in _PREFIXES:
        rest = atom.removeprefix(prefix)
        if atom not in _METRIC and rest != atom and rest in _UDUNITS and rest in _METRIC:
            return f"{prefix}{_UDUNITS[rest]}"
    return atom

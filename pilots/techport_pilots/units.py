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

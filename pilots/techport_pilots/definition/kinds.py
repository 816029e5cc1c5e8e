"""What kinds of device are called: a definition names a kind once, in English or by its maker's model."""

from __future__ import annotations

from techport_pilots.model import Text

_NB = {
    "air and weather station": "luft- og værstasjon",
    "air-quality station": "luftmålestasjon",
    "counter": "teller",
    "energy meter": "energimåler",
    "indoor climate sensor": "inneklimamåler",
    "parking counter": "parkeringsteller",
    "sound level meter": "støymåler",
    "street cleaning log": "logg over gaterenhold",
    "ultrasonic fill sensor": "ultralydmåler for fyllingsgrad",
    "vehicle counter": "kjøretøyteller",
    "water quality sonde": "vannmålesonde",
    "weather station": "værstasjon",
}


def kind_named(kind: str | None) -> Text:
    """The kind in both languages, with a number or model that stands behind it; else as it is written."""
    kind = kind or ""
    common, _, model = kind.rpartition(" ")
    if any(letter.isdigit() for letter in model) and common in _NB:
        return Text(nb=f"{_NB[common]} {model}", en=kind)
    return Text(nb=_NB.get(kind, kind), en=kind)

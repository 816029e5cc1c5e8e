"""The vocabulary of quantities: what can be measured, in which unit, and how it is shown.

The entries are lines of quantities.toml beside this file. Sources: CF standard names (https://cfconventions.org, table
cf-standard-name-table), pollutant codes of the European Environment Agency
(http://dd.eionet.europa.eu/vocabulary/aq/pollutant), units in UCUM codes (https://ucum.org).
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib import resources
from typing import Any, Literal

import msgspec

from techport_pilots.model import PilotDefinition, QuantityDefinition, Text

Kind = Literal["level", "count", "direction", "state", "energy-level"]
Chart = Literal["line", "bar", "rose", "steps"]


class Quantity(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of thing that is measured. Values of its readings are in `unit`, always."""

    name: str
    title: Text
    unit: str  # UCUM
    unit_label: str  # as people read it: "µg/m³"
    kind: Kind = "level"
    group: str = "own"  # domain and colour group: air, noise, weather, ...; "own": the pilot's
    cf_name: str | None = None
    eea_code: int | None = None
    range: tuple[float, float] | None = None  # possible values, both ends included
    lod: float | None = None  # detection limit: below it a value is uncertain, and negative down to about -3 of it
    lod_source: str | None = None  # the instrument, and what its maker or a standard says
    states: tuple[Text, ...] = ()  # of a state: what people read for 0, 1, 2 and so on
    words: Mapping[str, float] = {}  # of a state: what devices call its numbers, beside the common words
    decimals: int = 1
    chart: Chart = "line"


# What device makers and older systems call a quantity. For hints only: nothing is renamed behind a device's back.
_OTHER_NAMES = {
    "temperature": "air_temperature",
    "temp": "air_temperature",
    "temperatur": "air_temperature",
    "humidity": "relative_humidity",
    "hum": "relative_humidity",
    "rh": "relative_humidity",
    "pressure": "air_pressure",
    "barometer": "air_pressure",
    "pm2_5": "pm25",
    "pm2.5": "pm25",
    "pm10_0": "pm10",
    "pm1_0": "pm1",
    "bc": "black_carbon",
    "voc": "tvoc",
    "noise": "laeq",
    "sound_level": "laeq",
    "leq": "laeq",
    "wind_direction": "wind_from_direction",
    "rain": "precipitation",
    "flow": "water_flow",
    "discharge": "river_flow",
    "rainfall": "precipitation",
    "snow": "snow_depth",
    "battery": "battery_level",
    "bat": "battery_level",
    "cars": "vehicle_count",
    "traffic": "vehicle_count",
    "bikes": "bicycle_count",
    "cyclists": "bicycle_count",
    "people": "people_count",
    "power": "active_power",
    "light": "illuminance",
    "lux": "illuminance",
    "level": "water_level",
    "conductivity": "water_conductivity",
    "occupancy": "room_occupied",
    "occupied": "room_occupied",
    "solar_radiation": "solar_irradiance",
    "uv": "uv_index",
}


_AS_WRITTEN = ("unit", "kind", "range", "lod", "lod_source", "states", "decimals", "chart")


class Vocabulary:
    """The built-in quantities, and beside them a pilot's own. Immutable."""

    def __init__(self, quantities: Iterable[Quantity], labels: dict[str, str]) -> None:
        self._by_name = {quantity.name: quantity for quantity in quantities}
        self._labels = labels

    def __iter__(self) -> Iterator[Quantity]:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)

    def __contains__(self, key: str) -> bool:
        return self.lookup(key) is not None

    def lookup(self, key: str) -> Quantity | None:
        """The quantity of a stream's key, its channel (".inlet") left aside; None when nobody knows it."""
        return self._by_name.get(key.partition(".")[0])

    def label(self, unit: str) -> str:
        """How people read a UCUM code: "ug/m3" as "µg/m³"; {notes} and units without a better form as they are."""
        return self._labels.get(unit, unit)

    def meaning(self, key: str) -> str | None:
        """What devices and people mean by `key`: itself where it is a quantity, "battery_level" for "battery", with
        its channel; None for a key that is not known.
        """
        name, dot, channel = key.partition(".")
        word = name.lower().replace("-", "_").replace(" ", "_")
        described = next(
            (candidate for candidate in (name, word, _OTHER_NAMES.get(word)) if candidate in self._by_name), None
        )
        return None if described is None else f"{described}{dot}{channel}"

    def near(self, key: str) -> list[str]:
        """Names that `key` may have meant, best first, at most three."""
        name = key.partition(".")[0].lower().replace("-", "_").replace(" ", "_")
        words = {word: word for word in self._by_name} | _OTHER_NAMES
        same_words = [words[word] for word in (key.lower(), name) if word in words]
        close = [words[word] for word in difflib.get_close_matches(name, words, n=5, cutoff=0.7)]
        return list(dict.fromkeys([*same_words, *close]))[:3]

    def _of_pilot(self, own: QuantityDefinition) -> Quantity:
        state = own.kind == "state"
        highest = max([1, len(own.states) - 1, *own.words.values()])
        return Quantity(
            name=own.name,
            title=own.title,
            unit=own.unit,
            unit_label=self.label(own.unit),
            kind=own.kind,
            range=own.range or ((0.0, float(highest)) if state else None),
            states=tuple(own.states),
            words=own.words,
            decimals=0 if state else 1,
            chart="steps" if state else "line",
        )

    def extended(self, own: Iterable[QuantityDefinition]) -> Vocabulary:
        """This vocabulary and a pilot's own quantities; a name that is built in stays what it is."""
        extra = [self._of_pilot(quantity) for quantity in own]
        return Vocabulary([*extra, *self], self._labels)


@cache
def builtin() -> Vocabulary:
    """The vocabulary that every pilot has."""
    tables = tomllib.loads(resources.files(__package__).joinpath("quantities.toml").read_text("utf-8"))
    labels: dict[str, str] = tables.pop("units")
    return Vocabulary(
        [_entry(name, group, line, labels) for group, lines in tables.items() for name, line in lines.items()], labels
    )


def vocabulary_of(pilot: PilotDefinition) -> Vocabulary:
    """The built-in vocabulary together with the pilot's own quantities."""
    return builtin().extended(pilot.quantities) if pilot.quantities else builtin()


def lookup(key: str) -> Quantity | None:
    """The built-in quantity of a stream's key, its channel left aside; None when it is unknown."""
    return builtin().lookup(key)


def _entry(name: str, group: str, line: dict[str, Any], labels: dict[str, str]) -> Quantity:
    entry: dict[str, Any] = {field: line[field] for field in _AS_WRITTEN if field in line}
    entry |= {"name": name, "group": group, "title": {"nb": line["nb"], "en": line["en"]}}
    entry |= {"unit_label": line.get("label", labels.get(line["unit"], line["unit"]))}
    entry |= {"cf_name": line.get("cf"), "eea_code": line.get("eea")}
    return msgspec.convert(entry, Quantity)

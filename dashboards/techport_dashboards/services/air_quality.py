"""Classes of the European Air Quality Index, so that a concentration says something to who does not know the numbers.

The bands are those of the European Environment Agency's index as revised in 2024-25 on the World Health Organization's
guidelines of 2021 (airindex.eea.europa.eu, "About the European Air Quality Index"): concentrations in µg/m³ that are
means of an hour. A class here is of one pollutant; the index itself is the worst of a place's pollutants.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass

from techport_dashboards.services.last_hour import LastHour
from techport_pilots.i18n import N_, Language
from techport_pilots.registry.registry import StreamInfo
from techport_storage.model import Micros, Stream

CLASSES = (N_("good"), N_("fair"), N_("moderate"), N_("poor"), N_("very poor"), N_("extremely poor"))
UPPER = {  # highest concentration of each class but the last
    "pm25": (5, 15, 50, 90, 140),
    "pm10": (15, 45, 120, 195, 270),
    "no2": (10, 25, 60, 100, 150),
    "o3": (60, 100, 120, 160, 180),
    "so2": (20, 40, 125, 190, 275),
}
UNIT = "ug/m3"


def uppers(info: StreamInfo) -> tuple[int, ...]:
    """Edges between the classes; none for what the index does not rate, or is not in its unit."""
    return UPPER.get(info.stream.quantity.partition(".")[0], ()) if info.unit == UNIT else ()


def level(info: StreamInfo, value: float) -> int:
    """The class of an hour's mean, by its place in CLASSES. The index speaks of whole numbers: 15.4 counts as 15."""
    return bisect_left(uppers(info), round(value))


@dataclass(frozen=True, slots=True)
class Rated:
    """A class by its place in CLASSES, and in the reader's words."""

    level: int
    name: str


def rated(
    streams: Mapping[Stream, StreamInfo], last_hour: LastHour, now: Micros, language: Language
) -> dict[Stream, Rated]:
    """How good the air of the last hour was, of every stream that the index rates. Raises StoreUnavailable."""
    means = last_hour.means(tuple(stream for stream, info in streams.items() if uppers(info)), now)
    return {stream: _rated(level(streams[stream], mean), language) for stream, mean in means.items()}


def rate(quantity: str, unit: str, hour: float, language: Language) -> Rated | None:
    """An hour with this mean; None where the index does not rate it."""
    edges = UPPER.get(quantity.partition(".")[0], ()) if unit == UNIT else ()
    return _rated(bisect_left(edges, round(hour)), language) if edges else None


def _rated(level: int, language: Language) -> Rated:
    return Rated(level, language.gettext(CLASSES[level]))


def bands(info: StreamInfo, language: Language) -> list[tuple[str, int | None]]:
    """From the lowest class up: name and upper edge, None for the last."""
    edges = uppers(info)
    if not edges:
        return []
    return [(language.gettext(name), edge) for name, edge in zip(CLASSES, (*edges, None), strict=True)]


def class_name(info: StreamInfo, mean: float | None, language: Language) -> str:
    """In the reader's words; empty where there is none."""
    return "" if mean is None or not uppers(info) else language.gettext(CLASSES[level(info, mean)])

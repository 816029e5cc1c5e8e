"""Finding pilots, devices and places by what they are called: everything that the reader may see, and nothing else.

Places are what devices are grouped by, such as streets, and coordinates, of which the nearest devices are found.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from techport_dashboards.query.areas import distance
from techport_dashboards.query.registry_cache import RegistryView
from techport_dashboards.services.positions import pair_of
from techport_dashboards.viewer import Viewer
from techport_pilots.definition.kinds import kind_named
from techport_pilots.model import DeviceDefinition, PilotDefinition, Text

MOST = 20
"""Of a kind that are listed."""

NEAREST = 5
LONGEST = 200  # characters of what is looked for

_LETTERS = str.maketrans({"æ": "ae", "ø": "o", "å": "a", "đ": "d", "ß": "ss"})
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Found:
    """A pilot or a device. `metres` is its distance from coordinates that were looked for."""

    pilot: PilotDefinition
    device: DeviceDefinition | None = None
    metres: float | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """What devices of a pilot have in common: the value of a tag, or a group."""

    pilot: PilotDefinition
    kind: str  # name of the tag; "" for a group
    name: str
    devices: Sequence[DeviceDefinition]


@dataclass(frozen=True, slots=True)
class Results:
    """The best first, at most MOST of each kind; the counts are of all."""

    pilots: list[Found]
    devices: list[Found]
    places: list[Place]
    pilot_count: int
    device_count: int
    place_count: int

    @property
    def empty(self) -> bool:
        return not (self.pilots or self.devices or self.places)


def search(view: RegistryView, viewer: Viewer, text: str) -> Results:
    """What fits every word of the text, in any order and in either language; near coordinates, the devices there.

    Parameters
    ----------
    view : RegistryView
    viewer : Viewer
        Of whose pilots alone something is found; names that only messages use need the right to see messages.
    text : str
        Words, or "63.43, 10.40": latitude and longitude in degrees (WGS 84).

    Returns
    -------
    Results
        Empty for a text without words.
    """
    visible = [pilot for pilot in view.pilots.values() if viewer.may_see(pilot.id)]
    if (place := _coordinates(text)) is not None:
        near = sorted(_distances(visible, place), key=lambda hit: hit.metres or 0.0)[:NEAREST]
        return Results([], near, [], 0, len(near), 0)
    words = folded(text[:LONGEST]).split()
    if not words:
        return Results([], [], [], 0, 0, 0)
    pilots = _ranked(words, ((Found(pilot), pilot.id, _pilot_names(pilot)) for pilot in visible))
    devices = _ranked(
        words,
        (
            (Found(pilot, device), device.id, _device_names(device, viewer.may("see-raw", pilot.id)))
            for pilot in visible
            for device in pilot.devices
        ),
    )
    places = _ranked(words, ((place, place.name, [place.name]) for pilot in visible for place in _places(pilot)))
    return Results(pilots[:MOST], devices[:MOST], places[:MOST], len(pilots), len(devices), len(places))


def folded(text: str) -> str:
    """A text as it is compared: lower case, without accents, hyphens as spaces; Øya is found by oya."""
    plain = unicodedata.normalize("NFKD", text.casefold().translate(_LETTERS))
    return re.sub(r"[\s_-]+", " ", "".join(c for c in plain if not unicodedata.combining(c))).strip()


def _ranked(words: Sequence[str], candidates: Iterable[tuple[T, str, Iterable[str]]]) -> list[T]:
    """Those whose names hold every word: where a name begins with the words, before where words of it do."""
    ranked = []
    for place, (candidate, key, names) in enumerate(candidates):
        texts = [folded(name) for name in (key, *names)]
        whole = " ".join(texts)
        if not all(word in whole for word in words):
            continue
        query = " ".join(words)
        begins = any(text.startswith(query) for text in texts)
        rank = 0 if query in texts else 1 if begins else 2 if all(f" {word}" in f" {whole}" for word in words) else 3
        ranked.append((rank, place, candidate))
    return [candidate for _, _, candidate in sorted(ranked, key=lambda item: item[:2])]


def _texts(*texts: Text | None) -> Iterator[str]:
    for text in texts:
        if text is not None:
            yield from (text.nb, text.en)


def _pilot_names(pilot: PilotDefinition) -> list[str]:
    organisations = [organisation.name for organisation in pilot.organisations]
    return [*_texts(pilot.title, pilot.question), *organisations]


def _device_names(device: DeviceDefinition, aliases: bool) -> list[str]:
    return [*_texts(device.title, kind_named(device.kind)), *(device.aliases if aliases else [])]


def _places(pilot: PilotDefinition) -> Iterator[Place]:
    places: dict[tuple[str, str], list[DeviceDefinition]] = {}
    for device in pilot.devices:
        for tag in device.tags.items():
            places.setdefault(tag, []).append(device)
        if device.group is not None:
            places.setdefault(("", device.group), []).append(device)
    for (kind, name), devices in places.items():
        yield Place(pilot, kind, name, devices)


def _coordinates(text: str) -> tuple[float, float] | None:
    pair = pair_of(text[:LONGEST])
    if pair is None:
        return None
    lat, lon = (float(number.replace(",", ".")) for number in pair)
    return (lat, lon) if abs(lat) <= 90 and abs(lon) <= 180 else None


def _distances(pilots: Iterable[PilotDefinition], place: tuple[float, float]) -> Iterator[Found]:
    for pilot in pilots:
        for device in pilot.devices:
            if device.position is not None:
                lat, lon = place
                metres = distance(lon, lat, device.position.lon, device.position.lat)
                yield Found(pilot, device, metres)

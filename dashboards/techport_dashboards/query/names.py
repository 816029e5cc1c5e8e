"""Names in a question, against what the registry and the store know and the viewer may see."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence, Set
from fnmatch import fnmatchcase
from typing import Protocol

import msgspec

from techport_dashboards.problems import Problem, sign_in_needed
from techport_dashboards.query.areas import Inside, area
from techport_dashboards.query.registry_cache import RegistryView
from techport_dashboards.viewer import Viewer
from techport_pilots.i18n import N_
from techport_pilots.model import PilotDefinition
from techport_storage.model import Selection
from techport_storage.store import ReadingStore

MOST_NAMES = 1_000


class Choice(Protocol):
    """The part of a question that chooses streams."""

    @property
    def pilots(self) -> Sequence[str]: ...
    @property
    def devices(self) -> Sequence[str]: ...
    @property
    def quantities(self) -> Sequence[str]: ...
    @property
    def bbox(self) -> str | None: ...
    @property
    def within(self) -> str | None: ...
    @property
    def near(self) -> str | None: ...


def select(question: Choice, viewer: Viewer, catalogue: RegistryView, store: ReadingStore) -> Selection:
    """Which streams: always among the pilots that the viewer may see, and in the area where one is asked for."""
    visible = [pilot for pilot in catalogue.pilots if viewer.may_see(pilot)]
    pilots = match_pilots(question.pilots, viewer, visible) if question.pilots else visible
    devices = quantities = None
    if question.devices:
        devices = match("device", question.devices, _of(pilots, catalogue.device_names))
    if question.quantities:
        quantity_names = _of(pilots, catalogue.quantity_names)
        if not _names(question.quantities) <= quantity_names:  # of what nobody has described the store alone knows
            quantity_names |= {stream.quantity for stream in store.streams(Selection(pilots=tuple(pilots)))}
        quantities = match("quantity", question.quantities, quantity_names)
    chosen = Selection(
        pilots=tuple(pilots),
        devices=None if devices is None else tuple(devices),
        quantities=None if quantities is None else tuple(quantities),
    )
    inside = area(question.bbox, question.within, question.near)
    if inside is None:
        return chosen
    devices_in_area = devices_inside(catalogue, inside)
    known_streams = {info.stream for info in catalogue.chosen(chosen)}.union(store.streams(chosen))
    streams = tuple(sorted(stream for stream in known_streams if stream[:2] in devices_in_area))
    return msgspec.structs.replace(chosen, streams=streams)


def devices_inside(catalogue: RegistryView, inside: Inside) -> set[tuple[str, str]]:
    """(pilot, device) of those that stand in the area. One without a position stands nowhere."""
    return {key for key, device in catalogue.devices.items() if device.position and inside(device.position)}


def find_pilot(catalogue: RegistryView, viewer: Viewer, pilot: str) -> PilotDefinition:
    """The pilot. Raises the same Problem for one that does not exist and for one that the viewer may not see."""
    definition = catalogue.pilots.get(pilot)
    if definition is None or not viewer.may_see(pilot):
        if not viewer.signed_in:
            raise sign_in_needed()
        similar = difflib.get_close_matches(
            pilot[:80], [name for name in catalogue.pilots if viewer.may_see(name)], n=3
        )
        raise Problem(
            "not-found",
            "There is no pilot {name}.",
            name=repr(pilot[:80]),
            parameter="pilot",
            example=", ".join(similar) or None,
        )
    return definition


def match_pilots(asked: Sequence[str], viewer: Viewer, visible: Collection[str]) -> list[str]:
    """The visible pilots that were asked for, sorted. Raises Problem for a name that hits none; who has shown no
    credential is asked for one, whether or not there is such a pilot.
    """
    try:
        return match("pilot", asked, visible)
    except Problem as problem:
        if problem.kind == "unknown-name" and not viewer.signed_in:
            raise sign_in_needed() from None
        raise


def match(parameter: str, asked: Sequence[str], candidates: Collection[str]) -> list[str]:
    """The known names that were asked for, sorted. Raises Problem for a name or pattern that hits none."""
    hits: set[str] = set()
    candidates = candidates if isinstance(candidates, Set) else frozenset(candidates)
    names = _names(asked)
    if len(names) > MOST_NAMES:
        raise Problem(
            "bad-parameter",
            f"The query names {len(names)} items; at most {MOST_NAMES} are allowed.",
            parameter=parameter,
            example="a pattern with *, or none for all",
        )
    for name in sorted(names):
        matching = {k for k in candidates if fnmatchcase(k, name)} if "*" in name else {name} & candidates
        if not matching:
            near = difflib.get_close_matches(name, list(candidates), n=3) or sorted(candidates)[:3]
            raise Problem(
                "unknown-name",
                N_("No {what} matches {name}.") if "*" in name else N_("There is no {what} {name}."),
                what=parameter,
                name=repr(name[:80]),
                parameter=parameter,
                example=", ".join(near) or None,
            )
        hits |= matching
    return sorted(hits)


def _names(asked: Sequence[str]) -> set[str]:
    return {part.strip() for item in asked for part in item.split(",")}


def _of(pilots: Sequence[str], names: Mapping[str, Set[str]]) -> set[str]:
    return set().union(*(names.get(pilot, ()) for pilot in pilots))

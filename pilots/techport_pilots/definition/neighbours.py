"""What a definition would take from other pilots: messages that are read for a device of theirs.

Sources of several pilots may name the same topics, as behind one gateway or LoRaWAN server; whose message it is, is
then decided by the device's name. So two pilots whose sources share topics may not both answer to one name, and a
source that gives every message of its topics to one device may not share them at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from techport_pilots.definition.misfit import Misfit, Path, misfit
from techport_pilots.device_names import spellings
from techport_pilots.model import PilotDefinition, SourceDefinition
from techport_pilots.topics import overlap

MaySee = Callable[[str], bool]


def nobody(_pilot: str) -> bool:
    """Of no other pilot may the author know."""
    return False


def everybody(_pilot: str) -> bool:
    """The author may know of every pilot: who works at the machine itself."""
    return True


def check_neighbours(
    pilot: PilotDefinition, before: PilotDefinition | None, others: Iterable[PilotDefinition], may_see: MaySee
) -> list[Misfit]:
    """What the definition takes from other pilots that the version before it did not.

    Parameters
    ----------
    pilot : PilotDefinition
        The new definition.
    before : PilotDefinition
        Its current version; None for a new pilot.
    others : iterable of PilotDefinition
        Pilots that still receive messages.
    may_see : callable
        Whether the author may know of the pilot of that id: only then it is named.
    """
    if not pilot.sources:
        return []
    names = _names(pilot)
    misfits: dict[tuple[Path, str], Misfit] = {}
    for other in others:
        if other.id == pilot.id:
            continue
        other_names = _names(other)
        old = set() if before is None else set(_taken(before, other))
        for name, topic in _taken(pilot, other):
            if (name, topic) in old:
                continue
            path = names[name] if name in names else ("sources", _index(pilot, topic))
            shown = name if name in other_names and name in names else topic
            if may_see(other.id):
                wrong = misfit(path, "taken-by-pilot", given=shown, pilot=other.id)
            else:
                wrong = misfit(path, "taken", given=shown)
            misfits.setdefault((path, shown), wrong)
    return list(misfits.values())


def _taken(pilot: PilotDefinition, other: PilotDefinition) -> list[tuple[str, str]]:
    """Name and topic of what both would read: a shared name, or "" where a source takes every message."""
    names, other_names = _names(pilot), _names(other)
    shared = sorted(names.keys() & other_names.keys())
    taken = []
    for source in pilot.sources:
        for their_source in other.sources:
            if not _share_topics(source, their_source):
                continue
            if _takes_all(source) or _takes_all(their_source):
                taken.append(("", source.topic))
            taken += [(name, source.topic) for name in shared]
    return taken


def _share_topics(source: SourceDefinition, other: SourceDefinition) -> bool:
    """Whether some topic is of both. What is below pilots/ is of the pilot that the topic names."""
    if source.topic.startswith("pilots/") or other.topic.startswith("pilots/"):
        return False
    return overlap(source.topic, other.topic)


def _takes_all(source: SourceDefinition) -> bool:
    return source.device is not None and source.device.id is not None


def _index(pilot: PilotDefinition, topic: str) -> int:
    return next(index for index, source in enumerate(pilot.sources) if source.topic == topic)


def _names(pilot: PilotDefinition) -> dict[str, Path]:
    """What the pilot's devices answer to, and where it stands."""
    names: dict[str, Path] = {}
    for index, device in enumerate(pilot.devices):
        for name in spellings(device.id):
            names.setdefault(name, ("devices", index, "id"))
        for number, alias in enumerate(device.aliases):
            for name in spellings(alias):
                names.setdefault(name, ("devices", index, "aliases", number))
    return names

"""Making a definition a pilot's: what the pages do alike that write one, by form or as YAML."""

from __future__ import annotations

from typing import Any

import msgspec

from techport_dashboards.problems import Problem
from techport_dashboards.services.people import People
from techport_dashboards.viewer import Viewer
from techport_pilots.i18n import N_
from techport_pilots.model import PilotDefinition
from techport_pilots.registry.registry import Registry

Document = dict[str, Any]


def may_create(viewer: Viewer) -> bool:
    """Whether the viewer may create pilots: administrators, and who edits one. A token's pilots were chosen for it."""
    return viewer.rights.allow_somewhere("edit") and (viewer.identity is None or viewer.identity.token is None)


def create_pilot(
    registry: Registry, people: People, viewer: Viewer, definition: PilotDefinition, source: str, why: str = ""
) -> None:
    """Make a new pilot: a draft, whose owner is whoever creates it.

    Raises Problem, DefinitionError, and WrongState where the id is taken.
    """
    if not may_create(viewer):
        raise Problem("forbidden", N_("New pilots are created by administrators, and by people who edit a pilot."))
    registry.import_pilot(definition, source, viewer.who, why, may_see=viewer.may_see, replaces=0)
    if viewer.identity is not None:
        people.accounts.grant(definition.id, "user", viewer.identity.user.id, "owner", viewer.who)


def import_pilot(
    registry: Registry, people: People, viewer: Viewer, definition: PilotDefinition, source: str, why: str
) -> None:
    """Make a definition a new pilot, or a new version of one that the viewer may edit.

    Raises Problem, DefinitionError, WrongState.
    """
    if viewer.may("edit", definition.id) and any(pilot.id == definition.id for pilot in registry.pilots()):
        registry.import_pilot(definition, source, viewer.who, why, may_see=viewer.may_see)
    else:
        create_pilot(registry, people, viewer, definition, source, why)


def free_id(registry: Registry, pilot: str) -> str:
    """The id, or the same with a number where a pilot has it."""
    taken = {existing.id for existing in registry.pilots()}
    candidates = [pilot, *(f"{pilot[:58]}-{number}" for number in range(2, len(taken) + 3))]
    return next(name for name in candidates if name not in taken)


_NAMED = {"devices": "id", "kpis": "id", "phases": "name", "quantities": "name"}
"""Lists of a definition whose entries have a name, by which they are the same in several versions."""


def merged(document: Document, base: Document, current: Document) -> tuple[Document, list[str]]:
    """A changed document on top of what became of the one that it was made from: key by key, and in lists of things
    with names thing by thing.

    Returns
    -------
    tuple
        The document; and the keys under which both changed the same, each in another way: the document's is taken.
    """
    keys = [*document, *(key for key in base if key not in document)]
    changed = [key for key in keys if document.get(key) != base.get(key)]
    result = {key: value for key, value in current.items() if key not in changed or key in document}
    conflicts = []
    for key in changed:
        edited, before, stored = document.get(key), base.get(key), current.get(key)
        if key in _NAMED and stored not in (before, edited):
            together, differ = _merged_by_name(_NAMED[key], edited or [], before or [], stored or [])
            result[key] = together
        else:
            differ = stored not in (before, edited)
            if key in document:
                result[key] = edited
        if differ:
            conflicts.append(key)
    return result, conflicts


def _merged_by_name(
    name: str, edited: list[Document], before: list[Document], stored: list[Document]
) -> tuple[list[Document], bool]:
    """The entries of `mine`, with what is new, changed or gone in `theirs`; and whether both changed the same one."""
    named = [{entry.get(name): entry for entry in entries} for entries in (edited, before, stored)]
    own, old, others = named
    result: list[Document] = []
    differ = False
    for key in [*own, *(key for key in others if key not in own)]:
        entry, was, other = own.get(key), old.get(key), others.get(key)
        differ = differ or len({_digest(version) for version in (entry, was, other)}) == 3
        chosen = other if entry == was else entry
        if chosen is not None:
            result.append(chosen)
    return result, differ


def _digest(entry: Document | None) -> bytes:
    return msgspec.json.encode(entry)

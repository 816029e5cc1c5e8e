"""A source for messages that no source of the pilot reads: proposed, and made part of the definition when accepted."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import msgspec

from techport_dashboards.problems import Problem
from techport_dashboards.services.quarantine import find_entry
from techport_dashboards.viewer import Viewer
from techport_pilots.accounting.quarantine import Quarantine, QuarantineFilter, QuarantineRecord
from techport_pilots.devices.proposals import Captured, Proposal, Propose
from techport_pilots.devices.remap import update_definition
from techport_pilots.model import PilotDefinition, SourceDefinition
from techport_pilots.registry.registry import Registry

_LOOKED_AT = 200
_MOST = 10
_DEVICE_LEVEL = 2  # of pilots/<pilot>/<device>, from 0


@dataclass(frozen=True, slots=True)
class SourceProposal:
    """What is proposed for an entry of the quarantine and those that came like it."""

    entry: int
    messages: int
    proposal: Proposal
    yaml: str


def propose_source(propose: Propose | None, registry: Registry, pilot: str, number: int) -> SourceProposal | None:
    """The source that would read an entry's message and others of its kind; None where nothing reads them.

    Raises Problem for an entry that is not there; may raise RegistryUnavailable.
    """
    if propose is None:
        return None
    alike = _alike(registry, find_entry(registry, pilot, number))
    captured = [Captured(entry.topic, entry.payload) for entry in alike[:_MOST]]
    proposal = propose(captured, alike[0].received)
    return None if proposal is None else SourceProposal(number, len(alike), proposal, proposal.yaml())


def accept_source(propose: Propose | None, registry: Registry, pilot: str, number: int, viewer: Viewer) -> int:
    """Make the proposed source part of the definition and have its messages reprocessed; the replay's number.

    Raises Problem where nothing can be proposed any more, DefinitionError, WrongState.
    """
    proposed = propose_source(propose, registry, pilot, number)
    if proposed is None:
        raise Problem("not-found", "There is no source to propose for this message any more.")
    source = proposed.proposal.source
    why = f"source of {source.topic}"
    update_definition(registry, pilot, partial(_with_source, source=source), viewer.who, why, may_see=viewer.may_see)
    entries = tuple(entry.id for entry in _alike(registry, find_entry(registry, pilot, number)))
    return Quarantine(registry.database).request_replay(QuarantineFilter(pilot=pilot, ids=entries), viewer.who).id


def _with_source(definition: PilotDefinition, source: SourceDefinition) -> PilotDefinition:
    """The definition with the source before those that would take its topics otherwise."""
    others = [other for other in definition.sources if other.topic != source.topic]
    return msgspec.structs.replace(definition, sources=[source, *others])


def _alike(registry: Registry, entry: QuarantineRecord) -> list[QuarantineRecord]:
    """The entry, and the newest ones of the same reason that came to such a topic."""
    where = QuarantineFilter(pilot=entry.pilot, reason=entry.reason)
    page = Quarantine(registry.database).entries(where, _LOOKED_AT)
    others = [other for other in page.items if _kind(other.topic) == _kind(entry.topic) and other.id != entry.id]
    return [entry, *others]


def _kind(topic: str) -> tuple[str, ...]:
    levels = topic.split("/")
    if levels[0] == "pilots" and len(levels) > _DEVICE_LEVEL:
        levels[_DEVICE_LEVEL] = "+"
    return tuple(levels)

"""What to read before a pilot is closed: what will happen, and what is not as it should be.

From registry and store as they are now; nothing is changed by looking.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
import numpy as np

from techport_pilots.access.credentials import Credentials
from techport_pilots.accounting.quarantine import Quarantine, QuarantineFilter
from techport_pilots.definition.lending import borrowed
from techport_pilots.definition.privacy import is_open_licence, licence_of, privacy_record
from techport_pilots.errors import WrongState
from techport_pilots.evaluation.messages import phase_titles
from techport_pilots.i18n import Message, in_all_languages
from techport_pilots.model import PilotDefinition
from techport_pilots.quality.completeness import (
    Completeness,
    earlier_promises,
    period,
    phase_completeness,
    pilot_intervals,
    stream_completeness,
)
from techport_pilots.registry import erasures
from techport_pilots.registry.registry import Registry
from techport_pilots.time import date_of, local, micros_of
from techport_storage.model import Micros, Stream
from techport_storage.store import ReadingStore

MOST_NAMES = 8  # of devices without a reading
ENOUGH = 0.75  # of a phase's expected readings, where its KPIs ask for no other share


class Item(msgspec.Struct, frozen=True):
    """A line of the checklist. `blocks`: the pilot cannot be closed like this."""

    good: bool
    message: Message
    blocks: bool = False
    about: Literal["look", "happens"] = "look"  # at what is there, or at what closing will do

    def as_data(self) -> dict[str, Any]:
        """For programs: with code, parameters and the sentence by language."""
        fields = {"good": self.good, "blocks": self.blocks, "about": self.about}
        return {**fields, **msgspec.to_builtins(self.message), "text": in_all_languages(self.message)}


def refuse_blocked(pilot: PilotDefinition, items: Sequence[Item]) -> None:
    """Raises WrongState where an item blocks closing."""
    blocking = [item.message for item in items if item.blocks]
    if blocking:
        params = {"pilot": pilot.id, "obstacles": msgspec.to_builtins(blocking)}
        raise WrongState(Message("lifecycle.not-closable", params))


def checklist(registry: Registry, store: ReadingStore, pilot: PilotDefinition, at: Micros) -> list[Item]:
    """What to look at before closing, what is in order and what is not; then what closing does. Raises what the two
    raise."""
    readings = {}
    if pilot.devices:
        asked = *period(store, pilot, at), earlier_promises(pilot)
        readings = stream_completeness(store, pilot_intervals(pilot), *asked)
    return [
        *_state(registry, pilot),
        *_readings(readings),
        *_phases(store, pilot, at),
        *_quarantine(registry, pilot),
        *_papers(pilot),
        *_borrowed(registry, pilot),
        *_happens(registry, pilot, sum(of_stream.readings for of_stream in readings.values())),
        _retention(registry, pilot, at),
    ]


def _state(registry: Registry, pilot: PilotDefinition) -> list[Item]:
    if registry.state(pilot.id) in ("ended", "closed"):
        return [Item(True, Message("checklist.ended"))]
    return [Item(False, Message("checklist.not-ended", {"pilot": pilot.id}), blocks=True)]


def _readings(streams: dict[Stream, Completeness]) -> list[Item]:
    rows = sum(of_stream.readings for of_stream in streams.values())
    items = [Item(rows > 0, Message("checklist.readings", {"n": rows}))]
    measuring = {stream.device for stream, of_stream in streams.items() if of_stream.readings}
    silent = sorted({stream.device for stream in streams} - measuring)
    if len(silent) > MOST_NAMES:
        params = {"devices": silent[:MOST_NAMES], "more": len(silent) - MOST_NAMES}
        items.append(Item(False, Message("checklist.no-readings.more", params)))
    elif silent:
        items.append(Item(False, Message("checklist.no-readings", {"devices": silent})))
    return items


def _phases(store: ReadingStore, pilot: PilotDefinition, at: Micros) -> list[Item]:
    items = []
    late = [phase for phase in pilot.phases if micros_of(phase.end, pilot.timezone) > at]
    if late:
        titles = msgspec.to_builtins(phase_titles(late))
        items.append(Item(False, Message("checklist.phases-not-over", {"phases": titles})))
    required = max((kpi.minimum_completeness for kpi in pilot.kpis), default=ENOUGH)
    complete = phase_completeness(store, pilot, at)
    for phase in pilot.phases:
        share = complete[phase.name].share if phase.name in complete else None
        if share is not None:
            percent = int(100 * share)  # rounded down: 100 % is whole
            params = {"phase": msgspec.to_builtins(phase_titles([phase])), "percent": percent}
            items.append(Item(share >= required, Message("checklist.phase-complete", params)))
    return items


def _quarantine(registry: Registry, pilot: PilotDefinition) -> list[Item]:
    values = sum(count.values for count in Quarantine(registry.database).counts(QuarantineFilter(pilot=pilot.id)))
    if not values:
        return [Item(True, Message("checklist.nothing-quarantined"))]
    return [Item(False, Message("checklist.quarantined", {"n": values}))]


def _papers(pilot: PilotDefinition) -> list[Item]:
    named = bool(pilot.organisations) and pilot.contact is not None
    items = [Item(named, Message("checklist.named" if named else "checklist.not-named"))]
    if licence := licence_of(pilot):
        items.append(Item(True, Message("checklist.licence", {"licence": licence})))
    elif not pilot.personal_data:
        items.append(Item(False, Message("checklist.no-licence")))
    if pilot.personal_data:
        items += _privacy(pilot)
    return items


def _privacy(pilot: PilotDefinition) -> list[Item]:
    """What whoever receives the package needs in order to keep personal data lawfully."""
    record = privacy_record(pilot)
    assert record is not None
    items = [Item(False, Message("checklist.personal"))]
    if is_open_licence(pilot.licence):
        items.append(Item(False, Message("checklist.personal-licence", {"licence": pilot.licence})))
    fields = {"controller": record.controller, "legal_basis": record.legal_basis, "dpia": record.dpia}
    fields["dpia_date"] = str(record.dpia_date or "")
    missing = [field for field, text in fields.items() if not text.strip()]
    if missing:
        items.append(Item(False, Message("checklist.privacy-missing", {"fields": missing})))
    return items


def _borrowed(registry: Registry, pilot: PilotDefinition) -> list[Item]:
    owners = sorted({stream.pilot for stream in borrowed(pilot)})
    classes = {definition.id: definition.data_class for definition in registry.pilots()}
    not_open = [owner for owner in owners if classes.get(owner, "internal") != "open"]
    if not owners:
        return []
    if not_open:
        return [Item(False, Message("checklist.borrowed-not-open", {"pilots": not_open}), blocks=True)]
    return [Item(True, Message("checklist.borrowed", {"pilots": owners}))]


def _happens(registry: Registry, pilot: PilotDefinition, rows: int) -> list[Item]:
    credentials = len(Credentials(registry.database).all(pilot.id))
    messages = [
        Message("checklist.will-revoke", {"n": credentials}),
        Message("checklist.will-reject"),
        Message("checklist.will-freeze", {"n": rows}),
        Message("checklist.will-report"),
    ]
    return [Item(True, message, about="happens") for message in messages]


def _retention(registry: Registry, pilot: PilotDefinition, at: Micros) -> Item:
    due = erasures.due_at(registry, pilot) or erasures.due_after(pilot, at)
    if due is None and pilot.personal_data:
        return Item(False, Message("checklist.personal-kept"), blocks=True, about="happens")
    if due is None:
        return Item(True, Message("checklist.kept"), about="happens")
    day = date_of(int(local(np.array([due], np.int64), pilot.timezone).day[0]))
    return Item(True, Message("checklist.erased-on", {"day": day.isoformat()}), about="happens")

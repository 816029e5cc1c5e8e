"""The quarantine, as the API and the pages use it: one entry, correcting its cause, reprocessing and deleting."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from functools import partial

from techport_dashboards.problems import Problem
from techport_dashboards.viewer import Viewer
from techport_pilots.accounting.quarantine import Quarantine, QuarantineFilter, QuarantineRecord
from techport_pilots.devices import remap
from techport_pilots.model import FieldMapping
from techport_pilots.registry.registry import Registry

log = logging.getLogger(__name__)

LONGEST_WAIT = 3.0
"""Seconds that a page waits for the result of a replay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldCorrection:
    """What a field means in all messages of an entry's source from now on."""

    field: str | None = None
    """None: the field that the entry names."""
    is_reading: bool = True
    """False: it is ignored from now on, and the rest does not apply."""
    quantity: str | None = None
    unit: str | None = None
    """Of the values in the message, in UCUM; None: the quantity's own."""
    factor: float = 1.0
    text: bool = False
    """Numbers may be sent as text, with a decimal comma too."""
    why: str = ""
    replay: bool = True
    """Reprocess the messages that were rejected like this one."""


def find_entry(registry: Registry, pilot: str, number: int) -> QuarantineRecord:
    """The entry, where it is one of the pilot's. Raises Problem."""
    entry = Quarantine(registry.database).get(number) if 0 <= number < 2**63 else None
    if entry is None or entry.pilot != pilot:
        raise Problem(
            "not-found",
            "There is no message {number} in quarantine. It may have been reprocessed or deleted.",
            number=number,
        )
    return entry


def similar_entries(entry: QuarantineRecord) -> QuarantineFilter:
    """The entries of the same device, reason and field."""
    return QuarantineFilter(pilot=entry.pilot, device=entry.device, reason=entry.reason, field=entry.field or "")


def correct_field(
    registry: Registry, pilot: str, number: int, correction: FieldCorrection, viewer: Viewer
) -> tuple[int, int | None]:
    """(version of the definition, number of the replay). Raises Problem, DefinitionError, WrongState."""
    entry = find_entry(registry, pilot, number)
    key = correction.field or entry.field
    if not key:
        raise Problem("bad-parameter", "Specify the field of the message.", parameter="field", example="temp")
    why = correction.why or f"{key} was rejected: {entry.reason}"
    if not correction.is_reading:
        edit = partial(remap.ignore_field, entry=entry, key=key)
    else:
        if not correction.quantity:
            raise Problem(
                "bad-parameter", "Specify what the field measures.", parameter="quantity", example="air_temperature"
            )
        mapping = FieldMapping(
            quantity=correction.quantity, unit=correction.unit, factor=correction.factor, text=correction.text
        )
        edit = partial(remap.map_field, entry=entry, key=key, mapping=mapping)
    version = remap.update_definition(registry, pilot, edit, viewer.who, why, may_see=viewer.may_see)
    if not correction.replay:
        return version, None
    return version, Quarantine(registry.database).request_replay(similar_entries(entry), viewer.who).id


def discard_entries(registry: Registry, where: QuarantineFilter, author: str) -> int:
    """Delete the entries; how many there were. Only the log says who did it."""
    deleted = Quarantine(registry.database).discard(where)
    log.info("entries of the quarantine were discarded", extra={"entries": deleted, "who": author})
    return deleted


def wait_for_replay(registry: Registry, replay: int) -> None:
    """Wait until the replay is done, but not for long: a page can show its result later, too."""
    until = time.monotonic() + LONGEST_WAIT
    while time.monotonic() < until:
        state = Quarantine(registry.database).outcome(replay)
        if state is None or state.done:
            return
        time.sleep(0.2)

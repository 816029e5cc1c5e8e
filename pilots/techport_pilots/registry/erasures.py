"""When a pilot's data is to be erased, and the receipts of what was.

    retention (P2Y) ─► counted from the end of the pilot ─► date of erasure ─► handover/retention.py ─► receipt

Personal data has a date in every state. Nobody has to remember to end the pilot: its period begins at the latest when
the last phase is over, or, for a pilot that came later, when it was started.
"""

from __future__ import annotations

import calendar
import datetime as dt

import msgspec
from sqlalchemy import LargeBinary, String

from techport_pilots.model import PilotDefinition
from techport_pilots.registry import lifecycle
from techport_pilots.registry.database import Database
from techport_pilots.registry.registry import Registry
from techport_pilots.registry.tables import metadata
from techport_pilots.time import micros_of, parse_duration
from techport_storage.model import Micros

_RECEIPTS = "SELECT content FROM erasures WHERE state = 'done' ORDER BY id"
_DONE = "SELECT count(*) FROM erasures WHERE pilot = :pilot AND state = 'done'"
_HOLDING = "SELECT pilot FROM ledger GROUP BY pilot HAVING sum(stored) > sum(erased)"
_NOT_COLLECTED = "SELECT pilot, sum(parts) FROM ignored_parts WHERE rule = :rule GROUP BY pilot"
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def keys_and_texts(table: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What tells a row of a pilot in the table, and the columns that may hold what a device sent."""
    columns = metadata.tables[table].columns
    keys = tuple(column.name for column in columns if column.primary_key and column.name != "pilot")
    texts = tuple(column.name for column in columns if isinstance(column.type, String | LargeBinary))
    return keys, tuple(name for name in texts if name != "pilot")


class Day(msgspec.Struct, frozen=True):
    """Rows of a device and day to erase, and what the ledger said had been erased before."""

    device: str
    day: int
    rows: int
    erased_before: int


class Erasure(msgspec.Struct, frozen=True, kw_only=True):
    """A receipt. `rows` of the store, `entries` of the quarantine and of watched messages, `packages` and other `files`
    that were removed. `missing` packages were not where they had been written: moved, or on another machine."""

    pilot: str
    due: Micros
    begun: Micros
    done: Micros | None = None
    rows: int = 0
    entries: int = 0
    packages: list[str] = []
    files: list[str] = []
    missing: list[str] = []
    days: list[Day] = []  # until it is done: names of devices may be personal data
    device_days: int = 0
    partial: bool = False  # a device or a period, because somebody asked for it

    @property
    def empty(self) -> bool:
        return not (self.rows or self.entries or self.packages or self.files or self.missing)


class Due(msgspec.Struct, frozen=True):
    """A pilot with a date of erasure."""

    pilot: str
    state: lifecycle.State
    at: Micros


def due_after(pilot: PilotDefinition, end: Micros) -> Micros | None:
    """The date of erasure of a pilot that ended then; None when it says no retention."""
    if pilot.retention is None:
        return None
    months, micros = parse_duration(pilot.retention, calendar="allowed")
    ended = _EPOCH + dt.timedelta(microseconds=end)
    month = ended.month - 1 + months
    year, month = ended.year + month // 12, month % 12 + 1
    last = calendar.monthrange(year, month)[1]  # a year after the 29th of February is the 28th
    later = ended.replace(year=year, month=month, day=min(ended.day, last)) + dt.timedelta(microseconds=micros)
    return (later - _EPOCH) // dt.timedelta(microseconds=1)


def due_at(registry: Registry, pilot: PilotDefinition) -> Micros | None:
    """When the data is to be erased, at the latest.

    Parameters
    ----------
    registry : Registry
    pilot : PilotDefinition
        As it is in the registry.

    Returns
    -------
    int or None
        µs. Counted from when the pilot ended; of personal data from the end of the last phase, or from the start of a
        pilot that was started after it, where that is earlier. None without a retention, and for a pilot without
        personal data that has not ended.
    """
    if pilot.retention is None:
        return None
    steps = lifecycle.changes(registry.database, pilot.id)
    ends = [step.at for step in steps if step.state == "ended"] if steps and steps[-1].state != "running" else []
    begins = [max(ends)] if ends else []
    if pilot.personal_data:
        over = max((micros_of(phase.end, pilot.timezone) for phase in pilot.phases), default=0)
        imported_at = steps[0].at if steps else registry.history(pilot.id)[-1].at
        begins.append(max(over, imported_at))
    return due_after(pilot, min(begins)) if begins else None


def plan(registry: Registry) -> list[Due]:
    """Every pilot that has a date of erasure, the nearest first."""
    due_times = [(pilot, due_at(registry, pilot)) for pilot in registry.pilots()]
    dates = [Due(pilot.id, registry.state(pilot.id), at) for pilot, at in due_times if at is not None]
    return sorted(dates, key=lambda due: due.at)


def holding_readings(database: Database) -> set[str]:
    """Pilots of which the store holds readings, as the ledger counts them."""
    with database.reading() as transaction:
        return {pilot for (pilot,) in transaction.execute(_HOLDING)}


def erasures_done(database: Database, pilot: str) -> int:
    """How often something of the pilot has been erased: what is made of its readings is good until the next time."""
    with database.reading() as transaction:
        return int(transaction.execute(_DONE, {"pilot": pilot}).scalar_one())


def not_collected(database: Database) -> dict[str, int]:
    """Values that came for pilots while they were drafts with personal data, by pilot."""
    with database.reading() as transaction:
        rows = transaction.execute(_NOT_COLLECTED, {"rule": lifecycle.NOT_COLLECTED})
        return {pilot: int(values) for pilot, values in rows}


def overdue(registry: Registry, at: Micros) -> list[Due]:
    """Pilots whose date of erasure is over and whose readings are still there, the longest first."""
    holding = holding_readings(registry.database)
    return [due for due in plan(registry) if due.at <= at and due.pilot in holding]


def receipts(database: Database) -> list[Erasure]:
    """What was erased, oldest first."""
    with database.reading() as transaction:
        return [msgspec.json.decode(content, type=Erasure) for (content,) in transaction.execute(_RECEIPTS)]

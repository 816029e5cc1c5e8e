"""When a pilot's data is to be erased, and the receipts of what was.

    retention (P2Y) ─► counted from the end of the pilot ─► date of erasure ─► handover/retention.py ─► receipt

Personal data has a date in every state. Nobody has to remember to end the pilot: its period begins at the latest when
the last phase is over, or, for a pilot that came later, when it was started.

A stream may have a retention of its own, which counts from each reading, in whole days (UTC) and in every state of the
pilot. What is erased of streams is added to one receipt of the pilot.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from sqlalchemy import LargeBinary, String

from techport_pilots.model import PilotDefinition
from techport_pilots.registry import lifecycle
from techport_pilots.registry.database import Database, Transaction
from techport_pilots.registry.registry import Registry
from techport_pilots.registry.tables import metadata
from techport_pilots.time import Duration, micros_of, parse_duration, shifted
from techport_storage.microseconds import DAY
from techport_storage.model import Micros, Stream

_RECEIPTS = "SELECT content FROM erasures WHERE state = 'done' ORDER BY id"
_DONE = "SELECT coalesce(max(id), 0) + count(*) FROM erasures WHERE pilot = :pilot AND state = 'done'"
_HOLDING = "SELECT pilot FROM ledger GROUP BY pilot HAVING sum(stored) > sum(erased)"
_NOT_COLLECTED = "SELECT pilot, sum(parts) FROM ignored_parts WHERE rule = :rule GROUP BY pilot"


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


class StreamErasure(msgspec.Struct, frozen=True):
    """Until when a stream with a retention of its own is erased, and how many readings that were so far."""

    device: str
    quantity: str
    until: Micros  # not including
    rows: int = 0


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
    partial: bool = False  # a device or a period, because somebody asked for it; or old readings of `streams`
    streams: list[StreamErasure] = []  # with a retention of their own: one receipt for all of them, which grows

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
    return shifted(end, parse_duration(pilot.retention, calendar="allowed"))


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


def erased_until(retention: Duration, at: Micros) -> Micros:
    """Before which instant readings are erased that are kept for so long: the beginning of a day in UTC."""
    return shifted(at, retention, -1) // DAY * DAY


def streams_due(registry: Registry, at: Micros) -> dict[str, tuple[StreamErasure, ...]]:
    """Streams with a retention of their own, by pilot, until when each is to be erased; without what is done already.

    What came late for a day that was erased goes with the next day.
    """
    pilots = [(pilot.id, _streams_with_retention(pilot)) for pilot in registry.pilots()]
    if not any(streams for _, streams in pilots):
        return {}
    done = {
        Stream(receipt.pilot, stream.device, stream.quantity): stream.until
        for receipt in receipts(registry.database)
        for stream in receipt.streams
    }
    due = {
        pilot: tuple(
            StreamErasure(stream.device, stream.quantity, until)
            for stream, retention in streams.items()
            for until in (erased_until(retention, at),)
            if done.get(stream) is None or done[stream] < until
        )
        for pilot, streams in pilots
    }
    return {pilot: streams for pilot, streams in due.items() if streams}


def _streams_with_retention(pilot: PilotDefinition) -> dict[Stream, Duration]:
    return {
        Stream(pilot.id, device.id, stream.quantity): parse_duration(stream.retention, calendar="allowed")
        for device in pilot.devices
        for stream in device.streams
        if stream.retention is not None
    }


def grown(receipt: Erasure, later: Erasure) -> Erasure:
    """The receipt of a pilot's streams with what was erased of them since."""
    streams = {(stream.device, stream.quantity): stream for stream in receipt.streams}
    for stream in later.streams:
        before = streams.get((stream.device, stream.quantity))
        rows = stream.rows + (before.rows if before else 0)
        streams[stream.device, stream.quantity] = msgspec.structs.replace(stream, rows=rows)
    return msgspec.structs.replace(
        later,
        begun=receipt.begun,
        rows=receipt.rows + later.rows,
        entries=receipt.entries + later.entries,
        packages=[*receipt.packages, *later.packages],
        files=[*receipt.files, *later.files],
        missing=[*receipt.missing, *later.missing],
        device_days=receipt.device_days + later.device_days,
        streams=[streams[name] for name in sorted(streams)],
    )


def forget_streams(transaction: Transaction, pilot: str, is_erased: Callable[[str], bool]) -> None:
    """Take the streams of devices that are erased out of the pilot's receipts: their names may be personal data."""
    query = "SELECT id, content FROM erasures WHERE pilot = :pilot AND state = 'done'"
    for number, content in transaction.execute(query, {"pilot": pilot}).all():
        receipt = msgspec.json.decode(content, type=Erasure)
        stay = [stream for stream in receipt.streams if not is_erased(stream.device)]
        if len(stay) < len(receipt.streams):
            stripped = msgspec.json.encode(msgspec.structs.replace(receipt, streams=stay)).decode()
            transaction.execute(
                "UPDATE erasures SET content = :content WHERE id = :id", {"id": number, "content": stripped}
            )


def holding_readings(database: Database) -> set[str]:
    """Pilots of which the store holds readings, as the ledger counts them."""
    with database.reading() as transaction:
        return {pilot for (pilot,) in transaction.execute(_HOLDING)}


def erasures_done(database: Database, pilot: str) -> int:
    """A number that grows when something of the pilot is erased: what is made of its readings is good until then."""
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

"""Entries of the quarantine come in and leave in the transaction that books them, so that the sums agree."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, bindparam, delete, insert, select

from techport_pilots import replays
from techport_pilots.account import DeviceDay, SetAside, Tally
from techport_pilots.database import clean_text, name
from techport_pilots.errors import ReplayTaken
from techport_pilots.tables import quarantine as _table

_INSERT = insert(_table)
_DAY_OF = select(_table.c.pilot, _table.c.device, _table.c.day, _table.c.value_count, _table.c.replay_requested).where(
    _table.c.id == bindparam("id")
)
_KNOWN = select(_table.c.id).where(_table.c.digest == bindparam("digest")).limit(1)


def withdraw(connection: Connection, replayed: Sequence[int], ledger: dict[DeviceDay, Tally]) -> None:
    """Take entries out whose messages arrive once more, also out of the sums, and note in their request what came of
    them. Raises ReplayTaken when one is gone.
    """
    numbers = set()
    came = [msgspec.structs.replace(tally) for tally in ledger.values()]
    for entry in replayed:
        row = connection.execute(_DAY_OF, {"id": entry}).first()
        if row is None:
            raise ReplayTaken(f"entry {entry} of the quarantine was dealt with meanwhile")
        connection.execute(delete(_table).where(_table.c.id == entry))
        numbers.add(row.replay_requested)
        tally = ledger.setdefault(DeviceDay(row.pilot, row.device, row.day), Tally())
        tally.received -= row.value_count
        tally.quarantined -= row.value_count
    for number in numbers - {None}:  # one: a worker takes entries of one request at a time
        replays.note(connection, number, came)


def admit(connection: Connection, set_aside: Sequence[SetAside], ledger: dict[DeviceDay, Tally]) -> None:
    """Insert what is new; a redelivered entry that is there moves in `ledger` from quarantined to duplicates."""
    rows = []
    here: set[bytes] = set()
    for entry in set_aside:
        print_of = digest(entry)
        if entry.redelivered and (print_of in here or connection.execute(_KNOWN, {"digest": print_of}).first()):
            tally = ledger.setdefault(DeviceDay(**key(entry.device_day)), Tally())
            tally.quarantined -= entry.values
            tally.duplicates += entry.values
            continue
        here.add(print_of)
        rows.append(_row(entry, print_of))
    if rows:
        connection.execute(_INSERT, rows)


def key(device_day: DeviceDay) -> dict[str, Any]:
    """A device-day as the columns that hold it, under the names as the database keeps them."""
    return {"pilot": name(device_day.pilot), "device": name(device_day.device), "day": device_day.day}


def digest(entry: SetAside) -> bytes:
    """16 bytes that are the same for the same topic, payload, reason and field."""
    parts = (clean_text(entry.topic), entry.payload, entry.reason, None if entry.field is None else name(entry.field))
    return hashlib.blake2b(msgspec.msgpack.encode(parts), digest_size=16).digest()


def _row(entry: SetAside, digest: bytes) -> dict[str, Any]:
    return {
        **key(entry.device_day),
        "topic": clean_text(entry.topic),
        "payload": entry.payload,
        "received": entry.received,
        "format": entry.format,
        "reason": entry.reason,
        "field": None if entry.field is None else name(entry.field),
        "detail": clean_text(entry.detail),
        "hint": clean_text(entry.hint),
        "value_count": entry.values,
        "digest": digest,
    }

"""Quarantine: messages and values that can never be stored, kept with the reason and what to do about it.

Books puts them in, in the transaction that books them; this reads them, and removes what was dealt with.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Connection, Delete, Engine, Select, bindparam, delete, func, insert, or_, select, update

from techport_pilots import replays
from techport_pilots.account import DeviceDay, SetAside, Tally
from techport_pilots.database import clean_text, name, reading, writing
from techport_pilots.errors import ReplayTaken
from techport_pilots.replays import Replay
from techport_pilots.tables import quarantine as _table
from techport_storage.model import Micros

Q = TypeVar("Q", Select[Any], Delete)

_INSERT = insert(_table)
_PATIENCE: Micros = 600_000_000
_DAY_OF = select(_table.c.pilot, _table.c.device, _table.c.day, _table.c.value_count, _table.c.replay_requested).where(
    _table.c.id == bindparam("id")
)
_KNOWN = select(_table.c.id).where(_table.c.digest == bindparam("digest")).limit(1)


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One message, or some values of one, in quarantine."""

    id: int
    pilot: str
    device: str
    day: int
    topic: str
    payload: bytes
    received: Micros
    format: str
    reason: str
    field: str | None
    detail: str
    hint: str
    values: int
    replay_requested: Micros | None = None  # it waits to be taken again, since then


class Page(msgspec.Struct, frozen=True):
    """Some entries, newest first; `next` is the cursor of the page behind them, None at the end."""

    items: list[Entry]
    next: int | None


class Count(msgspec.Struct, frozen=True):
    """How much of one kind is in quarantine."""

    pilot: str
    device: str
    reason: str
    day: int
    entries: int
    values: int


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """Entries that want the same mending: of one device, for one reason, about one field."""

    device: str
    reason: str
    field: str | None
    entries: int
    values: int
    first: Micros
    waiting: int  # of the entries, to be taken again
    newest: Entry


class Where(msgspec.Struct, frozen=True, kw_only=True):
    """Which entries. None means all; times are of arrival, half-open [start, end)."""

    ids: tuple[int, ...] | None = None
    pilot: str | None = None
    device: str | None = None
    reason: str | None = None
    field: str | None = None  # "" for entries that are about no field
    day: int | None = None  # that they are booked on
    start: Micros | None = None
    end: Micros | None = None


class Quarantine:
    """The reading side. Every method may raise RegistryUnavailable."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def entries(self, where: Where = Where(), limit: int = 100, after: int | None = None) -> Page:  # noqa: B008 - frozen
        """At most `limit` entries, newest first, behind the cursor `after` (the `next` of the page before)."""
        query = _filtered(select(*_ENTRY_COLUMNS), where).order_by(_table.c.id.desc()).limit(limit + 1)
        if after is not None:
            query = query.where(_table.c.id < after)
        with reading(self._engine) as connection:
            items = [_entry(row) for row in connection.execute(query)]
        more = len(items) > limit
        return Page(items[:limit], items[limit - 1].id if more else None)

    def get(self, entry: int) -> Entry | None:
        """The entry of that id, or None when there is none (any more)."""
        with reading(self._engine) as connection:
            row = connection.execute(select(*_ENTRY_COLUMNS).where(_table.c.id == entry)).first()
        return None if row is None else _entry(row)

    def counts(self, where: Where = Where()) -> list[Count]:  # noqa: B008 - frozen
        """How many entries and values there are of each pilot, device, reason and day."""
        by = (_table.c.pilot, _table.c.device, _table.c.reason, _table.c.day)
        query = select(*by, func.count(), func.sum(_table.c.value_count)).group_by(*by).order_by(*by)
        with reading(self._engine) as connection:
            rows = connection.execute(_filtered(query, where)).all()
        return [Count(p, d, r, day, entries, int(values)) for p, d, r, day, entries, values in rows]

    def groups(self, where: Where = Where(), limit: int = 200) -> list[Group]:  # noqa: B008 - frozen
        """The entries by device, reason and field, each group with its newest entry; the latest heard first."""
        c = _table.c
        by = (c.device, c.reason, c.field)
        sums = (func.count(), func.sum(c.value_count), func.min(c.received), func.count(c.replay_requested))
        query = _filtered(select(*by, *sums, func.max(c.id)), where).group_by(*by)
        query = query.order_by(func.max(c.id).desc()).limit(limit)
        with reading(self._engine) as connection:
            rows = connection.execute(query).all()
            newest = select(*_ENTRY_COLUMNS).where(c.id.in_([row[-1] for row in rows]))
            found = {entry.id: entry for entry in map(_entry, connection.execute(newest))}
        return [
            Group(device=device, reason=reason, field=field, entries=entries, values=int(values), first=first,
                  waiting=waiting, newest=found[last])
            for device, reason, field, entries, values, first, waiting, last in rows
            if last in found  # not taken meanwhile
        ]  # fmt: skip

    def discard(self, where: Where) -> int:
        """Take these entries out for good, unread; returns how many there were. The books keep what they say."""
        with writing(self._engine) as connection:
            return connection.execute(_filtered(delete(_table), where)).rowcount

    def remove(self, entries: Iterable[int]) -> int:
        """Take entries out for good, such as those that were replayed; returns how many there were.

        The books keep what they say: these values did arrive and were set aside then.
        """
        removed = 0
        with writing(self._engine) as connection:
            for entry in entries:
                removed += connection.execute(delete(_table).where(_table.c.id == entry)).rowcount
        return removed

    def request_replay(self, where: Where, who: str = "") -> Replay:
        """Ask the ingest workers to take these messages again, as new arrivals: within a second where one runs.

        An entry's message is taken with all its entries, and each value of it lands once: what was stored at the first
        arrival is found as a duplicate. What cannot be stored still comes back as a new entry. `outcome` tells how far
        it is.
        """
        messages = _filtered(select(_table.c.received, _table.c.topic).distinct(), where)
        marked = 0
        with writing(self._engine) as connection:
            number = replays.begin(connection, who)
            mark = (
                update(_table)
                .where(_table.c.received == bindparam("at"), _table.c.topic == bindparam("to"))
                .values(replay_requested=number, replay_worker=None)
            )
            for received, topic in connection.execute(messages).all():
                marked += connection.execute(mark, {"at": received, "to": topic}).rowcount
            replays.marked(connection, number, marked)
        return Replay(id=number, who=who, entries=marked, waiting=marked)

    def outcome(self, replay: int) -> Replay | None:
        """What has come of a request so far, or None when there was none of that number."""
        return replays.replay_of(self._engine, replay)

    def take_replays(self, worker: str, limit: int = 500) -> list[Entry]:
        """Entries of one request that wait to be taken again, which are this worker's from now on, for ten minutes at
        least.
        """
        now = time.time_ns() // 1000
        free = or_(
            _table.c.replay_worker.is_(None), _table.c.replay_worker == worker, _table.c.replay_taken < now - _PATIENCE
        )
        waiting = select(*_ENTRY_COLUMNS).where(_table.c.replay_requested.is_not(None), free)
        waiting = waiting.order_by(_table.c.replay_requested, _table.c.id).limit(limit)
        with reading(self._engine) as connection:
            if connection.execute(waiting.with_only_columns(_table.c.id).limit(1)).first() is None:
                return []
        with writing(self._engine) as connection:
            entries = [_entry(row) for row in connection.execute(waiting)]
            entries = [entry for entry in entries if entry.replay_requested == entries[0].replay_requested]
            mine = update(_table).where(_table.c.id.in_([entry.id for entry in entries]))
            connection.execute(mine.values(replay_worker=worker, replay_taken=now))
        return entries

    def expire(self, before: Micros, pilot: str | None = None) -> int:
        """Take out what arrived before then; returns how many entries there were. The books keep what they say."""
        query = delete(_table).where(_table.c.received < before)
        if pilot is not None:
            query = query.where(_table.c.pilot == pilot)
        with writing(self._engine) as connection:
            return connection.execute(query).rowcount


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


_ENTRY_COLUMNS = [_table.c["value_count" if field == "values" else field] for field in Entry.__struct_fields__]


def _entry(row: Any) -> Entry:
    return Entry(**dict(zip(Entry.__struct_fields__, row, strict=True)))


def _filtered(query: Q, where: Where) -> Q:
    equal: Mapping[Any, object] = {
        _table.c.pilot: where.pilot,
        _table.c.device: where.device,
        _table.c.reason: where.reason,
        _table.c.field: where.field or None,
        _table.c.day: where.day,
    }
    for column, value in equal.items():
        if value is not None:
            query = query.where(column == value)
    if where.field == "":
        query = query.where(_table.c.field.is_(None))
    if where.ids is not None:
        query = query.where(_table.c.id.in_(where.ids))
    if where.start is not None:
        query = query.where(_table.c.received >= where.start)
    if where.end is not None:
        query = query.where(_table.c.received < where.end)
    return query

"""Quarantine: messages and values that can never be stored, kept with the reason and what to do about it.

Books puts them in, in the transaction that books them (set_aside.py); this reads them, has them taken again, and
removes what was dealt with.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Delete, Engine, Select, bindparam, delete, func, or_, select, update

from techport_pilots.accounting import replays
from techport_pilots.accounting.replays import Replay
from techport_pilots.registry.database import name, reading, writing
from techport_pilots.registry.tables import quarantine as _table
from techport_storage import clock
from techport_storage.microseconds import MINUTE
from techport_storage.model import Micros

Q = TypeVar("Q", Select[Any], Delete)

_PATIENCE: Micros = 10 * MINUTE


class QuarantineRecord(msgspec.Struct, frozen=True, kw_only=True):
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


class QuarantinePage(msgspec.Struct, frozen=True):
    """Some entries, newest first; `next` is the cursor of the page behind them, None at the end."""

    items: list[QuarantineRecord]
    next: int | None


class Count(msgspec.Struct, frozen=True):
    """How much of one kind is in quarantine."""

    pilot: str
    device: str
    reason: str
    day: int
    entries: int
    values: int


class QuarantineGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Entries that want the same mending: of one device, for one reason, about one field."""

    device: str
    reason: str
    field: str | None
    entries: int
    values: int
    first: Micros
    waiting: int  # of the entries, to be taken again
    newest: QuarantineRecord


class QuarantineFilter(msgspec.Struct, frozen=True, kw_only=True):
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

    def entries(
        self, where: QuarantineFilter | None = None, limit: int = 100, after: int | None = None
    ) -> QuarantinePage:
        """At most `limit` entries, newest first, behind the cursor `after` (the `next` of the page before)."""
        query = _filtered(select(*_ENTRY_COLUMNS), where).order_by(_table.c.id.desc()).limit(limit + 1)
        if after is not None:
            query = query.where(_table.c.id < after)
        with reading(self._engine) as connection:
            items = [_entry(row) for row in connection.execute(query)]
        more = len(items) > limit
        return QuarantinePage(items[:limit], items[limit - 1].id if more else None)

    def get(self, entry: int) -> QuarantineRecord | None:
        """The entry of that id, or None when there is none (any more)."""
        with reading(self._engine) as connection:
            row = connection.execute(select(*_ENTRY_COLUMNS).where(_table.c.id == entry)).first()
        return None if row is None else _entry(row)

    def counts(self, where: QuarantineFilter | None = None) -> list[Count]:
        """How many entries and values there are of each pilot, device, reason and day."""
        by = (_table.c.pilot, _table.c.device, _table.c.reason, _table.c.day)
        query = select(*by, func.count(), func.sum(_table.c.value_count)).group_by(*by).order_by(*by)
        with reading(self._engine) as connection:
            rows = connection.execute(_filtered(query, where)).all()
        return [Count(p, d, r, day, entries, int(values)) for p, d, r, day, entries, values in rows]

    def count(self, where: QuarantineFilter | None = None) -> int:
        """How many entries there are."""
        with reading(self._engine) as connection:
            return int(connection.execute(_filtered(select(func.count(_table.c.id)), where)).scalar_one())

    def groups(self, where: QuarantineFilter | None = None, limit: int = 200) -> list[QuarantineGroup]:
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
            QuarantineGroup(device=device, reason=reason, field=field, entries=entries, values=int(values), first=first,
                  waiting=waiting, newest=found[last])
            for device, reason, field, entries, values, first, waiting, last in rows
            if last in found  # not taken meanwhile
        ]  # fmt: skip

    def discard(self, where: QuarantineFilter) -> int:
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

    def request_replay(self, where: QuarantineFilter, who: str = "") -> Replay:
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

    def take_replays(self, worker: str, limit: int = 500) -> list[QuarantineRecord]:
        """Entries of one request that wait to be taken again, which are this worker's from now on, for ten minutes at
        least.
        """
        now = clock.now()
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


_ENTRY_COLUMNS = [
    _table.c["value_count" if field == "values" else field] for field in QuarantineRecord.__struct_fields__
]


def _entry(row: Any) -> QuarantineRecord:
    return QuarantineRecord(**dict(zip(QuarantineRecord.__struct_fields__, row, strict=True)))


def _filtered(query: Q, where: QuarantineFilter | None) -> Q:
    where = where or QuarantineFilter()
    equal: Mapping[Any, object] = {
        _table.c.pilot: where.pilot,
        _table.c.device: None if where.device is None else name(where.device),  # as the entries' names were kept
        _table.c.reason: where.reason,
        _table.c.field: name(where.field) if where.field else None,
        _table.c.day: where.day,
    }
    for column, value in equal.items():
        if value is not None:
            query = query.where(column == value)
    if where.field == "":  # also of values whose key is the empty text
        query = query.where(or_(_table.c.field.is_(None), _table.c.field == ""))
    if where.ids is not None:
        query = query.where(_table.c.id.in_(where.ids))
    if where.start is not None:
        query = query.where(_table.c.received >= where.start)
    if where.end is not None:
        query = query.where(_table.c.received < where.end)
    return query

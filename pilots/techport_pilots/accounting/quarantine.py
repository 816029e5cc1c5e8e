"""Quarantine: messages and values that can never be stored, kept with the reason and what to do about it.

The ledger puts them in, in the transaction that counts them (ledger.py); this reads them, has them reprocessed, and
removes what was dealt with.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from techport_pilots.accounting import replays
from techport_pilots.accounting.rejection import RecordedText, Rejection
from techport_pilots.accounting.replays import Replay
from techport_pilots.registry.database import Database, conditions, name
from techport_pilots.registry.versioning import lock
from techport_storage import clock
from techport_storage.microseconds import DAY, MINUTE
from techport_storage.model import Micros

_RESERVED_FOR: Micros = 10 * MINUTE


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
    rejection: Rejection
    field: str | None
    values: int
    replay_requested: Micros | None = None  # it waits to be reprocessed, since then

    @property
    def reason(self) -> str:
        return self.rejection.reason


_COLUMNS = (
    "id, pilot, device, day, topic, payload, received, format, field, value_count, replay_requested,"
    " reason, code, params, detail, hint"
)
_SELECT = f"SELECT {_COLUMNS} FROM quarantine"  # noqa: S608 - the names are ours
_SELECT_GROUPS = (
    "SELECT device, reason, field, count(*), sum(value_count), min(received), count(replay_requested), max(id)"
    " FROM quarantine"
)
_MARK = (
    "UPDATE quarantine SET replay_requested = :number, replay_worker = NULL"
    " WHERE received = :received AND topic = :topic AND payload = :payload"
)
_FREE = (
    " WHERE replay_requested IS NOT NULL"
    " AND (replay_worker IS NULL OR replay_worker = :worker OR replay_taken < :lapsed)"
)
_TAKE = "UPDATE quarantine SET replay_worker = :worker, replay_taken = :now WHERE id IN :ids"

_EXPIRE_WITHOUT_PILOT = (
    "DELETE FROM quarantine WHERE received < :before"
    " AND NOT EXISTS (SELECT 1 FROM pilot_versions WHERE pilot_versions.pilot = quarantine.pilot)"
)

_WITHOUT_PILOT = (
    "SELECT pilot, reason, count(*) AS entries, max(received) AS last, max(id) AS newest FROM quarantine"
    " WHERE NOT EXISTS (SELECT 1 FROM pilot_versions WHERE pilot_versions.pilot = quarantine.pilot)"
    " GROUP BY pilot, reason ORDER BY max(received) DESC LIMIT :limit"
)

KEPT_WITHOUT_PILOT: Micros = 90 * DAY
"""How long entries wait for a pilot that there is not (yet)."""


class WithoutPilot(msgspec.Struct, frozen=True, kw_only=True):
    """Messages that belong to no pilot there is, of one reason."""

    pilot: str  # as their topic names it; "" where it names none
    entries: int
    last: Micros
    newest: QuarantineRecord


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
    """Entries that need the same fix: of one device, for one reason, about one field."""

    device: str
    reason: str
    field: str | None
    entries: int
    values: int
    first: Micros
    waiting: int  # of the entries, to be reprocessed
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

    def __init__(self, database: Database) -> None:
        self._database = database

    def entries(
        self, where: QuarantineFilter | None = None, limit: int = 100, after: int | None = None
    ) -> QuarantinePage:
        """At most `limit` entries, newest first, behind the cursor `after` (the `next` of the page before)."""
        condition, parameters = _conditions(where, after)
        query = f"{_SELECT}{condition} ORDER BY id DESC LIMIT :limit"
        with self._database.reading() as transaction:
            items = [_entry(row) for row in transaction.execute(query, {**parameters, "limit": limit + 1})]
        more = len(items) > limit
        return QuarantinePage(items[:limit], items[limit - 1].id if more else None)

    def get(self, entry: int) -> QuarantineRecord | None:
        """The entry of that id, or None when there is none (any more)."""
        with self._database.reading() as transaction:
            row = transaction.execute(f"{_SELECT} WHERE id = :id", {"id": entry}).first()
        return None if row is None else _entry(row)

    def counts(self, where: QuarantineFilter | None = None) -> list[Count]:
        """How many entries and values there are of each pilot, device, reason and day."""
        condition, parameters = _conditions(where)
        by = "pilot, device, reason, day"
        query = f"SELECT {by}, count(*), sum(value_count) FROM quarantine{condition} GROUP BY {by} ORDER BY {by}"  # noqa: S608
        with self._database.reading() as transaction:
            rows = transaction.execute(query, parameters).all()
        return [Count(p, d, r, day, entries, int(values)) for p, d, r, day, entries, values in rows]

    def count(self, where: QuarantineFilter | None = None) -> int:
        """How many entries there are."""
        condition, parameters = _conditions(where)
        with self._database.reading() as transaction:
            return int(transaction.execute(f"SELECT count(*) FROM quarantine{condition}", parameters).scalar_one())  # noqa: S608

    def groups(self, where: QuarantineFilter | None = None, limit: int = 200) -> list[QuarantineGroup]:
        """The entries by device, reason and field, each group with its newest entry; the latest heard first."""
        condition, parameters = _conditions(where)
        query = f"{_SELECT_GROUPS}{condition} GROUP BY device, reason, field ORDER BY max(id) DESC LIMIT :limit"
        with self._database.reading() as transaction:
            rows = transaction.execute(query, {**parameters, "limit": limit}).all()
            newest = transaction.execute(f"{_SELECT} WHERE id IN :ids", {"ids": tuple(row[-1] for row in rows)})
            entries_by_id = {entry.id: entry for entry in map(_entry, newest)}
        return [
            QuarantineGroup(
                device=device,
                reason=reason,
                field=field,
                entries=entries,
                values=int(values),
                first=first,
                waiting=waiting,
                newest=entries_by_id[last],
            )
            for device, reason, field, entries, values, first, waiting, last in rows
            if last in entries_by_id  # not taken meanwhile
        ]

    def discard(self, where: QuarantineFilter) -> int:
        """Delete these entries; returns how many there were. The ledger keeps counting them."""
        condition, parameters = _conditions(where)
        with self._database.writing() as transaction:
            return transaction.execute(f"DELETE FROM quarantine{condition}", parameters).rowcount  # noqa: S608

    def remove(self, entries: Iterable[int]) -> int:
        """Delete entries by number; returns how many there were.

        The ledger keeps counting them: these values did arrive and went into quarantine then.
        """
        removed = 0
        with self._database.writing() as transaction:
            for entry in entries:
                removed += transaction.execute("DELETE FROM quarantine WHERE id = :id", {"id": entry}).rowcount
        return removed

    def request_replay(self, where: QuarantineFilter, who: str = "") -> Replay:
        """Ask the ingest workers to reprocess these messages as new arrivals: within a second where one runs.

        A message is reprocessed with all its entries, and each of its values is stored once: what was stored at the
        first arrival is a duplicate. What still cannot be stored comes back as a new entry. `outcome` gives the
        progress.
        """
        condition, parameters = _conditions(where)
        # All three: messages of one topic that were read at once arrived in the same microsecond.
        messages = f"SELECT DISTINCT received, topic, payload FROM quarantine{condition}"  # noqa: S608
        marked = 0
        with self._database.writing() as transaction:
            number = replays.begin(transaction, who, where.pilot)
            for received, topic, payload in transaction.execute(messages, parameters).all():
                row = {"number": number, "received": received, "topic": topic, "payload": payload}
                marked += transaction.execute(_MARK, row).rowcount
            replays.marked(transaction, number, marked)
        return Replay(id=number, who=who, entries=marked, waiting=marked, pilot=where.pilot)

    def outcome(self, replay: int, pilot: str | None = None) -> Replay | None:
        """The result of a request so far, or None when there was none of that number, or not of that pilot."""
        return replays.replay_of(self._database, replay, pilot)

    def take_replays(self, worker: str, limit: int = 500) -> list[QuarantineRecord]:
        """Entries of one request that wait to be reprocessed; they are reserved for this worker for ten minutes."""
        now = clock.now()
        free = {"worker": worker, "lapsed": now - _RESERVED_FOR}
        with self._database.reading() as transaction:
            if transaction.execute(f"SELECT id FROM quarantine{_FREE} LIMIT 1", free).first() is None:  # noqa: S608
                return []
        with self._database.writing() as transaction:
            lock(transaction)  # or two workers would take the same ones
            query = f"{_SELECT}{_FREE} ORDER BY replay_requested, id LIMIT :limit"
            entries = [_entry(row) for row in transaction.execute(query, {**free, "limit": limit})]
            entries = [entry for entry in entries if entry.replay_requested == entries[0].replay_requested]
            ids = tuple(entry.id for entry in entries)
            transaction.execute(_TAKE, {"worker": worker, "now": now, "ids": ids})
        return entries

    def without_pilot(self, limit: int = 50) -> list[WithoutPilot]:
        """Messages to pilots that there are not, and to topics that no pilot has described; the latest first."""
        with self._database.reading() as transaction:
            groups = transaction.execute(_WITHOUT_PILOT, {"limit": limit}).all()
            query = f"{_SELECT} WHERE id IN :ids"
            rows = transaction.execute(query, {"ids": tuple(group.newest for group in groups)}) if groups else ()
            newest = {record.id: record for record in map(_entry, rows)}
        return [
            WithoutPilot(pilot=group.pilot, entries=group.entries, last=group.last, newest=newest[group.newest])
            for group in groups
        ]

    def expire_without_pilot(self, before: Micros) -> int:
        """Delete what arrived before then for a pilot that there is not, such as one mistyped: nobody else would."""
        with self._database.writing() as transaction:
            return transaction.execute(_EXPIRE_WITHOUT_PILOT, {"before": before}).rowcount

    def expire(self, before: Micros, pilot: str | None = None) -> int:
        """Delete what arrived before then; returns how many entries there were. The ledger keeps counting them."""
        return self.discard(QuarantineFilter(pilot=pilot, end=before))


def _entry(row: Any) -> QuarantineRecord:
    return QuarantineRecord(
        id=row.id,
        pilot=row.pilot,
        device=row.device,
        day=row.day,
        topic=row.topic,
        payload=row.payload,
        received=row.received,
        format=row.format,
        rejection=_rejection(row),
        field=row.field,
        values=row.value_count,
        replay_requested=row.replay_requested,
    )


def _rejection(row: Any) -> Rejection:
    if row.code is None:  # kept by a version without codes
        return Rejection(row.reason, recorded=RecordedText(row.detail, row.hint))
    return Rejection(row.code, msgspec.json.decode(row.params))


def _conditions(where: QuarantineFilter | None, after: int | None = None) -> tuple[str, dict[str, object]]:
    """ " WHERE ..." for a query and its parameters; "" for a filter that asks for everything."""
    where = where or QuarantineFilter()
    return conditions(
        {
            "pilot = :pilot": where.pilot,
            "device = :device": None if where.device is None else name(where.device),  # as it was kept
            "reason = :reason": where.reason,
            "COALESCE(field, '') = :field": None if where.field is None else name(where.field),
            "day = :day": where.day,
            "id IN :ids": where.ids,
            "received >= :start": where.start,
            "received < :end": where.end,
            "id < :after": after,
        }
    )

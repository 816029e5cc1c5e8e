"""What is no reading by rule: parts of messages, and whole messages that a source's format does not read.

Each key of each device has a line with its rule, how often it came and its last value; a whole message has the key "",
and its beginning for a value. Where a definition could make a reading of it (all but NEVER_READINGS), the message is
kept for the quarantine's retention time, so that it can be reprocessed once the definition says what the key means, or
how the message is read; what was stored of it then is a duplicate. At most MOST_MESSAGES of a device are kept, the
newest, and MOST_UNREAD of those that were ignored as a whole by one rule: status messages come without end.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from techport_pilots.accounting import replays
from techport_pilots.accounting.tally import DeviceDay, IgnoredMessage, IgnoredValue, Tally, day_of
from techport_pilots.errors import ReplayTaken
from techport_pilots.registry.database import Database, Transaction, clean_text, conditions, name
from techport_pilots.registry.versioning import lock
from techport_storage import clock
from techport_storage.microseconds import DAY, MINUTE
from techport_storage.model import Micros

NEVER_READINGS = frozenset(("missing", "null", "time", "retained", "property", "event", "normalized", "removed"))
"""Rules whose parts no mapping makes a reading of."""

KEPT: Micros = 30 * DAY
"""How long messages are kept where the pilot does not say how long its quarantine is."""

MOST_MESSAGES = 10_000
"""Of one device."""

MOST_UNREAD = 100
"""Of one device and rule: messages that were ignored as a whole."""

MOST_KEYS = 500
"""Lines of one device; further keys are counted in the ledger alone."""

_LONGEST_VALUE = 200
_RESERVED_FOR: Micros = 10 * MINUTE

_ADD_VALUE = (
    "INSERT INTO ignored_values (pilot, device, rule, key, parts, value, first, last)"
    " VALUES (:pilot, :device, :rule, :key, :parts, :value, :at, :at)"
    " ON CONFLICT (pilot, device, rule, key) DO UPDATE SET parts = ignored_values.parts + excluded.parts,"
    " value = excluded.value, last = excluded.last"
)
_COUNT_KEYS = "SELECT count(*) FROM ignored_values WHERE pilot = :pilot AND device = :device"
_HAS_KEY = "SELECT 1 FROM ignored_values WHERE pilot = :pilot AND device = :device AND rule = :rule AND key = :key"
_ADD_MESSAGE = (
    "INSERT INTO ignored_messages (pilot, device, topic, payload, received, parts)"
    " VALUES (:pilot, :device, :topic, :payload, :received, :parts)"
)
_LESS_IGNORED = (
    "UPDATE ignored_parts SET parts = parts - :parts"
    " WHERE pilot = :pilot AND device = :device AND day = :day AND rule = :rule"
)
_LESS_VALUES = (
    "UPDATE ignored_values SET parts = parts - :parts"
    " WHERE pilot = :pilot AND device = :device AND rule = :rule AND key = :key"
)
_NO_VALUES = "DELETE FROM ignored_values WHERE pilot = :pilot AND device = :device AND parts <= 0"
_SET_PROPERTY = (
    "INSERT INTO device_properties (pilot, device, key, value, at) VALUES (:pilot, :device, :key, :value, :at)"
    " ON CONFLICT (pilot, device, key) DO UPDATE SET value = excluded.value, at = excluded.at"
)
_FREE = (
    " WHERE replay_requested IS NOT NULL"
    " AND (replay_worker IS NULL OR replay_worker = :worker OR replay_taken < :lapsed)"
)
_EXCESS = (
    "DELETE FROM ignored_messages WHERE pilot = :pilot AND device = :device AND id <="
    " (SELECT id FROM ignored_messages WHERE pilot = :pilot AND device = :device ORDER BY id DESC LIMIT 1 OFFSET :most)"
)
_CROWDED = "SELECT pilot, device FROM ignored_messages GROUP BY pilot, device HAVING count(*) > :most"
# `parts` of a message that was ignored as a whole is [["rule","",1]]; those of one rule have the same.
_CROWDED_UNREAD = (
    "SELECT pilot, device, parts FROM ignored_messages WHERE parts LIKE :whole AND parts NOT LIKE '%],[%'"
    " GROUP BY pilot, device, parts HAVING count(*) > :most"
)
_EXCESS_UNREAD = (
    "DELETE FROM ignored_messages WHERE pilot = :pilot AND device = :device AND parts = :parts AND id <="
    " (SELECT id FROM ignored_messages WHERE pilot = :pilot AND device = :device AND parts = :parts"
    " ORDER BY id DESC LIMIT 1 OFFSET :most)"
)
_FORGET_UNREAD = (
    "UPDATE ignored_values SET value = NULL WHERE pilot = :pilot AND key = '' AND last < :before AND value IS NOT NULL"
)


class IgnoredKey(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one key of one device."""

    device: str
    rule: str
    key: str  # "": the whole message
    parts: int  # how often it came
    value: str | None  # the last one, in JSON; of a whole message, its beginning
    first: Micros
    last: Micros
    messages: int = 0  # that are kept of the device, to be reprocessed


class DeviceProperty(msgspec.Struct, frozen=True, kw_only=True):
    """A text that says what a device is."""

    device: str
    key: str
    value: str
    at: Micros  # when it was last said


class KeptMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message of which something was ignored."""

    id: int
    topic: str
    payload: bytes
    received: Micros


# -- In the transaction that records a batch.


def note(transaction: Transaction, values: Iterable[IgnoredValue], messages: Iterable[IgnoredMessage]) -> None:
    """Add what a batch ignored, and keep the messages that it came in."""
    lines: dict[tuple[str, str, str, str], dict[str, Any]] = {}
    for value in values:
        row = _value_row(value)
        place = (row["pilot"], row["device"], row["rule"], row["key"])
        if place in lines:
            row["parts"] += lines[place]["parts"]
        lines[place] = row
    crowded: dict[tuple[str, str], int] = {}
    for place in sorted(lines):
        row = lines[place]
        owner = {"pilot": row["pilot"], "device": row["device"]}
        if place[:2] not in crowded:
            crowded[place[:2]] = int(transaction.execute(_COUNT_KEYS, owner).scalar_one())
        if crowded[place[:2]] >= MOST_KEYS and transaction.execute(_HAS_KEY, row).first() is None:
            continue
        transaction.execute(_ADD_VALUE, row)
    rows = [
        {
            "pilot": name(message.pilot),
            "device": name(message.device),
            "topic": clean_text(message.topic),
            "payload": message.payload,
            "received": message.received,
            "parts": msgspec.json.encode(message.parts).decode(),
        }
        for message in messages
    ]
    if rows:
        transaction.execute(_ADD_MESSAGE, rows)


def note_properties(transaction: Transaction, properties: Iterable[IgnoredValue]) -> None:
    """Keep what devices say that they are: the last value of each key."""
    rows = {(row["pilot"], row["device"], row["key"]): row for row in map(_value_row, properties)}
    if rows:
        transaction.execute(_SET_PROPERTY, [rows[place] for place in sorted(rows)])


def withdraw(transaction: Transaction, reread: Sequence[int], ledger: dict[DeviceDay, Tally]) -> None:
    """Take messages out that arrive once more, also out of the sums, and note in their request what came of them.

    Raises ReplayTaken when one is gone.
    """
    outcomes = [msgspec.structs.replace(tally) for tally in ledger.values()]
    numbers = set()
    query = "DELETE FROM ignored_messages WHERE id = :id RETURNING pilot, device, received, parts, replay_requested"
    for entry in reread:
        row = transaction.execute(query, {"id": entry}).first()
        if row is None:
            raise ReplayTaken(f"message {entry} of those with ignored parts was dealt with meanwhile")
        numbers.add(row.replay_requested)
        day = day_of(row.received)
        owner = {"pilot": row.pilot, "device": row.device}
        for rule, key, parts in msgspec.json.decode(row.parts, type=list[tuple[str, str, int]]):
            tally = ledger.setdefault(DeviceDay(row.pilot, row.device, day), Tally())
            tally.received -= parts
            tally.ignored -= parts
            transaction.execute(_LESS_IGNORED, {**owner, "day": day, "rule": name(rule), "parts": parts})
            transaction.execute(_LESS_VALUES, {**owner, "rule": name(rule), "key": name(key), "parts": parts})
        transaction.execute(_NO_VALUES, owner)
    for number in numbers - {None}:
        replays.note(transaction, number, outcomes)


def _value_row(value: IgnoredValue) -> dict[str, Any]:
    text = None if value.value is None else clean_text(value.value)
    return {
        "pilot": name(value.pilot),
        "device": name(value.device),
        "rule": name(value.rule),
        "key": name(value.key),
        "parts": value.parts,
        "value": text if text is None or len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…",
        "at": value.received,
    }


# -- Reading, and asking to reprocess. Each may raise RegistryUnavailable.


def ignored_keys(database: Database, pilot: str, device: str | None = None, limit: int = 1000) -> list[IgnoredKey]:
    """What was ignored of a pilot's devices, by device and key, the most frequent first."""
    condition, parameters = conditions(
        {"pilot = :pilot": name(pilot), "device = :device": None if device is None else name(device)}
    )
    query = (
        f"SELECT device, rule, key, parts, value, first, last FROM ignored_values{condition}"  # noqa: S608
        " ORDER BY parts DESC, device, key LIMIT :limit"
    )
    counted = f"SELECT device, count(*) FROM ignored_messages{condition} GROUP BY device"  # noqa: S608
    with database.reading() as transaction:
        messages = {row[0]: int(row[1]) for row in transaction.execute(counted, parameters)}
        rows = transaction.execute(query, {**parameters, "limit": limit}).all()
    return [
        IgnoredKey(
            device=row.device,
            rule=row.rule,
            key=row.key,
            parts=row.parts,
            value=row.value,
            first=row.first,
            last=row.last,
            messages=0 if row.rule in NEVER_READINGS else messages.get(row.device, 0),
        )
        for row in rows
    ]


def newest_message(database: Database, pilot: str, device: str, key: str) -> KeptMessage | None:
    """The last message of a device of which `key` was ignored; where there is none, the last of the device."""
    listed = "SELECT id, parts FROM ignored_messages WHERE pilot = :pilot AND device = :device ORDER BY id DESC"
    query = "SELECT id, topic, payload, received FROM ignored_messages WHERE id = :id"
    with database.reading() as transaction:
        rows = transaction.execute(listed, {"pilot": name(pilot), "device": name(device)}).all()
        if not rows:
            return None
        holding = (row.id for row in rows if any(part[1] == key for part in msgspec.json.decode(row.parts)))
        row = transaction.execute(query, {"id": next(holding, rows[0].id)}).first()
    return None if row is None else KeptMessage(id=row.id, topic=row.topic, payload=row.payload, received=row.received)


def properties_of(database: Database, pilot: str, device: str | None = None) -> list[DeviceProperty]:
    """What a pilot's devices say that they are."""
    condition, parameters = conditions(
        {"pilot = :pilot": name(pilot), "device = :device": None if device is None else name(device)}
    )
    query = f"SELECT device, key, value, at FROM device_properties{condition} ORDER BY device, key"  # noqa: S608
    with database.reading() as transaction:
        return [
            DeviceProperty(device=row.device, key=row.key, value=row.value, at=row.at)
            for row in transaction.execute(query, parameters)
        ]


def request_replay(database: Database, pilot: str, device: str | None = None, who: str = "") -> replays.Replay:
    """Ask the ingest workers to reprocess the kept messages of a device, or of all, as new arrivals."""
    condition, parameters = conditions(
        {"pilot = :pilot": name(pilot), "device = :device": None if device is None else name(device)}
    )
    with database.writing() as transaction:
        number = replays.begin(transaction, who, pilot)
        query = f"UPDATE ignored_messages SET replay_requested = :number, replay_worker = NULL{condition}"  # noqa: S608
        marked = transaction.execute(query, {**parameters, "number": number}).rowcount
        replays.marked(transaction, number, marked)
    return replays.Replay(id=number, who=who, entries=marked, waiting=marked)


def take_replays(database: Database, worker: str, limit: int = 500) -> list[KeptMessage]:
    """Messages of one request that wait to be reprocessed; they are reserved for this worker for ten minutes."""
    at = clock.now()
    free = {"worker": worker, "lapsed": at - _RESERVED_FOR}
    with database.reading() as transaction:
        if transaction.execute(f"SELECT id FROM ignored_messages{_FREE} LIMIT 1", free).first() is None:  # noqa: S608
            return []
    with database.writing() as transaction:
        lock(transaction)  # or two workers would take the same ones
        query = (
            f"SELECT id, topic, payload, received, replay_requested FROM ignored_messages{_FREE}"  # noqa: S608
            " ORDER BY replay_requested, id LIMIT :limit"
        )
        rows = transaction.execute(query, {**free, "limit": limit}).all()
        rows = [row for row in rows if row.replay_requested == rows[0].replay_requested]
        ids = tuple(row.id for row in rows)
        taken = "UPDATE ignored_messages SET replay_worker = :worker, replay_taken = :now WHERE id IN :ids"
        transaction.execute(taken, {"worker": worker, "now": at, "ids": ids})
    return [KeptMessage(id=row.id, topic=row.topic, payload=row.payload, received=row.received) for row in rows]


def expire(database: Database, before: Micros, pilot: str) -> int:
    """Delete messages of the pilot that arrived before then; their lines stay, without the beginning of messages."""
    query = "DELETE FROM ignored_messages WHERE pilot = :pilot AND received < :before"
    with database.writing() as transaction:
        transaction.execute(_FORGET_UNREAD, {"pilot": pilot, "before": before})
        return int(transaction.execute(query, {"pilot": pilot, "before": before}).rowcount)


def trim(database: Database) -> None:
    """Delete the oldest messages of devices that have more than MOST_MESSAGES, or MOST_UNREAD of one rule."""
    with database.reading() as transaction:
        crowded = transaction.execute(_CROWDED, {"most": MOST_MESSAGES}).all()
        crowded_unread = transaction.execute(_CROWDED_UNREAD, {"whole": '[["%","",%', "most": MOST_UNREAD}).all()
    for pilot, device, parts in crowded_unread:
        where = {"pilot": pilot, "device": device, "parts": parts}
        with database.writing() as transaction:
            transaction.execute(_EXCESS_UNREAD, {**where, "most": MOST_UNREAD})
    for pilot, device in crowded:
        with database.writing() as transaction:
            transaction.execute(_EXCESS, {"pilot": pilot, "device": device, "most": MOST_MESSAGES})

"""Watching a device's messages arrive: "waiting for your first message ... received!"

Whoever watches says so here; ingest workers, which may be other processes, see it within a second and keep the raw
messages of the watched devices, the last `KEPT` of each, with what became of them. Nobody watches for ever, so a busy
city costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from techport_pilots.accounting.rejection import Rejected
from techport_pilots.registry.database import Database, clean_text, name
from techport_storage.clock import now
from techport_storage.model import Micros

KEPT = 50

_WATCH = (
    "INSERT INTO watches (pilot, device, until) VALUES (:pilot, :device, :until)"
    " ON CONFLICT (pilot, device) DO UPDATE SET until = excluded.until"
)
_COLUMNS = "pilot, device, topic, payload, received, worker, committed, outcome"
_ADD = f"INSERT INTO watched_messages ({_COLUMNS}) VALUES (:{_COLUMNS.replace(', ', ', :')})"  # noqa: S608 - our names
_FORGET = (
    "DELETE FROM watched_messages WHERE pilot = :pilot AND device = :device AND id NOT IN (SELECT id FROM"
    " watched_messages WHERE pilot = :pilot AND device = :device ORDER BY id DESC LIMIT :kept)"
)
_AFTER = (
    f"SELECT id, {_COLUMNS} FROM watched_messages"  # noqa: S608
    " WHERE pilot = :pilot AND device = :device AND id > :after ORDER BY id"
)


class Value(msgspec.Struct, frozen=True):
    """One value as it was understood."""

    quantity: str
    time: Micros
    value: float
    outcome: str  # stored, duplicate, or correction
    quality: int = 0


class Outcome(msgspec.Struct, frozen=True):
    """What became of one message of one device."""

    values: Sequence[Value] = ()
    rejected: Sequence[Rejected] = ()
    ignored: Sequence[str] = ()  # the rule of each part that is no reading


class TappedMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message of a watched device."""

    pilot: str
    device: str
    topic: str
    payload: bytes
    received: Micros
    worker: str
    committed: Micros  # everything about it was durable and visible by then
    outcome: Outcome
    id: int = 0


class MessageTap:
    """Every method may raise RegistryUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def watch(self, pilot: str, device: str, seconds: float = 600) -> None:
        """Keep this device's messages for that long from now."""
        until = now() + int(seconds * 1e6)
        with self._database.writing() as transaction:
            transaction.execute(_WATCH, {"pilot": name(pilot), "device": name(device), "until": until})

    def current(self) -> frozenset[tuple[str, str]]:
        """(pilot, device) of all that are watched now."""
        with self._database.reading() as transaction:
            rows = transaction.execute("SELECT pilot, device FROM watches WHERE until > :now", {"now": now()})
            return frozenset((pilot, device) for pilot, device in rows)

    def record(self, messages: Iterable[TappedMessage]) -> None:
        """Keep these, and no more than the last `KEPT` of each device."""
        rows = [_row(message) for message in messages]
        if not rows:
            return
        with self._database.writing() as transaction:
            transaction.execute(_ADD, rows)
            for pilot, device in {(row["pilot"], row["device"]) for row in rows}:
                transaction.execute(_FORGET, {"pilot": pilot, "device": device, "kept": KEPT})

    def messages(self, pilot: str, device: str, after: int = 0) -> list[TappedMessage]:
        """The kept messages of a device behind the id `after`, oldest first."""
        with self._database.reading() as transaction:
            return [
                TappedMessage(**{**row, "outcome": msgspec.json.decode(row["outcome"], type=Outcome)})
                for row in transaction.execute(_AFTER, {"pilot": pilot, "device": device, "after": after}).mappings()
            ]


def _storable(outcome: Outcome) -> Outcome:
    rejected = [msgspec.structs.replace(part, rejection=part.rejection.kept()) for part in outcome.rejected]
    return msgspec.structs.replace(outcome, rejected=rejected)


def _row(message: TappedMessage) -> dict[str, object]:
    return {
        "pilot": name(message.pilot),
        "device": name(message.device),
        "topic": clean_text(message.topic),
        "payload": message.payload,
        "received": message.received,
        "worker": message.worker,
        "committed": message.committed,
        "outcome": clean_text(msgspec.json.encode(_storable(message.outcome)).decode()),
    }

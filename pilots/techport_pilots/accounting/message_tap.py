"""Watching a device's messages arrive: "waiting for your first message ... received!"

Whoever watches says so here; ingest workers, which may be other processes, see it within a second and keep the raw
messages of the watched devices, the last `KEPT` of each, with what became of them. Nobody watches for ever, so a busy
city costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
from sqlalchemy import Engine, bindparam, delete, insert, select, text

from techport_pilots.registry.database import clean_text, name, reading, writing
from techport_pilots.registry.tables import watched_messages, watches
from techport_storage.clock import now
from techport_storage.model import Micros

KEPT = 50

_WATCH = text(
    "INSERT INTO watches (pilot, device, until) VALUES (:pilot, :device, :until)"
    " ON CONFLICT (pilot, device) DO UPDATE SET until = excluded.until"
)
_TOO_OLD = (
    select(watched_messages.c.id)
    .where(watched_messages.c.pilot == bindparam("p"), watched_messages.c.device == bindparam("d"))
    .order_by(watched_messages.c.id.desc())
    .offset(KEPT)
)


class Value(msgspec.Struct, frozen=True):
    """One value as it was understood."""

    quantity: str
    time: Micros
    value: float
    fate: str  # stored, or duplicate
    quality: int = 0


class Refusal(msgspec.Struct, frozen=True):
    """Something that was set aside."""

    reason: str
    detail: str
    hint: str
    field: str | None = None
    values: int = 1


class Outcome(msgspec.Struct, frozen=True):
    """What became of one message of one device."""

    values: Sequence[Value] = ()
    refused: Sequence[Refusal] = ()
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

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def watch(self, pilot: str, device: str, seconds: float = 600) -> None:
        """Keep this device's messages for that long from now."""
        until = now() + int(seconds * 1e6)
        with writing(self._engine) as connection:
            connection.execute(_WATCH, {"pilot": name(pilot), "device": name(device), "until": until})

    def current(self) -> frozenset[tuple[str, str]]:
        """(pilot, device) of all that are watched now."""
        query = select(watches.c.pilot, watches.c.device).where(watches.c.until > now())
        with reading(self._engine) as connection:
            return frozenset((pilot, device) for pilot, device in connection.execute(query))

    def record(self, messages: Iterable[TappedMessage]) -> None:
        """Keep these, and no more than the last `KEPT` of each device."""
        rows = [_row(message) for message in messages]
        if not rows:
            return
        with writing(self._engine) as connection:
            connection.execute(insert(watched_messages), rows)
            for pilot, device in {(row["pilot"], row["device"]) for row in rows}:
                old = connection.execute(_TOO_OLD, {"p": pilot, "d": device}).scalars().all()
                connection.execute(delete(watched_messages).where(watched_messages.c.id.in_(old)))

    def messages(self, pilot: str, device: str, after: int = 0) -> list[TappedMessage]:
        """The kept messages of a device behind the id `after`, oldest first."""
        query = (
            select(watched_messages)
            .where(
                watched_messages.c.pilot == pilot, watched_messages.c.device == device, watched_messages.c.id > after
            )
            .order_by(watched_messages.c.id)
        )
        with reading(self._engine) as connection:
            return [
                TappedMessage(**{**row, "outcome": msgspec.json.decode(row["outcome"], type=Outcome)})
                for row in connection.execute(query).mappings()
            ]


def _row(message: TappedMessage) -> dict[str, object]:
    return {
        "pilot": name(message.pilot),
        "device": name(message.device),
        "topic": clean_text(message.topic),
        "payload": message.payload,
        "received": message.received,
        "worker": message.worker,
        "committed": message.committed,
        "outcome": clean_text(msgspec.json.encode(message.outcome).decode()),
    }

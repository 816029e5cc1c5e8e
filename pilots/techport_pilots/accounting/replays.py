"""Taking messages out of quarantine again: who asked for it, how far it is, and what came of it.

A request marks entries with its number; ingest workers take them, a batch at a time and of one request at a time, and
book what came of the batch in the transaction that takes the entries out.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from sqlalchemy import Connection, Engine, func, insert, select, update

from techport_pilots.accounting.tally import Tally
from techport_pilots.registry.database import clean_text, reading
from techport_pilots.registry.tables import quarantine, replays
from techport_pilots.registry.versioning import lock
from techport_storage.clock import now
from techport_storage.model import Micros


class Replay(msgspec.Struct, frozen=True, kw_only=True):
    """One request, and what has come of it. All but `entries` and `waiting` are values."""

    id: int
    who: str
    entries: int  # that were marked
    waiting: int  # that no worker has taken yet
    stored: int = 0
    duplicates: int = 0  # values that were stored when the message first came
    refused: int = 0  # values that are set aside anew
    ignored: int = 0

    @property
    def at(self) -> Micros:
        """When it was asked for."""
        return self.id

    @property
    def done(self) -> bool:
        return not self.waiting


def begin(connection: Connection, who: str) -> int:
    """The number of a new request: the time in microseconds, and never one twice."""
    lock(connection)
    last = connection.execute(select(func.max(replays.c.id))).scalar()
    number = max(now(), (last or 0) + 1)
    connection.execute(insert(replays), {"id": number, "who": clean_text(who), "entries": 0})
    return number


def marked(connection: Connection, number: int, entries: int) -> None:
    """Note how many entries the request has marked."""
    connection.execute(update(replays).where(replays.c.id == number).values(entries=entries))


def note(connection: Connection, number: int, tallies: Iterable[Tally]) -> None:
    """Add what came of a batch of the request's messages."""
    total = Tally()
    for tally in tallies:
        total.add(tally)
    mine = replays.c
    connection.execute(
        update(replays)
        .where(mine.id == number)
        .values(
            stored=mine.stored + total.stored,
            duplicates=mine.duplicates + total.duplicates,
            refused=mine.refused + total.quarantined,
            ignored=mine.ignored + total.ignored,
        )
    )


def replay_of(engine: Engine, number: int) -> Replay | None:
    """The request of that number. May raise RegistryUnavailable."""
    still = select(func.count()).where(quarantine.c.replay_requested == number).scalar_subquery()
    c = replays.c
    query = select(c.id, c.who, c.entries, still, c.stored, c.duplicates, c.refused, c.ignored).where(c.id == number)
    with reading(engine) as connection:
        row = connection.execute(query).first()
    return None if row is None else Replay(**dict(zip(Replay.__struct_fields__, row, strict=True)))

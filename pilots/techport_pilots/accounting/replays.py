"""Reprocessing messages of the quarantine: who asked for it, how far it is, and the result.

A request marks entries with its number; ingest workers take them, a batch at a time and of one request at a time, and
count the result of the batch in the transaction that takes the entries out.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from techport_pilots.accounting.tally import Tally
from techport_pilots.registry.database import Database, Transaction, clean_text
from techport_pilots.registry.versioning import lock
from techport_storage.clock import now
from techport_storage.model import Micros

_ADD = (
    "UPDATE replays SET stored = stored + :stored, duplicates = duplicates + :duplicates,"
    " corrections = corrections + :corrections, refused = refused + :quarantined, ignored = ignored + :ignored"
    " WHERE id = :id"
)
_SELECT = (
    "SELECT id, who, entries, (SELECT count(*) FROM quarantine WHERE replay_requested = :id)"
    " + (SELECT count(*) FROM ignored_messages WHERE replay_requested = :id) AS waiting,"
    " stored, duplicates, corrections, refused AS rejected, ignored, pilot FROM replays WHERE id = :id"
)


class Replay(msgspec.Struct, frozen=True, kw_only=True):
    """One request, and its result so far. All but `entries` and `waiting` are values."""

    id: int
    who: str
    entries: int  # that were marked
    waiting: int  # that no worker has taken yet
    stored: int = 0
    duplicates: int = 0  # values that were stored when the message first came
    corrections: int = 0  # values that replaced other ones
    rejected: int = 0  # values that are in quarantine anew
    ignored: int = 0
    pilot: str | None = None  # whose messages alone were asked for

    @property
    def at(self) -> Micros:
        """When it was asked for."""
        return self.id

    @property
    def done(self) -> bool:
        return not self.waiting


def begin(transaction: Transaction, who: str, pilot: str | None) -> int:
    """The number of a new request: the time in microseconds, and never one twice."""
    lock(transaction)
    last = transaction.execute("SELECT max(id) FROM replays").scalar()
    number = max(now(), (last or 0) + 1)
    row = {"id": number, "who": clean_text(who), "pilot": pilot}
    transaction.execute("INSERT INTO replays (id, who, entries, pilot) VALUES (:id, :who, 0, :pilot)", row)
    return number


def marked(transaction: Transaction, number: int, entries: int) -> None:
    """Note how many entries the request has marked."""
    transaction.execute("UPDATE replays SET entries = :entries WHERE id = :id", {"id": number, "entries": entries})


def note(transaction: Transaction, number: int, tallies: Iterable[Tally]) -> None:
    """Add what came of a batch of the request's messages."""
    total = Tally()
    for tally in tallies:
        total.add(tally)
    transaction.execute(_ADD, {"id": number, **msgspec.structs.asdict(total)})


def replay_of(database: Database, number: int, pilot: str | None = None) -> Replay | None:
    """The request of that number, of that pilot where one is named. May raise RegistryUnavailable."""
    with database.reading() as transaction:
        row = transaction.execute(_SELECT, {"id": number}).first()
    return None if row is None or pilot not in (None, row.pilot) else Replay(**row._mapping)

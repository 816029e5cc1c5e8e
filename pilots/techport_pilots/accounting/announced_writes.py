"""What writers of the time-series store announce before they write it: see techport_storage.announcements.

One row for each batch that was about to be written, numbered by how many readings were announced up to it, so that old
ones are dropped by their number. Announcements stand in one order, in which every writer sees all before its own: they
are made one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from techport_pilots.errors import RegistryUnavailable
from techport_pilots.registry.database import Database, Transaction
from techport_storage.announcements import NO_PLACES, Announcement, Heard

log = structlog.get_logger(__name__)

KEPT = 500_000
"""Readings of which announcements are kept: a writer that has missed more asks the store anew."""

_LOCK = 0x7EC4_9048  # as the lock of migrations: any that nobody else takes
_ADD = (
    "INSERT INTO announced_writes (number, places)"
    " SELECT COALESCE(MAX(number), 0) + :rows, :places FROM announced_writes RETURNING number"
)
_ADD_EMPTY = "INSERT INTO announced_writes (number, places) VALUES (:number, :places)"
_BEHIND = "SELECT number, places FROM announced_writes WHERE number > :after AND number < :before ORDER BY number"
_IS_KEPT = "SELECT 1 FROM announced_writes WHERE number = :number"
_DROP = "DELETE FROM announced_writes WHERE number <= :number"
_ENDLESS = 2**63 - 1


class AnnouncedWrites:
    """Announcements in the registry's database. Safe to use from several threads."""

    def __init__(self, database: Database, kept: int = KEPT) -> None:
        self._database = database
        self._kept = kept

    def announce(self, places: bytes, rows: int, after: int | None) -> Heard:
        """See Announcements. Raises RegistryUnavailable: nothing was announced, or nothing follows from it."""
        with self._database.writing() as transaction:
            number = self._add(transaction, places, rows)
            complete = after is not None and transaction.execute(_IS_KEPT, {"number": after}).first() is not None
            limits = {"after": after if complete else -1, "before": number}
            others = [Announcement(*row) for row in transaction.execute(_BEHIND, limits)]
            transaction.execute(_DROP, {"number": number - self._kept})
        return Heard(number, complete, others)

    def since(self, number: int, places: bytes, rows: int) -> Sequence[Announcement] | None:
        """See Announcements."""
        try:
            with self._database.reading() as transaction:
                limits = {"after": number, "before": _ENDLESS}
                behind = [Announcement(*row) for row in transaction.execute(_BEHIND, limits)]
                # Asked last: while this one is there, none behind it was dropped.
                kept = transaction.execute(_IS_KEPT, {"number": number}).first() is not None
            if kept:
                return behind
            with self._database.writing() as transaction:
                self._add(transaction, places, rows)
        except RegistryUnavailable as error:
            log.info("cannot ask what other writers announced", reason=str(error))
        return None

    def _add(self, transaction: Transaction, places: bytes, rows: int) -> int:
        transaction.take_turns(_LOCK)
        number: int = transaction.execute(_ADD, {"places": places, "rows": rows}).scalar_one()
        return number


def forget(transaction: Transaction) -> None:
    """Drop what was announced. Writers ask the store anew; what is being written now is counted as after a crash."""
    transaction.take_turns(_LOCK)
    newest = transaction.execute("SELECT MAX(number) FROM announced_writes").scalar_one()
    if newest is not None:
        # Numbers go on, so that none that a writer has heard of comes again.
        transaction.execute(_DROP, {"number": newest})
        transaction.execute(_ADD_EMPTY, {"number": newest + 1, "places": NO_PLACES.encode()})

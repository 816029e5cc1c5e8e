"""Flags that are to be worked out anew: asked for by a command or a change of the pilot, done by the next round."""

from __future__ import annotations

import msgspec

from techport_pilots.definition.flag_rules import Window, windows_of_change
from techport_pilots.model import PilotDefinition
from techport_pilots.registry.database import Database, Transaction
from techport_storage.clock import now
from techport_storage.model import Micros

_ASK = 'INSERT INTO flag_requests (pilot, start, "end", asked) VALUES (:pilot, :start, :end, :asked) RETURNING id'
_WAITING = 'SELECT id, pilot, start, "end" FROM flag_requests WHERE done IS NULL ORDER BY id'
_DONE = "UPDATE flag_requests SET done = :done, changed = :changed WHERE id = :id"
_OUTCOME = "SELECT changed FROM flag_requests WHERE id = :id AND done IS NOT NULL"


class FlagRequest(msgspec.Struct, frozen=True):
    id: int
    pilot: str
    start: Micros | None
    end: Micros | None


class FlagRequests:
    """Every method may raise RegistryUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def ask(self, pilot: str, window: Window) -> int:
        """Ask for a window of a pilot; returns the request's number."""
        with self._database.writing() as transaction:
            return ask(transaction, pilot, window)

    def waiting(self) -> list[FlagRequest]:
        """What is not done yet, in order."""
        with self._database.reading() as transaction:
            return [FlagRequest(*row) for row in transaction.execute(_WAITING)]

    def done(self, request: int, changed: int) -> None:
        """Say that it is done, and how many rows got other flags."""
        with self._database.writing() as transaction:
            transaction.execute(_DONE, {"id": request, "done": now(), "changed": changed})

    def outcome(self, request: int) -> int | None:
        """How many rows got other flags; None while it is not done."""
        with self._database.reading() as transaction:
            return transaction.execute(_OUTCOME, {"id": request}).scalar()


def ask(transaction: Transaction, pilot: str, window: Window) -> int:
    """FlagRequests.ask within somebody's transaction."""
    row = {"pilot": pilot, "start": window[0], "end": window[1], "asked": now()}
    return int(transaction.execute(_ASK, row).scalar_one())


def ask_for_change(transaction: Transaction, before: PilotDefinition, after: PilotDefinition) -> None:
    """Ask for what another definition means for readings that are stored already."""
    for window in windows_of_change(before, after):
        ask(transaction, after.id, window)

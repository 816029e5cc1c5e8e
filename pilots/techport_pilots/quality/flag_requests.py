"""Flags that are to be worked out anew: asked for by a command or a change of the pilot, done by the next round."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from techport_pilots.model import PilotDefinition
from techport_pilots.quality.flags import Rules, moves_of
from techport_pilots.registry.database import Database, Transaction
from techport_pilots.time import micros_of
from techport_storage.clock import now
from techport_storage.model import Micros, Stream

Window = tuple[Micros | None, Micros | None]
"""[start, end) of what is concerned; None: without such an end."""

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
    for window in _windows(before, after):
        ask(transaction, after.id, window)


def _windows(before: PilotDefinition, after: PilotDefinition) -> Iterator[Window]:
    if _rules_differ(before, after):
        yield None, None
        return
    old, new = (_all_moves(pilot) for pilot in (before, after))
    if moved := old ^ new:
        yield min(time for _, time in moved), None
    changed = [one for one in before.exclusions if one not in after.exclusions]
    changed += [one for one in after.exclusions if one not in before.exclusions]
    for one in changed:
        yield micros_of(one.start, after.timezone), micros_of(one.end, after.timezone)


def _all_moves(pilot: PilotDefinition) -> set[tuple[tuple[str, str], Micros]]:
    return {(device, time) for device, times in moves_of(pilot).items() for time in times}


def _rules_differ(before: PilotDefinition, after: PilotDefinition) -> bool:
    old, new = Rules(before), Rules(after)
    streams = {Stream(p.id, d.id, s.quantity) for p in (before, after) for d in p.devices for s in d.streams}
    return any(old(stream) != new(stream) for stream in streams)

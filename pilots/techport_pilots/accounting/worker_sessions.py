"""The sessions that brokers keep for workers: under which client id, and whether one was ever lost.

A broker keeps acknowledged messages in the session of whoever connects under its client id. Somebody else who knows the
id takes them, and nothing in the ledger shows it: they never arrived. So each id has a part that cannot be guessed, and
what happens to the session is recorded:

- `lost`: the broker did not know a session that it had before. It was restarted without its persistence, was killed
  before it wrote it, kept it for its expiry time only, or somebody ended it.
- `taken-over`: another client connected under the same id. Two workers run under one name, or somebody knows the id.

In both cases acknowledged messages may be missing, which no sum can tell: the audit fails until an operator accepts it.
"""

from __future__ import annotations

import secrets
from typing import Literal

import msgspec

from techport_pilots.registry.database import Database
from techport_storage.clock import now

LossKind = Literal["lost", "taken-over"]

_READ = "SELECT client_id, previous, broker FROM worker_sessions WHERE worker = :worker"
_CREATE = "INSERT INTO worker_sessions (worker, client_id) VALUES (:worker, :client_id) ON CONFLICT DO NOTHING"
_LOSSES = "SELECT id, worker, at, kind, accepted_by, accepted_why FROM session_losses"


class WorkerSession(msgspec.Struct, frozen=True):
    """Under which client id the broker keeps a worker's messages."""

    client_id: str
    previous: str | None  # of a version that used the worker's name; to be emptied once
    broker: str | None  # where the session is known to stand


class SessionLoss(msgspec.Struct, frozen=True):
    """A moment since which acknowledged messages of a worker may be missing."""

    id: int
    worker: str
    at: int  # µs since the epoch
    kind: LossKind
    accepted_by: str | None = None
    accepted_why: str | None = None


_GROUP = "$share/"
"""Beginning of the names under which groups of workers are kept beside them."""


class WorkerSessions:
    """Every method may raise RegistryUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, worker: str) -> WorkerSession:
        """The worker's session, with a new client id when it has none."""
        existing = self.find(worker)
        if existing is not None:
            return existing
        with self._database.writing() as transaction:  # another process may be at it: the first id stays
            transaction.execute(_CREATE, {"worker": worker, "client_id": f"techport-{worker}-{secrets.token_hex(12)}"})
        created = self.find(worker)
        assert created is not None
        return created

    def group(self, share: str) -> str:
        """The name under which workers of a group share a subscription, the same for all of them.

        Nobody else can know it: a broker deals messages to whoever subscribes to the group, and a client that may not
        read them has them dropped.
        """
        return self.of(f"{_GROUP}{share}").client_id.removeprefix("techport-$share/")

    def find(self, worker: str) -> WorkerSession | None:
        """The session of a worker that has been here."""
        with self._database.reading() as transaction:
            row = transaction.execute(_READ, {"worker": worker}).first()
        return None if row is None else WorkerSession(row.client_id, row.previous, row.broker)

    def names(self) -> list[str]:
        """Workers that have been here."""
        with self._database.reading() as transaction:
            names = [row.worker for row in transaction.execute("SELECT worker FROM worker_sessions ORDER BY worker")]
        return [worker for worker in names if not worker.startswith(_GROUP)]

    def connected(self, worker: str, broker: str, resumed: bool) -> bool:
        """Note that the worker is connected to `broker` (an address); whether a session that stood there was lost."""
        session = self.of(worker)
        lost = session.broker == broker and not resumed
        if lost:
            self.report(worker, "lost")
        if session.broker != broker:
            with self._database.writing() as transaction:
                statement = "UPDATE worker_sessions SET broker = :broker WHERE worker = :worker"
                transaction.execute(statement, {"worker": worker, "broker": broker})
        return lost

    def report(self, worker: str, kind: LossKind) -> None:
        """Record that acknowledged messages may be missing from now on."""
        row = {"worker": worker, "at": now(), "kind": kind}
        with self._database.writing() as transaction:
            transaction.execute("INSERT INTO session_losses (worker, at, kind) VALUES (:worker, :at, :kind)", row)

    def emptied(self, worker: str) -> None:
        """Note that nothing is left of the session under the previous client id."""
        with self._database.writing() as transaction:
            transaction.execute("UPDATE worker_sessions SET previous = NULL WHERE worker = :worker", {"worker": worker})

    def removed(self, worker: str) -> None:
        """Note that the worker's session is gone for good: it left."""
        with self._database.writing() as transaction:
            transaction.execute("DELETE FROM worker_sessions WHERE worker = :worker", {"worker": worker})

    def losses(self) -> list[SessionLoss]:
        """Every loss, the oldest first, accepted ones too."""
        with self._database.reading() as transaction:
            return [SessionLoss(*row) for row in transaction.execute(f"{_LOSSES} ORDER BY id")]

    def accept(self, who: str, why: str) -> int:
        """Accept the losses so far, after having looked into them; how many there were."""
        statement = "UPDATE session_losses SET accepted_by = :who, accepted_why = :why WHERE accepted_by IS NULL"
        with self._database.writing() as transaction:
            return transaction.execute(statement, {"who": who, "why": why}).rowcount

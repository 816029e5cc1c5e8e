"""Work that one process does for all of them, whichever comes first and as long as it goes on."""

from __future__ import annotations

from techport_pilots.registry.database import Database
from techport_pilots.registry.versioning import lock
from techport_storage.clock import now

_FREE = "DELETE FROM leases WHERE task = :task AND (worker = :worker OR until < :now)"
_RELEASE = "DELETE FROM leases WHERE task = :task AND worker = :worker"
_HELD = "SELECT count(*) FROM leases WHERE task = :task AND until >= :now"
_ACQUIRE = "INSERT INTO leases (task, worker, until) VALUES (:task, :worker, :until) ON CONFLICT DO NOTHING"


class Leases:
    """Every method may raise RegistryUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def acquire(self, task: str, worker: str, seconds: float) -> bool:
        """Whether the lease is this worker's for the next seconds. It is another's until that one stops taking it."""
        at = now()
        with self._database.writing() as transaction:
            lock(transaction)
            transaction.execute(_FREE, {"task": task, "worker": worker, "now": at})
            row = {"task": task, "worker": worker, "until": at + int(seconds * 1e6)}
            return transaction.execute(_ACQUIRE, row).rowcount == 1

    def is_held(self, task: str) -> bool:
        """Whether somebody has the lease."""
        with self._database.reading() as transaction:
            return bool(transaction.execute(_HELD, {"task": task, "now": now()}).scalar_one())

    def release(self, task: str, worker: str) -> None:
        """Let others take the lease at once."""
        with self._database.writing() as transaction:
            transaction.execute(_RELEASE, {"task": task, "worker": worker})

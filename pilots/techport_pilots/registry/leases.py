"""Work that one process does for all of them, whichever comes first and as long as it goes on."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from techport_pilots.errors import RegistryUnavailable
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


class Turn:
    """What one thread of one process does at a time, of all processes. May be taken again by the thread that has it.

    Of a process that was killed others take it over after `seconds`; while it lives it keeps it.
    """

    def __init__(self, database: Database, task: str, seconds: float = 30.0) -> None:
        self._leases = Leases(database)
        self._task = task
        self._seconds = seconds
        self._within = threading.RLock()
        self._depth = 0

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Wait for the turn. Raises RegistryUnavailable."""
        with self._within:
            if self._depth:
                yield
                return
            worker = uuid.uuid4().hex
            while not self._leases.acquire(self._task, worker, self._seconds):
                time.sleep(0.05)
            ended = threading.Event()
            keeper = threading.Thread(target=self._keep, args=(worker, ended), name=f"turn-{self._task}", daemon=True)
            keeper.start()
            self._depth = 1
            try:
                yield
            finally:
                self._depth = 0
                ended.set()
                keeper.join()
                with suppress(RegistryUnavailable):  # it runs out by itself
                    self._leases.release(self._task, worker)

    def _keep(self, worker: str, ended: threading.Event) -> None:
        while not ended.wait(self._seconds / 3):
            with suppress(RegistryUnavailable):
                self._leases.acquire(self._task, worker, self._seconds)

"""Work that outlasts a request, as every process sees it: how far it is, what it came to, and whether it goes on.

The process that works at a job says so every second. Of one that has not been heard of for LOST the job has failed:
nothing depends on its being taken up, since beginning the same work again goes on where it stopped.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from techport_pilots.registry.database import Database
from techport_storage.clock import now
from techport_storage.microseconds import DAY, SECOND
from techport_storage.model import Micros

Kind = Literal["close", "open", "forget", "erase"]

LOST: Micros = 30 * SECOND
KEPT: Micros = DAY
"""How long a job that is over is known. What it did stands in other tables."""
_ENDED = "The process that worked at it ended before it was done. Begin it again: it goes on where it stopped."

_BEGIN = (
    "INSERT INTO jobs (id, kind, about, state, step, done, total, begun, worker, seen)"
    " VALUES (:id, :kind, :about, :state, :step, :done, :total, :begun, :worker, :seen) ON CONFLICT DO NOTHING"
)
_GIVE_UP = (
    "UPDATE jobs SET state = 'failed', ended = seen, problem = :problem"
    " WHERE kind = :kind AND about = :about AND state = 'running' AND seen < :lost"
)
_NOTE = (
    "UPDATE jobs SET state = :state, step = :step, done = :done, total = :total, ended = :ended, problem = :problem,"
    " result = :result, seen = :seen WHERE id = :id AND worker = :worker AND state = 'running'"
)
_FIND = "SELECT id, kind, about, state, step, done, total, begun, ended, problem, result, seen FROM jobs"
_RUNNING = f"{_FIND} WHERE kind = :kind AND about = :about AND state = 'running'"
_LATEST = f"{_FIND} WHERE kind = :kind AND about = :about ORDER BY begun DESC, id LIMIT 1"


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """How far it is. `result` is what it came to, `problem` why it came to nothing."""

    id: str
    kind: Kind
    about: str  # a pilot's id, a file
    state: Literal["running", "done", "failed"] = "running"
    step: str = ""
    done: int = 0
    total: int = 0  # 0: not known
    begun: Micros
    ended: Micros | None = None
    problem: str | None = None
    result: dict[str, object] | None = None


class JobLog:
    """The jobs of all processes. Every method may raise RegistryUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, job: Job, worker: str) -> Job:
        """The job, now the worker's; or the same one that runs already, here or in another process."""
        of = {"kind": job.kind, "about": job.about}
        while True:
            at = now()
            with self._database.writing() as transaction:
                transaction.execute(_GIVE_UP, {**of, "problem": _ENDED, "lost": at - LOST})
                row = {**msgspec.structs.asdict(job), "worker": worker, "seen": at}
                if transaction.execute(_BEGIN, row).rowcount == 1:
                    return job
                running = transaction.execute(_RUNNING, of).one_or_none()  # None: it ended at this moment
            if running is not None:
                return _job(running, at)

    def note(self, job: Job, worker: str) -> bool:
        """Record how far the job is. False where the worker has lost it, having reported nothing for too long."""
        row = {**msgspec.structs.asdict(job), "worker": worker, "seen": now()}
        row["result"] = None if job.result is None else msgspec.json.encode(job.result).decode()
        with self._database.writing() as transaction:
            return transaction.execute(_NOTE, row).rowcount == 1

    def find(self, job_id: str) -> Job | None:
        with self._database.reading() as transaction:
            row = transaction.execute(f"{_FIND} WHERE id = :id", {"id": job_id}).one_or_none()
        return None if row is None else _job(row, now())

    def latest(self, kind: Kind, about: str) -> Job | None:
        """The newest job of that kind about that pilot or file."""
        with self._database.reading() as transaction:
            row = transaction.execute(_LATEST, {"kind": kind, "about": about}).one_or_none()
        return None if row is None else _job(row, now())


def forget_jobs(database: Database, before: Micros) -> None:
    """Forget jobs that were over, or were not heard of any more, before this time. Raises RegistryUnavailable."""
    with database.writing() as transaction:
        transaction.execute("DELETE FROM jobs WHERE seen < :before", {"before": before})


def _job(row: Any, at: Micros) -> Job:
    """What the row says, and that it failed where nobody is at it any more."""
    columns = dict(row._mapping)
    seen = columns.pop("seen")
    columns["result"] = None if row.result is None else msgspec.json.decode(row.result)
    job = Job(**columns)
    if job.state == "running" and seen < at - LOST:
        return msgspec.structs.replace(job, state="failed", ended=seen, problem=_ENDED)
    return job

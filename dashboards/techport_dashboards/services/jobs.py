"""Work that outlasts a request: closing a pilot, opening a package, forgetting. One at a time, watched meanwhile.

    POST ─► 202 with the job ─► GET /api/v1/jobs/{id} until its state is not `running`

A job runs in a thread of the process that was asked. The registry says how far it is, so every process can tell, and
that it failed where its process was killed.
"""

from __future__ import annotations

import logging
import secrets
import threading
import uuid
from collections.abc import Callable

import msgspec

from techport_pilots.errors import PilotsError, RegistryUnavailable
from techport_pilots.handover.package import Progress
from techport_pilots.registry.database import Database
from techport_pilots.registry.jobs import Job, JobLog, Kind
from techport_storage import clock
from techport_storage.errors import StoreError

__all__ = ["Job", "Jobs", "Kind"]
log = logging.getLogger(__name__)

PATIENCE_S = 60.0
BEAT_S = 1.0
"""How often the registry is told how far a job is."""


class Stopped(Exception):
    """The process ends, or was taken for dead; what was begun can be begun again."""


class Jobs:
    """Starts work in threads of its own and tells how far it is. Safe to use from several threads.

    `start`, `get` and `latest` may raise RegistryUnavailable. Work that is under way goes on without the registry, and
    says what it came to when that is back.
    """

    def __init__(self, database: Database) -> None:
        self._log = JobLog(database)
        self._worker = f"web-{secrets.token_hex(8)}"
        self._own: dict[str, Job] = {}  # of this process, until the registry knows what they came to
        self._lost: set[str] = set()
        self._threads: list[threading.Thread] = []
        self._keeper: threading.Thread | None = None
        self._wake = threading.Event()
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        self._stopping = False

    def start(self, kind: Kind, about: str, work: Callable[[Progress], object]) -> Job:
        """Begin the work; the same that runs already is not begun twice. Its errors are the job's, not the caller's."""
        asked = Job(id=uuid.uuid4().hex[:16], kind=kind, about=about, begun=clock.now())
        job = self._log.begin(asked, self._worker)
        if job.id != asked.id:
            return job
        with self._lock:
            self._own[job.id] = job
            self._threads = [entry for entry in self._threads if entry.is_alive()]
            thread = threading.Thread(target=self._run, args=(job.id, work), name=f"{kind} {about}", daemon=True)
            self._threads.append(thread)
            if self._keeper is None or not self._keeper.is_alive():
                self._keeper = threading.Thread(target=self._keep, name="jobs", daemon=True)
                self._keeper.start()
        thread.start()
        return job

    def get(self, job_id: str) -> Job | None:
        """The job, of whichever process it is."""
        with self._lock:
            own = self._own.get(job_id)
        return self._log.find(job_id) if own is None else own

    def latest(self, kind: Kind, about: str) -> Job | None:
        """The newest job of that kind about that pilot or file."""
        newest = self._log.latest(kind, about)
        if newest is None:
            return None
        with self._lock:
            return self._own.get(newest.id, newest)

    def close(self) -> None:
        """Let jobs stop at their next step, and wait for them: their stores are closed after this."""
        self._stopping = True
        for thread in self._threads:
            thread.join(PATIENCE_S)
        self._wake.set()
        keeper = self._keeper
        if keeper is not None:
            keeper.join(PATIENCE_S)

    def _run(self, job_id: str, work: Callable[[Progress], object]) -> None:
        def progress(step: str, done: int, total: int) -> None:
            if self._stopping or job_id in self._lost:
                raise Stopped
            self._change(job_id, step=step, done=done, total=total)

        try:
            with self._turn:
                progress("", 0, 0)
                result = work(progress)
            self._change(job_id, state="done", ended=clock.now(), result=msgspec.to_builtins(result))
        except Stopped:
            self._fail(job_id, "The platform was stopped. Begin it again.")
        except (PilotsError, StoreError, OSError) as error:
            self._fail(job_id, str(error))
        except Exception:  # the loop that supervises: a job must not run for ever because its thread is gone
            log.exception("a job failed", extra={"job": job_id})
            self._fail(job_id, "Something went wrong here; the server's log has the details.")
        self._wake.set()

    def _fail(self, job_id: str, problem: str) -> None:
        self._change(job_id, state="failed", ended=clock.now(), problem=problem)

    def _change(self, job_id: str, **fields: object) -> None:
        with self._lock:
            self._own[job_id] = msgspec.structs.replace(self._own[job_id], **fields)

    def _keep(self) -> None:
        """Tell the registry of all jobs of this process, for as long as there are any."""
        while True:
            self._wake.wait(BEAT_S)
            self._wake.clear()
            with self._lock:
                jobs = list(self._own.values())
            reached = [self._tell(job) for job in jobs]
            with self._lock:
                if not self._own or (self._stopping and not all(reached) and not self._runs()):
                    self._keeper = None
                    return

    def _runs(self) -> bool:
        return any(job.state == "running" for job in self._own.values())

    def _tell(self, job: Job) -> bool:
        """Whether the registry could be told."""
        try:
            is_ours = self._log.note(job, self._worker)
        except RegistryUnavailable as error:
            log.warning("how far a job is cannot be recorded", extra={"job": job.id, "problem": str(error)})
            return False
        if job.state != "running":
            with self._lock:
                del self._own[job.id]
                self._lost.discard(job.id)
        elif not is_ours:
            self._lost.add(job.id)
        return True

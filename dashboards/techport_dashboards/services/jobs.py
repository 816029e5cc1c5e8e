"""Work that outlasts a request: closing a pilot, opening a package, forgetting. One at a time, watched meanwhile.

    POST ─► 202 with the job ─► GET /api/v1/jobs/{id} until its state is not `running`

Jobs are of this process and forgotten with it. What they did stands in the registry, and each may be begun again.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable
from typing import Literal

import msgspec

from techport_pilots.errors import PilotsError
from techport_pilots.handover.package import Progress
from techport_storage import clock
from techport_storage.errors import StoreError
from techport_storage.model import Micros

log = logging.getLogger(__name__)

Kind = Literal["close", "open", "forget", "erase"]
KEPT = 100  # jobs that are over
PATIENCE_S = 60.0


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


class Stopped(Exception):
    """The process ends; what was begun can be begun again."""


class Jobs:
    """Starts work in threads of its own and tells how far it is. Safe to use from several threads."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        self._stopping = False

    def start(self, kind: Kind, about: str, work: Callable[[Progress], object]) -> Job:
        """Begin the work; the same that runs already is not begun twice. Its errors are the job's, not the caller's."""
        with self._lock:
            if (running := self._running(kind, about)) is not None:
                return running
            job = Job(id=uuid.uuid4().hex[:16], kind=kind, about=about, begun=clock.now())
            for over in [entry.id for entry in self._jobs.values() if entry.state != "running"][:-KEPT]:
                del self._jobs[over]
            self._jobs[job.id] = job
            self._threads = [entry for entry in self._threads if entry.is_alive()]
            thread = threading.Thread(target=self._run, args=(job.id, work), name=f"{kind} {about}", daemon=True)
            self._threads.append(thread)
        thread.start()
        return job

    def get(self, job_id: str) -> Job | None:
        with self._lock:
            return self._jobs.get(job_id)

    def latest(self, kind: Kind, about: str) -> Job | None:
        """The newest job of that kind about that pilot or file."""
        with self._lock:
            return next(
                (
                    candidate
                    for candidate in reversed(self._jobs.values())
                    if (candidate.kind, candidate.about) == (kind, about)
                ),
                None,
            )

    def close(self) -> None:
        """Let jobs stop at their next step, and wait for them: their stores are closed after this."""
        self._stopping = True
        for thread in self._threads:
            thread.join(PATIENCE_S)

    def _running(self, kind: Kind, about: str) -> Job | None:
        candidates = (
            candidate for candidate in self._jobs.values() if (candidate.kind, candidate.about) == (kind, about)
        )
        return next((candidate for candidate in candidates if candidate.state == "running"), None)

    def _run(self, job_id: str, work: Callable[[Progress], object]) -> None:
        def progress(step: str, done: int, total: int) -> None:
            if self._stopping:
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

    def _fail(self, job_id: str, problem: str) -> None:
        self._change(job_id, state="failed", ended=clock.now(), problem=problem)

    def _change(self, job_id: str, **fields: object) -> None:
        with self._lock:
            self._jobs[job_id] = msgspec.structs.replace(self._jobs[job_id], **fields)

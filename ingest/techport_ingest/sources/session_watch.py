"""Records what becomes of a worker's session at its broker, so that a lost one is noticed (worker_sessions.py)."""

from __future__ import annotations

from typing import Literal

import structlog
from prometheus_client import CollectorRegistry, Counter

from techport_pilots.accounting.worker_sessions import WorkerSessions
from techport_pilots.errors import RegistryUnavailable

SessionEvent = Literal["resumed", "new", "taken-over"]
"""What the broker says of our session: it knew it, it did not, another client has connected under our client id."""

log = structlog.get_logger(__name__)


class SessionWatch:
    """For a source: called with each event, in the pipeline's thread."""

    def __init__(self, sessions: WorkerSessions, worker: str, broker: str, registry: CollectorRegistry) -> None:
        """`broker` is the address at which the session stands."""
        self._sessions = sessions
        self._worker = worker
        self._broker = broker
        self._losses = Counter(
            "techport_ingest_session_losses",
            "Times that this worker's session was lost or taken over: acknowledged messages may be missing",
            ["kind"],
            registry=registry,
        )

    def __call__(self, event: SessionEvent) -> bool:
        """Whether the event is recorded; False while the registry is away."""
        try:
            if event == "taken-over":
                self._sessions.report(self._worker, "taken-over")
                self._alarm("taken-over", "another client connected under this worker's client id")
            elif self._sessions.connected(self._worker, self._broker, resumed=event == "resumed"):
                self._alarm("lost", "the broker no longer knew this worker's session")
        except RegistryUnavailable as error:
            log.warning("what became of the session is noted later", event_of_session=event, problem=str(error))
            return False
        return True

    def _alarm(self, kind: str, event: str) -> None:
        self._losses.labels(kind).inc()
        log.error(
            f"{event}: acknowledged messages may be missing",
            worker=self._worker,
            broker=self._broker,
            remedy="see docs/operations.md, Sessions; `techport audit` fails until the loss is accepted",
        )

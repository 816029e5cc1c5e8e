"""What follows a commit, in this order: the commit log, devices that moved, metrics, notices, watched devices.

None of it is part of the guarantee: the batch is durable before the first of them is called. Those that write to the
registry wait for it like every other step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec
import structlog

from techport_ingest.after.booking import BatchAccounting
from techport_ingest.after.commit_log import CommitRecorder
from techport_ingest.after.intervals import IntervalLearner
from techport_ingest.after.message_tap import tapped_messages
from techport_ingest.after.notices import Notices, Publish
from techport_ingest.after.relocation import RelocationDetector
from techport_ingest.message import Message
from techport_ingest.metrics import Metrics
from techport_ingest.registry_cache import IngestRegistry
from techport_ingest.retrying import Retrier
from techport_pilots.accounting.commit_log import CommitLog
from techport_pilots.accounting.message_tap import MessageTap
from techport_pilots.accounting.tally import DeviceDay, QuarantineEntry, Tally
from techport_pilots.registry.intervals import LearnedInterval
from techport_pilots.registry.view import IngestView
from techport_storage.model import Micros, Receipt

log = structlog.get_logger(__name__)


class CommittedBatch(msgspec.Struct, frozen=True):
    """A batch whose readings, accounting and quarantine entries are durable."""

    messages: Sequence[Message]
    accounting: BatchAccounting
    view: IngestView  # of the registry, that the batch was read with
    receipt: Receipt  # what the store did with each row
    tallies: Mapping[DeviceDay, Tally]
    quarantined: Sequence[QuarantineEntry]
    committed: Micros
    seconds: float  # from the first look at the batch until it was durable
    reprocessed: bool  # reprocessed from quarantine


class FollowUp(Protocol):
    """One thing that is done after each commit."""

    def committed(self, batch: CommittedBatch) -> None: ...

    def refresh(self) -> None:
        """Called about once a second, between batches."""


class LogCommits:
    """Keeps in the registry when which messages became visible, gathered for about a second."""

    def __init__(self, worker: str, commit_log: CommitLog, retrier: Retrier) -> None:
        self._recorder = CommitRecorder(worker)
        self._log = commit_log
        self._retrier = retrier

    def committed(self, batch: CommittedBatch) -> None:
        self._recorder.add(batch.messages, batch.tallies, batch.committed, batch.reprocessed)

    def refresh(self) -> None:
        if spans := self._recorder.take():
            self._retrier.call("registry", self._log.note, spans)

    def close(self) -> None:
        """Write what is left, without waiting for the registry. May raise RegistryUnavailable."""
        self._log.note(self._recorder.take())


class NoteRelocations:
    """Tells the registry of devices that report from another place."""

    def __init__(self, registry: IngestRegistry, retrier: Retrier) -> None:
        self._detector = RelocationDetector()
        self._registry = registry
        self._retrier = retrier

    def committed(self, batch: CommittedBatch) -> None:
        for relocation in self._detector.of(batch.accounting.batch, batch.view):
            if self._retrier.call("registry", self._registry.note_move, *relocation):
                log.info("a device says that it has moved", pilot=relocation.pilot, device=relocation.device)

    def refresh(self) -> None:
        pass


class LearnIntervals:
    """Tells the registry how often streams come of which no definition says it, gathered for about a second."""

    def __init__(self, registry: IngestRegistry, retrier: Retrier) -> None:
        self._learner = IntervalLearner()
        self._registry = registry
        self._retrier = retrier
        self._learned: list[LearnedInterval] = []

    def committed(self, batch: CommittedBatch) -> None:
        if not batch.reprocessed and len(batch.accounting.batch):
            self._learned += self._learner.learn(batch.accounting.batch, batch.view)

    def refresh(self) -> None:
        if self._learned:
            self._retrier.call("registry", self._registry.note_intervals, self._learned)
            self._learned = []


class CountBatches:
    """Counts at /metrics."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def committed(self, batch: CommittedBatch) -> None:
        total = Tally()
        for tally in batch.tallies.values():
            total.add(tally)
        reasons = [entry.reason for entry in batch.quarantined]
        self._metrics.count(len(batch.messages), total, reasons, batch.seconds)
        self._metrics.count_ignored((passed.rule, passed.values) for passed in batch.accounting.columns.ignored)

    def refresh(self) -> None:
        pass


class NotifyDevices:
    """Publishes to devices why their messages went to quarantine; once, not again when they are reprocessed."""

    def __init__(self, publish: Publish) -> None:
        self._notices = Notices(publish)

    def committed(self, batch: CommittedBatch) -> None:
        if not batch.reprocessed:
            self._notices.about(batch.quarantined)

    def refresh(self) -> None:
        pass


class TapMessages:
    """Keeps the messages of watched devices, with their outcome."""

    def __init__(self, worker: str, tap: MessageTap, retrier: Retrier) -> None:
        self._worker = worker
        self._tap = tap
        self._retrier = retrier
        self._devices: frozenset[tuple[str, str]] = frozenset()

    def committed(self, batch: CommittedBatch) -> None:
        if not self._devices:
            return
        tapped = tapped_messages(batch.accounting, batch.receipt, self._devices, self._worker, batch.committed)
        if tapped:
            self._retrier.call("registry", self._tap.record, tapped)

    def refresh(self) -> None:
        self._devices = self._retrier.call("registry", self._tap.current)

"""A message's way from the broker to the store. The whole of it is `Pipeline.run`.

Two kinds of error exist. What can *never* be stored is set aside with its reason, durably, and then settled. What
cannot be stored *now* (the store or the books are away) is kept and tried again, and nothing is settled meanwhile:
the broker holds the queue, memory is bounded by the source's window, and `health()` shows the lag. Everything else is
a bug: the loop logs it, keeps the batch and tries again.
"""

from __future__ import annotations

import contextlib
import logging
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import ParamSpec, TypeVar

import msgspec
import structlog

from techport_ingest.after.booking import BatchAccounting, count_rows
from techport_ingest.after.commit_log import CommitRecorder
from techport_ingest.after.message_tap import tapped_messages
from techport_ingest.after.notices import Notices, Tell
from techport_ingest.after.relocation import RelocationDetector
from techport_ingest.decoding.decoder import Decoder
from techport_ingest.decoding.reader import Reader
from techport_ingest.message import Message
from techport_ingest.metrics import Metrics
from techport_ingest.registry_cache import IngestRegistry, IngestViewCache
from techport_ingest.source import Source
from techport_pilots.accounting.commit_log import CommitLog
from techport_pilots.accounting.ledger import Ledger
from techport_pilots.accounting.message_tap import MessageTap
from techport_pilots.accounting.quarantine import Quarantine
from techport_pilots.accounting.tally import Tally
from techport_pilots.errors import RegistryUnavailable
from techport_pilots.registry.view import IngestView
from techport_storage.clock import now
from techport_storage.errors import StoreBusy, StoreUnavailable
from techport_storage.model import Micros, Receipt
from techport_storage.store import ReadingStore

log = structlog.get_logger(__name__)

P = ParamSpec("P")
T = TypeVar("T")


LOOK_AROUND = 1.0
"""Seconds between two looks at what else there is to do."""

EXPIRY = 3600.0
"""Seconds between two rounds through the quarantine for what has expired."""


class PipelineSettings(msgspec.Struct, frozen=True, kw_only=True):
    worker: str = "ingest"  # its name in the books; no two workers share one
    linger: float = 0.02  # seconds that a batch waits for company
    longest_wait: float = 10.0  # seconds between two attempts at a store that is away, at most


class Health(msgspec.Struct, frozen=True):
    """One look at a pipeline."""

    connected: bool
    last_commit: Micros | None  # None: nothing was settled since the start
    lag_seconds: float  # age of the oldest message that the pipeline holds
    store_error: str | None  # why the store or the books do not take the batch, while they do not


class Stopped(Exception):
    """The pipeline was asked to stop while it waited for the store. What it holds is not settled and comes again."""


class Pipeline:
    """One worker. `run` in a thread of its own, `stop` and `health` from any thread."""

    def __init__(
        self,
        source: Source,
        registry: IngestRegistry,
        books: Ledger,
        store: ReadingStore,
        metrics: Metrics,
        settings: PipelineSettings | None = None,
        decoders: Mapping[str, Decoder] | None = None,
        tell: Tell | None = None,
    ) -> None:
        """`tell` publishes to devices what was wrong with their messages."""
        self._source = source
        self._registry = registry
        self._quarantine = Quarantine(registry.database)
        self._message_tap = MessageTap(registry.database)
        self._commit_log = CommitLog(registry.database)
        self._snapshots = IngestViewCache(registry)
        self._books = books
        self._store = store
        self._metrics = metrics
        self._settings = settings or PipelineSettings()
        self._reader = Reader(decoders)
        self._snapshot = IngestView(-1, {})  # that the batch was read with
        self._moves = RelocationDetector()
        self._notices = Notices(tell) if tell is not None else None
        self._watched: frozenset[tuple[str, str]] = frozenset()
        self._passing = CommitRecorder(self._settings.worker)
        self._next_look = 0.0
        self._next_expiry = 0.0
        self._listening: tuple[str, ...] = ()
        self._stopping = threading.Event()
        self._unsettled: list[Message] = []
        self._last_commit: Micros | None = None
        self._store_error: str | None = None
        self._waits_for: str | None = None  # the step that had to wait first
        self._away_since = 0.0  # monotonic s
        self._waits = 0
        self._to_reconcile = True
        metrics.lag.set_function(lambda: self.health().lag_seconds)
        metrics.connected.set_function(lambda: float(self._source.connected))

    def run(self) -> None:
        """Receive, keep (decode and check, write, book), settle: until `stop`."""
        while not self._stopping.is_set():
            try:
                self._unsettled = self._unsettled or self._receive()
                self._keep(self._unsettled)
                self._source.ack(self._unsettled)
                self._unsettled = []
            except Stopped:
                break
            except Exception:  # the supervising loop
                log.exception("the batch failed and is tried again", messages=len(self._unsettled))
                self._metrics.restarts.inc()
                self._to_reconcile = True
                self._stopping.wait(1.0)
        with contextlib.suppress(RegistryUnavailable):  # a second's lines are worth no waiting
            self._commit_log.note(self._passing.take())

    def stop(self) -> None:
        """Let `run` return after the batch it is at; what is not settled by then comes again."""
        self._stopping.set()

    @property
    def listening(self) -> tuple[str, ...]:
        """The topic filters that were asked of the source; () until the first look at the registry."""
        return self._listening

    def health(self) -> Health:
        held = self._unsettled
        lag = max(0.0, (now() - held[0].received) / 1e6) if held else 0.0
        return Health(self._source.connected, self._last_commit, lag, self._store_error)

    # -- receive ---------------------------------------------------------------------------------------------------

    def _receive(self) -> list[Message]:
        """What has arrived, and what comes within `linger`. While a batch is written the next one grows by itself."""
        while not self._stopping.is_set():
            self._look_around()
            messages = self._source.receive(timeout=0.5)
            if messages:
                time.sleep(self._settings.linger)
                return messages + self._source.receive(timeout=0)
            if self._to_reconcile:
                self._persist("reconcile", self._reconcile)
        raise Stopped

    # -- decode and check ------------------------------------------------------------------------------------------

    def _check(self, messages: Sequence[Message]) -> BatchAccounting:
        snapshot = self._persist("registry", self._snapshots.current)
        self._follow(snapshot)
        columns = self._reader.read(messages, snapshot)
        if columns.strangers and (newer := self._persist("registry", self._snapshots.newer)) is not None:
            self._follow(newer)
            snapshot = newer
            columns = self._reader.read(messages, newer)  # their pilot may have been imported this very second
        self._snapshot = snapshot
        return BatchAccounting(columns)

    def _follow(self, snapshot: IngestView) -> None:
        """Listen to the topics that the pilots name."""
        topics = self._reader.use(snapshot)
        if topics is not None:
            self._source.subscribe(topics, self._reader.described)
            self._listening = topics

    # -- write -----------------------------------------------------------------------------------------------------

    def _keep(self, messages: Sequence[Message], replayed: Sequence[int] = ()) -> None:
        """Store the good values and book them together with what is set aside. Returns when all of it is durable."""
        started = time.perf_counter()
        account = self._check(messages)
        if self._to_reconcile:
            self._persist("reconcile", self._reconcile)
        worker = self._settings.worker
        self._persist("books", self._books.open_batch, worker, account.device_days)
        receipt = self._write(account)
        tallies, set_aside = account.close(receipt)
        if replayed:
            for tally in tallies.values():
                tally.messages = 0  # counted when they came
        if account.undescribed:
            self._persist("registry", self._registry.note_streams, account.undescribed)  # a set: again is harmless
        self._persist("books", self._books.close_batch, worker, tallies, set_aside, account.remarks(replayed))
        self._last_commit = now()
        self._passing.add(messages, tallies, self._last_commit, bool(replayed))
        for move in self._moves.of(account.batch, self._snapshot):
            if self._persist("registry", self._registry.note_move, *move):
                log.info("a device says that it has moved", pilot=move.pilot, device=move.device)
        total = Tally()
        for tally in tallies.values():
            total.add(tally)
        self._metrics.count(len(messages), total, [entry.reason for entry in set_aside], time.perf_counter() - started)
        self._metrics.count_ignored(passed.rule for passed in account.columns.ignored)
        if self._notices is not None and not replayed:
            self._notices.about(set_aside)
        if self._watched and (seen := tapped_messages(account, receipt, self._watched, worker, self._last_commit)):
            self._persist("registry", self._message_tap.record, seen)

    def _write(self, account: BatchAccounting) -> Receipt:
        if not len(account.batch):
            return Receipt(0)
        while True:
            try:
                receipt = self._store.write(account.batch)
                self._works_again("store")
                return receipt
            except StoreUnavailable as error:
                # It may have happened all the same, so the rows are counted before the batch is opened once more.
                self._wait_for("store", error)
                self._persist("reconcile", self._reconcile)
                self._persist("books", self._books.open_batch, self._settings.worker, account.device_days)

    def _reconcile(self) -> None:
        """Book what a batch that was cut short has left in the store."""
        worker = self._settings.worker
        interrupted = self._books.interrupted(worker)
        left = interrupted and self._books.reconcile(worker, count_rows(self._store, interrupted))
        self._to_reconcile = bool(
            left
        )  # those that another worker is writing to at this moment wait for the next pause

    # -- beside the messages ---------------------------------------------------------------------------------------

    def _look_around(self) -> None:
        """Once a second: which topics the pilots want, which devices are watched, and what is to be taken again."""
        if time.monotonic() < self._next_look:
            return
        self._follow(self._persist("registry", self._snapshots.current))
        self._watched = self._persist("registry", self._message_tap.current)
        if passed := self._passing.take():
            self._persist("registry", self._commit_log.note, passed)
        entries = self._persist("registry", self._quarantine.take_replays, self._settings.worker)
        if entries:
            messages = {
                (e.topic, e.payload, e.received): Message(e.topic, e.payload, e.received, id=-1) for e in entries
            }
            self._keep(list(messages.values()), [entry.id for entry in entries])
            log.info("took messages again from quarantine", messages=len(messages), entries=len(entries))
        self._next_look = time.monotonic() + LOOK_AROUND
        if time.monotonic() >= self._next_expiry:
            self._persist("registry", self._expire)
            self._next_expiry = time.monotonic() + EXPIRY

    def _expire(self) -> None:
        """Delete what has been in quarantine for longer than its pilot says."""
        for pilot in self._snapshots.current().pilots.values():
            if pilot.quarantine is not None:
                gone = self._quarantine.expire(now() - pilot.quarantine, pilot.id)
                if gone:
                    log.info("entries of the quarantine expired", pilot=pilot.id, entries=gone)

    # -- patience --------------------------------------------------------------------------------------------------

    def _persist(self, step: str, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of `call`, however long the store or the books are away. Raises Stopped when asked to stop
        meanwhile.
        """
        while True:
            try:
                result = call(*args, **kwargs)
                self._works_again(step)
                return result
            except (StoreUnavailable, RegistryUnavailable) as error:
                self._wait_for(step, error)

    def _works_again(self, step: str) -> None:
        """A full disk is read from while it cannot be written to: the step that had to wait first ends the wait."""
        if step == self._waits_for:
            log.info("stores again", step=step, after_seconds=round(time.monotonic() - self._away_since, 1))
            self._waits_for = self._store_error = None

    def _wait_for(self, step: str, error: Exception) -> None:
        """Sleep before the next attempt: longer each time, with jitter. Raises Stopped when asked to stop."""
        if self._waits_for is None:
            self._waits_for, self._waits, self._away_since = step, 0, time.monotonic()
            level = logging.INFO if isinstance(error, StoreBusy) else logging.WARNING
            log.log(level, "cannot store now; everything is kept and tried again", step=step, problem=str(error))
        self._store_error = f"{step}: {error}"
        self._metrics.retries.labels(step).inc()
        ceiling = min(self._settings.longest_wait, 0.1 * 2**self._waits)
        self._waits = min(self._waits + 1, 16)
        if self._stopping.wait(random.uniform(ceiling / 2, ceiling)):
            raise Stopped

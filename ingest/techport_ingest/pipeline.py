"""A message's way from the broker to the store. The whole of it is `Pipeline.run`.

Two kinds of error exist. What can *never* be stored goes to quarantine with its reason, durably, and is
then acknowledged. What cannot be stored *now* (the store or the ledger is away) is kept and tried again, and nothing is
acknowledged meanwhile:
the broker holds the queue, memory is bounded by the source's window, and `health()` shows the lag. Everything else is
a bug: the loop logs it, keeps the batch and tries again.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping, Sequence
from functools import partial

import msgspec
import numpy as np
import structlog
from numpy.typing import NDArray

from techport_ingest.after.booking import BatchAccounting, count_rows, values_at
from techport_ingest.after.follow_ups import (
    CommittedBatch,
    CountBatches,
    FollowUp,
    LearnIntervals,
    LogCommits,
    NoteRelocations,
    NotifyDevices,
    TapMessages,
)
from techport_ingest.after.notices import Publish
from techport_ingest.checking.budget import DeviceLimits, HourlyBudgets
from techport_ingest.checking.check import Columns
from techport_ingest.decoding.decoder import Decoder
from techport_ingest.decoding.pseudonyms import Pseudonymiser
from techport_ingest.decoding.reader import Reader
from techport_ingest.message import Message
from techport_ingest.metrics import Metrics
from techport_ingest.registry_cache import IngestRegistry, IngestViewCache
from techport_ingest.retrying import Retrier, Stopped
from techport_ingest.source import Source
from techport_pilots.accounting import corrections, ignored
from techport_pilots.accounting.commit_log import CommitLog
from techport_pilots.accounting.device_budgets import DeviceBudgets
from techport_pilots.accounting.ledger import Ledger
from techport_pilots.accounting.message_tap import MessageTap
from techport_pilots.accounting.quarantine import KEPT_WITHOUT_PILOT, Quarantine
from techport_pilots.accounting.tally import DeviceDay, QuarantineEntry, Tally, day_of
from techport_pilots.errors import RegistryUnavailable, WorkerReplaced
from techport_pilots.registry.pseudonym_keys import key_of
from techport_pilots.registry.view import IngestView
from techport_storage.clock import now
from techport_storage.errors import StoreUnavailable
from techport_storage.model import Micros, Receipt
from techport_storage.store import ReadingStore

log = structlog.get_logger(__name__)

REFRESH_INTERVAL = 1.0
"""Seconds between two looks at what else there is to do."""

EXPIRY_INTERVAL = 3600.0
"""Seconds between two rounds through the quarantine for what has expired."""


class PipelineSettings(msgspec.Struct, frozen=True, kw_only=True):
    worker: str = "ingest"  # its name in the ledger; of two with one name the later books, the earlier ends
    linger: float = 0.02  # seconds that a batch waits for company
    longest_wait: float = 10.0  # seconds between two attempts at a store that is away, at most
    limits: DeviceLimits = DeviceLimits()  # of what one device may send


class Health(msgspec.Struct, frozen=True):
    """One look at a pipeline."""

    connected: bool
    last_commit: Micros | None  # None: nothing was acknowledged since the start
    lag_seconds: float  # age of the oldest message that the pipeline holds
    store_error: str | None  # why the store or the ledger does not take the batch, while they do not


class Pipeline:
    """One worker. `run` in a thread of its own, `stop` and `health` from any thread."""

    def __init__(
        self,
        source: Source,
        registry: IngestRegistry,
        ledger: Ledger,
        store: ReadingStore,
        metrics: Metrics,
        settings: PipelineSettings | None = None,
        *,
        decoders: Mapping[str, Decoder] | None = None,
        publish: Publish | None = None,
    ) -> None:
        """`publish` sends notices to devices; `decoders` replaces those of devices without a source, for tests."""
        self._source = source
        self._registry = registry
        self._ledger = ledger
        self._store = store
        self._metrics = metrics
        self._settings = settings or PipelineSettings()
        self._worker = self._settings.worker
        self._stopping = threading.Event()
        self._retrier = Retrier(self._stopping, metrics, self._settings.longest_wait)
        self._quarantine = Quarantine(registry.database)
        self._view_cache = IngestViewCache(registry)
        self._view = IngestView(-1, {})  # that the batch was read with
        self._budgets = HourlyBudgets(self._settings.limits)
        self._pseudonymiser = Pseudonymiser(partial(key_of, registry.database))
        self._as_kept: Sequence[Message] = ()  # the batch, with pseudonyms for identifiers
        self._reader = Reader(decoders, self._settings.limits, metrics.count_codec_death)
        self._commit_log = LogCommits(self._worker, CommitLog(registry.database), self._retrier)
        self._follow_ups: list[FollowUp] = [
            self._commit_log,
            NoteRelocations(registry, self._retrier),
            LearnIntervals(registry, self._retrier),
            CountBatches(metrics),
            *([NotifyDevices(publish)] if publish is not None else []),
            TapMessages(self._worker, MessageTap(registry.database), self._retrier),
        ]
        self._next_refresh = 0.0
        self._next_expiry = 0.0
        self._topics: tuple[str, ...] = ()
        self._held: list[Message] = []
        self._last_commit: Micros | None = None
        self._device_budgets = DeviceBudgets(registry.database)
        self._next_sharing = 0.0
        self._shared_hour = -1
        self._to_reconcile = True
        metrics.lag.set_function(lambda: self.health().lag_seconds)
        metrics.connected.set_function(lambda: float(self._source.connected))

    def follow_with(self, follow_up: FollowUp) -> None:
        """Do one thing more after each commit. Before `run`."""
        self._follow_ups.append(follow_up)

    def run(self) -> None:
        """Receive, keep, acknowledge: until `stop`. Raises WorkerReplaced when another process begins under the
        worker's name; what this one holds is not acknowledged and comes to that one.
        """
        try:
            with contextlib.suppress(Stopped):
                self._retrier.call("ledger", self._ledger.begin, self._worker)
                while not self._stopping.is_set():
                    self._take_batch()
        finally:
            self._reader.close()
            with contextlib.suppress(RegistryUnavailable):  # a second's lines are worth no waiting
                self._commit_log.close()

    def _take_batch(self) -> None:
        """Take what has arrived, or the batch that failed, through all steps."""
        try:
            self._held = self._held or self._receive()
            self._keep(self._held)
            self._source.ack(self._held)
            self._held = []
            self._budgets.begin()
            self._share_budgets()
        except (Stopped, WorkerReplaced):
            raise
        except Exception:  # the supervising loop
            log.exception("the batch failed and is tried again", messages=len(self._held))
            self._metrics.restarts.inc()
            self._to_reconcile = True
            self._stopping.wait(1.0)

    def _keep(self, messages: Sequence[Message], replayed: Sequence[int] = (), reread: Sequence[int] = ()) -> None:
        """Make the good values and the rejected ones durable. `replayed` are the entries of the quarantine that the
        messages were taken from, `reread` those of the messages with ignored parts. The order of the steps is what the
        ledger's guarantee rests on.
        """
        again = bool(replayed or reread)
        started = time.perf_counter()
        # What is reprocessed has been in its device's budget before.
        accounting = self._decode_and_check(messages, None if again else self._budgets)
        try:
            self._open(accounting)
            receipt = self._write(accounting)
            tallies, quarantined = self._book(accounting, receipt, replayed, reread)
        except WorkerReplaced:  # this attempt, or one before it that failed, may have written rows
            self._retrier.call("ledger", self._ledger.leave, self._worker, accounting.device_days)
            raise
        self._last_commit, seconds = now(), time.perf_counter() - started
        for follow_up in self._follow_ups:
            follow_up.committed(
                CommittedBatch(
                    self._as_kept,
                    accounting,
                    self._view,
                    receipt,
                    tallies,
                    quarantined,
                    self._last_commit,
                    seconds,
                    again,
                )
            )

    def _share_budgets(self) -> None:
        """Tell other workers, and learn from them, what devices have used that send very much."""
        if time.monotonic() < self._next_sharing:
            return
        hour, used = self._budgets.to_share()
        if hour < 0 or (not used and self._shared_hour == hour):
            return
        self._next_sharing = time.monotonic() + REFRESH_INTERVAL
        with contextlib.suppress(RegistryUnavailable):  # its own count holds meanwhile
            self._budgets.agree(hour, self._device_budgets.share(hour, used), used)
            self._shared_hour = hour

    def stop(self) -> None:
        """Let `run` return after the batch it is at; what is not acknowledged by then comes again."""
        self._stopping.set()

    @property
    def listening(self) -> tuple[str, ...]:
        """The topic filters that were asked of the source; () until the first look at the registry."""
        return self._topics

    def health(self) -> Health:
        held = self._held
        lag = max(0.0, (now() - held[0].received) / 1e6) if held else 0.0
        return Health(self._source.connected, self._last_commit, lag, self._retrier.error)

    # -- receive ---------------------------------------------------------------------------------------------------

    def _receive(self) -> list[Message]:
        """What has arrived, and what comes within `linger`. While a batch is written the next one grows by itself."""
        while not self._stopping.is_set():
            self._refresh()
            messages = self._source.receive(timeout=0.5)
            if messages:
                time.sleep(self._settings.linger)
                return messages + self._source.receive(timeout=0)
            if self._to_reconcile:
                self._retrier.call("reconcile", self._reconcile)
        raise Stopped

    # -- the steps of a batch --------------------------------------------------------------------------------------

    def _decode_and_check(self, messages: Sequence[Message], budgets: HourlyBudgets | None) -> BatchAccounting:
        """The batch's values, rejected parts and ignored parts, read with the newest pilots."""
        view = self._retrier.call("registry", self._view_cache.current)
        columns = self._read(messages, view, budgets)
        if columns.names_unknown and (newer := self._retrier.call("registry", self._view_cache.newer)) is not None:
            columns = self._read(messages, newer, budgets)  # their pilot may have been imported this very second
        if columns.claims:  # of the workers that want a stream for different sensors, the registry says who gets it
            self._retrier.call("registry", self._registry.note_origins, list(columns.claims))
            columns = self._read_again(messages, budgets)
        if columns.stated_units:  # the first worker to note a unit decides which one its stream has
            self._retrier.call("registry", self._registry.note_units, columns.stated_units)
            columns = self._read_again(messages, budgets)
        return BatchAccounting(columns, budgets)

    def _read_again(self, messages: Sequence[Message], budgets: HourlyBudgets | None) -> Columns:
        """Read with what was just noted in the registry."""
        view = self._retrier.call("registry", self._view_cache.newer) or self._view
        return self._read(messages, view, budgets)

    def _read(self, messages: Sequence[Message], view: IngestView, budgets: HourlyBudgets | None) -> Columns:
        """Read with these pilots. What an earlier reading of the batch took from the budgets is given back."""
        self._view = view
        self._use(view)
        if budgets is not None:
            budgets.undo()
        self._as_kept = self._retrier.call("registry", self._pseudonymiser.apply, messages, view)
        return self._reader.read(self._as_kept, view, budgets)

    def _open(self, accounting: BatchAccounting) -> None:
        """Note in the ledger which device-days the batch may change, so that a crash behind the write can be fixed."""
        if self._to_reconcile:
            self._retrier.call("reconcile", self._reconcile)
        self._retrier.call("ledger", self._ledger.open_batch, self._worker, accounting.device_days)

    def _write(self, accounting: BatchAccounting) -> Receipt:
        """Store the rows."""
        if not len(accounting.batch):
            return Receipt(0)

        def replacing(rows: NDArray[np.int64], before: NDArray[np.float64]) -> None:
            self._ledger.expect_corrections(self._worker, accounting.expected_corrections(rows, before))

        while True:
            try:
                receipt = self._store.write(accounting.batch, replacing)
                self._retrier.succeeded("store")
                return receipt
            except StoreUnavailable as error:
                # It may have happened all the same, so the rows are counted before the batch is opened once more.
                self._retrier.wait("store", error)
                self._retrier.call("reconcile", self._reconcile)
                self._retrier.call("ledger", self._ledger.open_batch, self._worker, accounting.device_days)
            except RegistryUnavailable as error:  # what is to be replaced could not be written down: nothing was stored
                self._retrier.wait("ledger", error)

    def _book(
        self, accounting: BatchAccounting, receipt: Receipt, replayed: Sequence[int], reread: Sequence[int]
    ) -> tuple[dict[DeviceDay, Tally], list[QuarantineEntry]]:
        """Sums, quarantine entries and the end of the intent, in one transaction of the ledger."""
        tallies, quarantined = accounting.close(receipt)
        if replayed or reread:
            for tally in tallies.values():
                tally.messages = 0  # counted when they came
        if accounting.undescribed:  # a set: again is harmless
            self._retrier.call("registry", self._registry.note_streams, accounting.undescribed)
        annotations = accounting.annotations(receipt, replayed, reread)
        self._retrier.call("ledger", self._ledger.close_batch, self._worker, tallies, quarantined, annotations)
        return tallies, quarantined

    # -- beside the batches ----------------------------------------------------------------------------------------

    def _use(self, view: IngestView) -> None:
        """Read with these pilots, and listen to the topics that they name."""
        topics = self._reader.use(view)
        if topics is not None:
            self._source.subscribe(topics, self._reader.described)
            self._topics = topics

    def _reconcile(self) -> None:
        """Book what a batch that was cut short has left in the store. What another worker is writing to at this moment
        waits for the next pause.
        """
        interrupted = self._ledger.interrupted(self._worker)
        expected = self._ledger.expected_corrections(self._worker) if interrupted else []
        counts, values = count_rows(self._store, interrupted), values_at(self._store, expected)
        left = interrupted and self._ledger.reconcile(self._worker, counts, values)
        self._to_reconcile = bool(left)

    def _refresh(self) -> None:
        """Once a second: which topics the pilots want, which devices are watched, and what is to be reprocessed."""
        if time.monotonic() < self._next_refresh:
            return
        self._use(self._retrier.call("registry", self._view_cache.current))
        for follow_up in self._follow_ups:
            follow_up.refresh()
        self._to_reconcile |= self._retrier.call("ledger", self._ledger.has_interrupted, self._worker)
        self._reprocess()
        self._next_refresh = time.monotonic() + REFRESH_INTERVAL
        if time.monotonic() >= self._next_expiry:
            self._retrier.call("registry", self._expire)
            self._next_expiry = time.monotonic() + EXPIRY_INTERVAL

    def _reprocess(self) -> None:
        """Take messages again that somebody asked to reprocess: of the quarantine, and those with ignored parts."""
        taken = self._retrier.call("registry", ignored.take_replays, self._registry.database, self._worker)
        if taken:
            self._retrier.call("registry", self._view_cache.newer)  # the definition may have changed this very second
            again = [Message(entry.topic, entry.payload, entry.received, id=-1) for entry in taken]
            self._keep(again, reread=[entry.id for entry in taken])
            log.info("took messages again of which something was ignored", messages=len(again))
        entries = self._retrier.call("registry", self._quarantine.take_replays, self._worker)
        if not entries:
            return
        messages = {
            (entry.topic, entry.payload, entry.received): Message(entry.topic, entry.payload, entry.received, id=-1)
            for entry in entries
        }
        self._keep(list(messages.values()), [entry.id for entry in entries])
        log.info("took messages again from quarantine", messages=len(messages), entries=len(entries))

    def _expire(self) -> None:
        """Delete what has been in quarantine for longer than its pilot says, or too long for a pilot to be made."""
        if expired := self._quarantine.expire_without_pilot(now() - KEPT_WITHOUT_PILOT):
            log.info("entries of the quarantine that belong to no pilot expired", entries=expired)
        if strays := self._ledger.add_up_without_pilot(day_of(now() - KEPT_WITHOUT_PILOT)):
            log.info("sums of pilots that there are not were added up", device_days=strays)
        corrections.expire(self._registry.database, now() - corrections.KEPT)
        ignored.trim(self._registry.database)
        for pilot in self._view_cache.current().pilots.values():
            retention = ignored.KEPT if pilot.quarantine is None else pilot.quarantine
            ignored.expire(self._registry.database, now() - retention, pilot.id)
            if pilot.quarantine is not None:
                corrections.expire(self._registry.database, now() - pilot.quarantine, pilot.id)
                expired = self._quarantine.expire(now() - pilot.quarantine, pilot.id)
                if expired:
                    log.info("entries of the quarantine expired", pilot=pilot.id, entries=expired)

"""A message's way from the broker to the store. The whole of it is `Pipeline.run`.

Two kinds of error exist. What can *never* be stored is set aside with its reason, durably, and then settled. What
cannot be stored *now* (the store or the books are away) is kept and tried again, and nothing is settled meanwhile:
the broker holds the queue, memory is bounded by the source's window, and `health()` shows the lag. Everything else is
a bug: the loop logs it, keeps the batch and tries again.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import ParamSpec, TypeVar

import msgspec
import structlog

from techport_ingest.booking import Account
from techport_ingest.check import Columns
from techport_ingest.decoders import Decoder, make_decoders, without_stale
from techport_ingest.message import BadMessage, Message
from techport_ingest.metrics import Metrics
from techport_ingest.router import IGNORED, Route, Router
from techport_ingest.snapshots import Registry, Snapshots
from techport_ingest.source import Source
from techport_pilots.account import DAY, DeviceDay, Tally
from techport_pilots.books import Books
from techport_pilots.errors import RegistryUnavailable
from techport_pilots.snapshot import Snapshot
from techport_storage.errors import StoreUnavailable
from techport_storage.model import Every, Micros, Query, Receipt, Selection
from techport_storage.store import ReadingStore

log = structlog.get_logger(__name__)

P = ParamSpec("P")
T = TypeVar("T")


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
        registry: Registry,
        books: Books,
        store: ReadingStore,
        metrics: Metrics,
        settings: PipelineSettings | None = None,
        decoders: Mapping[str, Decoder] | None = None,
    ) -> None:
        self._source = source
        self._registry = registry
        self._snapshots = Snapshots(registry)
        self._books = books
        self._store = store
        self._metrics = metrics
        self._settings = settings or PipelineSettings()
        self._decoders = make_decoders() if decoders is None else decoders
        self._router = Router()
        self._stopping = threading.Event()
        self._unsettled: list[Message] = []
        self._last_commit: Micros | None = None
        self._store_error: str | None = None
        self._waits = 0
        self._to_reconcile = True
        metrics.lag.set_function(lambda: self.health().lag_seconds)
        metrics.connected.set_function(lambda: float(self._source.connected))

    def run(self) -> None:
        """Receive, decode and check, write, settle: until `stop`."""
        while not self._stopping.is_set():
            try:
                self._unsettled = self._unsettled or self._receive()
                started = time.perf_counter()
                account = self._check(self._unsettled)
                self._keep(account, started)
                self._source.settle(self._unsettled)
                self._unsettled = []
            except Stopped:
                return
            except Exception:  # the supervising loop
                log.exception("the batch failed and is tried again", messages=len(self._unsettled))
                self._metrics.restarts.inc()
                self._to_reconcile = True
                self._stopping.wait(1.0)

    def stop(self) -> None:
        """Let `run` return after the batch it is at; what is not settled by then comes again."""
        self._stopping.set()

    def health(self) -> Health:
        held = self._unsettled
        lag = max(0.0, time.time() - held[0].received / 1e6) if held else 0.0
        return Health(self._source.connected, self._last_commit, lag, self._store_error)

    # -- receive ---------------------------------------------------------------------------------------------------

    def _receive(self) -> list[Message]:
        """What has arrived, and what comes within `linger`. While a batch is written the next one grows by itself."""
        while not self._stopping.is_set():
            messages = self._source.receive(timeout=0.5)
            if messages:
                time.sleep(self._settings.linger)
                return messages + self._source.receive(timeout=0)
            if self._to_reconcile:
                self._persist("reconcile", self._reconcile)
        raise Stopped

    # -- decode and check ------------------------------------------------------------------------------------------

    def _check(self, messages: Sequence[Message]) -> Account:
        columns = self._fill(messages, self._persist("registry", self._snapshots.current))
        if columns.strangers and (newer := self._persist("registry", self._snapshots.newer)) is not None:
            columns = self._fill(messages, newer)  # their pilot may have been imported this very second
        return Account(columns)

    def _fill(self, messages: Sequence[Message], snapshot: Snapshot) -> Columns:
        columns = Columns(snapshot)
        for message in messages:
            route = self._router.route(message.topic)
            if route is None:
                columns.set_aside(message, "", "", "", _unknown_topic(message.topic))
            elif route.format == IGNORED:
                columns.ignore(message, route.pilot, route.device)
            else:
                self._decode(message, route, columns)
        return columns

    def _decode(self, message: Message, route: Route, columns: Columns) -> None:
        try:
            found = without_stale(message, self._decoders[route.format](message, route.device))
            columns.add(message, route.pilot, route.format, found)
            if not found:
                columns.ignore(message, route.pilot, route.device)
        except BadMessage as problem:
            columns.set_aside(message, route.pilot, route.device, route.format, problem)
        except Exception as error:  # supervises each message: a decoder's bug must not stop the others
            log.exception("decoder failed", format=route.format, topic=message.topic)
            columns.drop_unfinished()
            columns.set_aside(message, route.pilot, route.device, route.format, _decoder_failed(error))

    # -- write -----------------------------------------------------------------------------------------------------

    def _keep(self, account: Account, started: float) -> None:
        """Store the good values and book them together with what is set aside. Returns when all of it is durable."""
        if self._to_reconcile:
            self._persist("reconcile", self._reconcile)
        worker = self._settings.worker
        self._persist("books", self._books.open_batch, worker, account.device_days)
        receipt = self._write(account)
        tallies, set_aside = account.close(receipt)
        if account.undescribed:
            self._persist("registry", self._registry.note_streams, account.undescribed)  # a set: again is harmless
        self._persist("books", self._books.close_batch, worker, tallies, set_aside)
        self._last_commit = time.time_ns() // 1000
        total = Tally()
        for tally in tallies.values():
            total.add(tally)
        self._metrics.count(
            len(self._unsettled), total, [entry.reason for entry in set_aside], time.perf_counter() - started
        )

    def _write(self, account: Account) -> Receipt:
        if not len(account.batch):
            return Receipt(0)
        while True:
            try:
                receipt = self._store.write(account.batch)
                self._store_error = None
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

    # -- patience --------------------------------------------------------------------------------------------------

    def _persist(self, step: str, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of `call`, however long the store or the books are away. Raises Stopped when asked to stop
        meanwhile.
        """
        while True:
            try:
                result = call(*args, **kwargs)
                self._store_error = None
                return result
            except (StoreUnavailable, RegistryUnavailable) as error:
                self._wait_for(step, error)

    def _wait_for(self, step: str, error: Exception) -> None:
        """Sleep before the next attempt: longer each time, with jitter. Raises Stopped when asked to stop."""
        if self._store_error is None:
            self._waits = 0
            log.warning("cannot store now; everything is kept and tried again", step=step, problem=str(error))
        self._store_error = f"{step}: {error}"
        self._metrics.retries.labels(step).inc()
        ceiling = min(self._settings.longest_wait, 0.1 * 2**self._waits)
        self._waits = min(self._waits + 1, 16)
        if self._stopping.wait(random.uniform(ceiling / 2, ceiling)):
            raise Stopped


def count_rows(store: ReadingStore, device_days: Iterable[DeviceDay]) -> dict[DeviceDay, int]:
    """How many rows the store holds for each of these device-days, one query a pilot."""
    counts = dict.fromkeys(device_days, 0)
    for pilot, group in groupby(sorted(counts), key=lambda device_day: device_day.pilot):
        wanted = list(group)
        query = Query(
            select=Selection(pilots=(pilot,), devices=tuple(sorted({device_day.device for device_day in wanted}))),
            start=min(device_day.day for device_day in wanted) * DAY,
            end=(max(device_day.day for device_day in wanted) + 1) * DAY,
            every=Every(1, "d"),
            aggregates=("count",),
        )
        for batch in store.read(query):
            rows = zip(
                batch["device"].to_pylist(),
                batch["time"].cast("int64").to_pylist(),
                batch["count"].to_pylist(),
                strict=True,
            )
            for device, start, count in rows:
                device_day = DeviceDay(pilot, device, start // DAY)
                if device_day in counts:
                    counts[device_day] += count
    return counts


def _unknown_topic(topic: str) -> BadMessage:
    return BadMessage(
        "unknown-topic",
        f"nothing is known about the topic {topic[:200]!r}",
        "Readings go to pilots/<pilot>/<device>/readings",
    )


def _decoder_failed(error: Exception) -> BadMessage:
    return BadMessage(
        "decoder-failed",
        f"the decoder stopped with {type(error).__name__}: {str(error)[:200]}",
        "This is a fault of techport, not of the device: report it, and replay the message once it is mended",
    )

"""The pipeline when something around it is away or broken. Real mosquitto, real store, real registry."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import structlog
from paho.mqtt.client import Client

from techport_ingest.decoding.formats.native import decoder as native
from techport_ingest.message import Message, Observed
from techport_pilots.accounting import corrections
from techport_pilots.accounting.audit import audit
from techport_pilots.accounting.corrections import corrections_of
from techport_pilots.accounting.ledger import Ledger
from techport_pilots.errors import RegistryUnavailable
from techport_storage.errors import StoreUnavailable
from techport_storage.model import Batch, Receipt, Replacing
from techport_storage.store import ReadingStore
from tests.ingest.running import NOON, Ingest, eventually, mqtt_source, pilot, reading

TOPIC = "pilots/air/lamp-1/readings"


class Away:
    """Wraps a store or the ledger: while `away`, the named methods raise. `after` lets the call through first."""

    def __init__(self, inner: Any, methods: set[str], error: Exception, after: bool = False) -> None:
        self._inner = inner
        self._methods = methods
        self._error = error
        self._after = after
        self.away = threading.Event()
        self.refused = 0

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)
        if name not in self._methods:
            return method

        def call(*arguments: Any, **named: Any) -> Any:
            if self.away.is_set():
                self.refused += 1
                if self._after:
                    method(*arguments, **named)
                raise self._error
            return method(*arguments, **named)

        return call


def test_a_store_that_is_away_loses_nothing_and_settles_nothing(port: int, device: Client, ingest: Ingest) -> None:
    store = Away(ingest.store, {"write", "read"}, StoreUnavailable("the disk is full"))
    store.away.set()
    source = mqtt_source(port)
    acknowledged: list[int] = []
    ack = source.ack
    source.ack = lambda messages: (acknowledged.append(len(messages)), ack(messages))[1]  # type: ignore[method-assign]
    pipeline = ingest.start(source, store)
    for number in range(300):
        device.publish(TOPIC, reading(number), qos=1)
    eventually(lambda: store.refused >= 3, "the store was tried a few times")
    assert acknowledged == []
    health = pipeline.health()
    assert health.store_error is not None
    assert "the disk is full" in health.store_error
    assert health.last_commit is None
    assert health.lag_seconds > 0

    store.away.clear()
    eventually(lambda: ingest.total().stored == 300, "all is stored")
    eventually(lambda: sum(acknowledged) == 300, "all is settled")
    assert pipeline.health().store_error is None
    assert pipeline.health().last_commit is not None
    assert [row[3] for row in ingest.rows()] == [number + 0.5 for number in range(300)]
    total = ingest.total()
    assert (total.received, total.duplicates) == (300, 0)


def test_a_disk_that_is_full_is_told_once_and_so_is_its_end(port: int, device: Client, ingest: Ingest) -> None:
    """It can be read from meanwhile."""
    store = Away(ingest.store, {"write"}, StoreUnavailable("the disk is full"))
    store.away.set()
    with structlog.testing.capture_logs() as logs:
        pipeline = ingest.start(mqtt_source(port), store)
        device.publish(TOPIC, reading(0), qos=1)
        eventually(lambda: store.refused >= 3, "the store was tried a few times")
        assert "the disk is full" in str(pipeline.health().store_error)
        store.away.clear()
        eventually(lambda: ingest.total().stored == 1, "it is stored")
    told = [(line["log_level"], line["event"].partition(";")[0]) for line in logs if "store" in line["event"]]
    assert told == [("warning", "cannot store now"), ("info", "stores again")]


def test_a_write_whose_answer_is_lost_is_booked_once(port: int, device: Client, ingest: Ingest) -> None:
    """The store took the batch and then broke: the rows are found by counting, and the second attempt finds
    duplicates.
    """
    store = Away(ingest.store, {"write"}, StoreUnavailable("the connection broke"), after=True)
    store.away.set()
    ingest.start(mqtt_source(port), store)
    device.publish(TOPIC, reading(1), qos=1)
    eventually(lambda: store.refused >= 1, "the write was tried")
    store.away.clear()
    eventually(lambda: ingest.total().duplicates == 1, "the second attempt is booked")
    assert len(ingest.rows()) == ingest.total().stored == 1
    assert ingest.ledger.open_intents() == {}


def test_another_value_for_a_taken_place_is_a_correction_and_the_old_one_is_kept(
    port: int, device: Client, ingest: Ingest
) -> None:
    ingest.start(mqtt_source(port))
    for value in (1.5, 1.5, 2.5, 2.5, 1.5):
        device.publish(TOPIC, reading(1, pm10=value), qos=1)
    eventually(lambda: ingest.total().received == 5, "all five are booked")
    total = ingest.total()
    assert (total.stored, total.duplicates, total.corrections) == (1, 2, 2)
    assert audit(ingest.ledger, ingest.store).ok
    [row] = ingest.rows()
    assert row[3] == 1.5
    pilot, name = "air", row[0]
    kept = corrections_of(ingest.registry.database, pilot, name, 0, 2**62)
    assert [(one.quantity, one.before, one.value) for one in kept] == [("pm10", 1.5, 2.5), ("pm10", 2.5, 1.5)]
    corrections.expire(ingest.registry.database, 2**62, "another")
    assert len(corrections_of(ingest.registry.database, pilot, name, 0, 2**62)) == 2
    corrections.expire(ingest.registry.database, 2**62)
    assert corrections_of(ingest.registry.database, pilot, name, 0, 2**62) == []


@pytest.mark.parametrize(("method", "after"), [("open_batch", False), ("open_batch", True), ("close_batch", False)])
def test_a_ledger_that_is_away_loses_nothing(
    port: int, device: Client, ingest: Ingest, method: str, after: bool
) -> None:
    ledger = Away(ingest.ledger, {method}, RegistryUnavailable("database is locked"), after)
    ledger.away.set()
    ingest.ledger = ledger  # type: ignore[assignment]
    ingest.start(mqtt_source(port))
    device.publish(TOPIC, reading(1), qos=1)
    device.publish(TOPIC, b"broken", qos=1)
    eventually(lambda: ledger.refused >= 3, "the ledger was tried a few times")
    ledger.away.clear()
    eventually(lambda: ingest.total().messages == 2, "both are booked")
    total = ingest.total()
    assert (total.received, total.stored, total.quarantined) == (2, 1, 1)
    assert len(ingest.rows()) == len(ingest.entries()) == 1


def test_stopping_while_the_store_is_away_leaves_the_messages_with_the_broker(
    port: int, device: Client, ingest: Ingest
) -> None:
    store = Away(ingest.store, {"write", "read"}, StoreUnavailable("gone"))
    store.away.set()
    ingest.start(mqtt_source(port), store)
    device.publish(TOPIC, reading(1), qos=1)
    eventually(lambda: store.refused >= 1, "the store was tried")
    ingest.stop()
    ingest.start(mqtt_source(port))
    eventually(lambda: ingest.total().stored == 1, "it came again and is stored")


def test_a_decoder_that_breaks_does_not_stop_the_others(port: int, device: Client, ingest: Ingest) -> None:
    def fragile(message: Message, device: str) -> list[Observed]:
        if b"poison" in message.payload:
            raise ZeroDivisionError("a bug")
        return native.decode(message, device)

    ingest.start(mqtt_source(port), decoders={"native": fragile})
    for number in range(10):
        device.publish(TOPIC, b"poison" if number == 5 else reading(number), qos=1)
    eventually(lambda: ingest.total().messages == 10, "all are booked")
    assert [(e.reason, e.payload) for e in ingest.entries()] == [("decoder-failed", b"poison")]
    assert "ZeroDivisionError" in ingest.entries()[0].rejection.detail()
    assert len(ingest.rows()) == 9


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("answer", ["a receipt", "a bug"])
def test_a_worker_that_is_replaced_within_a_write_ends_and_the_other_counts(
    port: int, device: Client, ingest: Ingest, answer: str
) -> None:
    """The other has looked already whether anything was left to it when the first notices."""
    first, second = ingest.ledger, Ledger(ingest.registry.database)

    class Overtaken:
        def __getattr__(self, name: str) -> Any:
            return getattr(ingest.store, name)

        def write(self, batch: Batch, replacing: Replacing | None = None) -> Receipt:
            second.begin("ingest")
            assert second.reconcile("ingest", dict.fromkeys(second.interrupted("ingest"), 0)) == []
            receipt = ingest.store.write(batch, replacing)
            if answer == "a bug":
                raise KeyError(answer)
            return receipt

    source = mqtt_source(port)
    overtaken: ReadingStore = Overtaken()  # type: ignore[assignment]
    ingest.start(source, overtaken)
    device.publish(TOPIC, reading(1), qos=1)
    eventually(lambda: not ingest.alive, "the first ends")
    source.close()
    assert (first.tallies(), len(ingest.rows())) == ({}, 1)

    ingest.ledger = second
    ingest.start(mqtt_source(port))
    eventually(lambda: ingest.total().duplicates == 1, "the message comes to the other")
    assert ingest.total().stored == 1
    assert audit(second, ingest.store).ok
    assert second.open_intents() == {}


def test_a_bug_in_the_store_is_survived(port: int, device: Client, ingest: Ingest) -> None:
    """An error that nobody declared: logged, the batch is kept and tried again."""

    class Buggy:
        calls = 0

        def __getattr__(self, name: str) -> Any:
            return getattr(ingest.store, name)

        def write(self, batch: Batch, replacing: Replacing | None = None) -> Receipt:
            self.calls += 1
            if self.calls == 1:
                raise KeyError("a bug")
            return ingest.store.write(batch, replacing)

    buggy: ReadingStore = Buggy()  # type: ignore[assignment]
    ingest.start(mqtt_source(port), buggy)
    device.publish(TOPIC, reading(1), qos=1)
    eventually(lambda: ingest.total().stored == 1, "it is stored at the second attempt")


def test_a_correction_whose_answer_was_lost_is_a_correction(port: int, device: Client, ingest: Ingest) -> None:
    """The store has the new value and the worker does not know it: what stood there before is kept all the same."""

    class Forgetful:
        writes = 0

        def __getattr__(self, name: str) -> Any:
            return getattr(ingest.store, name)

        def write(self, batch: Batch, replacing: Replacing | None = None) -> Receipt:
            self.writes += 1
            receipt = ingest.store.write(batch, replacing)
            if self.writes == 2:
                raise StoreUnavailable("the answer was lost")
            return receipt

    forgetful: ReadingStore = Forgetful()  # type: ignore[assignment]
    ingest.start(mqtt_source(port), forgetful)
    device.publish(TOPIC, reading(1, pm10=7), qos=1)
    eventually(lambda: ingest.total().stored == 1, "it is stored")
    device.publish(TOPIC, reading(1, pm10=9), qos=1)
    eventually(lambda: ingest.total().duplicates == 1, "it is stored, and comes again")
    total = ingest.total()
    assert (total.received, total.stored, total.corrections, total.duplicates) == (3, 1, 1, 1)
    [correction] = corrections_of(ingest.registry.database, "air", "lamp-1", 0, 2**62)
    assert (correction.before, correction.value) == (7, 9)
    assert audit(ingest.ledger, ingest.store).ok


def test_a_pilot_imported_this_moment_is_known(port: int, device: Client, ingest: Ingest) -> None:
    ingest.start(mqtt_source(port))
    device.publish(TOPIC, reading(1), qos=1)
    eventually(lambda: ingest.total().stored == 1, "the snapshot was taken")
    ingest.registry.import_pilot(pilot("noise"), "", "test")
    device.publish("pilots/noise/lamp-1/readings", reading(2), qos=1)
    eventually(lambda: ingest.total().messages == 2, "the second is booked")
    assert ingest.entries() == []
    assert len(ingest.rows()) == 2


def test_status_is_counted_and_not_stored(port: int, device: Client, ingest: Ingest) -> None:
    ingest.start(mqtt_source(port))
    device.publish("pilots/air/lamp-1/status", b"online", qos=1, retain=True)
    eventually(lambda: ingest.total().ignored == 1, "it is counted")
    assert ingest.rows() == []
    assert ingest.entries() == []


def test_a_retained_reading_is_a_reading(port: int, device: Client, ingest: Ingest) -> None:
    device.publish(TOPIC, reading(1), qos=1, retain=True).wait_for_publish(10)
    ingest.start(mqtt_source(port))
    eventually(lambda: ingest.total().stored == 1, "the retained one is stored")


def test_undescribed_streams_show_up_in_the_registry(port: int, device: Client, ingest: Ingest) -> None:
    ingest.start(mqtt_source(port))
    device.publish(TOPIC, reading(1, glitter=3.0), qos=1)
    eventually(lambda: ingest.total().stored == 1, "it is stored")
    assert ingest.rows() == [("lamp-1", "glitter", NOON + 1, 3.0, 0)]
    assert [(s.stream.quantity, s.described) for s in ingest.registry.streams("air", "lamp-1")] == [
        ("glitter", False),
        ("pm10", True),
        ("pm25", True),
    ]

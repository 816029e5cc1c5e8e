"""The audit, against a real ledger and the real embedded store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pyarrow as pa
import pytest

from techport_pilots.accounting.audit import audit, count_rows
from techport_pilots.accounting.ledger import DeviceDay, Ledger, Tally
from techport_storage.microseconds import DAY
from techport_storage.model import Batch, Query, Reading, Selection
from techport_storage.store import ReadingStore, open_store

READINGS = [
    Reading(pilot, device, quantity, day * DAY + offset, 1.0, 20_009 * DAY)
    for pilot in ("a", "b")
    for device in ("x", "y")
    for quantity in ("no2", "pm10")
    for day in (-1, 20_000, 20_001)
    for offset in (0, 1, DAY - 1)  # the first and the last microsecond belong to the day
]
ROWS = Counter(DeviceDay(r.pilot, r.device, r.time // DAY) for r in READINGS)


@pytest.fixture
def store() -> Iterator[ReadingStore]:
    store = open_store("duckdb://")
    yield store
    store.close()


@pytest.fixture
def booked(ledger: Ledger, store: ReadingStore) -> Ledger:
    """Books and store after one batch that went well."""
    ledger.open_batch("w", ROWS)
    store.write(Batch.of(READINGS))
    ledger.close_batch("w", {day: Tally(messages=n, received=n, stored=n) for day, n in ROWS.items()})
    return ledger


def test_sums_that_agree_are_said_to(booked: Ledger, store: ReadingStore) -> None:
    report = audit(booked, store)

    assert report.ok
    assert [row.device_day for row in report.rows] == sorted(ROWS)
    assert {row.device_day: row.counted for row in report.rows} == ROWS
    assert all(row.ok for row in report.rows)
    assert (report.total.stored, report.counted) == (72, 72)


def test_one_pilot_can_be_asked_for(booked: Ledger, store: ReadingStore) -> None:
    assert {row.device_day.pilot for row in audit(booked, store, pilot="b").rows} == {"b"}
    assert count_rows(store, Selection(pilots=("b",), devices=("x",))) == {
        day: n for day, n in ROWS.items() if day[:2] == ("b", "x")
    }


def test_a_row_that_nobody_booked_is_found(booked: Ledger, store: ReadingStore) -> None:
    store.write(Batch.of([Reading("a", "x", "no2", 20_000 * DAY + 7, 1.0, 0), Reading("c", "z", "no2", 7, 1.0, 0)]))

    found = {row.device_day: (row.tally.stored, row.counted, row.state) for row in audit(booked, store).off}
    assert found == {
        DeviceDay("a", "x", 20_000): (6, 7, "store-differs"),
        DeviceDay("c", "z", 0): (0, 1, "store-differs"),
    }


def test_a_row_that_was_lost_is_found_and_one_that_was_erased_is_none(booked: Ledger, store: ReadingStore) -> None:
    gone = store.erase(Selection(pilots=("a",), devices=("y",)), 20_000 * DAY, 20_001 * DAY)
    lost = DeviceDay("a", "y", 20_000)
    assert gone == 6

    report = audit(booked, store)
    assert not report.ok
    assert [(row.device_day, row.counted) for row in report.off] == [(lost, 0)]
    booked.book_erased({lost: gone})
    assert audit(booked, store).ok


def test_a_value_that_became_nothing_is_found(booked: Ledger, store: ReadingStore) -> None:
    day = DeviceDay("a", "x", 20_000)
    booked.close_batch("w", {day: Tally(messages=1, received=1)})

    [row] = audit(booked, store).off
    assert (row.device_day, row.state) == (day, "unbalanced")


def test_a_day_that_is_being_written_to_is_no_verdict(booked: Ledger, store: ReadingStore) -> None:
    day = DeviceDay("a", "x", 20_000)
    booked.open_batch("w", [day])
    store.write(Batch.of([Reading("a", "x", "no2", 20_000 * DAY + 7, 1.0, 0)]))

    report = audit(booked, store)
    assert [row.device_day for row in report.open] == [day]
    assert report.ok
    booked.close_batch("w", {day: Tally(messages=1, received=1, stored=1)})
    assert audit(booked, store).open == []
    assert audit(booked, store).ok


def test_what_is_booked_while_the_audit_counts_is_looked_at_again(booked: Ledger, store: ReadingStore) -> None:
    """Ingest goes on: a batch is written and closed after the audit looked at the store, before the ledger again."""
    day = DeviceDay("a", "x", 20_000)

    class Busy:
        """The store, into which a batch comes just after it is first counted."""

        batches = [Batch.of([Reading("a", "x", "no2", 20_000 * DAY + 7, 1.0, 0)])]  # noqa: RUF012

        def read(self, query: Query) -> pa.RecordBatchReader:
            counted = store.read(query).read_all()
            while self.batches:
                booked.open_batch("w", [day])
                store.write(self.batches.pop())
                booked.close_batch("w", {day: Tally(messages=1, received=1, stored=1)})
            return counted.to_reader()

    report = audit(booked, Busy())
    assert report.ok
    assert report.open == []
    assert report.total.stored == 73

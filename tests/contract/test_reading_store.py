"""What every ReadingStore promises to keep: receipts, one row a key, numbers, latest, erasing. See conftest.py."""

from __future__ import annotations

import itertools
import math
import random
import struct

import numpy as np
import pytest
from numpy.typing import NDArray

from techport_storage.errors import BadQuery
from techport_storage.microseconds import DAY, SECOND
from techport_storage.model import Batch, Reading, Selection, Stream
from techport_storage.store import ReadingStore
from tests.contract.readings import NOON, A, B, ordered, put, reading, rows, series, stored, utc

# Receipts


def test_receipt_counts_every_row_once(store: ReadingStore) -> None:
    put(store, reading(time=NOON))
    batch = Batch.of(
        [
            reading(time=NOON, value=2),  # there already, with another value
            reading(time=NOON + SECOND),  # superseded by the fourth
            reading(time=NOON + 2 * SECOND, value=math.nan),
            reading(time=NOON + SECOND, value=3),
            reading(B, time=NOON),
            reading(B, time=NOON + SECOND, value=-math.inf),
            reading(B, time=NOON),
        ]
    )
    before = reading(time=NOON).value
    receipt = store.write(batch)
    assert receipt.duplicate_rows.tolist() == [6]
    assert receipt.correction_rows.tolist() == [0, 3]
    assert receipt.replaced.tolist() == [before, before]
    assert [row for row, _ in receipt.rejected] == [2, 5]
    assert all("finite" in reason for _, reason in receipt.rejected)
    assert receipt.written == 2
    assert len(batch) == receipt.written + receipt.duplicates + receipt.corrections + len(receipt.rejected)


def test_each_value_of_a_place_is_compared_with_the_one_before_it(store: ReadingStore) -> None:
    put(store, reading(value=1))
    receipt = put(store, *(reading(value=value) for value in (1, 2, 2, 3, 1)))
    assert (receipt.written, receipt.duplicate_rows.tolist()) == (0, [0, 2])
    assert receipt.correction_rows.tolist() == [1, 3, 4]
    assert receipt.replaced.tolist() == [1, 2, 3]
    assert stored(store) == [reading(value=1)]
    again = put(store, reading(value=1))
    assert (again.written, again.duplicates, again.corrections) == (0, 1, 0)


def test_the_first_of_a_new_place_is_written_and_the_others_are_compared(store: ReadingStore) -> None:
    receipt = put(store, reading(value=5), reading(value=5), reading(value=6))
    assert (receipt.written, receipt.duplicate_rows.tolist(), receipt.correction_rows.tolist()) == (1, [1], [2])
    assert (receipt.replaced.tolist(), stored(store)) == ([5], [reading(value=6)])


def test_a_value_that_was_flagged_is_compared_like_any_other(store: ReadingStore) -> None:
    put(store, reading(value=1))
    store.flag(Batch.of([reading(value=1, quality=4)]))
    assert put(store, reading(value=2)).replaced.tolist() == [1]


def test_what_is_replaced_is_told_before_it_is(store: ReadingStore) -> None:
    """What the callback raises leaves the store as it was; without corrections it is not called."""
    put(store, reading(value=1))
    told: list[tuple[list[int], list[float]]] = []

    def replacing(rows: NDArray[np.int64], before: NDArray[np.float64]) -> None:
        told.append((rows.tolist(), before.tolist()))
        if len(told) == 1:
            raise RuntimeError("nowhere to write it down")

    batch = Batch.of([reading(value=1), reading(value=2), reading(value=3)])
    with pytest.raises(RuntimeError, match="nowhere"):
        store.write(batch, replacing)
    assert stored(store) == [reading(value=1)]
    receipt = store.write(batch, replacing)
    assert told == [([1, 2], [1, 2])] * 2
    assert (receipt.duplicates, receipt.corrections, stored(store)) == (1, 2, [reading(value=3)])
    store.write(Batch.of([reading(value=3), reading(time=NOON + SECOND, value=9)]), replacing)
    assert len(told) == 2


def test_empty_batch(store: ReadingStore) -> None:
    receipt = store.write(Batch.of([]))
    assert (receipt.written, receipt.duplicates, len(receipt.rejected)) == (0, 0, 0)


def test_batch_of_nothing_but_bad_values_leaves_no_stream(store: ReadingStore) -> None:
    assert put(store, reading(value=math.nan)).written == 0
    assert store.streams(Selection()) == []


# One row for each stream and time


def test_later_arrival_wins_whole(store: ReadingStore) -> None:
    put(store, reading(value=1, delay=5000, quality=4))
    put(store, reading(value=2, delay=7000, quality=1))
    assert stored(store) == [reading(value=2, delay=7000, quality=1)]
    assert rows(store.latest(Selection())) == [reading(value=2, delay=7000, quality=1)]


def test_last_of_a_batch_wins(store: ReadingStore) -> None:
    put(store, *(reading(value=float(i)) for i in range(5)))
    assert stored(store) == [reading(value=4)]


@pytest.mark.heavy
def test_shuffled_redelivery_ends_in_the_same_rows(store: ReadingStore) -> None:
    """At least once, in any order and any cut: exactly one row each."""
    dice = random.Random(7)
    streams = [Stream(p, d, q) for p in "pq" for d in "xy" for q in ("t", "u")]
    truth = [
        reading(s, NOON + i * 60 * SECOND + k, i + k / 10, delay=dice.randrange(1000) * 1000)
        for k, s in enumerate(streams)
        for i in range(60)
    ]
    deliveries = truth * 5
    dice.shuffle(deliveries)
    written = duplicates = 0
    while deliveries:
        size = dice.choice([1, 7, 50, 200])
        receipt = put(store, *deliveries[:size])
        deliveries = deliveries[size:]
        written += receipt.written
        duplicates += receipt.duplicates
    assert (written, duplicates) == (len(truth), 4 * len(truth))
    assert stored(store) == ordered(truth)


def test_late_and_out_of_order(store: ReadingStore) -> None:
    truth = series(A, 200)
    for part in (truth[100:150], truth[:50], truth[160:], truth[50:100], truth[150:160]):
        put(store, *reversed(part))
    put(store, reading(A, NOON - 400 * DAY, value=-1))
    assert stored(store) == [reading(A, NOON - 400 * DAY, value=-1), *truth]
    assert rows(store.latest(Selection())) == [truth[-1]]


def test_streams_that_differ_in_one_part_only(store: ReadingStore) -> None:
    names = [Stream(*parts) for parts in itertools.product(("p", "p2"), ("d", "D"), ("t", "t.inlet"))]
    put(store, *(reading(name, value=float(i)) for i, name in enumerate(names)))
    assert stored(store) == ordered(reading(name, value=float(i)) for i, name in enumerate(names))
    assert store.streams(Selection()) == sorted(names)


def test_names_of_any_letters(store: ReadingStore) -> None:
    names = [Stream("pilot", name, "t") for name in ("Øya", "æ ø å", "it's", 'say "x"', "a,b=c", "\\", "雪", "-", "z")]
    put(store, *(reading(name) for name in names))
    assert [r.stream for r in stored(store)] == sorted(names)
    for name in names:
        assert [r.stream for r in stored(store, select=Selection(devices=(name.device,)))] == [name]


# Numbers and times


EXTREMES = [0.0, -0.0, 5e-324, -5e-324, 2.2250738585072014e-308, 1e308, -1.7976931348623157e308, 0.1 + 0.2, 2.0**53 + 2]


def test_extreme_values_come_back_to_the_bit(store: ReadingStore) -> None:
    put(store, *(reading(time=NOON + i * SECOND, value=value) for i, value in enumerate(EXTREMES)))
    assert [struct.pack("<d", r.value) for r in stored(store)] == [struct.pack("<d", value) for value in EXTREMES]


def test_whole_numbers_are_floats(store: ReadingStore) -> None:
    put(store, reading(value=31))
    put(store, reading(time=NOON + SECOND, value=31.2))
    assert [(r.value, type(r.value)) for r in stored(store)] == [(31.0, float), (31.2, float)]


def test_time_to_the_microsecond(store: ReadingStore) -> None:
    times = [
        utc(1969, 12, 31, 23, 59, 59) + 999_999,
        0,
        1,
        999,
        utc(1950, 5, 17) + 7,
        utc(2199, 1, 1) + 1,
        NOON + 123_457,
    ]
    put(store, *(reading(time=time) for time in times))
    assert [r.time for r in stored(store)] == sorted(times)
    assert [r.time for r in stored(store, start=1, end=999)] == [1]


@pytest.mark.parametrize("time", [NOON + 123_457, -1, utc(1960, 1, 1) + 999_001])
def test_received_to_the_millisecond(store: ReadingStore, time: int) -> None:
    put(store, Reading(*A, time=time, value=1, received=NOON + 456_999))
    put(store, Reading(*B, time=time, value=1, received=time - 10 * DAY))  # a clock that runs ahead
    assert [r.received for r in stored(store)] == [NOON + 456_000, (time - 10 * DAY) // 1000 * 1000]


# Latest


def test_latest_is_the_greatest_time(store: ReadingStore) -> None:
    put(store, *series(B, 5), *series(A, 3))
    put(store, reading(B, NOON - SECOND, value=99))  # late: does not count
    assert rows(store.latest(Selection())) == [series(A, 3)[-1], series(B, 5)[-1]]


def test_latest_changed_since(store: ReadingStore) -> None:
    put(
        store,
        Reading(*A, time=NOON, value=1, received=NOON + 5 * SECOND),
        Reading(*B, time=NOON, value=1, received=NOON + 9 * SECOND),
    )
    for since, devices in ((NOON, "ab"), (NOON + 5 * SECOND, "ab"), (NOON + 6 * SECOND, "b"), (NOON + 10 * SECOND, "")):
        assert [r.device for r in rows(store.latest(Selection(), changed_since=since))] == list(devices)


# Erasing


def test_erase_a_device(store: ReadingStore) -> None:
    put(store, *series(A, 50), *series(B, 50))
    assert store.erase(Selection(devices=("a",))) == 50
    assert stored(store) == series(B, 50)
    assert store.streams(Selection()) == [B]
    assert rows(store.latest(Selection())) == series(B, 50)[-1:]
    assert store.erase(Selection(devices=("a",))) == 0


def test_erase_a_time_range(store: ReadingStore) -> None:
    put(store, *series(A, 50), *series(B, 50))
    assert store.erase(Selection(), start=NOON + 10 * SECOND, end=NOON + 60 * SECOND) == 80
    assert stored(store) == series(A, 10) + series(B, 10)
    assert rows(store.latest(Selection())) == [series(A, 10)[-1], series(B, 10)[-1]]


def test_what_was_erased_may_come_again(store: ReadingStore) -> None:
    put(store, *series(A, 20))
    store.erase(Selection(pilots=("luft",)))
    assert stored(store) == []
    receipt = put(store, *series(B, 5), *series(A, 20))
    assert (receipt.written, receipt.duplicates) == (25, 0)
    assert stored(store) == series(A, 20) + series(B, 5)


def test_erase_wants_a_range_the_right_way_round(store: ReadingStore) -> None:
    with pytest.raises(BadQuery):
        store.erase(Selection(), start=2, end=1)

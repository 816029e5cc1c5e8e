"""Flags are given to rows that are still what was judged; values and times of arrival stay. For every store."""

from __future__ import annotations

import msgspec

from techport_storage.microseconds import SECOND
from techport_storage.model import Batch, Query, Reading
from techport_storage.store import ReadingStore
from tests.contract.readings import NOON, A, B, put, reading, rows, series


def flagged(one: Reading, quality: int) -> Reading:
    return msgspec.structs.replace(one, quality=quality)


def test_flags_change_and_nothing_else(store: ReadingStore) -> None:
    before = [*series(A, 50), *series(B, 50)]
    put(store, *before)
    judged = [flagged(one, 2) for one in (before[3], before[17], before[77])]
    assert store.flag(Batch.of(judged)) == 3
    expected = [next((j for j in judged if (j.stream, j.time) == (b.stream, b.time)), b) for b in before]
    assert rows(store.read(Query()).read_all()) == expected
    assert store.flag(Batch.of(before)) == 100  # and back
    assert rows(store.read(Query()).read_all()) == before


def test_the_latest_row_has_its_flag_too(store: ReadingStore) -> None:
    last = series(A, 5)[-1]
    put(store, *series(A, 5))
    store.flag(Batch.of([flagged(last, 4)]))
    assert rows(store.latest(Query().select)) == [flagged(last, 4)]


def test_a_row_that_was_corrected_meanwhile_keeps_the_correction(store: ReadingStore) -> None:
    judged = reading(value=90.0)
    put(store, judged)
    corrected = reading(value=9.0, delay=5_000)
    put(store, corrected)
    assert store.flag(Batch.of([flagged(judged, 2)])) == 0
    assert rows(store.read(Query()).read_all()) == [corrected]


def test_the_same_value_that_came_again_is_another_arrival(store: ReadingStore) -> None:
    judged, again = reading(quality=16), reading(delay=60 * SECOND)
    put(store, judged)
    put(store, again)
    assert store.flag(Batch.of([flagged(judged, 18)])) == 0
    assert rows(store.read(Query()).read_all()) == [again]


def test_a_row_that_is_gone_does_not_come_back(store: ReadingStore) -> None:
    put(store, *series(A, 3))
    judged = reading(A, NOON + SECOND, value=1.0, quality=2)
    store.erase(Query().select, NOON + SECOND, NOON + 2 * SECOND)
    assert store.flag(Batch.of([judged, reading(B)])) == 0
    assert store.flag(Batch.of([])) == 0
    assert len(store.read(Query()).read_all()) == 2

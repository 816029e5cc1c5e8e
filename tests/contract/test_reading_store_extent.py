"""What a store says about its readings without looking at them: the truth, or that it does not know."""

from __future__ import annotations

import pytest

from techport_storage.errors import BadQuery
from techport_storage.microseconds import DAY, SECOND
from techport_storage.model import UNKNOWN_EXTENT, BucketWidth, Query, Selection
from techport_storage.store import ReadingStore, read_with_extent
from tests.contract.readings import NOON, A, B, put, reading, series

OF_A = Selection(streams=(A,))


def test_an_extent_is_about_right_or_unknown(store: ReadingStore) -> None:
    put(store, *series(A, 100), *series(B, 50))
    extent = store.extent(OF_A, NOON, NOON + 50 * SECOND)
    assert extent == UNKNOWN_EXTENT or extent.readings == pytest.approx(50, abs=2)
    assert store.extent(Selection(), NOON + DAY).readings in (0, None)


def test_a_version_token_changes_with_the_readings_of_the_period(store: ReadingStore) -> None:
    put(store, *series(A, 100), *series(B, 50))

    def token() -> bytes | None:
        return store.extent(OF_A, NOON, NOON + 50 * SECOND).version_token

    before = token()
    put(store, reading(A, NOON + 200 * SECOND), reading(B, NOON + 60 * SECOND))
    assert token() == before, "later readings, and other streams, change nothing"
    put(store, reading(A, NOON + 10 * SECOND, value=9))
    assert before is None or token() != before, "a correction"
    before = token()
    store.erase(OF_A, end=NOON + SECOND)
    assert before is None or token() != before, "erased"


def test_an_extent_needs_a_range_that_runs_forwards(store: ReadingStore) -> None:
    with pytest.raises(BadQuery):
        store.extent(Selection(), NOON, NOON - 1)


@pytest.mark.parametrize("every", [None, BucketWidth(10, "s")])
@pytest.mark.parametrize("limit", [7, None])
def test_rows_come_with_their_extent(store: ReadingStore, every: BucketWidth | None, limit: int | None) -> None:
    put(store, *series(A, 100), *series(B, 50))
    query = Query(select=OF_A, start=NOON, end=NOON + 50 * SECOND, every=every, limit=limit)
    extent, reader = read_with_extent(store, query)
    assert extent == store.extent(OF_A, NOON, NOON + 50 * SECOND)
    assert reader.read_all() == store.read(query).read_all()


def test_counts_are_of_every_stream_or_unknown(store: ReadingStore) -> None:
    assert not store.counts()
    put(store, *series(A, 100), *series(B, 50))
    counts = store.counts()
    assert counts is None or counts == {A: 100, B: 50}
    store.erase(OF_A)
    counts = store.counts()
    assert counts is None or counts == {B: 50}

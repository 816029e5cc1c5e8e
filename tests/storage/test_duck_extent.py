"""What the embedded store knows by heart: how much there is, whether it changed, and which table holds it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from techport_storage.duckdb import read
from techport_storage.duckdb.store import DuckStore
from techport_storage.microseconds import SECOND
from techport_storage.model import Batch, Query, Selection, Stream

A, B = Stream("p", "a", "t"), Stream("p", "b", "t")
OF_A = Selection(streams=(A,))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "readings.duckdb"


@pytest.fixture
def store(path: Path) -> Iterator[DuckStore]:
    store = DuckStore.open(f"duckdb:///{path}?head_rows=1000")
    yield store
    store.close()


def put(store: DuckStore, stream: Stream, seconds: range, value: float = 1.0) -> None:
    at = np.array(seconds, np.int64) * SECOND
    zeros = np.zeros(len(at))
    store.write(Batch([stream], zeros.astype(np.int32), at, zeros + value, at, zeros.astype(np.uint8)))


def compact(store: DuckStore) -> None:
    store._upkeep.compact()


def values(store: DuckStore, start: int, end: int) -> list[tuple[int, float]]:
    with store.read(Query(select=OF_A, start=start * SECOND, end=end * SECOND)) as reader:
        table = reader.read_all()
    return list(
        zip((table["time"].cast("int64").to_numpy() // SECOND).tolist(), table["value"].to_pylist(), strict=True)
    )


def test_it_says_about_how_many_readings_there_are(store: DuckStore) -> None:
    put(store, A, range(100))
    put(store, B, range(0, 1000, 10))
    assert store.extent(Selection()).readings == 200
    assert store.extent(OF_A, start=50 * SECOND, end=60 * SECOND).readings == pytest.approx(10, abs=1)
    assert store.extent(OF_A, start=500 * SECOND).readings == 0


@pytest.mark.parametrize(
    ("change", "changes"),
    [
        (lambda store: put(store, A, range(100, 110)), False),  # behind the end of what was asked for
        (lambda store: put(store, B, range(50)), False),  # another stream
        (lambda store: put(store, A, range(20, 21), 2.0), True),  # replaced
        (lambda store: put(store, A, range(-5, 0)), True),  # late, and before everything
        (lambda store: store.erase(OF_A, end=10 * SECOND), True),
        (lambda store: put(store, A, range(49, 51), 1.0), True),
    ],
)
def test_another_version_token_when_readings_of_the_time_changed(
    store: DuckStore, change: Callable[[DuckStore], object], changes: bool
) -> None:
    put(store, A, range(100))
    before = store.extent(OF_A, end=50 * SECOND).version_token
    assert store.extent(OF_A, end=50 * SECOND).version_token == before
    change(store)
    assert (store.extent(OF_A, end=50 * SECOND).version_token != before) is changes


def test_another_version_token_when_more_came_before_the_end_of_the_time(store: DuckStore) -> None:
    put(store, A, range(10))
    before = store.extent(OF_A, end=50 * SECOND).version_token
    put(store, A, range(10, 11))
    assert store.extent(OF_A, end=50 * SECOND).version_token != before


def test_a_version_token_is_of_one_opening(store: DuckStore, path: Path) -> None:
    put(store, A, range(10))
    before = store.extent(OF_A).version_token
    store.close()
    again = DuckStore.open(f"duckdb:///{path}")
    try:
        assert again.extent(OF_A).version_token != before
        assert again.extent(OF_A).readings == 10
    finally:
        again.close()


def test_rows_are_found_in_whichever_table_they_are(store: DuckStore, path: Path) -> None:
    put(store, A, range(0, 100, 2))
    compact(store)
    put(store, A, range(100, 110))
    assert values(store, 0, 10) == [(t, 1.0) for t in range(0, 10, 2)]  # of the body alone
    assert values(store, 96, 103) == [(t, 1.0) for t in (96, 98, 100, 101, 102)]  # of both
    put(store, A, range(3, 4), 2.0)  # late: the head reaches back now
    put(store, A, range(4, 5), 3.0)  # and replaces a row of the body
    expected = [(0, 1.0), (2, 1.0), (3, 2.0), (4, 3.0), (6, 1.0), (8, 1.0)]
    assert values(store, 0, 10) == expected
    compact(store)
    assert values(store, 0, 10) == expected
    put(store, A, range(5, 6), 4.0)
    store.close()
    again = DuckStore.open(f"duckdb:///{path}")
    try:
        assert values(again, 0, 10) == sorted([*expected, (5, 4.0)])
    finally:
        again.close()


def test_a_slow_reader_holds_up_nobody(store: DuckStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows go on being written and sorted in while somebody takes long over an answer, which stays as it was."""
    monkeypatch.setattr(read, "SLICE", 100)
    put(store, A, range(2000))
    compact(store)
    with store.read(Query(select=OF_A)) as slow:
        taken = slow.read_next_batch().num_rows
        for begin in range(2000, 12_000, 1000):
            put(store, A, range(begin, begin + 1000))
        put(store, A, range(5, 6), 9.0)  # one that replaces what is still to be read
        assert store.extent(OF_A).readings >= 12_000
        with store.read(Query(select=OF_A)) as quick:
            assert quick.read_all().num_rows == 12_000
        rest = slow.read_all()
    assert taken + rest.num_rows == 2000
    assert rest["value"].to_pylist() == [1.0] * rest.num_rows

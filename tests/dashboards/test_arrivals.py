"""What a look into the store finds: fast readings, late ones, corrections; and never one that is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from techport_dashboards.query.live import BETWEEN, ChangePoller, states
from techport_storage.microseconds import SECOND
from techport_storage.model import Batch, Query, Reading, Stream
from techport_storage.store import ReadingStore, open_store

T = 1_790_000_000 * SECOND
STREAM = Stream("p", "box", "pm10")


class Countless:
    """A store that does not count its readings, as one that others write."""

    def __init__(self, store: ReadingStore) -> None:
        self.read, self.latest = store.read, store.latest

    def counts(self) -> None: ...


@pytest.fixture
def store(tmp_path: Path) -> ReadingStore:
    return open_store(f"duckdb:///{tmp_path}/readings.duckdb")


@pytest.fixture(params=["counts", "countless"])
def arrivals(request: pytest.FixtureRequest, store: ReadingStore) -> ChangePoller:
    write(store, 0)
    assert store.counts() is not None
    found = ChangePoller(store if request.param == "counts" else Countless(store))  # type: ignore[arg-type]
    assert found.look().readings.num_rows == 0, "what was there before is no news"
    return found


def write(store: ReadingStore, *seconds: float, value: float = 1.0) -> None:
    now = T + 1000 * SECOND + store.read(Query()).read_all().num_rows * SECOND
    store.write(Batch.of(Reading(*STREAM, int(T + s * SECOND), value, now) for s in seconds))


def seconds(arrivals: ChangePoller) -> list[float]:
    return [(state[0] - T) / SECOND for _, state in states(arrivals.look().readings)]


def test_all_that_came_between_two_looks_is_news(store: ReadingStore, arrivals: ChangePoller) -> None:
    write(store, 1, 2, 3)
    assert seconds(arrivals) == [1, 2, 3]
    assert seconds(arrivals) == []
    write(store, 4)
    assert seconds(arrivals) == [4]


def test_a_late_reading_makes_pages_ask_anew(store: ReadingStore) -> None:
    write(store, 0, 10)
    arrivals = ChangePoller(store)
    arrivals.look()
    write(store, 5)
    news = arrivals.look()
    assert news.readings.num_rows == 0
    assert news.late == {STREAM}
    assert arrivals.look().late == frozenset(), "said once"


def test_a_backlog_makes_pages_ask_anew(store: ReadingStore) -> None:
    write(store, 0)
    arrivals = ChangePoller(store)
    arrivals.look()
    far = BETWEEN // SECOND + 1
    write(store, *range(10, far, 10), far)
    news = arrivals.look()
    assert [(state[0] - T) // SECOND for _, state in states(news.readings)] == [far]
    assert news.late == {STREAM}


def test_what_is_in_time_is_never_late(store: ReadingStore) -> None:
    write(store, 0)
    arrivals = ChangePoller(store)
    arrivals.look()
    for moment in range(1, 60):
        write(store, moment, moment + 0.5)
        news = arrivals.look()
        assert news.readings.num_rows == 2
        assert not news.late


def test_a_corrected_value_is_news(store: ReadingStore, arrivals: ChangePoller) -> None:
    write(store, 0, value=7.0)
    assert [state[2] for _, state in states(arrivals.look().readings)] == [7.0]

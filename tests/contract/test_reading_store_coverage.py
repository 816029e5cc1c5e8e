"""Coverage: a store that knows it says the same as its readings do."""

from __future__ import annotations

import numpy as np
import pytest

from techport_storage.coverage import coverage_by_reading
from techport_storage.microseconds import MINUTE
from techport_storage.model import Batch, Stream
from techport_storage.store import ReadingStore

START = 1_772_323_200_000_000
INTERVALS = {
    Stream("p", "steady", "pm10"): 10 * MINUTE,
    Stream("p", "gappy", "pm10"): 10 * MINUTE,
    Stream("p", "gappy", "no2"): 7 * MINUTE,  # promises another interval than it keeps
    Stream("p", "fast", "pm10"): 60 * MINUTE,
    Stream("q", "ragged's \\", "pm10"): 10 * MINUTE,
    Stream("q", "once", "pm10"): 10 * MINUTE,
    Stream("q", "unpromised", "pm10"): 3000 * MINUTE,
    Stream("q", "never", "pm10"): 10 * MINUTE,
}


@pytest.fixture
def filled(store: ReadingStore) -> ReadingStore:
    random = np.random.default_rng(3)
    grid = START + 10 * MINUTE * np.arange(288)
    gaps = grid[(np.arange(288) % 50 < 40) & (random.random(288) < 0.9)]
    times = {
        "steady": grid,
        "gappy": gaps,
        "fast": START + MINUTE * np.arange(2880),
        "ragged's \\": np.unique(grid + random.integers(-6 * MINUTE, 6 * MINUTE, 288)),
        "once": grid[100:101],
        "unpromised": gaps,
    }
    for stream in INTERVALS:
        if stream.device in times:
            time = times[stream.device]
            n = len(time)
            quality = (random.random(n) < 0.1).astype(np.uint8) * 2
            store.write(Batch([stream], np.zeros(n, np.int32), time, random.random(n), time, quality))
    return store


@pytest.mark.parametrize(
    ("first", "last"), [(0, 2880), (0, 1), (1000, 1001), (495, 1203), (-500, 5000), (2880, 5000), (400, 401)]
)
def test_it_is_what_the_readings_say(filled: ReadingStore, first: int, last: int) -> None:
    start, end = START + first * MINUTE, START + last * MINUTE
    assert filled.coverage(INTERVALS, start, end) == coverage_by_reading(filled, INTERVALS, start, end)


def test_streams_that_nobody_asked_for_are_not_in_it(filled: ReadingStore) -> None:
    some = dict(list(INTERVALS.items())[1:3])
    assert set(filled.coverage(some, START, START + 2880 * MINUTE)) == set(some)
    assert filled.coverage({}, START, START + 1) == {}

"""What every ReadingStore promises to several at once, and against a model. See conftest.py."""

from __future__ import annotations

import itertools
import math
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from techport_storage.microseconds import SECOND
from techport_storage.model import Batch, Query, Reading, Selection, Stream
from techport_storage.store import ReadingStore
from tests.contract.readings import NOON, A, B, ordered, put, reading, rows, series, stored

pytestmark = pytest.mark.heavy

# Several at once


def test_a_reader_sees_the_state_of_its_question(store: ReadingStore) -> None:
    put(store, *series(A, 500))
    reader = store.read(Query())
    put(store, *(reading(time=NOON + i * SECOND, value=-1) for i in range(500)), *series(B, 10))
    assert rows(reader.read_all()) == series(A, 500)


def test_reading_while_writing(store: ReadingStore) -> None:
    """Readers in two threads see whole batches, in order, and never a row twice, while two threads write."""
    problems: list[str] = []
    done = threading.Event()

    def write(name: Stream) -> None:
        for i in range(20):
            put(store, *series(name, 30, NOON + i * 20 * SECOND))  # ten of them are there already

    def read() -> None:
        while not done.is_set():
            found = stored(store)
            if found != ordered(found) or len({(r.stream, r.time) for r in found}) != len(found):
                problems.append("rows out of order or twice")
            for name in (A, B):
                count = sum(r.stream == name for r in found)
                if count and (count - 30) % 20:
                    problems.append(f"half a batch: {count} rows")
            store.latest(Selection())

    writers = [threading.Thread(target=write, args=(name,)) for name in (A, B)]
    readers = [threading.Thread(target=read) for _ in range(2)]
    for thread in (*writers, *readers):
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    for thread in readers:
        thread.join()
    assert problems == []
    assert len(stored(store)) == 2 * (30 + 19 * 20)


def test_probe(store: ReadingStore) -> None:
    store.probe()
    assert stored(store) == []


# Against a model


NAMES = [A, B, Stream("luft", "a", "no2")]
arrivals = st.lists(
    st.builds(
        reading,
        stream=st.sampled_from(NAMES),
        time=st.integers(-8, 8).map(lambda i: i * 450_001),
        value=st.floats(allow_nan=True, allow_infinity=True) | st.integers(-5, 5).map(float),
        delay=st.integers(-2, 5000).map(lambda ms: ms * 1000),
        quality=st.integers(0, 63),
    ),
    max_size=12,
)
erasures = st.tuples(st.sampled_from(NAMES), st.integers(-9, 9), st.integers(0, 9))
counter = itertools.count()


@pytest.mark.slow
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(arrivals | erasures, max_size=8))
def test_like_a_dictionary(store: ReadingStore, steps: list[list[Reading] | tuple[Stream, int, int]]) -> None:
    """Whatever arrives and is erased: the store answers as a dictionary of (stream, time) would."""
    pilot = f"pilot-{next(counter)}"
    everything = Selection(pilots=(pilot,))
    model: dict[tuple[Stream, int], Reading] = {}
    for step in steps:
        if isinstance(step, list):
            batch = [Reading(pilot, r.device, r.quantity, r.time, r.value, r.received, r.quality) for r in step]
            receipt = store.write(Batch.of(batch))
            good = [r for r in batch if math.isfinite(r.value)]
            fresh = len({(r.stream, r.time) for r in good} - model.keys())
            assert (receipt.written, len(receipt.rejected)) == (fresh, len(batch) - len(good))
            assert len(batch) == receipt.written + receipt.duplicates + receipt.corrections + len(receipt.rejected)
            model |= {(r.stream, r.time): r for r in good}
        else:
            name, start, length = Stream(pilot, *step[0][1:]), step[1] * 450_001, step[2] * 450_001
            gone = [key for key in model if key[0] == name and start <= key[1] < start + length]
            assert store.erase(Selection(streams=(name,)), start, start + length) == len(gone)
            for key in gone:
                del model[key]
    assert stored(store, select=everything) == ordered(model.values())
    latest = {r.stream: r for r in ordered(model.values())}
    assert rows(store.latest(everything)) == list(latest.values())
    assert store.streams(everything) == sorted(latest)

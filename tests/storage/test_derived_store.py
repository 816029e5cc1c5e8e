"""A store as others may see it: nothing finer than its buckets, whatever is asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest

from techport_storage import clock, derived_store
from techport_storage.derived_store import Derivation, DerivedStore, DerivedStream
from techport_storage.microseconds import DAY, HOUR, MINUTE, SECOND
from techport_storage.model import (
    AGGREGATES,
    UNKNOWN_EXTENT,
    Batch,
    BucketWidth,
    Cursor,
    Query,
    Reading,
    Selection,
    Stream,
)
from techport_storage.store import ReadingStore, open_store

START = 1_760_997_600 * SECOND  # 2025-10-21 00:00 in Oslo, which is 22:00 the day before in UTC
DAYS = 8  # over the end of summer time
NOISE, WIND = Stream("source", "b", "laeq"), Stream("source", "a", "wind_direction")
SHOWN_NOISE, SHOWN_WIND = Stream("share", "x", "laeq"), Stream("share", "y", "wind_direction")
STREAMS: Mapping[Stream, DerivedStream] = {
    SHOWN_NOISE: DerivedStream(NOISE, "energy_mean"),
    SHOWN_WIND: DerivedStream(WIND, "vector_mean"),
}


def readings() -> list[Reading]:
    random = np.random.default_rng(7)
    found = []
    for stream, low, high in ((NOISE, 30, 90), (WIND, 0, 360), (Stream("source", "b", "secret"), 0, 1)):
        for step in range(DAYS * 24 * 6):
            at = START + step * 10 * MINUTE + 123_456
            found.append(Reading(*stream, at, float(random.uniform(low, high)), at + SECOND))
    return found


@pytest.fixture(scope="module")
def source() -> Iterator[ReadingStore]:
    store = open_store("duckdb://")
    store.write(Batch.of(readings()))
    yield store
    store.close()


def derived(source: ReadingStore, every: BucketWidth | None, **period: int) -> DerivedStore:
    return DerivedStore(source, Derivation(every, "Europe/Oslo", **period), lambda: STREAMS)


def rows(store: Any, **asked: Any) -> list[dict[str, Any]]:
    with store.read(Query(**asked)) as reader:
        found: list[dict[str, Any]] = reader.read_all().to_pylist()
    return found


WIDTHS = [BucketWidth(1, "h"), BucketWidth(7, "h"), BucketWidth(6, "h"), BucketWidth(1, "d")]


@pytest.mark.parametrize("every", WIDTHS, ids=str)
def test_rows_are_the_aggregates_of_whole_buckets(source: ReadingStore, every: BucketWidth) -> None:
    store = derived(source, every)
    for shown, stream in STREAMS.items():
        wanted = rows(
            source,
            select=Selection(streams=(stream.source,)),
            every=every,
            aggregates=(stream.aggregate,),
            zone="Europe/Oslo",
        )
        found = rows(store, select=Selection(streams=(shown,)))
        assert [(row["time"], row["value"]) for row in found] == [(r["time"], r[stream.aggregate]) for r in wanted]
        assert {row["pilot"] for row in found} == {"share"}
        assert all(row["received"] > row["time"] and row["quality"] == 0 for row in found)


@pytest.mark.parametrize("every", WIDTHS, ids=str)
def test_a_range_never_cuts_a_bucket(source: ReadingStore, every: BucketWidth) -> None:
    """Else two ranges that differ by a reading would tell its value."""
    store = derived(source, every)
    all_rows = {(row["device"], row["time"]): row["value"] for row in rows(store)}
    for start, end in ((START + 3 * DAY + 5, None), (None, START + 4 * DAY + HOUR + 5), (START + 7, START + 10 * HOUR)):
        some = rows(store, start=start, end=end)
        assert all(row["value"] == all_rows[row["device"], row["time"]] for row in some)
        assert some or end == START + 10 * HOUR
    assert rows(store, start=START + 1, end=START + 2) == []


@pytest.mark.parametrize("every", WIDTHS, ids=str)
def test_the_period_shows_only_buckets_that_lie_within_it(source: ReadingStore, every: BucketWidth) -> None:
    start, end = START + DAY + 5 * MINUTE, START + 5 * DAY + 5 * MINUTE
    everything = rows(derived(source, every))
    found = rows(derived(source, every, start=start, end=end))
    wanted = [
        row for row in everything if row["time"].timestamp() * 1e6 >= start and row["received"].timestamp() * 1e6 <= end
    ]
    assert found == wanted
    assert 0 < len(found) < len(everything)


def test_a_bucket_that_goes_on_is_not_shown(source: ReadingStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its mean would change with each reading, and so tell it."""
    monkeypatch.setattr(clock, "now", lambda: START + 30 * HOUR + 59 * MINUTE)
    store = derived(source, BucketWidth(1, "h"))
    assert max(row["received"].timestamp() * 1e6 for row in rows(store)) == START + 30 * HOUR
    assert {row["time"].timestamp() * 1e6 for row in store.latest(Selection()).to_pylist()} == {START + 29 * HOUR}


@pytest.mark.parametrize("finer", [BucketWidth(1, "us"), BucketWidth(1, "min"), BucketWidth(30, "min")], ids=str)
def test_finer_buckets_hold_the_value_of_the_coarse_one(source: ReadingStore, finer: BucketWidth) -> None:
    store = derived(source, BucketWidth(1, "h"))
    names = tuple(name for name in AGGREGATES if name not in ("std", "energy_mean", "vector_mean", "share"))
    select = Selection(streams=(SHOWN_NOISE,))
    wanted = rows(store, select=select)
    found = rows(store, select=select, every=finer, aggregates=(*names, "p5", "p95"), zone="Europe/Oslo")
    assert [row["time"] for row in found] == [row["time"] for row in wanted]
    for row, coarse in zip(found, wanted, strict=True):
        assert row["count"] == 1
        assert {row[name] for name in (*names, "p5", "p95") if name != "count"} == {coarse["value"]}


@pytest.mark.parametrize("coarser", [BucketWidth(1, "d"), BucketWidth(1, "mo"), BucketWidth(5, "h")], ids=str)
def test_coarser_buckets_are_made_of_the_rows_that_are_shown(source: ReadingStore, coarser: BucketWidth) -> None:
    store = derived(source, BucketWidth(1, "h"))
    copied = open_store("duckdb://")
    copied.write(
        Batch.of(
            Reading(r["pilot"], r["device"], r["quantity"], int(r["time"].timestamp() * 1e6), r["value"], START)
            for r in rows(store)
        )
    )
    asked = {"every": coarser, "aggregates": ("mean", "max", "std", "count", "p10"), "zone": "Europe/Oslo"}
    assert rows(store, **asked) == rows(copied, **asked)
    copied.close()


@pytest.mark.parametrize("shown", [None, BucketWidth(3, "h")], ids=["readings", "by 3 hours"])
@pytest.mark.parametrize("more", [{}, {"every": BucketWidth(1, "d"), "zone": "Europe/Oslo"}], ids=["raw", "buckets"])
def test_pages_together_are_the_whole(
    source: ReadingStore, shown: BucketWidth | None, more: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(derived_store, "_ROWS_AT_ONCE", 100)  # a stream at a time
    store = derived(source, shown, start=START + 6 * DAY if shown is None else START)
    whole, pages, after = rows(store, **more), [], None
    while page := rows(store, limit=50, after=after, **more):
        pages += page
        last = page[-1]
        at = int(last["time"].timestamp() * 1e6)
        after = Cursor(Stream(last["pilot"], last["device"], last["quantity"]), at)
    assert pages == whole
    assert len(whole) > 3


def test_what_is_not_shared_is_not_there(source: ReadingStore) -> None:
    store = derived(source, BucketWidth(1, "h"))
    for select in (
        Selection(pilots=("source",)),
        Selection(streams=(NOISE, Stream("source", "b", "secret"), Stream("share", "x", "secret"))),
        Selection(devices=("b",)),
        Selection(quantities=("secret",)),
    ):
        assert rows(store, select=select) == []
        assert store.streams(select) == []
        assert store.latest(select).num_rows == 0
    assert store.extent(Selection()) == UNKNOWN_EXTENT
    assert store.counts() is None
    assert set(store.streams(Selection())) == set(STREAMS)


def test_latest_is_found_however_old_it_is(source: ReadingStore) -> None:
    store = derived(source, BucketWidth(1, "h"))
    assert [row["time"].timestamp() * 1e6 for row in store.latest(Selection()).to_pylist()] == 2 * [
        START + DAYS * DAY - HOUR
    ]
    assert store.latest(Selection(), changed_since=START + DAYS * DAY + 1).num_rows == 0
    early = derived(source, BucketWidth(1, "h"), end=START + DAY + 1)
    assert {row["time"].timestamp() * 1e6 for row in early.latest(Selection()).to_pylist()} == {START + DAY - HOUR}
    assert derived(source, BucketWidth(1, "h"), end=START).latest(Selection()).num_rows == 0
    assert derived(source, BucketWidth(1, "h"), end=START).streams(Selection()) == []


def test_as_measured_keeps_values_and_the_period(source: ReadingStore) -> None:
    store = derived(source, None, start=START + HOUR, end=START + 2 * HOUR)
    found = rows(store, select=Selection(streams=(SHOWN_NOISE,)))
    wanted = rows(source, select=Selection(streams=(NOISE,)), start=START + HOUR, end=START + 2 * HOUR)
    assert [(r["time"], r["value"], r["received"]) for r in found] == [
        (r["time"], r["value"], r["received"]) for r in wanted
    ]
    assert len(found) == 6
    assert store.latest(Selection()).num_rows == 2


@pytest.mark.parametrize("every", [None, BucketWidth(1, "h")], ids=["raw", "buckets"])
def test_flagged_readings_are_left_out(every: BucketWidth | None) -> None:
    source = open_store("duckdb://")
    good = Reading(*NOISE, START, 40.0, START)
    spoilt = [Reading(*NOISE, START + HOUR + i, 999.0 + i, START, quality=2) for i in range(3)]
    source.write(Batch.of([good, Reading(*NOISE, START + 1, 999.0, START, quality=1), *spoilt]))
    store = derived(source, every)
    assert [row["value"] for row in rows(store)] == [pytest.approx(40.0)]
    assert rows(store, quality="good") == rows(store)
    assert rows(store, quality="flagged") == []
    assert rows(store, quality="flagged", every=BucketWidth(1, "d"), aggregates=("count",)) == []
    source.close()


def test_what_is_erased_is_gone_here_too() -> None:
    source = open_store("duckdb://")
    source.write(Batch.of(readings()))
    store = derived(source, BucketWidth(1, "h"))
    assert rows(store)
    source.erase(Selection(pilots=("source",)))
    assert rows(store) == []
    source.close()


def test_it_is_for_reading_only(source: ReadingStore) -> None:
    store = derived(source, BucketWidth(1, "h"))
    for change in (
        lambda: store.write(Batch.of([])),
        lambda: store.flag(Batch.of([])),
        lambda: store.erase(Selection()),
    ):
        with pytest.raises(TypeError):
            change()

"""What every ReadingStore promises to answer: ranges, selections, pages, wrong questions. See conftest.py."""

from __future__ import annotations

import itertools

import pyarrow as pa
import pytest

from techport_storage.errors import BadQuery
from techport_storage.microseconds import DAY, SECOND
from techport_storage.model import (
    AGGREGATES,
    RAW_SCHEMA,
    BucketWidth,
    Cursor,
    Query,
    Reading,
    Selection,
    Stream,
    aggregate_schema,
)
from techport_storage.store import ReadingStore
from tests.contract.readings import NOON, OSLO, A, B, put, reading, rows, series, stored

# Selecting and paging


def test_ranges_are_half_open(store: ReadingStore) -> None:
    put(store, *series(A, 5))
    assert [r.value for r in stored(store, start=NOON + SECOND, end=NOON + 3 * SECOND)] == [1, 2]
    assert stored(store, start=NOON, end=NOON) == []


def test_selections(store: ReadingStore) -> None:
    names = [Stream(*parts) for parts in itertools.product("pq", "xyz", "tu")]
    put(store, *(reading(name) for name in names))
    for select, wanted in [
        (Selection(), names),
        (Selection(pilots=("p",)), [n for n in names if n.pilot == "p"]),
        (
            Selection(devices=("x", "z"), quantities=("u",)),
            [n for n in names if n.device in "xz" and n.quantity == "u"],
        ),
        (Selection(pilots=("nobody",)), []),
        (Selection(devices=()), []),
        (Selection(streams=(names[3], names[0], Stream("no", "such", "one"))), [names[0], names[3]]),
        (Selection(streams=()), []),
    ]:
        assert [r.stream for r in stored(store, select=select)] == wanted
        assert store.streams(select) == wanted
        assert [r.stream for r in rows(store.latest(select))] == wanted


def test_good_readings_only(store: ReadingStore) -> None:
    put(store, *(reading(time=NOON + i * SECOND, value=float(i), quality=i % 3) for i in range(9)))
    assert [r.value for r in stored(store, quality="good")] == [0, 3, 6]
    table = store.read(Query(every=BucketWidth(1, "d"), aggregates=("sum",), quality="good")).read_all()
    assert table["sum"].to_pylist() == [9]


def test_flagged_readings_only(store: ReadingStore) -> None:
    put(store, *(reading(time=NOON + i * SECOND, value=float(i), quality=i % 3) for i in range(9)))
    assert [r.value for r in stored(store, quality="flagged", limit=4)] == [1, 2, 4, 5]
    for aggregate, expected in (("max", 8), ("median", 4.5)):  # computed by the database, and from its rows
        query = Query(every=BucketWidth(1, "d"), aggregates=(aggregate,), quality="flagged")
        table = store.read(query).read_all()
        assert (table[aggregate].to_pylist(), table["count"].to_pylist()) == ([expected], [6])


def test_empty_answers_have_the_schema(store: ReadingStore) -> None:
    for filled in (False, True):
        if filled:
            put(store, reading())
        nobody = Selection(pilots=("nobody",))
        assert store.read(Query(select=nobody)).read_all().schema.equals(RAW_SCHEMA)
        assert store.latest(nobody).schema.equals(RAW_SCHEMA)
        for every in (BucketWidth(1, "h"), BucketWidth(1, "d")):
            later = store.read(Query(start=NOON + DAY, every=every, zone=OSLO, aggregates=AGGREGATES)).read_all()
            assert later.schema.equals(aggregate_schema(AGGREGATES))
            assert later.num_rows == 0


def test_full_answers_have_the_schema(store: ReadingStore) -> None:
    put(store, *series(A, 3))
    assert store.read(Query()).read_all().schema.equals(RAW_SCHEMA)
    assert store.latest(Selection()).schema.equals(RAW_SCHEMA)
    mixed: tuple[object, ...] = ("max", "count", "mean")
    table = store.read(Query(every=BucketWidth(1, "h"), aggregates=mixed)).read_all()  # type: ignore[arg-type]
    assert table.schema.equals(aggregate_schema(mixed))  # type: ignore[arg-type]


@pytest.mark.parametrize("every", [None, BucketWidth(7, "s"), BucketWidth(1, "d")])
def test_pages_cover_everything_once(store: ReadingStore, every: BucketWidth | None) -> None:
    for k, name in enumerate((A, B, Stream("luft", "b", "pm2_5"), Stream("m", "a", "x"))):
        put(store, *series(name, 40 + k, step=20_000 * SECOND if every == BucketWidth(1, "d") else SECOND))
    whole = store.read(Query(every=every, zone=OSLO)).read_all()
    for limit in (1, 7, 10_000):
        pages, after = [], None
        while not pages or pages[-1].num_rows:
            pages.append(store.read(Query(every=every, zone=OSLO, limit=limit, after=after)).read_all())
            assert pages[-1].num_rows <= limit
            if pages[-1].num_rows:
                last = pages[-1].slice(pages[-1].num_rows - 1).to_pylist()[0]
                time = pages[-1]["time"].cast(pa.int64())[-1].as_py()
                after = Cursor(Stream(last["pilot"], last["device"], last["quantity"]), time)
        assert pa.concat_tables(pages, promote_options="default").to_pylist() == whole.to_pylist()


def test_cursor_of_a_stream_that_is_not_there(store: ReadingStore) -> None:
    put(store, reading(A), reading(Stream("luft", "c", "pm10")))
    assert [r.device for r in stored(store, after=Cursor(B, NOON))] == ["c"]
    assert stored(store, after=Cursor(Stream("zzz", "", ""), 0)) == []


def test_paging_while_data_arrives(store: ReadingStore) -> None:
    """Pages cover what was there at the start exactly once, whatever is written meanwhile."""
    there = [r for name in (A, B) for r in series(name, 150, step=2 * SECOND)]
    put(store, *there)
    seen: list[Reading] = []
    after = None
    for turn in itertools.count():
        page = stored(store, limit=20, after=after)
        if not page:
            break
        seen += page
        after = Cursor(page[-1].stream, page[-1].time)
        put(store, *(reading(name, NOON + (turn * 37 % 300) * SECOND + 1, value=-1) for name in (A, B)))
    old = [r for r in seen if r.value >= 0]
    assert old == there
    assert len({(r.stream, r.time) for r in seen}) == len(seen)


@pytest.mark.parametrize(
    ("parameter", "query"),
    [
        ("start", Query(start=2, end=1)),
        ("limit", Query(limit=0)),
        ("limit", Query(limit=-1)),
        ("every", Query(every=BucketWidth(0, "h"))),
        ("every", Query(every=BucketWidth(-1, "mo"))),
        ("every", Query(every=BucketWidth(1, "fortnight"))),  # type: ignore[arg-type]
        ("every", Query(every=BucketWidth(10**9, "y"))),
        ("zone", Query(every=BucketWidth(1, "d"), zone="Europe/Trondheim")),
        ("zone", Query(every=BucketWidth(1, "d"), zone="../etc/passwd")),
        ("zone", Query(every=BucketWidth(1, "d"), zone="Europe")),
        ("aggregates", Query(every=BucketWidth(1, "d"), aggregates=("mode",))),  # type: ignore[arg-type]
        ("aggregates", Query(every=BucketWidth(1, "d"), aggregates=("min", "min"))),
        ("quality", Query(quality="best")),  # type: ignore[arg-type]
    ],
)
def test_wrong_questions_name_the_parameter_and_a_remedy(store: ReadingStore, parameter: str, query: Query) -> None:
    with pytest.raises(BadQuery) as caught:
        store.read(query)
    assert caught.value.parameter == parameter
    assert caught.value.hint

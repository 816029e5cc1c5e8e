"""What every ReadingStore promises. Each test runs against every store in conftest.BACKENDS."""

from __future__ import annotations

import datetime as dt
import itertools
import math
import random
import struct
import threading
from collections.abc import Iterable
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from techport_storage.errors import BadQuery
from techport_storage.model import (
    AGGREGATES,
    RAW_SCHEMA,
    Batch,
    Cursor,
    Every,
    Query,
    Reading,
    Receipt,
    Selection,
    Stream,
    aggregate_schema,
)
from techport_storage.store import ReadingStore

S = 1_000_000  # µs
DAY = 86_400 * S
NOON = 1_700_049_600 * S  # 2023-11-15 12:00 UTC
A = Stream("luft", "a", "pm10")
B = Stream("luft", "b", "pm10")
OSLO = "Europe/Oslo"


def reading(stream: Stream = A, time: int = NOON, value: float = 1.0, delay: int = 0, quality: int = 0) -> Reading:
    return Reading(*stream, time=time, value=value, received=time // 1000 * 1000 + delay, quality=quality)


def series(stream: Stream, count: int, start: int = NOON, step: int = S) -> list[Reading]:
    return [reading(stream, start + i * step, value=float(i)) for i in range(count)]


def put(store: ReadingStore, *readings: Reading) -> Receipt:
    return store.write(Batch.of(readings))


def rows(table: pa.Table) -> list[Reading]:
    plain = table.set_column(3, "time", table["time"].cast(pa.int64()))
    plain = plain.set_column(5, "received", plain["received"].cast(pa.int64()))
    return [Reading(**row) for row in plain.to_pylist()]


def stored(store: ReadingStore, **query: object) -> list[Reading]:
    return rows(store.read(Query(**query)).read_all())  # type: ignore[arg-type]


def ordered(readings: Iterable[Reading]) -> list[Reading]:
    return sorted(readings, key=lambda r: (r.stream, r.time))


def utc(*parts: int) -> int:
    return int(dt.datetime(*parts, tzinfo=dt.UTC).timestamp()) * S  # type: ignore[arg-type, misc]


# Receipts


def test_receipt_counts_every_row_once(store: ReadingStore) -> None:
    put(store, reading(time=NOON))
    batch = Batch.of(
        [
            reading(time=NOON, value=2),  # there already
            reading(time=NOON + S),  # superseded by the fourth
            reading(time=NOON + 2 * S, value=math.nan),
            reading(time=NOON + S, value=3),
            reading(B, time=NOON),
            reading(B, time=NOON + S, value=-math.inf),
        ]
    )
    receipt = store.write(batch)
    assert receipt.duplicate_rows.tolist() == [0, 1]
    assert [row for row, _ in receipt.rejected] == [2, 5]
    assert all("finite" in reason for _, reason in receipt.rejected)
    assert receipt.written == 2
    assert len(batch) == receipt.written + receipt.duplicates + len(receipt.rejected)


def test_key_that_is_stored_and_comes_twice_makes_two_duplicates(store: ReadingStore) -> None:
    put(store, reading(value=1))
    receipt = put(store, reading(value=2), reading(value=3))
    assert (receipt.written, receipt.duplicate_rows.tolist()) == (0, [0, 1])
    assert stored(store) == [reading(value=3)]


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


def test_shuffled_redelivery_ends_in_the_same_rows(store: ReadingStore) -> None:
    """At least once, in any order and any cut: exactly one row each."""
    dice = random.Random(7)
    streams = [Stream(p, d, q) for p in "pq" for d in "xy" for q in ("t", "u")]
    truth = [
        reading(s, NOON + i * 60 * S + k, i + k / 10, delay=dice.randrange(1000) * 1000)
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
    put(store, *(reading(time=NOON + i * S, value=value) for i, value in enumerate(EXTREMES)))
    assert [struct.pack("<d", r.value) for r in stored(store)] == [struct.pack("<d", value) for value in EXTREMES]


def test_whole_numbers_are_floats(store: ReadingStore) -> None:
    put(store, reading(value=31))
    put(store, reading(time=NOON + S, value=31.2))
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


# Selecting and paging


def test_ranges_are_half_open(store: ReadingStore) -> None:
    put(store, *series(A, 5))
    assert [r.value for r in stored(store, start=NOON + S, end=NOON + 3 * S)] == [1, 2]
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
    put(store, *(reading(time=NOON + i * S, value=float(i), quality=i % 3) for i in range(9)))
    assert [r.value for r in stored(store, quality="good")] == [0, 3, 6]
    table = store.read(Query(every=Every(1, "d"), aggregates=("sum",), quality="good")).read_all()
    assert table["sum"].to_pylist() == [9]


def test_empty_answers_have_the_schema(store: ReadingStore) -> None:
    for filled in (False, True):
        if filled:
            put(store, reading())
        nobody = Selection(pilots=("nobody",))
        assert store.read(Query(select=nobody)).read_all().schema.equals(RAW_SCHEMA)
        assert store.latest(nobody).schema.equals(RAW_SCHEMA)
        for every in (Every(1, "h"), Every(1, "d")):
            later = store.read(Query(start=NOON + DAY, every=every, zone=OSLO, aggregates=AGGREGATES)).read_all()
            assert later.schema.equals(aggregate_schema(AGGREGATES))
            assert later.num_rows == 0


def test_full_answers_have_the_schema(store: ReadingStore) -> None:
    put(store, *series(A, 3))
    assert store.read(Query()).read_all().schema.equals(RAW_SCHEMA)
    assert store.latest(Selection()).schema.equals(RAW_SCHEMA)
    mixed: tuple[object, ...] = ("max", "count", "mean")
    table = store.read(Query(every=Every(1, "h"), aggregates=mixed)).read_all()  # type: ignore[arg-type]
    assert table.schema.equals(aggregate_schema(mixed))  # type: ignore[arg-type]


@pytest.mark.parametrize("every", [None, Every(7, "s"), Every(1, "d")])
def test_pages_cover_everything_once(store: ReadingStore, every: Every | None) -> None:
    for k, name in enumerate((A, B, Stream("luft", "b", "pm2_5"), Stream("m", "a", "x"))):
        put(store, *series(name, 40 + k, step=20_000 * S if every == Every(1, "d") else S))
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
    there = [r for name in (A, B) for r in series(name, 150, step=2 * S)]
    put(store, *there)
    seen: list[Reading] = []
    after = None
    for turn in itertools.count():
        page = stored(store, limit=20, after=after)
        if not page:
            break
        seen += page
        after = Cursor(page[-1].stream, page[-1].time)
        put(store, *(reading(name, NOON + (turn * 37 % 300) * S + 1, value=-1) for name in (A, B)))
    old = [r for r in seen if r.value >= 0]
    assert old == there
    assert len({(r.stream, r.time) for r in seen}) == len(seen)


@pytest.mark.parametrize(
    ("parameter", "query"),
    [
        ("start", Query(start=2, end=1)),
        ("limit", Query(limit=0)),
        ("limit", Query(limit=-1)),
        ("every", Query(every=Every(0, "h"))),
        ("every", Query(every=Every(-1, "mo"))),
        ("every", Query(every=Every(1, "fortnight"))),  # type: ignore[arg-type]
        ("every", Query(every=Every(10**9, "y"))),
        ("zone", Query(every=Every(1, "d"), zone="Europe/Trondheim")),
        ("zone", Query(every=Every(1, "d"), zone="../etc/passwd")),
        ("zone", Query(every=Every(1, "d"), zone="Europe")),
        ("aggregates", Query(every=Every(1, "d"), aggregates=("mode",))),  # type: ignore[arg-type]
        ("aggregates", Query(every=Every(1, "d"), aggregates=("min", "min"))),
        ("quality", Query(quality="best")),  # type: ignore[arg-type]
    ],
)
def test_wrong_questions_name_the_parameter_and_a_remedy(store: ReadingStore, parameter: str, query: Query) -> None:
    with pytest.raises(BadQuery) as caught:
        store.read(query)
    assert caught.value.parameter == parameter
    assert caught.value.hint


# Aggregates


def reference(values: np.ndarray) -> dict[str, float | int | None]:
    return {
        "mean": math.fsum(values) / len(values),
        "min": values.min(),
        "max": values.max(),
        "sum": math.fsum(values),
        "count": len(values),
        "first": values[0],
        "last": values[-1],
        "std": values.std(ddof=1) if len(values) > 1 else None,
        "median": np.median(values),
        "energy_mean": None if abs(values).max() > 3000 else 10 * math.log10(np.mean(10 ** (values / 10))),
        "vector_mean": math.degrees(math.atan2(np.sin(np.radians(values)).mean(), np.cos(np.radians(values)).mean()))
        % 360,
        "p5": np.percentile(values, 5),
        "p95": np.percentile(values, 95),
    }


def test_aggregates_equal_numpy(store: ReadingStore) -> None:
    rng = np.random.default_rng(3)
    times = np.sort(rng.choice(7200, 500, replace=False)) * S + NOON + 17
    values = {name: rng.normal(1e6, 3, len(times)) for name in (A, B)}
    shuffled = rng.permutation(len(times))
    for name in (B, A):
        put(store, *(reading(name, int(times[i]), float(values[name][i])) for i in shuffled))
    names = (*AGGREGATES, "p5", "p95")
    table = store.read(Query(every=Every(10, "min"), aggregates=names)).read_all()
    width = 600 * S
    expected = [
        {"pilot": name.pilot, "device": name.device, "quantity": name.quantity, "time": int(start)}
        | reference(values[name][times // width * width == start])
        for name in (A, B)
        for start in np.unique(times // width * width)
    ]
    found = table.set_column(3, "time", table["time"].cast(pa.int64())).to_pylist()
    assert [(row["device"], row["time"], row["count"]) for row in found] == [
        (row["device"], row["time"], row["count"]) for row in expected
    ]
    for got, wanted in zip(found, expected, strict=True):
        for name in names:
            # std: of a spread a millionth of the mean; a direction of a million degrees has lost digits, too
            relative = {"std": 1e-6, "vector_mean": 1e-6}.get(name, 1e-14)
            assert got[name] == (pytest.approx(wanted[name], rel=relative) if wanted[name] is not None else None)


def test_a_sum_does_not_depend_on_the_order_of_arrival(store: ReadingStore) -> None:
    rng = np.random.default_rng(11)
    values = rng.normal(0, 1, 1000) * 10.0 ** rng.integers(-8, 8, 1000)
    for name, order in ((A, np.arange(1000)), (B, rng.permutation(1000))):
        put(store, *(reading(name, NOON + int(i) * S, float(values[i])) for i in order))
    sums = store.read(Query(every=Every(1, "d"), aggregates=("sum",))).read_all()["sum"].to_pylist()
    assert sums == pytest.approx([math.fsum(values)] * 2, rel=1e-13)


def test_aggregates_of_extremes(store: ReadingStore) -> None:
    put(store, *(reading(time=NOON + i * S, value=value) for i, value in enumerate((1e308, 1e308, -1e308))))
    put(store, *(reading(B, time=NOON + i * S, value=value) for i, value in enumerate((5e-324, 0.0, -0.0))))
    big, small = store.read(Query(every=Every(1, "d"), aggregates=AGGREGATES)).read_all().to_pylist()
    assert (big["min"], big["max"], big["median"], big["count"]) == (-1e308, 1e308, 1e308, 3)
    assert big["std"] == pytest.approx(1.1547005383792515e308)  # 2e308 / sqrt(3)
    assert (small["min"], small["max"], small["sum"], small["std"]) == (0, 5e-324, 5e-324, 0)


def test_levels_are_averaged_as_energy_and_directions_as_vectors(store: ReadingStore) -> None:
    put(store, *(reading(A, NOON + i * S, value) for i, value in enumerate((50.0, 60.0, 70.0))))
    put(store, *(reading(B, NOON + i * S, value) for i, value in enumerate((350.0, 20.0))))
    put(store, *(reading(B, NOON + DAY + i * S, value) for i, value in enumerate((90.0, 270.0))))
    query = Query(every=Every(1, "d"), aggregates=("energy_mean", "vector_mean"))
    levels, north, nowhere = store.read(query).read_all().to_pylist()
    assert levels["energy_mean"] == pytest.approx(10 * math.log10((1e5 + 1e6 + 1e7) / 3), rel=1e-14)
    assert north["vector_mean"] == pytest.approx(5, rel=1e-12)
    assert nowhere["vector_mean"] is None


def test_sum_out_of_range_is_infinite(store: ReadingStore) -> None:
    put(store, reading(value=1e308), reading(time=NOON + S, value=1e308))
    table = store.read(Query(every=Every(1, "d"), aggregates=("sum", "max"))).read_all()
    assert (table["sum"][0].as_py(), table["max"][0].as_py()) == (math.inf, 1e308)


def test_fixed_buckets_count_from_the_epoch(store: ReadingStore) -> None:
    times = [-1, 0, 7 * S - 1, 7 * S, -7 * S, -7 * S - 1]
    put(store, *(reading(time=time) for time in times))
    table = store.read(Query(every=Every(7, "s"), aggregates=())).read_all()
    assert table["time"].cast(pa.int64()).to_pylist() == [-14 * S, -7 * S, 0, 7 * S]
    assert table["count"].to_pylist() == [1, 2, 2, 1]


@pytest.mark.parametrize(
    ("every", "first", "hours"),
    [
        (Every(1, "d"), (2024, 3, 30), [24, 23, 24]),
        (Every(1, "d"), (2024, 10, 26), [24, 25, 24]),
        (Every(1, "w"), (2024, 3, 25), [7 * 24 - 1, 7 * 24]),
        (Every(1, "mo"), (2024, 9, 1), [30 * 24, 31 * 24 + 1, 30 * 24]),
        (Every(3, "mo"), (2024, 1, 1), [91 * 24 - 1, 91 * 24]),
        (Every(1, "y"), (2023, 1, 1), [365 * 24, 366 * 24]),
    ],
)
def test_calendar_buckets_in_oslo(
    store: ReadingStore, every: Every, first: tuple[int, int, int], hours: list[int]
) -> None:
    """Each begins at local midnight, and a day of 23 or 25 hours holds as many hourly readings."""
    start = int(dt.datetime(*first, tzinfo=ZoneInfo(OSLO)).timestamp()) * S
    put(store, *(reading(time=start + hour * 3600 * S) for hour in range(sum(hours))))
    table = store.read(Query(every=every, zone=OSLO, aggregates=("count",))).read_all()
    assert table["count"].to_pylist() == hours
    local = [time.as_py().astimezone(ZoneInfo(OSLO)) for time in table["time"]]
    assert [(time.hour, time.minute) for time in local] == [(0, 0)] * len(hours)
    assert local[0].date() == dt.date(*first)


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("America/Santiago", (2025, 9, 7), 23),  # midnight is skipped: the day begins at 1
        ("America/Havana", (2025, 11, 2), 25),  # midnight comes twice: the day begins with the first
        ("Asia/Kathmandu", (2025, 1, 1), 24),
    ],
)
def test_days_whose_midnight_is_odd(store: ReadingStore, zone: str, day: tuple[int, int, int], hours: int) -> None:
    start = utc(*day) - DAY
    put(store, *(reading(time=start + quarter * 900 * S) for quarter in range(4 * 24 * 4)))
    table = store.read(Query(every=Every(1, "d"), zone=zone, aggregates=("count",))).read_all()
    starts = table["time"].cast(pa.int64()).to_numpy()
    counted = dict(zip(starts.tolist(), table["count"].to_pylist(), strict=True))
    (of_day,) = [
        time for time in counted if dt.datetime.fromtimestamp(time // S, ZoneInfo(zone)).date() == dt.date(*day)
    ]
    assert counted[of_day] == hours * 4


def test_buckets_at_the_edge_hold_only_the_range(store: ReadingStore) -> None:
    put(store, *series(A, 100))
    table = store.read(
        Query(every=Every(1, "d"), start=NOON + 10 * S, end=NOON + 20 * S, aggregates=("sum",))
    ).read_all()
    assert (table["time"].cast(pa.int64()).to_pylist(), table["sum"].to_pylist()) == ([NOON - DAY // 2], [145])


# Latest


def test_latest_is_the_greatest_time(store: ReadingStore) -> None:
    put(store, *series(B, 5), *series(A, 3))
    put(store, reading(B, NOON - S, value=99))  # late: does not count
    assert rows(store.latest(Selection())) == [series(A, 3)[-1], series(B, 5)[-1]]


def test_latest_changed_since(store: ReadingStore) -> None:
    put(
        store,
        Reading(*A, time=NOON, value=1, received=NOON + 5 * S),
        Reading(*B, time=NOON, value=1, received=NOON + 9 * S),
    )
    for since, devices in ((NOON, "ab"), (NOON + 5 * S, "ab"), (NOON + 6 * S, "b"), (NOON + 10 * S, "")):
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
    assert store.erase(Selection(), start=NOON + 10 * S, end=NOON + 60 * S) == 80
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


# Several at once


def test_a_reader_sees_the_state_of_its_question(store: ReadingStore) -> None:
    put(store, *series(A, 500))
    reader = store.read(Query())
    put(store, *(reading(time=NOON + i * S, value=-1) for i in range(500)), *series(B, 10))
    assert rows(reader.read_all()) == series(A, 500)


def test_reading_while_writing(store: ReadingStore) -> None:
    """Readers in two threads see whole batches, in order, and never a row twice, while two threads write."""
    problems: list[str] = []
    done = threading.Event()

    def write(name: Stream) -> None:
        for i in range(20):
            put(store, *series(name, 30, NOON + i * 20 * S))  # ten of them are there already

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
            assert len(batch) == receipt.written + receipt.duplicates + len(receipt.rejected)
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

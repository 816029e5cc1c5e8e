"""What every ReadingStore promises of aggregates: equal to numpy, buckets of the calendar. See conftest.py."""

from __future__ import annotations

import datetime as dt
import math
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest

from techport_storage.microseconds import DAY, HOUR, SECOND
from techport_storage.model import AGGREGATES, BucketWidth, Query
from techport_storage.store import ReadingStore
from tests.contract.readings import NOON, OSLO, A, B, put, reading, series, utc

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
        "share": np.mean(values != 0),
        "p5": np.percentile(values, 5),
        "p95": np.percentile(values, 95),
    }


def test_aggregates_equal_numpy(store: ReadingStore) -> None:
    rng = np.random.default_rng(3)
    times = np.sort(rng.choice(7200, 500, replace=False)) * SECOND + NOON + 17
    values = {name: rng.normal(1e6, 3, len(times)) for name in (A, B)}
    shuffled = rng.permutation(len(times))
    for name in (B, A):
        put(store, *(reading(name, int(times[i]), float(values[name][i])) for i in shuffled))
    names = (*AGGREGATES, "p5", "p95")
    table = store.read(Query(every=BucketWidth(10, "min"), aggregates=names)).read_all()
    width = 600 * SECOND
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
        put(store, *(reading(name, NOON + int(i) * SECOND, float(values[i])) for i in order))
    sums = store.read(Query(every=BucketWidth(1, "d"), aggregates=("sum",))).read_all()["sum"].to_pylist()
    assert sums == pytest.approx([math.fsum(values)] * 2, rel=1e-13)


def test_aggregates_of_extremes(store: ReadingStore) -> None:
    put(store, *(reading(time=NOON + i * SECOND, value=value) for i, value in enumerate((1e308, 1e308, -1e308))))
    put(store, *(reading(B, time=NOON + i * SECOND, value=value) for i, value in enumerate((5e-324, 0.0, -0.0))))
    big, small = store.read(Query(every=BucketWidth(1, "d"), aggregates=AGGREGATES)).read_all().to_pylist()
    assert (big["min"], big["max"], big["median"], big["count"]) == (-1e308, 1e308, 1e308, 3)
    assert big["std"] == pytest.approx(1.1547005383792515e308)  # 2e308 / sqrt(3)
    assert (small["min"], small["max"], small["sum"], small["std"]) == (0, 5e-324, 5e-324, 0)


def test_levels_are_averaged_as_energy_and_directions_as_vectors(store: ReadingStore) -> None:
    put(store, *(reading(A, NOON + i * SECOND, value) for i, value in enumerate((50.0, 60.0, 70.0))))
    put(store, *(reading(B, NOON + i * SECOND, value) for i, value in enumerate((350.0, 20.0))))
    put(store, *(reading(B, NOON + DAY + i * SECOND, value) for i, value in enumerate((90.0, 270.0))))
    query = Query(every=BucketWidth(1, "d"), aggregates=("energy_mean", "vector_mean"))
    levels, north, nowhere = store.read(query).read_all().to_pylist()
    assert levels["energy_mean"] == pytest.approx(10 * math.log10((1e5 + 1e6 + 1e7) / 3), rel=1e-14)
    assert north["vector_mean"] == pytest.approx(5, rel=1e-12)
    assert nowhere["vector_mean"] is None


def test_sum_out_of_range_is_infinite(store: ReadingStore) -> None:
    put(store, reading(value=1e308), reading(time=NOON + SECOND, value=1e308))
    table = store.read(Query(every=BucketWidth(1, "d"), aggregates=("sum", "max"))).read_all()
    assert (table["sum"][0].as_py(), table["max"][0].as_py()) == (math.inf, 1e308)


def test_fixed_buckets_count_from_the_epoch(store: ReadingStore) -> None:
    times = [-1, 0, 7 * SECOND - 1, 7 * SECOND, -7 * SECOND, -7 * SECOND - 1]
    put(store, *(reading(time=time) for time in times))
    table = store.read(Query(every=BucketWidth(7, "s"), aggregates=())).read_all()
    assert table["time"].cast(pa.int64()).to_pylist() == [-14 * SECOND, -7 * SECOND, 0, 7 * SECOND]
    assert table["count"].to_pylist() == [1, 2, 2, 1]


@pytest.mark.parametrize(
    ("every", "first", "hours"),
    [
        (BucketWidth(1, "d"), (2024, 3, 30), [24, 23, 24]),
        (BucketWidth(1, "d"), (2024, 10, 26), [24, 25, 24]),
        (BucketWidth(1, "w"), (2024, 3, 25), [7 * 24 - 1, 7 * 24]),
        (BucketWidth(1, "mo"), (2024, 9, 1), [30 * 24, 31 * 24 + 1, 30 * 24]),
        (BucketWidth(3, "mo"), (2024, 1, 1), [91 * 24 - 1, 91 * 24]),
        (BucketWidth(1, "y"), (2023, 1, 1), [365 * 24, 366 * 24]),
    ],
)
def test_calendar_buckets_in_oslo(
    store: ReadingStore, every: BucketWidth, first: tuple[int, int, int], hours: list[int]
) -> None:
    """Each begins at local midnight, and a day of 23 or 25 hours holds as many hourly readings."""
    start = int(dt.datetime(*first, tzinfo=ZoneInfo(OSLO)).timestamp()) * SECOND
    put(store, *(reading(time=start + hour * HOUR) for hour in range(sum(hours))))
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
    put(store, *(reading(time=start + quarter * 900 * SECOND) for quarter in range(4 * 24 * 4)))
    table = store.read(Query(every=BucketWidth(1, "d"), zone=zone, aggregates=("count",))).read_all()
    starts = table["time"].cast(pa.int64()).to_numpy()
    counted = dict(zip(starts.tolist(), table["count"].to_pylist(), strict=True))
    (of_day,) = [
        time for time in counted if dt.datetime.fromtimestamp(time // SECOND, ZoneInfo(zone)).date() == dt.date(*day)
    ]
    assert counted[of_day] == hours * 4


def test_buckets_at_the_edge_hold_only_the_range(store: ReadingStore) -> None:
    put(store, *series(A, 100))
    table = store.read(
        Query(every=BucketWidth(1, "d"), start=NOON + 10 * SECOND, end=NOON + 20 * SECOND, aggregates=("sum",))
    ).read_all()
    assert (table["time"].cast(pa.int64()).to_pylist(), table["sum"].to_pylist()) == ([NOON - DAY // 2], [145])

"""The same data in DuckDB and InfluxDB gives the same answers: rows to the bit, aggregates to 1e-12."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from techport_storage.buckets import parse_width
from techport_storage.microseconds import HOUR, SECOND
from techport_storage.model import AGGREGATES, Aggregate, Batch, Cursor, Query, Selection, Stream
from techport_storage.store import ReadingStore, open_store
from tests.servers.influxd import Influxd, influxd

__all__ = ["influxd"]

START = int(dt.datetime(2023, 3, 23, tzinfo=dt.UTC).timestamp()) * SECOND  # summer time begins on the third day
DAYS = 5
STREAMS = [
    Stream(pilot, device, quantity)
    for pilot in ("elgeseter", "sluppen, øst")
    for device in ("a", "a b", "a=1", 'q"x', "k\\,m", "a\\")
    for quantity in ("temperature", "pm10.inlet")
]
SOME = Selection(devices=("a b", "k\\,m"), quantities=("temperature",))
PUSHED: tuple[Aggregate, ...] = ("mean", "min", "max", "sum", "count", "first", "last")


@dataclass(frozen=True)
class Pair:
    influx: ReadingStore
    duck: ReadingStore


def arrivals(seed: int, rows: int) -> Batch:
    """Readings in disorder, every third on a whole minute, with flags, and with some that no store keeps."""
    rng = np.random.default_rng(seed)
    time = START + rng.integers(0, DAYS * 86_400_000, rows) * 1000 + rng.integers(0, 3, rows)
    on_the_minute = rng.random(rows) < 0.3
    time[on_the_minute] -= time[on_the_minute] % (600 * SECOND)
    value = rng.normal(8, 6, rows)
    value[:4] = (-0.0, 5e-324, np.nan, np.inf)
    return Batch(
        streams=STREAMS,
        stream=rng.integers(0, len(STREAMS), rows).astype(np.int32),
        time=time,
        value=value,
        received=time + rng.integers(0, 10**9, rows),
        quality=rng.choice([0, 0, 0, 1, 16, 32], rows).astype(np.uint8),
    )


@pytest.fixture(scope="module")
def pair(influxd: Influxd) -> Iterator[Pair]:
    stores = Pair(open_store(influxd.url(influxd.new_bucket())), open_store("duckdb://"))
    first, again = arrivals(1, 5000), arrivals(1, 5000)
    for batch in (first, arrivals(2, 2000), again):
        theirs, ours = stores.duck.write(batch), stores.influx.write(batch)
        assert (ours.written, list(ours.rejected)) == (theirs.written, list(theirs.rejected))
        assert ours.duplicate_rows.tolist() == theirs.duplicate_rows.tolist()
        assert ours.correction_rows.tolist() == theirs.correction_rows.tolist()
        assert ours.replaced.tolist() == theirs.replaced.tolist()
    yield stores
    stores.influx.close()
    stores.duck.close()


def answer(store: ReadingStore, query: Query) -> pa.Table:
    return store.read(query).read_all().unify_dictionaries()


def assert_equal(pair: Pair, query: Query) -> int:
    ours, theirs = answer(pair.influx, query), answer(pair.duck, query)
    assert ours.schema == theirs.schema
    for name in ours.column_names:
        mine, other = ours[name], theirs[name]
        if query.every is not None and pa.types.is_floating(mine.type):
            assert mine.is_null().to_pylist() == other.is_null().to_pylist()
            a, b = mine.drop_null().to_numpy(), other.drop_null().to_numpy()
            scale = np.maximum(np.abs(b), 1e-3)  # a mean of values near ten may itself be near nothing
            assert np.array_equal(a, b) or float(np.max(np.abs(a - b) / scale)) <= 1e-12, name
        elif pa.types.is_floating(mine.type):
            assert mine.to_numpy().tobytes() == other.to_numpy().tobytes()
        else:
            assert mine.to_pylist() == other.to_pylist(), name
    return int(ours.num_rows)


@pytest.mark.parametrize("quality", ["all", "good"])
@pytest.mark.parametrize(
    "select",
    [Selection(), SOME, Selection(pilots=("elgeseter",)), Selection(streams=tuple(STREAMS[5:15]))],
    ids=["all", "product", "pilot", "streams"],
)
def test_rows(pair: Pair, select: Selection, quality: Literal["all", "good"]) -> None:
    query = Query(select=select, quality=quality, start=START + 7 * HOUR + 1)
    assert assert_equal(pair, query) > 50
    assert pair.influx.streams(select) == pair.duck.streams(select)


@pytest.mark.parametrize("every", ["500us", "97s", "10min", "1h", "7h"])
@pytest.mark.parametrize("quality", ["all", "good"])
@pytest.mark.parametrize("aggregates", [PUSHED, AGGREGATES, ("count",)], ids=["pushed", "all", "count"])
def test_buckets_of_fixed_length(
    pair: Pair, every: str, quality: Literal["all", "good"], aggregates: tuple[Aggregate, ...]
) -> None:
    for start in (None, START + 12_345_678):
        query = Query(select=SOME, every=parse_width(every), aggregates=aggregates, quality=quality, start=start)
        assert assert_equal(pair, query) > 0


@pytest.mark.parametrize("zone", ["UTC", "Europe/Oslo", "Asia/Kathmandu", "Australia/Lord_Howe", "Africa/Monrovia"])
@pytest.mark.parametrize("every", ["1d", "3d", "1w", "1mo", "1y"])
@pytest.mark.parametrize("quality", ["all", "good"])
def test_buckets_of_the_calendar(pair: Pair, every: str, zone: str, quality: Literal["all", "good"]) -> None:
    for aggregates, start in ((PUSHED, None), (AGGREGATES, START + 12_345_678)):
        query = Query(
            select=SOME,
            every=parse_width(every),
            zone=zone,
            aggregates=aggregates,
            quality=quality,
            start=start,
        )
        assert assert_equal(pair, query) > 0


def test_local_days_that_fit_no_quarter_hour(influxd: Influxd) -> None:
    """Liberia was 44 minutes and 30 seconds behind Greenwich until 1972."""
    stores = Pair(open_store(influxd.url(influxd.new_bucket())), open_store("duckdb://"))
    time = np.arange(500, dtype=np.int64) * 1800 * SECOND
    batch = Batch([STREAMS[0]], np.zeros(500, np.int32), time, time / 7, time, np.zeros(500, np.uint8))
    for store in (stores.influx, stores.duck):
        store.write(batch)
    query = Query(every=parse_width("1d"), zone="Africa/Monrovia", aggregates=PUSHED)
    assert assert_equal(stores, query) == 12
    stores.influx.close()
    stores.duck.close()


@pytest.mark.parametrize(
    ("query", "limits"),
    [
        (Query(select=Selection(pilots=("elgeseter",))), (100, 900)),
        (Query(every=parse_width("2h"), aggregates=("mean", "last")), (90, 1000)),
        (Query(every=parse_width("1d"), zone="Europe/Oslo", aggregates=("median",)), (7, 50)),
    ],
    ids=["rows", "hours", "local days"],
)
def test_pages(pair: Pair, query: Query, limits: tuple[int, ...]) -> None:
    whole = answer(pair.duck, query)
    for limit in limits:
        found = 0
        page = query
        while (table := answer(pair.influx, msgspec.structs.replace(page, limit=limit))).num_rows:
            assert table.num_rows == min(limit, whole.num_rows - found)
            key = ["pilot", "device", "quantity", "time"]
            assert table.select(key).to_pylist() == whole.slice(found, limit).select(key).to_pylist()
            found += table.num_rows
            last = table.slice(table.num_rows - 1).to_pylist()[0]
            time = table["time"].cast(pa.int64())[-1].as_py()
            cursor = Cursor(Stream(last["pilot"], last["device"], last["quantity"]), time)
            page = msgspec.structs.replace(query, after=cursor)
        assert found == whole.num_rows


def test_latest(pair: Pair) -> None:
    ours, theirs = pair.influx.latest(Selection()), pair.duck.latest(Selection())
    assert ours.to_pylist() == theirs.to_pylist()
    middle = int(np.median(theirs["received"].cast(pa.int64()).to_numpy()))
    changed = pair.influx.latest(Selection(), middle)
    assert 0 < changed.num_rows < ours.num_rows
    assert changed.to_pylist() == pair.duck.latest(Selection(), middle).to_pylist()


def test_erase(influxd: Influxd) -> None:
    stores = Pair(open_store(influxd.url(influxd.new_bucket())), open_store("duckdb://"))
    for store in (stores.influx, stores.duck):
        store.write(arrivals(3, 3000))
    middle = START + DAYS * 43_200 * SECOND
    for select, start, end in (
        (Selection(devices=("a", "a\\")), START, middle),
        (Selection(streams=(STREAMS[7],)), None, None),
        (Selection(pilots=("sluppen, øst",), quantities=("pm10.inlet",)), middle, None),
    ):
        erased = stores.influx.erase(select, start, end)
        assert erased == stores.duck.erase(select, start, end) > 0
        assert_equal(stores, Query())
        assert stores.influx.streams(Selection()) == stores.duck.streams(Selection())
    stores.influx.close()
    stores.duck.close()

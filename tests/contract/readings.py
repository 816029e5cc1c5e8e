"""Readings to put into a store, and what came out of it, for the tests of the contract."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

import pyarrow as pa

from techport_storage.microseconds import SECOND
from techport_storage.model import Batch, Query, Reading, Receipt, Stream
from techport_storage.store import ReadingStore

NOON = 1_700_049_600 * SECOND  # 2023-11-15 12:00 UTC
A = Stream("luft", "a", "pm10")
B = Stream("luft", "b", "pm10")
OSLO = "Europe/Oslo"


def reading(stream: Stream = A, time: int = NOON, value: float = 1.0, delay: int = 0, quality: int = 0) -> Reading:
    return Reading(*stream, time=time, value=value, received=time // 1000 * 1000 + delay, quality=quality)


def series(stream: Stream, count: int, start: int = NOON, step: int = SECOND) -> list[Reading]:
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
    return int(dt.datetime(*parts, tzinfo=dt.UTC).timestamp()) * SECOND  # type: ignore[arg-type, misc]

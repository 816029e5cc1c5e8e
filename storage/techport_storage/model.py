"""The words of the time-series side: stream, reading, batch, receipt, query.

Times are whole microseconds since the Unix epoch, UTC, as `int`; numbers are float64; ranges are half-open:
[start, end).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntFlag
from typing import Literal, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Micros = int
"""Microseconds since 1970-01-01T00:00:00Z."""


class Stream(NamedTuple):
    """One quantity of one device of one pilot: what a line in a chart shows.

    `quantity` is a name of the vocabulary, with `.channel` behind it where a device has several ("temperature.inlet").
    """

    pilot: str
    device: str
    quantity: str


class Quality(IntFlag):
    """Flags beside a value. They never change it."""

    GOOD = 0
    RANGE = 1  # outside the valid range of its quantity
    SPIKE = 2
    STUCK = 4
    STEP = 8
    CLOCK = 16  # doubtful time: the device gave none, and the message may have waited before it arrived
    EXCLUDED = 32  # excluded by a person, with a reason


class Reading(msgspec.Struct, frozen=True, gc=False):
    """One value of one stream at one instant. `time` is when it was observed, `received` when it arrived.

    A store keeps `time` to the microsecond, `value` to the bit and `received` to the millisecond.
    """

    pilot: str
    device: str
    quantity: str
    time: Micros
    value: float
    received: Micros
    quality: int = 0

    @property
    def stream(self) -> Stream:
        return Stream(self.pilot, self.device, self.quantity)


@dataclass(frozen=True, slots=True)
class Batch:
    """Readings as columns, in order of arrival. Row i belongs to `streams[stream[i]]`.

    All arrays have the same length. This is the only form in which readings enter a store.
    """

    streams: Sequence[Stream]  # distinct
    stream: NDArray[np.int32]
    time: NDArray[np.int64]  # µs, UTC
    value: NDArray[np.float64]
    received: NDArray[np.int64]  # µs, UTC
    quality: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.time)

    @classmethod
    def of(cls, readings: Iterable[Reading]) -> Batch:
        """A batch of the readings, in their order. The convenient way in; the pipeline builds its columns itself."""
        index: dict[Stream, int] = {}
        rows = [(index.setdefault(r.stream, len(index)), r.time, r.value, r.received, r.quality) for r in readings]
        stream, time, value, received, quality = zip(*rows, strict=True) if rows else ((), (), (), (), ())
        return cls(
            streams=tuple(index),
            stream=np.array(stream, np.int32),
            time=np.array(time, np.int64),
            value=np.array(value, np.float64),
            received=np.array(received, np.int64),
            quality=np.array(quality, np.uint8),
        )

    def __iter__(self) -> Iterator[Reading]:
        columns = (c.tolist() for c in (self.stream, self.time, self.value, self.received, self.quality))
        for stream, time, value, received, quality in zip(*columns, strict=True):
            pilot, device, quantity = self.streams[stream]
            yield Reading(pilot, device, quantity, time, value, received, quality)


Replacing = Callable[[NDArray[np.int64], NDArray[np.float64]], None]
"""Told of the corrections of a batch: their rows, in order, and the value before each."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a batch. len(batch) == written + duplicates + corrections + len(rejected), always.

    The rows of one stream and time are taken in order of arrival, behind the one that the store has: the first of a
    place is written, one with the value before it is a duplicate, one with another value a correction. The last
    arrival's value is the one that is kept, in one row. Rejected rows (NaN, infinity) were not stored.
    """

    written: int
    duplicate_rows: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    rejected: Sequence[tuple[int, str]] = ()  # (row of the batch, reason)
    correction_rows: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    replaced: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))  # the value before each correction

    @property
    def duplicates(self) -> int:
        return len(self.duplicate_rows)

    @property
    def corrections(self) -> int:
        return len(self.correction_rows)


Aggregate = str
"""A name of AGGREGATES, or a percentile: p1 to p99."""
AGGREGATES: tuple[Aggregate, ...] = (
    *("mean", "min", "max", "sum", "count", "first", "last", "std", "median"),
    "energy_mean",  # of levels in decibel; null for a bucket with a level beyond ±3000, which is none
    "vector_mean",  # of directions in degrees, [0, 360); null where they cancel out
    "share",  # of readings that are not 0, from 0 to 1: how much of the time something was on, open or occupied
)
_PERCENTILE = re.compile(r"p([1-9][0-9]?)")


def percentile_of(name: Aggregate) -> int | None:
    """95 of "p95"; None for what is no percentile. Between two values it is interpolated, as the median is."""
    match = _PERCENTILE.fullmatch(name)
    return int(match[1]) if match else None


Unit = Literal["us", "s", "min", "h", "d", "w", "mo", "y"]


class BucketWidth(msgspec.Struct, frozen=True):
    """The width of an aggregation bucket.

    us, s, min and h are fixed lengths counted from the Unix epoch; d, w (from Monday), mo and y are calendar units of a
    time zone: a local day has 23 or 25 hours twice a year. So are parts of a day that are longer than an hour.
    """

    count: int
    unit: Unit


QualityChoice = Literal["all", "good", "flagged"]
"""Which readings by their flags: good has none, flagged has at least one."""


class Selection(msgspec.Struct, frozen=True):
    """Which streams. None means all; names are exact. `streams`, where given, is taken instead of the other three."""

    pilots: tuple[str, ...] | None = None
    devices: tuple[str, ...] | None = None
    quantities: tuple[str, ...] | None = None
    streams: tuple[Stream, ...] | None = None


def selector(select: Selection) -> Callable[[Stream], bool]:
    """Whether a stream is selected, quick for long lists."""
    if select.streams is not None:
        return frozenset(select.streams).__contains__
    chosen = (select.pilots, select.devices, select.quantities)
    parts = [(part, frozenset(names)) for part, names in enumerate(chosen) if names is not None]
    return lambda stream: all(stream[part] in names for part, names in parts)


def names_of(select: Selection) -> Iterator[tuple[str | None, str | None, str | None]]:
    """The selection as pilot, device and quantity, None for any: for engines that delete by equality only."""
    if select.streams is not None:
        yield from sorted(set(select.streams))
        return
    chosen = (select.pilots, select.devices, select.quantities)
    yield from itertools.product(*([None] if names is None else sorted(set(names)) for names in chosen))


class Cursor(NamedTuple):
    """The last row that was answered; the next page starts behind it."""

    stream: Stream
    time: Micros


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """A question about readings, the same for every store.

    Raw rows without `every`; with it one row a stream and bucket that holds at least one reading, with the columns
    named in `aggregates` and always `count`. Ordered by pilot, device, quantity, time.
    """

    select: Selection = Selection()
    start: Micros | None = None
    end: Micros | None = None
    every: BucketWidth | None = None
    aggregates: tuple[Aggregate, ...] = ("mean",)
    zone: str = "UTC"  # for calendar buckets
    quality: QualityChoice = "all"
    limit: int | None = None  # rows
    after: Cursor | None = None


class Extent(NamedTuple):
    """What a store knows about the readings of a selection in a period without looking at them.

    `version_token` changes whenever the readings may have changed: when any came, was replaced or erased. Readings
    after the end of the period change nothing. Two stores, and one store before and after it was opened anew, never
    share a token.
    """

    readings: int | None  # about: as if those of a stream were spread evenly; None: unknown
    version_token: bytes | None  # None: the store cannot tell whether readings changed


UNKNOWN_EXTENT = Extent(None, None)
"""Of a store that would have to look: callers estimate, and give no ETag."""


TIME = pa.timestamp("us", tz="UTC")
NAME = pa.dictionary(pa.int32(), pa.string())
_KEY = [pa.field("pilot", NAME), pa.field("device", NAME), pa.field("quantity", NAME), pa.field("time", TIME)]

RAW_SCHEMA = pa.schema(
    [*_KEY, pa.field("value", pa.float64()), pa.field("received", TIME), pa.field("quality", pa.uint8())]
)
"""Columns of raw rows and of `latest`."""


def aggregate_schema(aggregates: Sequence[Aggregate]) -> pa.Schema:
    """Columns of aggregated rows; `time` is the start of the bucket, `count` is int64 and comes last."""
    values = [pa.field(name, pa.float64()) for name in aggregates if name != "count"]
    return pa.schema([*_KEY, *values, pa.field("count", pa.int64())])

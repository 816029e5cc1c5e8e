"""Fixed buckets of many streams out of a store: what a measure's slots are made from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from techport_pilots.kpi_statistics import energy_mean, mean_direction
from techport_pilots.runs import stream_runs
from techport_storage.model import Aggregate, Every, Micros, Query, Selection, Stream
from techport_storage.store import ReadingStore

ROWS_AT_ONCE = 2_000_000

Which = Literal["all", "good"]


class Buckets(NamedTuple):
    """A stream's buckets that hold a reading: number of the bucket (ascending), value, number of readings."""

    slot: NDArray[np.int64]
    value: NDArray[np.float64]
    readings: NDArray[np.int64]


NOTHING = Buckets(np.empty(0, np.int64), np.empty(0), np.empty(0, np.int64))


def read_buckets(
    store: ReadingStore, streams: Sequence[Stream], begin: Micros, end: Micros, width: Micros, how: str, quality: Which
) -> dict[Stream, Buckets]:
    """Buckets of `width` µs in [begin, end), both whole multiples of it, of the streams that hold readings.

    `how` is a store's aggregate, or "energy" or "vector", which need every reading and are read stream by stream.
    """
    if end <= begin:
        return {}
    if how in ("energy", "vector"):
        return {stream: _from_raw(store, stream, begin, end, width, how, quality) for stream in streams}
    aggregate: Aggregate = how  # mean, sum, min or max: a Slot that is none of the above
    at_once = max(1, ROWS_AT_ONCE * width // (end - begin))
    found: dict[Stream, Buckets] = {}
    for some in (streams[i : i + at_once] for i in range(0, len(streams), at_once)):
        query = Query(
            select=Selection(streams=tuple(some)),
            start=begin,
            end=end,
            every=Every(width, "us"),
            aggregates=(aggregate,),
            quality=quality,
        )
        table = store.read(query).read_all().unify_dictionaries().combine_chunks()
        if not table.num_rows:
            continue
        slot = (micros(table, "time") - begin) // width
        value, count = table[aggregate].to_numpy(), table["count"].to_numpy()
        (batch,) = table.to_batches()
        for stream, rows in stream_runs(batch):
            found[stream] = Buckets(slot[rows], value[rows], count[rows])
    return found


def micros(table: pa.Table, column: str) -> NDArray[np.int64]:
    """A column of times as µs."""
    return np.asarray(table[column].cast(pa.int64()).to_numpy(), np.int64)


def _from_raw(
    store: ReadingStore, stream: Stream, begin: Micros, end: Micros, width: Micros, how: str, quality: Which
) -> Buckets:
    query = Query(select=Selection(streams=(stream,)), start=begin, end=end, quality=quality)
    table = store.read(query).read_all()
    if not table.num_rows:
        return NOTHING
    values = table["value"].to_numpy()
    slot, first, count = np.unique((micros(table, "time") - begin) // width, return_index=True, return_counts=True)
    reduce = energy_mean if how == "energy" else mean_direction
    means = [reduce(values[i : i + n]) for i, n in zip(first.tolist(), count.tolist(), strict=True)]
    return Buckets(slot, np.array([np.nan if m is None else m for m in means], np.float64), count)

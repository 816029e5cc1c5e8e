"""How well a stream's readings fill a period, without handing them all over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from techport_storage.columns import group_by_stream
from techport_storage.model import Micros, Query, Selection, Stream


class Coverage(NamedTuple):
    """A stream's readings in a period, given the interval at which they were promised.

    Between two neighbouring readings that are d apart, round(d / interval) - 1 are missing: less than half an
    interval late is late, more is missing. `longest` is the greatest d in which one is missing, 0 where none is.
    """

    readings: int
    flagged: int  # with any quality flag
    first: Micros
    last: Micros
    missing: int
    longest: Micros


class Readable(Protocol):
    """What coverage_by_reading needs of a store."""

    def read(self, query: Query) -> pa.RecordBatchReader: ...


def coverage_by_reading(
    store: Readable, intervals: Mapping[Stream, Micros], start: Micros, end: Micros
) -> dict[Stream, Coverage]:
    """Coverage from the readings themselves, in constant memory: the default of ReadingStore.coverage.

    A store that can count where the readings are answers the same and sooner.

    Parameters
    ----------
    store : Readable
        Anything with `read(Query)`.
    intervals : Mapping[Stream, Micros]
        The promised distance between two readings (µs), above 0, of each stream that is asked about.
    start, end : Micros
        The period [start, end), µs.

    Returns
    -------
    dict of Stream to Coverage
        Only streams that hold a reading in the period; times and distances in µs.

    Raises
    ------
    BadQuery
        `start` lies after `end`.
    StoreUnavailable
    """
    query = Query(select=Selection(streams=tuple(intervals)), start=start, end=end)
    coverages: dict[Stream, Coverage] = {}
    with store.read(query) as reader:
        for batch in reader:
            time = batch.column("time").cast(pa.int64()).to_numpy()
            flagged = batch.column("quality").to_numpy() != 0
            for stream, rows in group_by_stream(batch):
                coverage = _coverage_of(time[rows], int(flagged[rows].sum()), intervals[stream])
                before = coverages.get(stream)
                coverages[stream] = coverage if before is None else joined(before, coverage, intervals[stream])
    return coverages


def joined(before: Coverage, after: Coverage, interval: Micros) -> Coverage:
    """Coverage of a period from that of its two halves, both of which hold readings."""
    distance = after.first - before.last
    missing = int(missing_within(distance, interval))
    return Coverage(
        readings=before.readings + after.readings,
        flagged=before.flagged + after.flagged,
        first=before.first,
        last=after.last,
        missing=before.missing + missing + after.missing,
        longest=max(before.longest, after.longest, distance if missing else 0),
    )


def missing_within(distance: NDArray[np.int64] | Micros, interval: Micros) -> NDArray[np.int64]:
    """Readings missing between neighbours that are so far apart: half an interval late is late, more is missing."""
    return np.maximum((distance + interval // 2) // interval - 1, 0)


def _coverage_of(time: NDArray[np.int64], flagged: int, interval: Micros) -> Coverage:
    distance = np.diff(time)
    missing = missing_within(distance, interval)
    return Coverage(
        readings=len(time),
        flagged=flagged,
        first=int(time[0]),
        last=int(time[-1]),
        missing=int(missing.sum()),
        longest=int(distance[missing > 0].max(initial=0)),
    )

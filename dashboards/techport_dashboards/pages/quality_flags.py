"""Why readings of a device are flagged: how many bear each flag."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from techport_storage.model import Micros, Quality, Query, Selection, Stream
from techport_storage.store import ReadingStore


@dataclass(frozen=True, slots=True)
class Flagged:
    """`share` is of all the device's readings in the time; a reading may bear several flags."""

    flag: str  # range, spike, stuck, step, clock, excluded
    readings: int
    share: float


def flags_of(
    store: ReadingStore, flagged: Mapping[Stream, NDArray[np.int64]], edges: NDArray[np.int64], readings: int
) -> list[Flagged]:
    """The most frequent first. `flagged` are counts a day between the `edges`: only days that have any are read."""
    count = dict.fromkeys(Quality, 0)
    for stream, start, end in _runs(flagged, edges):
        with store.read(Query(select=Selection(streams=(stream,)), start=start, end=end)) as reader:
            for batch in reader:
                quality = batch.column("quality")
                for flag in count:
                    count[flag] += pc.sum(pc.not_equal(pc.bit_wise_and(quality, int(flag)), 0)).as_py() or 0
    shares = [Flagged(str(flag.name).lower(), n, n / readings) for flag, n in count.items() if n]
    return sorted(shares, key=lambda flag_count: -flag_count.readings)


def _runs(
    flagged: Mapping[Stream, NDArray[np.int64]], edges: NDArray[np.int64]
) -> Iterable[tuple[Stream, Micros, Micros]]:
    """Days in a row on which a stream has flagged readings."""
    for stream, counts in sorted(flagged.items()):
        has_flags = np.concatenate([[False], counts > 0, [False]]).astype(np.int8)
        ends = np.flatnonzero(np.diff(has_flags))
        for first, behind in zip(ends[::2].tolist(), ends[1::2].tolist(), strict=True):
            yield stream, int(edges[first]), int(edges[behind])

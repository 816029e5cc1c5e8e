"""Copying readings from one store to another, of whatever kind, so that it can be stopped and gone on with, and proved.

stream by stream:  rows a day in both ─► days that differ ─► pages of rows ─► target
                   and then all rows of both, compared to the bit ─► the same, or CopyDiffers
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from techport_storage.columns import batch_of, tables_of
from techport_storage.errors import StoreError
from techport_storage.microseconds import DAY
from techport_storage.model import BucketWidth, Micros, Query, Selection, Stream
from techport_storage.reading_store import ReadingStore

_ROWS = 50_000  # of one write, at most

Progress = Callable[[int, int], None]
"""Called with the number of streams done and of all of them."""


class CopyDiffers(StoreError):
    """The target does not hold what the source holds. Names the first stream that differs, and how."""


@dataclass(frozen=True, slots=True)
class Copied:
    """What a copy did. `rows` were written now; `checked` are all rows of the selection, in both stores."""

    streams: int
    rows: int
    checked: int


def copy_readings(
    source: ReadingStore,
    target: ReadingStore,
    select: Selection = Selection(),  # noqa: B008 - frozen
    *,
    start: Micros | None = None,
    end: Micros | None = None,
    again: bool = False,
    progress: Progress = lambda done, of: None,
) -> Copied:
    """Copy what is selected, then compare it in both stores; the same call again goes on where the last one ended.

    Parameters
    ----------
    source, target : ReadingStore
        Of whatever kind. Nobody else should write to the selected streams and times meanwhile: rows that only the
        target has are a difference.
    select : Selection
        Which streams of the source.
    start, end : Micros, optional
        Only readings in [start, end), µs.
    again : bool
        Copy also days of which the target has as many rows as the source, and so repair rows that were changed.
    progress : callable
        Gets (streams done, streams).

    Returns
    -------
    Copied

    Raises
    ------
    StoreUnavailable
        A store stopped answering: call again.
    CopyDiffers
        The stores differ after the copy.
    """
    streams = source.streams(select)
    rows = checked = 0
    for done, stream in enumerate(streams):
        for first, behind in _to_copy(source, target, stream, start, end, again):
            rows += _copy_rows(source, target, Query(select=_only(stream), start=first, end=behind))
        checked += _check_stream(source, target, stream, start, end)
        progress(done + 1, len(streams))
    return Copied(len(streams), rows, checked)


def _to_copy(
    source: ReadingStore, target: ReadingStore, stream: Stream, start: Micros | None, end: Micros | None, again: bool
) -> list[tuple[Micros, Micros]]:
    """Ranges of whole days, cut to [start, end), in which the two do not hold the same number of rows."""
    source_days = _days(source, stream, start, end)
    target_days = {} if again else _days(target, stream, start, end)
    ranges: list[tuple[Micros, Micros]] = []
    for day in sorted(day for day, rows in source_days.items() if target_days.get(day) != rows):
        first = day if start is None else max(day, start)
        behind = day + DAY if end is None else min(day + DAY, end)
        if ranges and ranges[-1][1] == first:
            first = ranges.pop()[0]
        ranges.append((first, behind))
    return ranges


def _days(store: ReadingStore, stream: Stream, start: Micros | None, end: Micros | None) -> dict[Micros, int]:
    """Rows on each day, UTC, that has any."""
    query = Query(select=_only(stream), start=start, end=end, every=BucketWidth(1, "d"), aggregates=("count",))
    table = store.read(query).read_all()
    return dict(zip(table["time"].cast(pa.int64()).to_pylist(), table["count"].to_pylist(), strict=True))


def _only(stream: Stream) -> Selection:
    return Selection(streams=(stream,))


def _copy_rows(source: ReadingStore, target: ReadingStore, query: Query) -> int:
    written = 0
    for table in tables_of(source.read(query), _ROWS):
        receipt = target.write(batch_of(table))
        if receipt.rejected:
            row, reason = receipt.rejected[0]
            raise CopyDiffers(f"the target refuses {table.slice(row, 1).to_pylist()[0]}: {reason}")
        written += receipt.written
    return written


def _check_stream(
    source: ReadingStore, target: ReadingStore, stream: Stream, start: Micros | None, end: Micros | None
) -> int:
    """The number of rows, equal in both: times, values to the bit, arrival and quality; counts and sums follow."""
    query = Query(select=_only(stream), start=start, end=end)
    of_source, of_target = _Digest(), _Digest()
    for digest, store in ((of_source, source), (of_target, target)):
        for table in tables_of(store.read(query), _ROWS):
            digest.add(table)
    if of_source != of_target:
        raise CopyDiffers(f"{'/'.join(stream)}: {of_source} in the source, {of_target} in the target")
    return of_source.rows


@dataclass
class _Digest:
    """Sums of everything in a stream, which do not depend on where its answer was cut."""

    rows: int = 0
    times: int = 0
    bits: int = 0  # of the values, each weighted by its time: two values that changed places are seen
    received: int = 0
    quality: int = 0
    total: float = 0.0

    def add(self, table: pa.Table) -> None:
        batch = batch_of(table)
        bits = batch.value.view(np.uint64)
        self.rows += len(batch)
        self.times = (self.times + int(batch.time.view(np.uint64).sum())) % 2**64
        self.bits = (self.bits + int((bits * (batch.time.view(np.uint64) | np.uint64(1))).sum())) % 2**64
        self.received = (self.received + int(batch.received.view(np.uint64).sum())) % 2**64
        self.quality += int(batch.quality.sum())
        self.total += _sum(batch.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Digest) and self._exact() == other._exact()

    def __str__(self) -> str:
        return f"{self.rows} rows with the sum {self.total:.17g}"

    def _exact(self) -> tuple[int, ...]:
        return (self.rows, self.times, self.bits, self.received, self.quality)


def _sum(values: Sequence[float] | np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
    try:
        return math.fsum(values)
    except OverflowError:
        return math.inf

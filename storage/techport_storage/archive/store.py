"""ReadingStore over a store of recent readings and the archive: who asks does not see where the border lies.

    write, flag ─► recent days ───────────────────────────────────► the store
                   closed days ─► mark the day late in the archive ─► the store; a round merges them into the archive
    read        ◄─ archive up to the border ∪ the store, whose row counts where both have one

The border is the time before which readings were taken out of the store. Rows before it are in the store only from
the moment that somebody writes, corrects or flags them until the next round.

A write to a closed day and a round of the archive never overlap: `exclusive` keeps them apart, in all processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TypeVar

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from techport_storage.aggregate_sql import QUALITY_CONDITIONS
from techport_storage.archive.files import ArchivedFile
from techport_storage.archive.merge import Stretch, merged, record_batches, stretches
from techport_storage.archive.read import FIRST, LAST, chosen, rows
from techport_storage.archive.table import ArchiveTable, Change, Snapshot
from techport_storage.buckets import bucket_edges, fixed_width
from techport_storage.clock import now
from techport_storage.columns import batch_of, reader_of
from techport_storage.coverage import Coverage, coverage_by_reading, joined
from techport_storage.errors import StoreBusy
from techport_storage.microseconds import DAY, HOUR
from techport_storage.model import (
    RAW_SCHEMA,
    Batch,
    BucketWidth,
    Extent,
    Micros,
    Query,
    Receipt,
    Replacing,
    Selection,
    Stream,
    aggregate_schema,
    selector,
)
from techport_storage.query_check import check_query, check_range, check_zone
from techport_storage.reading_store import ReadingStore
from techport_storage.row_aggregates import aggregate_rows, bucket_batch

Exclusive = Callable[[], AbstractContextManager[object]]
"""Holds off writes to closed days, rounds and erasures of all other processes and threads."""

CLOSED_AFTER_DAYS = 2
_CLOCKS = HOUR  # that those of two machines may be apart, and that a write may take
_TRIES = 5
_LAST_ROWS = 100_000  # kept in memory, some 300 bytes each
T = TypeVar("T")


class ArchivedStore:
    """See ReadingStore. What it adds is in the module's description."""

    def __init__(
        self, recent: ReadingStore, table: ArchiveTable, exclusive: Exclusive, closed_after: int = CLOSED_AFTER_DAYS
    ) -> None:
        """`closed_after`: whole days after which a day goes into the archive; the same for all processes."""
        self.recent = recent
        self.table = table
        self.exclusive = exclusive
        self._closed_after = closed_after
        self._marked: set[tuple[str, int]] = set()  # by this process, since a round of its own or of another was seen
        self._marked_version = -1
        self._last_rows: dict[tuple[str, Stream], pa.RecordBatch] = {}

    def closed_before(self, at: Micros) -> Micros:
        """The end of the last closed day."""
        return (at // DAY - self._closed_after) * DAY

    # -- Writing

    def write(self, batch: Batch, replacing: Replacing | None = None) -> Receipt:
        """See ReadingStore.write. Rows of closed days wait for a round that is at work."""
        late = batch.time < self.closed_before(now() + _CLOCKS)
        if not late.any():
            return self.recent.write(batch, replacing)
        with self.exclusive():
            self._prepare(batch, late)
            return self.recent.write(batch, replacing)

    def flag(self, batch: Batch) -> int:
        """See ReadingStore.flag."""
        late = batch.time < self.closed_before(now() + _CLOCKS)
        if not late.any():
            return self.recent.flag(batch)
        with self.exclusive():
            self._prepare(batch, late)
            return self.recent.flag(batch)

    def _prepare(self, batch: Batch, late: NDArray[np.bool_]) -> None:
        """Mark the days that are written to, and bring rows that only the archive has into the store: so it compares
        what comes with what there is, and its receipt is the truth."""
        snapshot = self.table.snapshot()
        if snapshot.version != self._marked_version:  # a round may have dealt with the marks
            self._marked, self._marked_version = set(), snapshot.version
        days = np.unique(np.stack([batch.stream[late], batch.time[late] // DAY]), axis=1)
        marks = {(batch.streams[stream].pilot, int(day)) for stream, day in days.T.tolist()}
        self.table.mark_late(sorted(marks - self._marked))
        self._marked |= marks
        if snapshot.moved is not None and (batch.time < snapshot.moved).any():
            self._bring_back(batch, snapshot.moved, snapshot)

    def _bring_back(self, batch: Batch, border: Micros, snapshot: Snapshot) -> None:
        moved = batch.time < border
        for number in np.unique(batch.stream[moved]).tolist():
            stream = batch.streams[number]
            times = np.unique(batch.time[moved & (batch.stream == number)])
            first, last = int(times[0]), int(times[-1])
            select = Selection(streams=(stream,))
            files = chosen(snapshot.files, select, first, last)
            if not files:
                continue
            with self.recent.read(Query(select=select, start=first, end=last + 1)) as reader:
                present = np.concatenate([np.empty(0, np.int64), *(part.time for part in stretches(reader))])
            absent = np.setdiff1d(times, present)
            parts = (_with_times(part, absent) for part in rows(self.table, files, select, first, last))
            for table in record_batches(parts, RAW_SCHEMA):
                self.recent.write(batch_of(table))

    # -- Reading

    def read(self, query: Query) -> pa.RecordBatchReader:
        """See ReadingStore.read."""
        check_query(query)
        border = self._border(query.start)
        if border is None:
            return self.recent.read(query)
        schema = RAW_SCHEMA if query.every is None else aggregate_schema(query.aggregates)
        batches = self._raw(query, border) if query.every is None else self._aggregated(query, border)
        return reader_of(schema, batches)

    def _border(self, start: Micros | None) -> Micros | None:
        """Where the archive ends, if the period begins before that."""
        if start is not None and start >= self.closed_before(now() + _CLOCKS):
            return None
        border = self.table.snapshot().moved
        return None if border is None or (start is not None and start >= border) else border

    def _raw(self, query: Query, border: Micros) -> Iterator[pa.RecordBatch]:
        return record_batches(self._rows(query, border), RAW_SCHEMA, query.limit)

    def _rows(self, query: Query, border: Micros) -> Iterator[Stretch]:
        """Raw rows, from both sides, of the quality that is asked for. Which row of two counts does not depend on its
        quality, so that is looked at last."""
        every_quality = msgspec.structs.replace(
            query, every=None, quality="all", limit=query.limit if query.quality == "all" else None
        )
        # The store before the archive: what a round takes out of the store is in the archive before that.
        recent = self.recent.read(every_quality)
        last = border - 1 if query.end is None else min(query.end, border) - 1
        first = FIRST if query.start is None else query.start
        files = chosen(self.table.snapshot().files, query.select, first, last)
        archived = rows(self.table, files, query.select, first, last, query.after)
        parts = merged(archived, stretches(recent))
        if not QUALITY_CONDITIONS[query.quality]:
            return parts
        return (_of_quality(part, query.quality == "good") for part in parts)

    def _aggregated(self, query: Query, border: Micros) -> Iterator[pa.RecordBatch]:
        assert query.every is not None
        edge = _edge(query.every, query.zone, border)
        if query.end is not None:
            edge = min(edge, query.end)
        schema = aggregate_schema(query.aggregates)
        parts = stretches(self._aggregated_here(query, border, edge))
        if query.end is None or edge < query.end:
            start = edge if query.start is None else max(edge, query.start)
            recent = self.recent.read(msgspec.structs.replace(query, start=start))
            parts = merged(parts, stretches(recent))
        return record_batches(parts, schema, query.limit)

    def _aggregated_here(self, query: Query, border: Micros, end: Micros) -> Iterator[pa.RecordBatch]:
        """Buckets that begin before the border, from the rows themselves."""
        assert query.every is not None
        calendar = None
        if fixed_width(query.every) is None:
            first = self._first(query, border)
            if first is None:
                return
            calendar = bucket_edges(query.every, check_zone(query.zone), min(first, end - 1), end)
        after = query.after
        begun = None if after is None else after._replace(time=after.time - 1)  # its bucket once more, to be left out
        raw = msgspec.structs.replace(query, end=end, every=None, limit=None, after=begun)
        streams: list[Stream] = []
        numbers: dict[Stream, int] = {}

        def numbered() -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.float64]]]:
            for part in self._rows(raw, border):
                if part.stream not in numbers:
                    numbers[part.stream] = len(streams)
                    streams.append(part.stream)
                if len(part.time):
                    yield numbers[part.stream], part.time, part.rows.column("value").to_numpy()

        for buckets in aggregate_rows(numbered(), query, calendar):
            batch = bucket_batch(buckets, streams, query.aggregates, None)
            if after is None:
                yield batch
                continue
            for part in stretches([batch]):
                skipped = int(np.searchsorted(part.time, after.time, "right")) if part.stream == after.stream else 0
                yield from record_batches([part.part(skipped, len(part.time))], batch.schema)

    def _first(self, query: Query, border: Micros) -> Micros | None:
        """A time before which the selection has no reading."""
        if query.start is not None:
            return query.start
        files = chosen(self.table.snapshot().files, query.select, FIRST, LAST)
        firsts = [file.first for file in files]
        yearly = Query(select=query.select, end=border, every=BucketWidth(1, "y"), aggregates=("count",))
        with self.recent.read(yearly) as reader:
            firsts += [int(part.time[0]) for part in stretches(reader)]
        return min(firsts, default=None)

    def latest(self, select: Selection, changed_since: Micros | None = None) -> pa.Table:
        """See ReadingStore.latest."""
        snapshot = self.table.snapshot()
        if snapshot.moved is None:
            return self.recent.latest(select, changed_since)
        recent = self.recent.latest(select)
        snapshot = self.table.snapshot()
        newest = {part.stream: part for part in stretches(recent.to_batches())}
        for stream, file in _last_files(snapshot.files, select).items():
            last = file.pieces[stream].last
            if stream not in newest or int(newest[stream].time[0]) < last:
                newest[stream] = self._last_row(file, stream)
        since = None if changed_since is None else changed_since // 1000 * 1000
        parts = (
            newest[stream]
            for stream in sorted(newest)
            if since is None or newest[stream].rows.column("received").cast(pa.int64())[0].as_py() >= since
        )
        return pa.Table.from_batches(list(record_batches(parts, RAW_SCHEMA)), RAW_SCHEMA)

    def _last_row(self, file: ArchivedFile, stream: Stream) -> Stretch:
        """Files never change, so what was read once is kept."""
        last = file.pieces[stream].last
        if (file.path, stream) not in self._last_rows:
            select = Selection(streams=(stream,))
            (batch,) = record_batches(rows(self.table, [file], select, last, last), RAW_SCHEMA)
            if len(self._last_rows) >= _LAST_ROWS:
                self._last_rows = {}
            self._last_rows[file.path, stream] = batch
        return next(stretches([self._last_rows[file.path, stream]]))

    def streams(self, select: Selection) -> list[Stream]:
        """See ReadingStore.streams."""
        snapshot = self.table.snapshot()
        recent = self.recent.streams(select)
        if snapshot.moved is None:
            return recent
        return sorted({*recent, *_last_files(self.table.snapshot().files, select)})

    def coverage(self, intervals: Mapping[Stream, Micros], start: Micros, end: Micros) -> dict[Stream, Coverage]:
        """See ReadingStore.coverage. Of the archive's part every row is read."""
        check_range(start, end)
        border = self._border(start)
        if border is None:
            return self.recent.coverage(intervals, start, end)
        old = coverage_by_reading(self, intervals, start, min(border, end))
        if end <= border:
            return old
        new = self.recent.coverage(intervals, border, end)
        both = {
            stream: joined(old[stream], new[stream], intervals[stream]) if stream in new else old[stream]
            for stream in old
        }
        return {stream: both.get(stream) or new[stream] for stream in intervals if stream in both or stream in new}

    def extent(self, select: Selection, start: Micros | None = None, end: Micros | None = None) -> Extent:
        """See ReadingStore.extent. There is no version token where the period reaches into the archive."""
        recent = self.recent.extent(select, start, end)
        border = self._border(start)
        if border is None:
            return recent
        first = FIRST if start is None else start
        last = border - 1 if end is None else min(end, border) - 1
        files = chosen(self.table.snapshot().files, select, first, last)
        readings = recent.readings
        if readings is not None:
            readings += round(_spread(files, select, first, last))
        return Extent(readings, None)  # files are rewritten as a whole: which of their rows changed is not known

    def counts(self) -> dict[Stream, int] | None:
        """See ReadingStore.counts."""
        counts = self.recent.counts()
        snapshot = self.table.snapshot()
        if counts is None or snapshot.moved is None:
            return counts
        for file in snapshot.files:
            for stream, piece in file.pieces.items():
                if piece.last < snapshot.moved:
                    counts[stream] = counts.get(stream, 0) + piece.rows
        return counts

    # -- Erasing

    def erase(self, select: Selection, start: Micros | None = None, end: Micros | None = None) -> int:
        """See ReadingStore.erase. From the archive's files at once, and from what its log says of earlier ones."""
        check_range(start, end)
        with self.exclusive():
            border = self._border(start)
            only_archived = 0
            if border is not None:
                old_end = border if end is None else min(border, end)
                only_archived = self._count_archived(select, start, old_end)
            erased = self.recent.erase(select, start, end)
            first, last = FIRST if start is None else start, LAST if end is None else end - 1
            again(lambda: self._erase_archived(select, first, last))
            self.table.forget(hours=0)
            return erased + only_archived

    def _count_archived(self, select: Selection, start: Micros | None, end: Micros) -> int:
        """Rows that the archive has and the store has not."""
        query = Query(select=select, start=start, end=end)
        both = sum(len(part.time) for part in self._rows(query, end))
        with self.recent.read(query) as reader:
            recent = sum(int(batch.num_rows) for batch in reader)
        return both - recent

    def _erase_archived(self, select: Selection, first: Micros, last: Micros) -> None:
        snapshot = self.table.snapshot()
        selected = selector(select)
        files = chosen(snapshot.files, select, first, last)
        written: list[ArchivedFile] = []
        try:
            for file in files:
                everything = rows(self.table, [file], Selection(), FIRST, LAST)
                left = (
                    remaining
                    for part in everything
                    for remaining in (_outside(part, first, last) if selected(part.stream) else [part])
                )
                written += self.table.write(file.pilot, file.month, record_batches(left, RAW_SCHEMA))
        except BaseException:
            self.table.discard(written)
            raise
        # Committed also where no file changes: who copies days into the archive at this moment has to begin anew.
        self.table.commit(snapshot, Change(add=written, remove=files, touch=True))

    def probe(self) -> None:
        """See ReadingStore.probe. The store takes readings without the archive, but for those of closed days."""
        self.recent.probe()

    def close(self) -> None:
        """See ReadingStore.close."""
        self.recent.close()


def again(attempt: Callable[[], T]) -> T:
    """What `attempt` gives; tried again where somebody else changed the archive meanwhile."""
    for _ in range(_TRIES - 1):
        try:
            return attempt()
        except StoreBusy:
            continue
    return attempt()


def _edge(every: BucketWidth, zone: str, border: Micros) -> Micros:
    """The first start of a bucket at or after the border."""
    width = fixed_width(every)
    if width is not None:
        return -(-border // width) * width
    edges = bucket_edges(every, check_zone(zone), border, border)
    return border if int(edges[0]) == border else int(edges[1])


def _last_files(files: Sequence[ArchivedFile], select: Selection) -> dict[Stream, ArchivedFile]:
    """The file with the last row of each stream."""
    selected = selector(select)
    last: dict[Stream, ArchivedFile] = {}
    for file in files:
        for stream, piece in file.pieces.items():
            if selected(stream) and (stream not in last or last[stream].pieces[stream].last < piece.last):
                last[stream] = file
    return last


def _spread(files: Iterable[ArchivedFile], select: Selection, first: Micros, last: Micros) -> float:
    """Rows between two times, as if those of a stream were spread evenly over each file."""
    selected = selector(select)
    total = 0.0
    for file in files:
        for stream, piece in file.pieces.items():
            inside = min(piece.last, last) - max(piece.first, first)
            if selected(stream) and inside >= 0:
                total += piece.rows * (inside + 1) / (piece.last - piece.first + 1)
    return total


def _with_times(part: Stretch, times: NDArray[np.int64]) -> Stretch:
    return _filtered(part, np.isin(part.time, times))


def _of_quality(part: Stretch, good: bool) -> Stretch:
    return _filtered(part, (part.rows.column("quality").to_numpy() == 0) == good)


def _outside(part: Stretch, first: Micros, last: Micros) -> list[Stretch]:
    left = _filtered(part, (part.time < first) | (part.time > last))
    return [left] if len(left.time) else []


def _filtered(part: Stretch, chosen_rows: NDArray[np.bool_]) -> Stretch:
    return Stretch(part.stream, part.time[chosen_rows], part.rows.filter(pa.array(chosen_rows)))

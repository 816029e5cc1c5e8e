"""What keeps the archive up to date: a round, repeated every hour by a process that stays.

    late days    readings written to archived days since the last round are merged into the archive
    closed days  are copied into it, in one commit for each month
    border       the store keeps the months of today and some before it; what is older is taken out of it, an hour
                 after everybody could know, and only where the archive has the same rows to the bit
    months       that are closed become one file for each pilot, sorted by stream and time

Each step can be cut short and repeated.
"""

from __future__ import annotations

import datetime as dt
import itertools
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from techport_storage.archive.files import ROWS_OF_FILE
from techport_storage.archive.merge import Stretch, merged, record_batches, stretches
from techport_storage.archive.read import FIRST, LAST, rows
from techport_storage.archive.store import ArchivedStore, again
from techport_storage.archive.table import Change
from techport_storage.clock import now
from techport_storage.columns import tables_of
from techport_storage.microseconds import DAY
from techport_storage.model import RAW_SCHEMA, BucketWidth, Micros, Query, Selection, Stream

GRACE_S = 3600.0
_EPOCH = dt.date(1970, 1, 1)
_ROWS_COMPARED = 50_000


@dataclass(slots=True)
class Round:
    """What a round did."""

    archived: int = 0  # rows copied into the archive
    late_days: int = 0  # that were merged
    moved: int = 0  # rows taken out of the store
    joined: int = 0  # months that became one file

    def __bool__(self) -> bool:
        return bool(self.archived or self.late_days or self.moved or self.joined)


class Archiver:
    """Does rounds. One process at a time should; where two do, one of them has to begin a step anew."""

    def __init__(self, store: ArchivedStore, keep_months: int = 0, grace_s: float = GRACE_S) -> None:
        """`keep_months`: whole months before the present one that stay in the store too; 0: everything does.
        `grace_s`: seconds between moving the border and taking out what is older, for answers that are being read."""
        self._store = store
        self._table = store.table
        self._recent = store.recent
        self._keep_months = keep_months
        self._grace_s = grace_s
        self._known: dict[Micros, float] = {}  # border → when this process saw it first

    def round(self, at: Micros | None = None) -> Round:
        """One round. May raise StoreUnavailable; the next one goes on."""
        at = now() if at is None else at
        done = Round()
        self._merge_late(done)
        self._close_days(self._store.closed_before(at), done)
        if self._keep_months:
            self._move_border(at, done)
        self._join_months(done)
        if done:
            self._table.forget()
        return done

    # -- Days that were written to after they were archived

    def _merge_late(self, done: Round, before: Micros = LAST) -> None:
        archived = self._table.snapshot().archived
        if archived is None:
            return
        marks = [(pilot, day) for pilot, day in self._table.late() if day * DAY < min(archived, before)]
        for (pilot, _), of_month in itertools.groupby(marks, key=lambda mark: (mark[0], month_of(mark[1] * DAY))):
            days = [day for _, day in of_month]
            with self._store.exclusive():
                self._merge(pilot, days)
                for day in days:
                    self._table.unmark_late(pilot, day)
            done.late_days += len(days)

    def _merge(self, pilot: str, days: Sequence[int]) -> None:
        """Make the archive agree with the store about days of one month; within `exclusive`."""
        first, last = min(days) * DAY, (max(days) + 1) * DAY - 1
        month = month_of(first)

        def attempt() -> None:
            snapshot = self._table.snapshot()
            files = [file for file in snapshot.of_month(pilot, month) if file.first <= last and first <= file.last]
            archived = rows(self._table, files, Selection(), FIRST, LAST)
            parts = merged(archived, self._recent_rows(pilot, first, last))
            written = self._table.write(pilot, month, record_batches(parts, RAW_SCHEMA))
            self._table.commit(snapshot, Change(add=written, remove=files, touch=True))

        again(attempt)
        border = self._table.snapshot().moved
        if border is not None and first < border:
            self._recent.erase(Selection(pilots=(pilot,)), first, min(last + 1, border))

    def _recent_rows(self, pilot: str, first: Micros, last: Micros) -> Iterator[Stretch]:
        with self._recent.read(Query(select=Selection(pilots=(pilot,)), start=first, end=last + 1)) as reader:
            yield from stretches(reader)

    # -- Days that are closed

    def _close_days(self, closed: Micros, done: Round) -> None:
        archived = self._table.snapshot().archived
        if archived is not None and archived >= closed:
            return
        months: dict[str, list[str]] = {}
        for pilot, month in sorted(self._months(archived, closed), key=lambda pair: pair[::-1]):
            months.setdefault(month, []).append(pilot)
        if not months and archived is None:
            return
        self._forget_marks(archived, closed)
        for month, pilots in months.items():
            done.archived += self._closed(month, pilots, closed)
        again(lambda: self._advance(closed))

    def _forget_marks(self, archived: Micros | None, closed: Micros) -> None:
        """Of days that are about to be copied: what was written to them before is copied with them. What is written
        from now on is marked again, since everybody sees that the table has changed."""
        with self._store.exclusive():
            first = FIRST if archived is None else archived
            marks = [(pilot, day) for pilot, day in self._table.late() if first <= day * DAY < closed]
            if marks:
                again(lambda: self._table.commit(self._table.snapshot(), Change(touch=True)))
            for pilot, day in marks:
                self._table.unmark_late(pilot, day)

    def _closed(self, month: str, pilots: Sequence[str], closed: Micros) -> int:
        return again(lambda: self._close(month, pilots, closed))

    def _advance(self, closed: Micros) -> None:
        """Say that there is nothing more up to a day."""
        snapshot = self._table.snapshot()
        if snapshot.archived is None or snapshot.archived < closed:
            self._table.commit(snapshot, Change(archived=closed))

    def _close(self, month: str, pilots: Sequence[str], closed: Micros) -> int:
        """Copy what the archive lacks of a month; how many rows that were."""
        snapshot = self._table.snapshot()
        first, end = bounds(month)
        end = min(end, closed)
        if snapshot.archived is not None:
            if snapshot.archived >= end:
                return 0  # another process was faster
            first = max(first, snapshot.archived)
        written = []
        try:
            for pilot in pilots:
                parts = self._recent_rows(pilot, first, end - 1)
                written += self._table.write(pilot, month, record_batches(parts, RAW_SCHEMA))
        except BaseException:
            self._table.discard(written)
            raise
        self._table.commit(snapshot, Change(add=written, archived=end))
        return sum(file.rows for file in written)

    def _months(self, start: Micros | None, end: Micros) -> set[tuple[str, str]]:
        """(pilot, month) of which the store has readings in a period."""
        query = Query(start=start, end=end, every=BucketWidth(1, "mo"), aggregates=("count",))
        months = set()
        with self._recent.read(query) as reader:
            for part in stretches(reader):
                months |= {(part.stream.pilot, month_of(int(begin))) for begin in part.time}
        return months

    # -- The border

    def _move_border(self, at: Micros, done: Round) -> None:
        snapshot = self._table.snapshot()
        if snapshot.archived is None:
            return
        border = min(months_before(at, self._keep_months), months_before(snapshot.archived, 0))
        if snapshot.moved is None or border > snapshot.moved:
            with self._store.exclusive():
                again(lambda: self._table.commit(self._table.snapshot(), Change(moved=border)))
        moved = self._table.snapshot().moved
        assert moved is not None
        since = self._known.setdefault(moved, time.monotonic())
        if time.monotonic() - since < self._grace_s:
            return
        left = self._months(None, moved)
        for pilot, month in sorted(left):
            first, end = bounds(month)
            if not self._same(pilot, first, min(end, moved) - 1):
                with self._store.exclusive():
                    self._merge(pilot, range(first // DAY, min(end, moved) // DAY))
        if left:
            with self._store.exclusive():
                self._merge_late(done, before=moved)  # what was written since it was compared
                done.moved += self._recent.erase(Selection(), None, moved)

    def _same(self, pilot: str, first: Micros, last: Micros) -> bool:
        """Whether the archive has every row that the store has, to the bit, and so may be the only one that has it."""
        select = Selection(pilots=(pilot,))
        files = [file for file in self._table.snapshot().files if file.pilot == pilot]

        def archived() -> Iterator[Stretch]:
            return rows(self._table, files, select, first, last)

        return _equal(archived(), merged(archived(), self._recent_rows(pilot, first, last)))

    # -- Months

    def _join_months(self, done: Round) -> None:
        snapshot = self._table.snapshot()
        if snapshot.archived is None:
            return
        sizes: dict[tuple[str, str], tuple[int, int]] = {}
        for file in snapshot.files:
            files, size = sizes.get((file.pilot, file.month), (0, 0))
            sizes[file.pilot, file.month] = files + 1, size + file.rows
        for (pilot, month), (files, size) in sizes.items():
            if files > -(-size // ROWS_OF_FILE) and bounds(month)[1] <= snapshot.archived:
                self._joined(pilot, month)
                done.joined += 1

    def _joined(self, pilot: str, month: str) -> None:
        again(lambda: self._join(pilot, month))

    def _join(self, pilot: str, month: str) -> None:
        snapshot = self._table.snapshot()
        files = snapshot.of_month(pilot, month)
        parts = rows(self._table, files, Selection(), FIRST, LAST)
        written = self._table.write(pilot, month, record_batches(parts, RAW_SCHEMA))
        self._table.commit(snapshot, Change(add=written, remove=files))


def month_of(at: Micros) -> str:
    """The month in UTC, as "2026-01"."""
    day = _EPOCH + dt.timedelta(days=at // DAY)
    return f"{day.year:04d}-{day.month:02d}"


def bounds(month: str) -> tuple[Micros, Micros]:
    """Its first instant, and that of the next one."""
    year, number = (int(part) for part in month.split("-"))
    return _start(year * 12 + number - 1), _start(year * 12 + number)


def months_before(at: Micros, months: int) -> Micros:
    """The first instant of the month that lies so many months before that of a time."""
    year, number = (int(part) for part in month_of(at).split("-"))
    return _start(year * 12 + number - 1 - months)


def _start(month: int) -> Micros:
    if month // 12 > dt.MAXYEAR:
        return LAST
    return (dt.date(month // 12, month % 12 + 1, 1) - _EPOCH).days * DAY


def _equal(left: Iterable[Stretch], right: Iterable[Stretch]) -> bool:
    pairs = itertools.zip_longest(_tables(left), _tables(right))
    return all(table is not None and other is not None and table.equals(other) for table, other in pairs)


def _tables(parts: Iterable[Stretch]) -> Iterator[pa.Table]:
    """Tables of equal size whose names are plain strings, to be compared."""
    plain = pa.schema([field.with_type(pa.string()) if field.name in Stream._fields else field for field in RAW_SCHEMA])
    reader = pa.RecordBatchReader.from_batches(RAW_SCHEMA, record_batches(parts, RAW_SCHEMA))
    for table in tables_of(reader, _ROWS_COMPARED):
        yield table.cast(plain)

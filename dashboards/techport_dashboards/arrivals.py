"""What came into the store since the last look: not only each stream's latest, but all that pages have not been shown.

    counts ─► streams with more than one new reading ─┐
    latest ─► streams whose latest is another ────────┴─► the readings between the two latest ─► news, in order of time
                  more than was handed on: readings that came late, or a backlog ─► pages ask for that stream anew

A store that does not count (InfluxDB, which others write) gives the readings in between of every stream that moved;
what comes late there is seen when a chart asks anew, within a minute.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from techport_dashboards import times
from techport_storage.coverage import CountsReadings
from techport_storage.model import RAW_SCHEMA, Micros, Query, Selection, Stream
from techport_storage.store import ReadingStore

OVERLAP: Micros = 5 * times.SECOND
"""Commits are seen a little later than `received`: each look goes back this far, and knows what it has shown."""
SWEEP = 40
"""Every so many looks one goes back without limit, for readings that waited long between arrival and commit."""
BETWEEN: Micros = 10 * times.MINUTE
"""Time between two latest readings of a stream up to which those in between are handed on one by one."""
MOST = 5_000
"""Readings that one look hands on; where there are more, pages ask anew."""

State = tuple[Micros, Micros, float]
"""time, received and value of a stream's latest reading."""


@dataclass(frozen=True, slots=True)
class News:
    """New readings (RAW_SCHEMA), in order of stream and time; and streams of which there is more than that."""

    readings: pa.Table
    late: frozenset[Stream] = frozenset()


@dataclass(slots=True)
class Arrivals:
    """Looks into a store again and again. A look that raises StoreUnavailable has changed nothing."""

    store: ReadingStore
    _shown: dict[Stream, State] = field(default_factory=dict)
    _counted: Mapping[Stream, int] | None = None
    _owed: dict[Stream, int] = field(default_factory=dict)  # stored, and not handed on yet
    _looks: int = 0

    def look(self) -> News:
        """What came since the last look. The first has no news: pages have just asked for what there is."""
        counted = self.store.counts() if isinstance(self.store, CountsReadings) else None
        newest = max((received for _, received, _ in self._shown.values()), default=0)
        everything = self._looks % SWEEP == 0 or not self._shown
        table = self.store.latest(Selection(), None if everything else newest - OVERLAP)
        changed = {
            stream: (row, state)
            for row, (stream, state) in enumerate(states(table))
            if self._shown.get(stream) != state
        }
        latest = table.take(pa.array([row for row, _ in changed.values()], pa.int64()))
        before, more = self._counted, self._more(counted)
        between = self._between({stream: state[0] for stream, (_, state) in changed.items()}, more)
        first = self._looks == 0
        self._shown.update((stream, state) for stream, (_, state) in changed.items())
        self._looks += 1
        self._counted = counted
        if first:
            return News(latest.slice(0, 0))
        if between is None:
            return News(latest, frozenset(changed))
        readings = in_order(pa.concat_tables([between, latest]))
        late = self._late(more, readings) if before is not None else frozenset()
        return News(readings, late)

    def _more(self, counted: Mapping[Stream, int] | None) -> dict[Stream, int] | None:
        """By how much each stream's number of readings has changed; None where nobody counts."""
        if counted is None or self._counted is None:
            return None
        old = self._counted
        return {stream: n - old.get(stream, 0) for stream, n in counted.items() if n != old.get(stream, 0)}

    def _between(self, newest: Mapping[Stream, Micros], more: Mapping[Stream, int] | None) -> pa.Table | None:
        """Readings between the latest that was shown and that of now; None where they are too many."""
        spans = {
            stream: (self._shown[stream][0], time)
            for stream, time in newest.items()
            if stream in self._shown and self._shown[stream][0] < time <= self._shown[stream][0] + BETWEEN
            and (more is None or more.get(stream, 0) > 1)
        }  # fmt: skip
        if not spans:
            return RAW_SCHEMA.empty_table()
        begin, end = min(old for old, _ in spans.values()) + 1, max(new for _, new in spans.values())
        query = Query(select=Selection(streams=tuple(spans)), start=begin, end=end, limit=MOST + 1)
        with self.store.read(query) as reader:
            table = reader.read_all()
        if table.num_rows > MOST:
            return None
        wanted = [spans[stream][0] < state[0] < spans[stream][1] for stream, state in states(table)]
        return table.filter(pa.array(wanted, pa.bool_()))

    def _late(self, more: Mapping[Stream, int] | None, readings: pa.Table) -> frozenset[Stream]:
        """Streams that have more than was handed on. Counted before the look, so a reading is never owed too early."""
        for stream, number in (more or {}).items():
            self._owed[stream] = 0 if number < 0 else self._owed.get(stream, 0) + number
        for stream, _ in states(readings):
            self._owed[stream] = self._owed.get(stream, 0) - 1
        late = frozenset(stream for stream, number in self._owed.items() if number > 0)
        self._owed = {stream: number for stream, number in self._owed.items() if number < 0}
        return late


def in_order(table: pa.Table) -> pa.Table:
    """The rows in order of stream and time, in one piece."""
    keys = [(*stream, state[0]) for stream, state in states(table)]
    order = sorted(range(len(keys)), key=keys.__getitem__)
    return table.combine_chunks().take(pa.array(order, pa.int64()))


def states(table: pa.Table) -> list[tuple[Stream, State]]:
    """(stream, (time, received, value)) of each row."""
    names = zip(*(table.column(name).to_pylist() for name in ("pilot", "device", "quantity")), strict=True)
    times_received = (table.column(name).cast(pa.int64()).to_pylist() for name in ("time", "received"))
    found = zip(*times_received, table.column("value").to_pylist(), strict=True)
    return [(Stream(*name), state) for name, state in zip(names, found, strict=True)]

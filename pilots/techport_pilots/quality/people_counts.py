"""Counts of people leave the platform as sums of a quarter of an hour or longer, without the small ones.

Everything that hands readings on asks a `PublishedStore`. To it a stream that a definition names under `people_counts`
is one of sums: a reading at the start of each slot of `width`, and none where fewer than `least` people were counted.
Larger buckets, latest values, KPIs and files are made of these sums, so that no difference of two answers tells what
was left out. Slots that are not over, or only partly asked for, are left out too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, groupby
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from techport_pilots.model import PilotDefinition
from techport_pilots.registry.registry import Registry
from techport_pilots.time import interval_micros
from techport_storage.clock import now
from techport_storage.columns import group_by_stream, name_columns
from techport_storage.coverage import Coverage
from techport_storage.microseconds import DAY, HOUR, MINUTE, SECOND
from techport_storage.model import (
    RAW_SCHEMA,
    TIME,
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
)
from techport_storage.store import ReadingStore, open_store, read_with_extent

_QUIET: Micros = 30 * DAY
"""How far back the last sum that may be shown is looked for."""
_MOST_AT_ONCE = 50
"""Streams whose sums are held together."""

Pilots = Callable[[], Mapping[str, PilotDefinition]]


def is_people_count(pilot: PilotDefinition, quantity: str) -> bool:
    """Whether the pilot says that this quantity, of any channel, counts people."""
    rule = pilot.people_counts
    return rule is not None and (quantity in rule.quantities or quantity.partition(".")[0] in rule.quantities)


def interval_handed_on(pilot: PilotDefinition, quantity: str, interval: Micros) -> Micros:
    """How often readings of the quantity are there for who reads them, where one arrives so often; µs. Of counts of
    people it is the width of their sums, if that is longer."""
    return max(interval, _width_and_least(pilot)[0]) if is_people_count(pilot, quantity) else interval


class PublishedStore:
    """A store as everybody sees it who is not the platform itself. What is written passes unchanged."""

    def __init__(self, store: ReadingStore, pilots: Pilots) -> None:
        """`pilots` gives the definitions of now, by id; may raise RegistryUnavailable."""
        self._store = store.unprotected if isinstance(store, PublishedStore) else store
        self._pilots = pilots

    @property
    def unprotected(self) -> ReadingStore:
        """The store with the readings as they came, for the ledger's proof and for erasing."""
        return self._store

    def write(self, batch: Batch, replacing: Replacing | None = None) -> Receipt:
        return self._store.write(batch, replacing)

    def flag(self, batch: Batch) -> int:
        return self._store.flag(batch)

    def streams(self, select: Selection) -> list[Stream]:
        return self._store.streams(select)

    def coverage(self, intervals: Mapping[Stream, Micros], start: Micros, end: Micros) -> dict[Stream, Coverage]:
        return self._store.coverage(intervals, start, end)

    def counts(self) -> dict[Stream, int] | None:
        return self._store.counts()

    def erase(self, select: Selection, start: Micros | None = None, end: Micros | None = None) -> int:
        return self._store.erase(select, start, end)

    def probe(self) -> None:
        self._store.probe()

    def close(self) -> None:
        self._store.close()

    def extent(self, select: Selection, start: Micros | None = None, end: Micros | None = None) -> Extent:
        extent = self._store.extent(select, start, end)
        widths = [width for width, _ in map(_width_and_least, self._counting(select).values())]
        if not widths or extent.version_token is None:
            return extent
        slot = now() // min(widths)  # a slot that is over changes the answer, also where nothing came
        return Extent(extent.readings, extent.version_token + slot.to_bytes(8, "big"))

    def read_with_extent(self, query: Query) -> tuple[Extent, pa.RecordBatchReader]:
        if self._counting(query.select):
            return self.extent(query.select, query.start, query.end), self.read(query)
        return read_with_extent(self._store, query)

    def read(self, query: Query) -> pa.RecordBatchReader:
        pilots = self._counting(query.select)
        if not pilots:
            return self._store.read(query)
        streams = sorted(self._store.streams(query.select))
        if query.after is not None:
            streams = [stream for stream in streams if stream >= query.after.stream]
        runs = [
            (counts, tuple(run)) for counts, run in groupby(streams, key=lambda stream: _counts_people(pilots, stream))
        ]
        if not any(counts for counts, _ in runs):
            return self._store.read(query)
        schema = RAW_SCHEMA if query.every is None else aggregate_schema(query.aggregates)
        batches = self._batches(query, pilots, runs, schema)
        first = next(batches, None)  # so that what the store raises at once is raised here
        return pa.RecordBatchReader.from_batches(schema, batches if first is None else chain([first], batches))

    def latest(self, select: Selection, changed_since: Micros | None = None) -> pa.Table:
        table = self._store.latest(select, changed_since)
        pilots = self._counting(select)
        if not pilots:
            return table
        groups = list(group_by_stream(table))
        people = [stream for stream, _ in groups if _counts_people(pilots, stream)]
        if not people:
            return table
        counts = set(people)
        others = table.filter(pa.array([stream not in counts for stream, _ in groups]))
        times = table.column("time").cast(pa.int64()).to_numpy()
        last_days: dict[int, list[Stream]] = {}  # a counter that fell silent long ago makes no range long
        for stream, part in groups:
            if stream in counts:
                last_days.setdefault(int(times[part.start]) // DAY, []).append(stream)
        newest = []
        for day, streams in last_days.items():
            begins = (day - 1) * DAY
            rows = _last_rows(self._sums(pilots, streams, begins, (day + 1) * DAY + HOUR))
            shown = {stream for stream, _ in group_by_stream(rows)}
            quiet = [stream for stream in streams if stream not in shown]
            newest.append(rows)
            if quiet:  # streets where small sums were left out for days
                newest.append(_last_rows(self._sums(pilots, quiet, begins - _QUIET, begins)))
        # By arrival a device is online or not, whatever may be shown of what it sends.
        arrivals = table.column("received").cast(pa.int64()).to_numpy()
        arrived = {stream: int(arrivals[part.start]) // MINUTE * MINUTE for stream, part in groups if stream in counts}
        newest = [_received(rows, arrived) for rows in newest]
        joined = pa.concat_tables([others.cast(RAW_SCHEMA), *newest]).unify_dictionaries()
        order = [stream for stream, _ in group_by_stream(joined)]
        return joined.take(sorted(range(len(order)), key=order.__getitem__))

    def _counting(self, select: Selection) -> dict[str, PilotDefinition]:
        """Those of the selection that have counts of people, by id."""
        named = select.pilots
        if select.streams is not None:
            named = tuple({stream.pilot for stream in select.streams})
        pilots = self._pilots()
        chosen = pilots.values() if named is None else (pilots[pilot] for pilot in named if pilot in pilots)
        return {pilot.id: pilot for pilot in chosen if pilot.people_counts is not None}

    def _batches(
        self,
        query: Query,
        pilots: Mapping[str, PilotDefinition],
        runs: Sequence[tuple[bool, tuple[Stream, ...]]],
        schema: pa.Schema,
    ) -> Iterator[pa.RecordBatch]:
        """The rows of all runs, in the order of streams, up to the limit."""
        left = query.limit
        for counts, streams in runs:
            size = _MOST_AT_ONCE if counts else len(streams)
            for some in (streams[begin : begin + size] for begin in range(0, len(streams), size)):
                if left == 0:
                    return
                asked = msgspec.structs.replace(query, select=Selection(streams=some), limit=left)
                for batch in self._sums_read(asked, pilots, some) if counts else self._read(asked):
                    left = None if left is None else left - batch.num_rows
                    yield batch.cast(schema) if batch.schema != schema else batch

    def _read(self, query: Query) -> Iterator[pa.RecordBatch]:
        with self._store.read(query) as reader:
            yield from reader

    def _sums_read(
        self, query: Query, pilots: Mapping[str, PilotDefinition], streams: Sequence[Stream]
    ) -> Iterator[pa.RecordBatch]:
        """The answer of streams that count people: the same question, put to a store of their sums."""
        store = open_store("duckdb://")
        try:
            store.write(self._sums(pilots, streams, query.start, query.end))
            yield from store.read(msgspec.structs.replace(query, quality="all")).read_all().to_batches()
        finally:
            store.close()

    def _sums(
        self, pilots: Mapping[str, PilotDefinition], streams: Sequence[Stream], start: Micros | None, end: Micros | None
    ) -> Batch:
        """A row for each slot that may be shown, ordered by stream and time. `received` is the end of the slot."""
        pieces: list[tuple[int, NDArray[np.int64], NDArray[np.float64], Micros]] = []
        numbers = {stream: number for number, stream in enumerate(streams)}
        for pilot in dict.fromkeys(stream.pilot for stream in streams):
            width, least = _width_and_least(pilots[pilot])
            over = now() // width * width
            asked = Query(
                select=Selection(streams=tuple(stream for stream in streams if stream.pilot == pilot)),
                start=None if start is None else -(-start // width) * width,
                end=over if end is None else min(end // width * width, over),
                every=BucketWidth(width // SECOND, "s"),
                aggregates=("sum",),
            )
            if asked.start is not None and asked.end is not None and asked.start >= asked.end:
                continue
            with self._store.read(asked) as reader:
                for batch in reader:
                    slots = batch.column("time").cast(pa.int64()).to_numpy()
                    people = batch.column("sum").cast(pa.float64()).to_numpy(zero_copy_only=False)
                    for stream, part in group_by_stream(batch):
                        enough = people[part] >= least  # null is not
                        pieces.append((numbers[stream], slots[part][enough], people[part][enough], width))
        pieces.sort(key=lambda piece: piece[0])  # of one stream they come in order
        return Batch(
            streams=tuple(streams),
            stream=np.repeat(np.array([piece[0] for piece in pieces], np.int32), [len(piece[1]) for piece in pieces]),
            time=_joined([piece[1] for piece in pieces], np.int64),
            value=_joined([piece[2] for piece in pieces], np.float64),
            received=_joined([piece[1] + piece[3] for piece in pieces], np.int64),
            quality=np.zeros(sum(len(piece[1]) for piece in pieces), np.uint8),
        )


def published(store: ReadingStore, registry: Registry) -> ReadingStore:
    """The store as those see it whom a report or a package is for."""
    return PublishedStore(store, lambda: {pilot.id: pilot for pilot in registry.pilots()})


def _width_and_least(pilot: PilotDefinition) -> tuple[Micros, float]:
    rule = pilot.people_counts
    assert rule is not None
    return interval_micros(rule.width), rule.least


def _counts_people(pilots: Mapping[str, PilotDefinition], stream: Stream) -> bool:
    return stream.pilot in pilots and is_people_count(pilots[stream.pilot], stream.quantity)


def _joined(pieces: Sequence[NDArray[Any]], kind: type[np.generic]) -> NDArray[Any]:
    return np.concatenate([np.empty(0, kind), *pieces])


def _received(rows: pa.Table, arrived: Mapping[Stream, Micros]) -> pa.Table:
    """The rows with the time at which the last message of each stream came, to the minute."""
    times = pa.array([arrived[stream] for stream, _ in group_by_stream(rows)], pa.int64()).cast(TIME)
    return rows.set_column(rows.schema.get_field_index("received"), RAW_SCHEMA.field("received"), times)


def _last_rows(sums: Batch) -> pa.Table:
    """The last row of each stream, in RAW_SCHEMA."""
    rows = np.flatnonzero(np.diff(sums.stream, append=-1))
    columns = [
        *name_columns(sums.streams, sums.stream[rows]),
        pa.array(sums.time[rows]).cast(TIME),
        pa.array(sums.value[rows]),
        pa.array(sums.received[rows]).cast(TIME),
        pa.array(sums.quality[rows]),
    ]
    return pa.Table.from_arrays(columns, schema=RAW_SCHEMA)

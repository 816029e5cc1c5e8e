"""Counts of people leave the platform as sums of a quarter of an hour or longer, without the small ones.

Everything that hands readings on asks a `PublishedStore`. To it a stream that a definition names under `people_counts`
is one of sums: a reading at the start of each slot of `width`, and none where fewer than `least` people were counted.
Larger buckets, latest values, KPIs and files are made of these sums, so that no difference of two answers tells what
was left out. Slots that are not over, or only partly asked for, are left out too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby

import msgspec
import numpy as np
import pyarrow as pa

from techport_pilots.model import PeopleCounts, PilotDefinition
from techport_pilots.registry.registry import Registry
from techport_pilots.time import interval_micros
from techport_storage.clock import now
from techport_storage.coverage import Coverage
from techport_storage.microseconds import DAY, SECOND
from techport_storage.model import (
    RAW_SCHEMA,
    Batch,
    BucketWidth,
    Extent,
    Micros,
    Query,
    Receipt,
    Selection,
    Stream,
    aggregate_schema,
)
from techport_storage.store import ReadingStore, open_store

Pilots = Callable[[], Mapping[str, PilotDefinition]]


def is_people_count(pilot: PilotDefinition, quantity: str) -> bool:
    """Whether the pilot says that this quantity, of any channel, counts people."""
    rule = pilot.people_counts
    return rule is not None and (quantity in rule.quantities or quantity.partition(".")[0] in rule.quantities)


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

    def write(self, batch: Batch) -> Receipt:
        return self._store.write(batch)

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
        widths = [interval_micros(rule.width) for rule in self._rules(select).values()]
        if not widths or extent.version_token is None:
            return extent
        slot = now() // min(widths)  # a slot that is over changes the answer, also where nothing came
        return Extent(extent.readings, extent.version_token + slot.to_bytes(8, "big"))

    def read(self, query: Query) -> pa.RecordBatchReader:
        rules = self._rules(query.select)
        if not rules:
            return self._store.read(query)
        runs = [
            (counts, tuple(streams))
            for counts, streams in groupby(
                sorted(self._store.streams(query.select)), key=lambda stream: self._counts_people(rules, stream)
            )
        ]
        if not any(counts for counts, _ in runs):
            return self._store.read(query)
        tables = self._tables(query, rules, [streams for counts, streams in runs if counts])
        schema = RAW_SCHEMA if query.every is None else aggregate_schema(query.aggregates)
        return pa.RecordBatchReader.from_batches(schema, self._batches(query, runs, tables, schema))

    def latest(self, select: Selection, changed_since: Micros | None = None) -> pa.Table:
        table = self._store.latest(select, changed_since)
        rules = self._rules(select)
        keys = [Stream(*key) for key in zip(*(table[name].to_pylist() for name in Stream._fields), strict=True)]
        people = [stream for stream in keys if self._counts_people(rules, stream)]
        if not people:
            return table
        at = dict(zip(keys, table["time"].cast(pa.int64()).to_pylist(), strict=True))
        others = table.filter(pa.array([stream not in set(people) for stream in keys]))
        first = min(at[stream] for stream in people) - DAY
        sums = self._sums(rules, people, first, None)
        newest: dict[Stream, int] = {}
        for row in range(len(sums)):
            newest[sums.streams[sums.stream[row]]] = row
        rows = np.array(sorted(newest.values()), np.int64)
        published = _raw_table(sums, rows)
        joined = pa.concat_tables([others.cast(RAW_SCHEMA), published]).unify_dictionaries()
        streams = list(zip(*(joined[name].to_pylist() for name in Stream._fields), strict=True))
        return joined.take(sorted(range(len(streams)), key=streams.__getitem__))

    def _rules(self, select: Selection) -> dict[str, PeopleCounts]:
        """By pilot, of those of the selection that have counts of people."""
        named = select.pilots
        if select.streams is not None:
            named = tuple({stream.pilot for stream in select.streams})
        pilots = self._pilots()
        return {
            pilot.id: pilot.people_counts
            for pilot in (pilots.values() if named is None else (pilots[name] for name in named if name in pilots))
            if pilot.people_counts is not None
        }

    def _counts_people(self, rules: Mapping[str, PeopleCounts], stream: Stream) -> bool:
        return stream.pilot in rules and is_people_count(self._pilots()[stream.pilot], stream.quantity)

    def _tables(
        self, query: Query, rules: Mapping[str, PeopleCounts], runs: Sequence[tuple[Stream, ...]]
    ) -> list[pa.Table]:
        """The answers of runs of streams that count people: the same question, put to a store of their sums."""
        streams = [stream for run in runs for stream in run]
        store = open_store("duckdb://")
        try:
            store.write(self._sums(rules, streams, query.start, query.end))
            return [
                store.read(msgspec.structs.replace(query, select=Selection(streams=run), quality="all")).read_all()
                for run in runs
            ]
        finally:
            store.close()

    def _sums(
        self,
        rules: Mapping[str, PeopleCounts],
        streams: Sequence[Stream],
        start: Micros | None,
        end: Micros | None,
    ) -> Batch:
        """A row for each slot that may be shown, ordered by stream and time. `received` is the end of the slot."""
        index: list[int] = []
        times: list[int] = []
        values: list[float] = []
        ends: list[int] = []
        numbers = {stream: number for number, stream in enumerate(streams)}
        for pilot, rule in rules.items():
            chosen = tuple(stream for stream in streams if stream.pilot == pilot)
            if not chosen:
                continue
            width = interval_micros(rule.width)
            over = now() // width * width
            asked = Query(
                select=Selection(streams=chosen),
                start=None if start is None else -(-start // width) * width,
                end=over if end is None else min(end // width * width, over),
                every=BucketWidth(width // SECOND, "s"),
                aggregates=("sum",),
            )
            if asked.start is not None and asked.end is not None and asked.start >= asked.end:
                continue
            with self._store.read(asked) as reader:
                for batch in reader:
                    keys = zip(*(batch.column(name).to_pylist() for name in Stream._fields), strict=True)
                    slots = batch.column("time").cast(pa.int64()).to_pylist()
                    for key, slot, people in zip(keys, slots, batch.column("sum").to_pylist(), strict=True):
                        if people is not None and people >= rule.least:
                            index.append(numbers[Stream(*key)])
                            times.append(slot)
                            values.append(people)
                            ends.append(slot + width)
        order = np.lexsort((np.array(times, np.int64), np.array(index, np.int64)))
        return Batch(
            streams=tuple(streams),
            stream=np.array(index, np.int32)[order],
            time=np.array(times, np.int64)[order],
            value=np.array(values, np.float64)[order],
            received=np.array(ends, np.int64)[order],
            quality=np.zeros(len(times), np.uint8),
        )

    def _batches(
        self,
        query: Query,
        runs: Sequence[tuple[bool, tuple[Stream, ...]]],
        tables: Sequence[pa.Table],
        schema: pa.Schema,
    ) -> Iterator[pa.RecordBatch]:
        """The rows of all runs, in the order of streams, up to the limit."""
        left, answers = query.limit, iter(tables)
        for counts, streams in runs:
            if counts:
                table = next(answers)
                rows = table if left is None else table.slice(0, left)
                batches = rows.cast(schema).to_batches()
                yield from batches
                left = None if left is None else left - rows.num_rows
            elif left is None or left > 0:
                asked = msgspec.structs.replace(query, select=Selection(streams=streams), limit=left)
                with self._store.read(asked) as reader:
                    for batch in reader:
                        left = None if left is None else left - batch.num_rows
                        yield batch.cast(schema) if batch.schema != schema else batch


def published(store: ReadingStore, registry: Registry) -> ReadingStore:
    """The store as those see it whom a report or a package is for."""
    return PublishedStore(store, lambda: {pilot.id: pilot for pilot in registry.pilots()})


def _raw_table(sums: Batch, rows: np.ndarray[tuple[int], np.dtype[np.int64]]) -> pa.Table:
    streams = [sums.streams[number] for number in sums.stream[rows]]
    columns = {name: [getattr(stream, name) for stream in streams] for name in Stream._fields}
    arrays = [pa.array(columns[name], pa.string()).dictionary_encode() for name in Stream._fields]
    arrays += [
        pa.array(sums.time[rows], RAW_SCHEMA.field("time").type),
        pa.array(sums.value[rows], pa.float64()),
        pa.array(sums.received[rows], RAW_SCHEMA.field("received").type),
        pa.array(sums.quality[rows], pa.uint8()),
    ]
    return pa.Table.from_arrays(arrays, schema=RAW_SCHEMA)

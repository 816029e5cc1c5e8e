"""What a question may cost: refused before it runs where that can be told, and stopped by time where it cannot.

Only answers that are made in one piece are bounded. CSV, NDJSON, Parquet and Arrow stream any amount in constant
memory.
"""

from __future__ import annotations

import time

import pyarrow as pa

from techport_dashboards import times
from techport_dashboards.catalogue import Catalogue
from techport_dashboards.errors import Problem
from techport_storage.model import Micros, Query

WAY_OUT = "format=parquet, which streams any amount; or a shorter range, fewer streams"
_UNKNOWN_INTERVAL: Micros = times.MINUTE


def refuse_costly(query: Query, catalogue: Catalogue, most: int, now: Micros) -> None:
    """Raise a Problem for buckets over more readings than `most`, by what the streams are expected to send."""
    if query.every is None:
        return  # a page of raw rows costs no more than its rows
    expected = readings_expected(query, catalogue, now)
    if expected > most:
        raise Problem(
            "too-costly",
            f"These buckets are made of about {expected:,} readings; {most:,} is the most for an answer in one piece.",
            parameter="start",
            example=WAY_OUT,
        )


def readings_expected(query: Query, catalogue: Catalogue, now: Micros) -> int:
    """About how many readings a query looks at: its range, or that of the pilots' phases, by the streams' intervals."""
    end = min(now, query.end) if query.end is not None else now
    begun = {
        pilot.id: min(times.micros(phase.start) for phase in pilot.phases)
        for pilot in catalogue.pilots.values()
        if pilot.phases
    }
    total = 0.0
    for info in catalogue.chosen(query.select):
        starts = [start for start in (query.start, begun.get(info.stream.pilot)) if start is not None]
        total += max(0, end - max(starts, default=end)) / (info.interval_us or _UNKNOWN_INTERVAL)
    return int(total)


def read_within(reader: pa.RecordBatchReader, seconds: float) -> pa.Table:
    """All rows, unless they take longer than that to come. Raises Problem."""
    given_up = time.monotonic() + seconds
    batches = []
    for batch in reader:
        batches.append(batch)
        if time.monotonic() > given_up:
            raise Problem(
                "too-costly", f"It was not answered within {seconds:g} seconds.", parameter="start", example=WAY_OUT
            )
    return pa.Table.from_batches(batches, reader.schema)

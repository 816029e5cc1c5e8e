"""Arrow rows of the store, with units, as the items and columns that people get."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from techport_dashboards.query.registry_cache import RegistryView
from techport_pilots.quality.completeness import expected_between
from techport_pilots.registry.registry import StreamInfo
from techport_storage.buckets import bucket_edges, fixed_width
from techport_storage.columns import group_by_stream
from techport_storage.model import Micros, Query, Stream
from techport_storage.query_check import check_zone


def with_completeness(
    batch: pa.RecordBatch, query: Query, info_of: Callable[[Stream], StreamInfo], now: Micros
) -> pa.RecordBatch:
    """Buckets with a column `completeness` behind their count: readings ÷ readings expected in the part of the bucket
    that was asked for and is over, by what was promised then, at most 1. Null where nobody has said how often it is.
    """
    assert query.every is not None
    time = batch.column("time").cast(pa.int64()).to_numpy()
    width = fixed_width(query.every)
    if width is not None:
        ends = time + width
    elif len(time):
        edges = bucket_edges(query.every, check_zone(query.zone), int(time.min()), int(time.max()))
        ends = edges[np.searchsorted(edges, time, "right")]
    else:
        ends = time
    last = now if query.end is None else min(now, query.end)
    ends = np.minimum(ends, last)
    starts = time if query.start is None else np.maximum(time, query.start)
    expected = np.full(len(time), np.nan)
    for stream, rows in group_by_stream(batch):
        info = info_of(stream)
        if info.interval_us:
            expected[rows] = expected_between(starts[rows], ends[rows], info.interval_us, info.earlier)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.minimum(1.0, batch.column("count").to_numpy() / np.maximum(1.0, expected))
    return batch.append_column("completeness", pa.array(np.round(share, 4), from_pandas=True))


def with_shares(
    batch: pa.RecordBatch,
    received: Mapping[tuple[Stream, int], int],
    expected: Mapping[tuple[Stream, int], float],
) -> pa.RecordBatch:
    """Rows of a profile, or of whole ranges, with a column `completeness` behind their count: readings ÷ readings
    expected by stream and number of its class, at most 1. Null where nobody has said how often they come."""
    numbers = batch.column("time").cast(pa.int64()).to_pylist()
    shares: list[float | None] = []
    for stream, rows in group_by_stream(batch):
        for number in numbers[rows]:
            due = expected.get((stream, number))
            got = received.get((stream, number), 0)
            shares.append(None if due is None else round(min(1.0, got / max(1.0, due)), 4))
    return batch.append_column("completeness", pa.array(shares, pa.float64()))


def with_units(batch: pa.RecordBatch, unit_of: Callable[[Stream], str]) -> pa.RecordBatch:
    """The batch with a column `unit` before its last ones: UCUM, empty where nobody has described the stream yet.

    Rows of a stream lie together, so a unit is looked up once a stream, not once a row.
    """
    code: dict[str, int] = {}
    units: list[int] = []
    firsts: list[int] = []
    for stream, rows in group_by_stream(batch):
        units.append(code.setdefault(unit_of(stream), len(code)))
        firsts.append(rows.start)
    codes = np.repeat(np.array(units, np.int32), np.diff(firsts, append=batch.num_rows)) if units else units
    unit = pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), pa.array(list(code), pa.string()))
    place = batch.schema.get_field_index("value") + 1 or batch.num_columns
    return batch.add_column(place, pa.field("unit", unit.type), unit)


def with_states(batch: pa.RecordBatch, words_of: Callable[[Stream], Sequence[str]]) -> pa.RecordBatch:
    """The batch with a column `state` behind the unit: what people read for the numbers of states; null for others."""
    values = batch.column("value").to_numpy()
    words = np.full(len(values), None, object)
    for stream, rows in group_by_stream(batch):
        for number, word in enumerate(words_of(stream)):
            words[rows][values[rows] == number] = word
    column = pa.array(words, pa.string()).dictionary_encode()
    return batch.add_column(batch.schema.get_field_index("unit") + 1, pa.field("state", column.type), column)


def with_local(batch: pa.RecordBatch, query: Query) -> pa.RecordBatch:
    """Buckets with what the zone's calendar calls them, behind their time in UTC: a column `date` for days and longer,
    else `local`. A bucket of 1 January in Oslo starts on 31 December in UTC."""
    assert query.every is not None
    place = batch.schema.get_field_index("time") + 1
    local = batch.column("time").cast(pa.timestamp("us", query.zone))
    if query.every.unit in ("d", "w", "mo", "y"):
        return batch.add_column(place, pa.field("date", pa.date32()), pc.local_timestamp(local).cast(pa.date32()))
    return batch.add_column(place, pa.field("local", local.type), local)


def without_time(batch: pa.RecordBatch, profile: str | None) -> pa.RecordBatch:
    """Rows of a profile, whose time is the number of a class, with that number under its name; rows of a whole range
    without a time."""
    place = batch.schema.get_field_index("time")
    if profile is None:
        return batch.remove_column(place)
    return batch.set_column(place, profile, batch.column(place).cast(pa.int64()).cast(pa.int8()))


def readable(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with plain strings, and times as ISO 8601 text in UTC: the form of JSON and CSV."""
    columns = []
    for column in batch.columns:
        if pa.types.is_dictionary(column.type):
            column = column.cast(pa.string())
        elif pa.types.is_timestamp(column.type):
            column = iso(column) if column.type.tz in (None, "UTC") else local_iso(column)
        elif pa.types.is_date(column.type):
            column = column.cast(pa.string())
        columns.append(column)
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def iso(column: pa.Array) -> pa.Array:
    """Times as text, the same as times.iso. Arrow writes one without a zone 25 times faster than one with."""
    plain = column.cast(pa.timestamp("us")).cast(pa.string()).cast(pa.binary())
    lettered = pc.binary_replace_slice(plain, start=10, stop=11, replacement=b"T").cast(pa.string())
    return pc.binary_join_element_wise(lettered, "Z", "")


def local_iso(column: pa.Array) -> pa.Array:
    """Times as text in their zone, with its offset: both hours 02 of October are told apart by it."""
    offset = pc.strftime(column.cast(pa.timestamp("s", column.type.tz), safe=False), format="%z")
    plain = pc.replace_substring(pc.local_timestamp(column).cast(pa.string()), " ", "T")
    parts = (plain, pc.utf8_slice_codeunits(offset, 0, 3), ":", pc.utf8_slice_codeunits(offset, 3, 5), "")
    return pc.binary_join_element_wise(*parts)


def items(table: pa.Table, catalogue: RegistryView) -> list[dict[str, Any]]:
    """Rows of `latest` as objects: pilot, device, quantity, time, value, unit, received, quality."""
    batches = table.to_batches()
    return [item for batch in batches for item in readable(with_units(batch, catalogue.unit)).to_pylist()]

"""How a batch becomes rows: one row a key, the later arrival, whatever came twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from techport_storage.duckdb.index import Ids, StreamIndex
from techport_storage.model import Batch, Stream
from techport_storage.places import Places

_LONG = 1000  # ms: a longer delay is kept in `late`


@dataclass(frozen=True, slots=True)
class BatchRows:
    """What a batch brings: distinct (stream, time), sorted by both, in parallel arrays; `row` is that of the batch."""

    row: NDArray[np.int64]
    stream: Ids
    time: NDArray[np.int64]
    value: NDArray[np.float64]
    received: NDArray[np.int64]  # ms
    quality: NDArray[np.uint8]

    def only(self, positions: NDArray[np.int64]) -> BatchRows:
        """These of them, in their order."""
        return BatchRows(
            row=self.row[positions],
            stream=self.stream[positions],
            time=self.time[positions],
            value=self.value[positions],
            received=self.received[positions],
            quality=self.quality[positions],
        )

    def table(self) -> pa.Table:
        """The columns of `head`."""
        delay = self.received - self.time // 1000
        long = np.abs(delay) >= _LONG
        columns = [
            self.stream,
            self.time,
            self.value,
            np.where(long, 0, delay).astype(np.int16),
            np.where(long, delay, 0),
            self.quality,
        ]
        return pa.table(columns, ["stream", "time", "value", "delay", "late", "quality"])


def number_streams(directory: StreamIndex, streams: Sequence[Stream], used: Ids) -> tuple[Ids, dict[Stream, int]]:
    """The ids of the used positions of `streams` (-1 for the others), and the streams among them that are new.

    New ones are numbered in the order of their names, which keeps neighbours in a list neighbours in the file.
    """
    ids = np.full(len(streams), -1, np.int32)
    new: dict[Stream, int] = {}
    for position in sorted(used.tolist(), key=streams.__getitem__):
        name = Stream(*streams[position])
        stream_id = directory.id_of(name)
        ids[position] = new.setdefault(name, directory.next_id + len(new)) if stream_id is None else stream_id
    return ids, new


def sort_out(batch: Batch, accepted: NDArray[np.int64], ids: Ids) -> tuple[BatchRows, Places]:
    """The accepted rows of the batch: those that are kept, and all of them by place. `ids` numbers its streams."""
    places = Places.of(batch, accepted, ids[batch.stream[accepted]])
    last = places.last
    rows = BatchRows(
        row=last,
        stream=ids[batch.stream[last]],
        time=batch.time[last],
        value=batch.value[last],
        received=batch.received[last] // 1000,
        quality=batch.quality[last],
    )
    return rows, places


def suspects(directory: StreamIndex, arrivals: BatchRows) -> NDArray[np.int64]:
    """Positions of arrivals that may be stored already: those within the time range of their stream."""
    candidates = np.flatnonzero(arrivals.stream < directory.next_id)
    stream, time = arrivals.stream[candidates], arrivals.time[candidates]
    return candidates[(time >= directory.oldest[stream]) & (time <= directory.newest[stream])]


def find_unchanged(
    cursor: duckdb.DuckDBPyConnection, arrivals: BatchRows, suspects: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Positions of suspects that are stored with the same value and the same time of arrival."""
    chosen = arrivals.only(suspects).table().append_column("position", pa.array(suspects))
    cursor.register("suspects", chosen)
    bounds = _bounds(arrivals, suspects)
    unchanged: list[int] = []
    for table in ("head", "body"):
        alike = " AND ".join(f"{table}.{name} = suspects.{name}" for name in ("value", "delay", "late"))
        unchanged += (
            position
            for (position,) in cursor.execute(
                f"SELECT position FROM {table}, suspects WHERE {_same_key(table)} AND {alike}", bounds
            ).fetchall()
        )
    return np.sort(np.array(unchanged, np.int64))


def _bounds(arrivals: BatchRows, suspects: NDArray[np.int64]) -> dict[str, int]:
    time, stream = arrivals.time[suspects], arrivals.stream[suspects]
    return {"first": int(time.min()), "last": int(time.max()), "low": int(stream.min()), "high": int(stream.max())}


def _same_key(table: str) -> str:
    """Rows of the table that have the key of a suspect; the bounds let row groups be skipped."""
    return (
        f"{table}.stream = suspects.stream AND {table}.time = suspects.time "
        f"AND {table}.time BETWEEN $first AND $last AND {table}.stream BETWEEN $low AND $high"
    )


def remove_stored(
    cursor: duckdb.DuckDBPyConnection, arrivals: BatchRows, suspects: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Remove the stored rows that have the keys of suspects; for each arrival the value that it replaces, or NaN."""
    keys = pa.table([suspects, arrivals.stream[suspects], arrivals.time[suspects]], ["position", "stream", "time"])
    cursor.register("suspects", keys)
    bounds = _bounds(arrivals, suspects)
    replaced = np.full(len(arrivals.row), np.nan)
    for table in ("head", "body"):
        same = _same_key(table)
        hits = cursor.execute(f"SELECT position, value FROM {table}, suspects WHERE {same}", bounds).fetchall()
        if hits:
            cursor.execute(f"DELETE FROM {table} USING suspects WHERE {same}", bounds)
            positions, values = zip(*hits, strict=True)
            replaced[list(positions)] = values
    return replaced


def insert(cursor: duckdb.DuckDBPyConnection, arrivals: BatchRows, new: dict[Stream, int]) -> None:
    """Store the arrivals, and the new streams among theirs."""
    if new:
        names = [pa.array(column, pa.string()) for column in zip(*new, strict=True)]
        columns = [pa.array(new.values(), pa.int32()), *names]
        cursor.register("new_streams", pa.table(columns, ["id", "pilot", "device", "quantity"]))
        cursor.execute("INSERT INTO streams FROM new_streams")
    cursor.register("arrivals", arrivals.table())
    cursor.execute("INSERT INTO head FROM arrivals")


def learn(directory: StreamIndex, arrivals: BatchRows, replaced: NDArray[np.bool_]) -> None:
    """Tell the directory what was stored, and which of it replaced a row. The streams of the arrivals are in it."""
    stream = arrivals.stream
    ends = np.flatnonzero(np.append(stream[1:] != stream[:-1], True))
    starts = np.append(0, ends[:-1] + 1)
    fresh = (~replaced).astype(np.int64)
    directory.note_head(stream[ends], arrivals.time[starts])
    directory.note(
        stream[ends],
        np.add.reduceat(fresh, starts),
        arrivals.time[starts],
        arrivals.time[ends],
        arrivals.value[ends],
        arrivals.received[ends],
        arrivals.quality[ends],
    )

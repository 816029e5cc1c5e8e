"""What a DuckStore keeps in memory: its streams, how far each reaches, and each one's latest row.

This is what makes the common write cheap (a row behind the end of its stream cannot be a duplicate) and `latest` free.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from techport_storage.columns import name_columns
from techport_storage.model import RAW_SCHEMA, TIME, Micros, Selection, Stream

FAR_PAST = np.iinfo(np.int64).min
FAR_FUTURE = np.iinfo(np.int64).max

Ids = NDArray[np.int32]
Scalar = TypeVar("Scalar", bound=np.generic)


class StreamIndex:
    """Streams by id and by name. Not safe for threads by itself: the store guards it with a lock."""

    def __init__(self) -> None:
        self._ids: dict[Stream, int] = {}
        self._names: dict[int, Stream] = {}
        self._of_device: dict[str, list[tuple[Stream, int]]] = {}
        self._sorted: list[tuple[Stream, int]] | None = []
        self._named: tuple[bytes, list[pa.DictionaryArray]] = (b"", [])  # the columns of names that `latest` gave last
        self._opened = os.urandom(16)  # what is known of late rows is not in the file
        self.next_id = 0
        self.rows = np.zeros(0, np.int64)  # about: a row that was replaced may count twice
        self.oldest = np.zeros(0, np.int64)  # bounds: every row lies in [oldest, newest]
        self.newest = np.zeros(0, np.int64)
        self.late = np.zeros(0, np.int64)  # how often rows came that were not behind the end
        self.in_head = np.zeros(0, np.int64)  # rows before this are in the body alone
        self.value = np.zeros(0, np.float64)  # of the latest row, whose time is `newest`
        self.received = np.zeros(0, np.int64)  # ms
        self.quality = np.zeros(0, np.uint8)

    def __len__(self) -> int:
        return len(self.rows)

    def id_of(self, stream: Stream) -> int | None:
        return self._ids.get(stream)

    def add(self, stream: Stream, stream_id: int) -> None:
        """A stream that is in the file, so far without rows."""
        self._ids[stream] = stream_id
        self._names[stream_id] = stream
        self._of_device.setdefault(stream.device, []).append((stream, stream_id))
        self._sorted = None
        self.next_id = max(self.next_id, stream_id + 1)
        missing = stream_id + 1 - len(self)
        if missing > 0:
            missing = max(missing, len(self))  # double, so that adding streams one by one stays cheap
            self.rows = _grown(self.rows, missing, 0)
            self.oldest = _grown(self.oldest, missing, FAR_FUTURE)
            self.newest = _grown(self.newest, missing, FAR_PAST)
            self.late = _grown(self.late, missing, 0)
            self.in_head = _grown(self.in_head, missing, FAR_FUTURE)
            self.value = _grown(self.value, missing, 0)
            self.received = _grown(self.received, missing, 0)
            self.quality = _grown(self.quality, missing, 0)

    def note(
        self,
        ids: Ids,
        rows: NDArray[np.int64],
        oldest: NDArray[np.int64],
        newest: NDArray[np.int64],
        value: NDArray[np.float64],
        received: NDArray[np.int64],
        quality: NDArray[np.uint8],
    ) -> None:
        """Rows were stored: for each of the (distinct) ids their number, ends and latest row, which wins a tie."""
        self.rows[ids] += rows
        self.late[ids[oldest <= self.newest[ids]]] += 1
        self.oldest[ids] = np.minimum(self.oldest[ids], oldest)
        latest = newest >= self.newest[ids]
        ids = ids[latest]
        self.newest[ids] = newest[latest]
        self.value[ids] = value[latest]
        self.received[ids] = received[latest]
        self.quality[ids] = quality[latest]

    def note_head(self, ids: Ids, oldest: NDArray[np.int64]) -> None:
        """Rows from these times on may be in the head."""
        self.in_head[ids] = np.minimum(self.in_head[ids], oldest)

    def forget_head(self) -> None:
        self.in_head[:] = FAR_FUTURE

    def select(self, select: Selection) -> Ids:
        """Ids of the selected streams that hold readings, in the order of their names."""
        if select.streams is not None:
            existing = set(select.streams) & self._ids.keys()
            return self._holding(sorted((stream, self._ids[stream]) for stream in existing))
        if select.devices is not None:  # mostly a few of very many
            named = sorted(entry for device in set(select.devices) for entry in self._of_device.get(device, ()))
        else:
            if self._sorted is None:
                self._sorted = sorted(self._ids.items())
            named = self._sorted
        for names, part in ((select.pilots, 0), (select.quantities, 2)):
            if names is not None:
                allowed = frozenset(names)
                named = [entry for entry in named if entry[0][part] in allowed]
        return self._holding(named)

    def _holding(self, named: Sequence[tuple[Stream, int]]) -> Ids:
        ids = np.array([stream_id for _, stream_id in named], np.int32)
        return ids[self.rows[ids] > 0]

    def readings(self, ids: Ids, first: Micros, last: Micros) -> int:
        """About how many rows the streams have in [first, last]."""
        low, high = self.oldest[ids].astype(np.float64), self.newest[ids].astype(np.float64)
        covered = np.maximum(0, np.minimum(high, last) - np.maximum(low, first) + 1)
        return int((self.rows[ids] * (covered / (high - low + 1))).sum())

    def version_token(self, ids: Ids, last: Micros) -> bytes:
        """Changes whenever rows of the streams up to `last` do."""
        growing = self.newest[ids] <= last
        digest = hashlib.blake2b(self._opened, digest_size=16)
        for column in (ids, self.late[ids], np.where(growing, self.newest[ids], FAR_FUTURE)):
            digest.update(column.tobytes())
        return digest.digest()

    def latest(self, ids: Ids) -> pa.Table:
        """The latest row of each of the streams, as RAW_SCHEMA."""
        key = ids.tobytes()
        if self._named[0] != key or not key:
            self._named = key, name_columns(self.names(ids), np.arange(len(ids), dtype=np.int32))
        columns = [
            *self._named[1],
            pa.array(self.newest[ids]).cast(TIME),
            pa.array(self.value[ids]),
            pa.array(self.received[ids] * 1000).cast(TIME),
            pa.array(self.quality[ids]),
        ]
        return pa.Table.from_arrays(columns, schema=RAW_SCHEMA)

    def names(self, ids: Ids) -> list[Stream]:
        return [self._names[stream_id] for stream_id in ids.tolist()]


def _grown(array: NDArray[Scalar], by: int, fill: float) -> NDArray[Scalar]:
    return np.concatenate([array, np.full(by, fill, array.dtype)])

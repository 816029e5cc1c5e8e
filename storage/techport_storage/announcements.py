"""What several writers of one store tell each other before they write: which streams they are about to write, and when.

A store that does not say whether a row was there (influxdb/, iotdb/) would have to be asked about every row, because
another process may have written it a moment ago. Told what the others write, a writer asks about those rows only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from techport_storage.model import Micros

Keys = NDArray[np.uint64]
Rows = NDArray[np.int64]

_TIME_BITS = np.uint64(36)  # of a key: 19 hours in µs; the others are the stream's
_TIME = (np.uint64(1) << _TIME_BITS) - np.uint64(1)


class Places(msgspec.Struct, frozen=True):
    """Places (a stream and a time) of rows: hashes of their streams, how many rows each has, and their times."""

    streams: NDArray[np.uint64]  # in order
    counts: NDArray[np.uint32]
    times: NDArray[np.int64]  # µs, stream by stream, in order within each

    @classmethod
    def of(cls, hashes: NDArray[np.uint64], stream: NDArray[np.intp], time: NDArray[np.int64]) -> tuple[Places, Rows]:
        """Places of rows that are in order of stream and time, and which row each is.

        `hashes` are the streams', `stream` is the position there for each row.
        """
        counts = np.bincount(stream, minlength=len(hashes))
        begins = np.cumsum(counts) - counts
        order = np.argsort(hashes)
        counts = counts[order]
        rows = np.repeat(begins[order] - (np.cumsum(counts) - counts), counts) + np.arange(len(time))
        return cls(hashes[order], counts.astype(np.uint32), time[rows]), rows

    def __len__(self) -> int:
        return len(self.times)

    def keys(self) -> Keys:
        """A number for each place: some bits of the stream's hash and some of the time. In order, as a rule.

        The same place has the same number in every process; another one has it so rarely that it does not matter that
        it is then looked up for nothing.
        """
        of_streams = self.streams >> _TIME_BITS << _TIME_BITS
        keys: Keys = np.repeat(of_streams, self.counts) | self.times.view(np.uint64) & _TIME
        return keys

    def ranges(self) -> list[tuple[int, Micros, Micros]]:
        """Of each stream its hash, its first and its last time."""
        ends = np.cumsum(self.counts, dtype=np.int64)
        first, last = self.times[ends - self.counts], self.times[ends - 1]
        return list(zip(self.streams.tolist(), first.tolist(), last.tolist(), strict=True))

    def encode(self) -> bytes:
        """As other processes read it."""
        columns = (self.streams.astype("<u8"), self.counts.astype("<u4"), self.times.astype("<i8"))
        return msgspec.msgpack.encode([column.tobytes() for column in columns])

    @classmethod
    def decode(cls, encoded: bytes) -> Places:
        """What `encode` gave in any process."""
        streams, counts, times = msgspec.msgpack.decode(encoded, type=tuple[bytes, bytes, bytes])
        return cls(
            np.frombuffer(streams, "<u8").astype(np.uint64, copy=False),
            np.frombuffer(counts, "<u4").astype(np.uint32, copy=False),
            np.frombuffer(times, "<i8").astype(np.int64, copy=False),
        )


NO_PLACES = Places(np.empty(0, np.uint64), np.empty(0, np.uint32), np.empty(0, np.int64))
"""Announces nothing."""


class Announcement(msgspec.Struct, frozen=True):
    """What one writer was about to write. Numbers grow; every writer sees announcements in their order."""

    number: int
    places: bytes


class Heard(msgspec.Struct, frozen=True):
    """What a writer learns from an announcement of its own."""

    number: int  # of its own
    complete: bool  # whether nothing is missing between what it had heard and this
    others: Sequence[Announcement]  # before its own; all that are kept, where not complete


class Announcements(Protocol):
    """Kept where all writers of a store reach it. Old ones are dropped by and by."""

    def announce(self, places: bytes, rows: int, after: int | None) -> Heard:
        """Say durably what is about to be written, and hear what was announced before.

        Parameters
        ----------
        places : bytes
            `Places.encode()`.
        rows : int
            How many places that is, at least 1.
        after : int, optional
            Only announcements behind this number; None: all that are kept.

        Returns
        -------
        Heard
            Not complete where `after` itself is not kept any more: something behind it may be gone as well.
        """

    def since(self, number: int, places: bytes, rows: int) -> Sequence[Announcement] | None:
        """What was announced behind one's own announcement of this number, of these places.

        None where that is not known: it is not kept any more, and then it has been made once more, under another
        number; or it cannot be found out now. Raises nothing.
        """

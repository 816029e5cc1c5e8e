"""Which rows of a batch another process may have written, or may be writing now: told by announcements.

    announce ─► look up what others announced ─► write ─► did anybody announce the same rows meanwhile?
                                                              no: the receipt is exact    yes: it is not known

Of two writers of one row the later to announce it knows of the earlier and asks the store. If the earlier had not
written yet, the later finds nothing and counts the row as new; the earlier then finds the announcement of the later
behind its own and gives no receipt: its caller counts what the store holds, as after a crash, and writes again.
No clock and no lease is in this, so a writer may be killed, or paused for hours, at any moment.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from techport_storage.announcements import NO_PLACES, Announcement, Announcements, Keys, Places
from techport_storage.model import Micros, Stream

GENERATION = 500_000
"""Places of others that are remembered one by one, twice; of older ones the range of each stream."""

_RUN = 20_000  # keys; shorter runs are joined
_MOST_HASHES = 100_000

Flags = NDArray[np.bool_]


class OtherWriters:
    """What this process knows of the others. Not safe for threads by itself: the store has a lock."""

    def __init__(self, announcements: Announcements, generation: int = GENERATION) -> None:
        self._announcements = announcements
        self._generation = generation
        self._hashes: dict[Stream, int] = {}
        self.heard_all = False
        """With the last announcement. If not, what the store holds has to be asked anew, after that announcement."""
        self._heard: int | None = None  # number of the newest announcement that was heard or made
        self._number, self._own = 0, NO_PLACES  # the last own announcement
        self._encoded = b""
        self._begin()

    def _begin(self) -> None:
        self._recent, self._older = _Remembered(), _Remembered()
        self._ranges: dict[int, tuple[Micros, Micros]] = {}  # by stream, of what is in neither

    def announce(self, streams: Sequence[Stream], stream: NDArray[np.intp], time: NDArray[np.int64]) -> Flags:
        """Say that these rows, in order of stream and time, are about to be written.

        Parameters
        ----------
        streams : sequence of Stream
            Each has a row.
        stream : array
            For each row its stream's position in `streams`.
        time : array
            µs.

        Returns
        -------
        array of bool
            Which rows others may have written since `heard_all` was last False.
        """
        hashes = np.array([self._hash(name) for name in streams], np.uint64)
        self._own, rows = Places.of(hashes, stream, time)
        self._encoded = self._own.encode()
        heard = self._announcements.announce(self._encoded, len(self._own), self._heard)
        if not heard.complete:
            self._begin()
        self.heard_all = heard.complete
        self._absorb(heard.others)
        self._number = self._heard = heard.number
        keys = _Run.of(self._own)
        announced = self._recent.has(keys) | self._older.has(keys)
        if self._ranges:
            nowhere = (1, 0)
            ends = np.array([self._ranges.get(key, nowhere) for key in self._own.streams.tolist()], np.int64)
            first, last = np.repeat(ends, self._own.counts, axis=0).T
            announced |= (self._own.times >= first) & (self._own.times <= last)
        mask = np.empty_like(announced)
        mask[rows] = announced
        return mask

    def undisturbed(self) -> bool:
        """Whether nobody has announced a row of the last announcement since: ask when they are written."""
        announced = self._announcements.since(self._number, self._encoded, len(self._own))
        if announced is None:
            return False
        own = _Run.of(self._own)
        return not any(run.has(own).any() for run in self._absorb(announced))

    def _absorb(self, announced: Sequence[Announcement]) -> list[_Run]:
        """Remember what others announced, and give it."""
        runs = []
        for announcement in announced:
            places = Places.decode(announcement.places)
            self._heard = announcement.number
            if len(places):
                runs.append(_Run.of(places).ordered())
                self._recent.add(runs[-1], places.ranges())
        if len(self._recent) > self._generation:
            _widen(self._ranges, [(stream, *ends) for stream, ends in self._older.ranges.items()])
            self._recent, self._older = _Remembered(), self._recent
        return runs

    def _hash(self, stream: Stream) -> int:
        known = self._hashes.get(stream)
        if known is None:
            if len(self._hashes) >= _MOST_HASHES:
                self._hashes.clear()
            digest = hashlib.blake2b("\0".join(stream).encode(errors="surrogatepass"), digest_size=8).digest()
            known = self._hashes[stream] = int.from_bytes(digest, "little")
        return known


class _Run:
    """Keys of places within some time."""

    def __init__(self, keys: Keys, first: Micros, last: Micros) -> None:
        self.keys = keys
        self.first = first
        self.last = last

    @classmethod
    def of(cls, places: Places) -> _Run:
        return cls(places.keys(), int(places.times.min()), int(places.times.max()))

    def ordered(self) -> _Run:
        """The same, to be looked into."""
        in_order = (self.keys[1:] >= self.keys[:-1]).all()
        return self if in_order else _Run(np.sort(self.keys), self.first, self.last)

    def joined(self, other: _Run) -> _Run:
        keys = np.sort(np.concatenate([self.keys, other.keys]), kind="stable")
        return _Run(keys, min(self.first, other.first), max(self.last, other.last))

    def has(self, other: _Run) -> Flags:
        """Of a run that is ordered: which of the other's keys it has."""
        if other.first > self.last or other.last < self.first:
            return np.zeros(len(other.keys), np.bool_)
        places = np.minimum(np.searchsorted(self.keys, other.keys), len(self.keys) - 1)
        mask: Flags = self.keys[places] == other.keys
        return mask


class _Remembered:
    """Announced places: their keys, in runs, and the range of each stream."""

    def __init__(self) -> None:
        self._runs: list[_Run] = []
        self._length = 0
        self.ranges: dict[int, tuple[Micros, Micros]] = {}

    def __len__(self) -> int:
        return self._length

    def add(self, run: _Run, ranges: Sequence[tuple[int, Micros, Micros]]) -> None:
        """Add a run that is ordered."""
        self._length += len(run.keys)
        _widen(self.ranges, ranges)
        while self._runs and len(self._runs[-1].keys) < min(2 * len(run.keys), _RUN):
            run = self._runs.pop().joined(run)
        self._runs.append(run)

    def has(self, keys: _Run) -> Flags:
        mask = np.zeros(len(keys.keys), np.bool_)
        for run in self._runs:
            if keys.first <= run.last and keys.last >= run.first:
                mask |= run.has(keys)
        return mask


def _widen(ranges: dict[int, tuple[Micros, Micros]], more: Sequence[tuple[int, Micros, Micros]]) -> None:
    for stream, first, last in more:
        before = ranges.get(stream)
        ranges[stream] = (first, last) if before is None else (min(first, before[0]), max(last, before[1]))

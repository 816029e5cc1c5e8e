"""Writes that got no answer, or the answer "not now": a node may carry them out later, behind writes that came after.

    write A: no answer ··················· carried out late: A's values are back
    write A again, of another node: done
                       write B of the same stream and time, another value: done

Repeating A alone does no harm. So for as long as a node may still have it, rows of A may come again with the values
that they have in A, and whatever would be undone by A has to wait: other values, flags, and erasing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from techport_storage.errors import StoreUnavailable
from techport_storage.model import Batch, Micros, Stream

LASTING = 120.0  # s; nodes try for 60 s to pass a write on, and the log of the consensus for some tens
_WAITING = "a write of these readings got no answer and may still be carried out: they can be changed in two minutes"


class Doubts:
    """Rows that may still be written. Safe for threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._rows: dict[tuple[Stream, Micros], tuple[float, float]] = {}  # the value, and until when

    def add(self, batch: Batch, rows: NDArray[np.int64]) -> None:
        """These rows were sent, and it is not known what became of them."""
        until = self._clock() + LASTING
        with self._lock:
            for place, value in _places(batch, rows):
                self._rows[place] = value, until

    def check(self, batch: Batch, rows: NDArray[np.int64], *, same_value_is_safe: bool = True) -> None:
        """Raise StoreUnavailable where a row would have to be changed that may still be written with another value."""
        if not self._left():
            return
        with self._lock:
            for place, value in _places(batch, rows):
                doubtful = self._rows.get(place)
                if doubtful is not None and not (same_value_is_safe and doubtful[0] == value):
                    raise StoreUnavailable(_WAITING)

    def check_streams(self, selected: Callable[[Stream], bool]) -> None:
        """Raise StoreUnavailable where a row of a selected stream may still be written."""
        if self._left():
            with self._lock:
                streams = {stream for stream, _ in self._rows}
            if any(map(selected, streams)):
                raise StoreUnavailable(_WAITING)

    def _left(self) -> bool:
        """Whether anything is in doubt, after leaving out what is no longer."""
        if not self._rows:
            return False
        now = self._clock()
        with self._lock:
            self._rows = {place: row for place, row in self._rows.items() if row[1] > now}
        return bool(self._rows)


def _places(batch: Batch, rows: NDArray[np.int64]) -> list[tuple[tuple[Stream, Micros], float]]:
    columns = (column[rows].tolist() for column in (batch.stream, batch.time, batch.value))
    return [((batch.streams[stream], when), value) for stream, when, value in zip(*columns, strict=True)]

"""Rows of a batch that share a stream and time, and what each of them is: new, a duplicate or a correction."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from techport_storage.model import Batch, Receipt

Rows = NDArray[np.int64]


class Places(NamedTuple):
    """The rows of a batch by place, which is a stream and a time: in order of place, then of arrival."""

    rows: Rows
    begins: NDArray[np.bool_]  # of each row, whether it is the first of its place

    @classmethod
    def of(cls, batch: Batch, rows: Rows, stream: NDArray[np.int32] | None = None) -> Places:
        """The places of these rows; `stream` numbers the streams of the rows otherwise than the batch does."""
        stream = batch.stream[rows] if stream is None else stream
        time = batch.time[rows]
        order = np.lexsort((time, stream))  # stable: of the rows of one place the latest arrival comes last
        stream, time = stream[order], time[order]
        return cls(rows[order], np.append(True, (stream[1:] != stream[:-1]) | (time[1:] != time[:-1]))[: len(rows)])

    @property
    def last(self) -> Rows:
        """The row of each place that is kept: its latest arrival."""
        last: Rows = self.rows[np.append(self.begins[1:], True)[: len(self.rows)]]
        return last

    @property
    def numbers(self) -> NDArray[np.intp]:
        """Of each row which place it has, counted from 0."""
        return np.cumsum(self.begins) - 1

    def without(self, lost: NDArray[np.bool_]) -> Places:
        """The other places, where some are `lost`."""
        survives = ~lost[self.numbers]
        return Places(self.rows[survives], self.begins[survives])

    def receipt(self, batch: Batch, stored: NDArray[np.float64], rejected: list[tuple[int, str]]) -> Receipt:
        """The receipt of these rows. `stored` has the value that was there for each place, NaN where none was."""
        value = batch.value[self.rows]
        before = np.append(np.nan, value[:-1])[: len(value)]
        before[self.begins] = stored
        new, equal = np.isnan(before), before == value
        changed = ~new & ~equal
        order = np.argsort(self.rows[changed])
        return Receipt(
            written=int(new.sum()),
            duplicate_rows=np.sort(self.rows[equal]),
            rejected=rejected,
            correction_rows=self.rows[changed][order],
            replaced=before[changed][order],
        )

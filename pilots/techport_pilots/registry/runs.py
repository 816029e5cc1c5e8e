"""A store's answer comes stream by stream: where in it each stream stands."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from techport_storage.model import Stream


def stream_runs(batch: pa.RecordBatch) -> Iterator[tuple[Stream, slice]]:
    """The streams of a batch ordered by stream, and the rows of each."""
    if not batch.num_rows:
        return
    names = [batch.column(part) for part in Stream._fields]
    codes = np.stack([column.indices.to_numpy() for column in names])
    edges = np.flatnonzero((np.diff(codes, axis=1) != 0).any(axis=0)) + 1
    for first, last in itertools.pairwise([0, *edges.tolist(), batch.num_rows]):
        yield Stream(*(column[first].as_py() for column in names)), slice(first, last)

"""Rows of a batch as IoTDB takes them: a tablet, which is a message of columns.

A tablet of NumpyTablet (apache-iotdb) is put together value by value, and sorted without its marks of missing values;
here the rows come sorted, and texts are copied by pyarrow.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from techport_storage.duplicates import streams_of
from techport_storage.model import Batch, Micros, Stream
from techport_storage.query_check import name_problem

_INT32, _DOUBLE, _TIMESTAMP, _STRING = 1, 4, 8, 11
_TAG, _FIELD = 0, 1


@dataclass(frozen=True, slots=True)
class Tablet:
    """Some rows of the table of readings, stream by stream, each in order of time."""

    names: list[str]
    types: list[int]
    categories: list[int]
    times: bytes
    values: bytes
    rows: int


def tablet(batch: Batch, rows: NDArray[np.int64]) -> Tablet:
    """These rows of a batch. They lie stream by stream, in order of time, and no two have one place."""
    streams, stream = streams_of(batch, rows)
    received = batch.received[rows] // 1000 * 1000
    return Tablet(
        names=[*Stream._fields, "value", "received", "quality"],
        types=[*[_STRING] * len(Stream._fields), _DOUBLE, _TIMESTAMP, _INT32],
        categories=[*[_TAG] * len(Stream._fields), *[_FIELD] * 3],
        times=batch.time[rows].astype(">i8").tobytes(),
        values=b"".join(
            [
                *(_texts([name[part] for name in streams], stream) for part in range(len(Stream._fields))),
                batch.value[rows].astype(">f8").tobytes(),
                received.astype(">i8").tobytes(),
                batch.quality[rows].astype(">i4").tobytes(),
            ]
        ),
        rows=len(rows),
    )


def probe(time: Micros) -> Tablet:
    """The one row that shows that writing works."""
    return Tablet(
        names=["writer", "ok"],
        types=[_STRING, _INT32],
        categories=[_TAG, _FIELD],
        times=time.to_bytes(8, "big", signed=True),
        values=_texts(["techport"], np.zeros(1, np.intp)) + (1).to_bytes(4, "big"),
        rows=1,
    )


def refused_names(batch: Batch) -> Iterator[tuple[int, str]]:
    """Rows whose stream has a name that cannot be kept, with the reason."""
    for position, stream in enumerate(batch.streams):
        if problem := name_problem(stream, "IoTDB is not given"):
            for row in np.flatnonzero(batch.stream == position).tolist():
                yield row, problem


def _texts(texts: Sequence[str], rows: NDArray[np.intp]) -> bytes:
    """texts[rows[i]], each behind its length in bytes."""
    encoded = [text.encode() for text in texts]
    entries = pa.array([len(text).to_bytes(4, "big") + text for text in encoded], pa.binary()).take(pa.array(rows))
    _, offsets, content = entries.buffers()
    ends = np.frombuffer(offsets, np.int32)[entries.offset : entries.offset + len(entries) + 1]
    return bytes(memoryview(content)[int(ends[0]) : int(ends[-1])])

"""Batches as line protocol, column by column: a line costs a fraction of a microsecond.

    reading,device=D,pilot=P,quantity=Q value=21.5,received=1700000000120i,quality=0i 1700000000000000

Numbers are always written as floats: a first integer would make the field an integer field for good.
`received` is in ms.
"""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from techport_storage.influxdb.query import FIRST, LAST, MEASUREMENT, tag_of
from techport_storage.model import Batch, Stream
from techport_storage.query_check import name_problem, refused_rows

_SPECIAL = re.compile(r"[,= ]")


class Lines:
    """Writes lines, and remembers how each stream's begin: names are checked and escaped once."""

    def __init__(self) -> None:
        self._heads: dict[Stream, str] = {}

    def refused(self, batch: Batch) -> list[tuple[int, str]]:
        """Rows of the batch that InfluxDB cannot keep, with the reason, ascending."""
        reasons = dict(refused_rows(batch))
        for row in np.flatnonzero((batch.time < FIRST) | (batch.time > LAST)).tolist():
            reasons.setdefault(row, "time is outside the years 1677 to 2262, which InfluxDB keeps")
        for position, stream in enumerate(batch.streams):
            if stream not in self._heads and (problem := name_problem(stream, "line protocol cannot carry")):
                for row in np.flatnonzero(batch.stream == position).tolist():
                    reasons.setdefault(row, problem)
        return sorted(reasons.items())

    def encode(self, batch: Batch, rows: NDArray[np.int64]) -> bytes:
        """These rows, none of them refused, as lines; values as the shortest decimal that reads back."""
        value = pa.array(batch.value[rows]).cast(pa.string())
        # Many rows of a batch arrive in one instant, and hardly one has a flag: a few texts do for all of them.
        arrivals, arrival = np.unique(batch.received[rows] // 1000, return_inverse=True)
        qualities, quality = np.unique(batch.quality[rows], return_inverse=True)
        ends = [f",received={ms}i,quality={flags}i " for ms in arrivals.tolist() for flags in qualities.tolist()]
        end = pa.array(ends, pa.string()).take(pa.array(arrival * len(qualities) + quality))
        return self._encode(batch, rows, " value=", [value, end])

    def encode_quality(self, batch: Batch, rows: NDArray[np.int64]) -> bytes:
        """As `encode`, with the field `quality` alone: the other fields of a row that is there stay as they are."""
        quality = pa.array(batch.quality[rows]).cast(pa.string())
        return self._encode(batch, rows, " quality=", [quality, "i "])

    def _encode(self, batch: Batch, rows: NDArray[np.int64], field: str, rest: list[pa.Array | str]) -> bytes:
        """Lines that begin with stream and the name of a field; `rest` is what stands between that and the time."""
        used, stream = np.unique(batch.stream[rows], return_inverse=True)
        heads = ["\n" + self._head(batch.streams[position]) + field for position in used.tolist()]
        time = pa.array(batch.time[rows]).cast(pa.string())
        lines = pc.binary_join_element_wise(pa.array(heads, pa.string()).take(pa.array(stream)), *rest, time, "")
        _, offsets, text = lines.buffers()
        ends = np.frombuffer(offsets, np.int32)[lines.offset : lines.offset + len(lines) + 1]
        return bytes(memoryview(text)[int(ends[0]) + 1 : int(ends[-1])])

    def _head(self, stream: Stream) -> str:
        head = self._heads.get(stream)
        if head is None:
            tags = zip(("device", "pilot", "quantity"), (stream[1], stream[0], stream[2]), strict=True)
            head = f"{MEASUREMENT},{','.join(f'{tag}={_escaped(name)}' for tag, name in tags)}"
            self._heads[stream] = head
        return head


def _escaped(name: str) -> str:
    return _SPECIAL.sub(r"\\\g<0>", tag_of(name))

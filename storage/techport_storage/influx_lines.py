"""Batches as line protocol, column by column: a line costs a fraction of a microsecond.

    reading,device=D,pilot=P,quantity=Q value=21.5,received=1700000000120i,quality=0i 1700000000000000

Numbers are always written as floats: a first integer would make the field an integer field for good.
`received` is in ms.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from techport_storage.check import refused_rows
from techport_storage.influx_query import FIRST, LAST, MEASUREMENT, tag_of
from techport_storage.model import Batch, Stream

_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")  # a line break ends the line; the others have no use in a name
_SPECIAL = re.compile(r"[,= ]")
_LONGEST = 1024  # bytes of a name; InfluxDB keeps keys below 64 KiB


def encode(batch: Batch, rows: NDArray[np.int64]) -> bytes:
    """These rows of the batch as lines, times in µs. The shortest decimal of each value that reads back to the bit."""
    used, stream = np.unique(batch.stream[rows], return_inverse=True)
    heads = pa.array([_head(batch.streams[position]) for position in used.tolist()], pa.string())
    columns = [
        heads.take(pa.array(stream)),
        pa.array(batch.value[rows]).cast(pa.string()),
        ",received=",
        pa.array(batch.received[rows] // 1000).cast(pa.string()),
        "i,quality=",
        pa.array(batch.quality[rows]).cast(pa.string()),
        "i ",
        pa.array(batch.time[rows]).cast(pa.string()),
        "\n",
    ]
    lines = pc.binary_join_element_wise(*columns, "")
    _, offsets, text = lines.buffers()
    ends = np.frombuffer(offsets, np.int32)[lines.offset : lines.offset + len(lines) + 1]
    return bytes(memoryview(text)[int(ends[0]) : int(ends[-1])])


def refused(batch: Batch) -> list[tuple[int, str]]:
    """Rows of the batch that InfluxDB cannot keep, with the reason, ascending."""
    reasons = dict(refused_rows(batch))
    for row in np.flatnonzero((batch.time < FIRST) | (batch.time > LAST)).tolist():
        reasons.setdefault(row, "time is outside the years 1677 to 2262, which InfluxDB keeps")
    for position, problem in _bad_names(batch.streams):
        for row in np.flatnonzero(batch.stream == position).tolist():
            reasons.setdefault(row, problem)
    return sorted(reasons.items())


def _bad_names(streams: Sequence[Stream]) -> list[tuple[int, str]]:
    found = []
    for position, stream in enumerate(streams):
        for tag, name in zip(Stream._fields, stream, strict=True):
            if not name:
                found.append((position, f"{tag} has no name"))
            elif _CONTROL.search(name):
                found.append((position, f"{tag} {name!r} has a control character, which line protocol cannot carry"))
            elif len(name) > _LONGEST // 4 and len(name.encode()) > _LONGEST:
                found.append((position, f"{tag} {name[:40]!r}... is longer than {_LONGEST} bytes"))
    return found


def _head(stream: Stream) -> str:
    """Tags in the order of their names, as InfluxDB sorts them anyway."""
    return (
        f"{MEASUREMENT},device={_escaped(stream[1])},pilot={_escaped(stream[0])},quantity={_escaped(stream[2])} value="
    )


def _escaped(name: str) -> str:
    return _SPECIAL.sub(r"\\\g<0>", tag_of(name))

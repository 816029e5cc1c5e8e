"""What IoTDB answers, as columns: blocks (TsBlock) of some thousand rows.

    columns │ their types │ rows │ their encodings │ column of times │ column │ ...     all numbers big-endian

Answers come stream by stream, so texts repeat: they are kept as stretches of equal ones.
https://github.com/apache/tsfile, TsBlockSerde
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from techport_storage.errors import StoreUnavailable
from techport_storage.model import Stream
from techport_storage.series import Column

_BYTES, _INT32, _INT64, _TEXTS, _REPEATED = range(5)  # encodings
_FLOATS = {3: ">f4", 4: ">f8"}  # types that are not integers


@dataclass(frozen=True, slots=True)
class Texts:
    """A column of texts: `texts[i]` from row `starts[i]` to the next start."""

    starts: list[int]
    texts: list[str]


@dataclass(frozen=True, slots=True)
class Block:
    """Rows of an answer. A missing number is NaN, or 0 among whole numbers; a missing text is empty."""

    rows: int
    columns: list[Column | Texts]

    def numbers(self, number: int) -> Column:
        column = self.columns[number]
        assert not isinstance(column, Texts)
        return column

    def texts(self, number: int) -> list[str]:
        """A column of texts, row by row."""
        column = self.columns[number]
        assert isinstance(column, Texts)
        counts = np.diff([*column.starts, self.rows]).tolist()
        return [text for text, count in zip(column.texts, counts, strict=True) for _ in range(count)]

    def values(self, number: int) -> list[Any]:
        """A column of whatever kind, row by row."""
        column = self.columns[number]
        return self.texts(number) if isinstance(column, Texts) else column.tolist()

    def streams(self) -> Iterator[tuple[Stream, slice]]:
        """The first three columns as streams, with the rows of each stretch of one stream."""
        parts = [column for column in self.columns[: len(Stream._fields)] if isinstance(column, Texts)]
        starts = sorted({start for part in parts for start in part.starts})
        position = [0] * len(parts)
        for start, stop in itertools.pairwise([*starts, self.rows]):
            for i, part in enumerate(parts):
                if position[i] + 1 < len(part.starts) and part.starts[position[i] + 1] <= start:
                    position[i] += 1
            names = (part.texts[at] for part, at in zip(parts, position, strict=True))
            yield Stream(*names), slice(start, stop)


def block_of(content: bytes, order: Sequence[int] | None) -> Block:
    """A block as it came; `order` says which of its columns is which of the statement's."""
    reader = _Reader(content)
    types = list(reader.take(reader.number()))
    rows = reader.number()
    encodings = reader.take(len(types) + 1)
    reader.column(encodings[0], 2, rows)  # times: a column of their own that tables leave empty
    columns = [reader.column(encoding, kind, rows) for encoding, kind in zip(encodings[1:], types, strict=True)]
    return Block(rows, [columns[i] for i in order] if order is not None else columns)


class _Reader:
    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0

    def take(self, size: int) -> bytes:
        part = self._content[self._at : self._at + size]
        if len(part) < size:
            raise StoreUnavailable("an answer of IoTDB ends in the middle of a block")
        self._at += size
        return part

    def number(self) -> int:
        return int.from_bytes(self.take(4), "big", signed=True)

    def column(self, encoding: int, kind: int, rows: int) -> Column | Texts:
        if encoding == _REPEATED:
            one = self.column(self.take(1)[0], kind, 1)
            if isinstance(one, Texts):
                return Texts(one.starts if rows else [], one.texts if rows else [])
            return np.repeat(one, rows)
        missing = self._bits(rows) if self.take(1)[0] else None
        if encoding == _BYTES:
            return self._bits(rows)
        there = rows if missing is None else rows - int(missing.sum())
        if encoding == _TEXTS:
            return self._texts(rows, missing)
        if encoding not in (_INT32, _INT64):
            raise StoreUnavailable(f"an answer of IoTDB has a column in the unknown encoding {encoding}")
        size = 4 if encoding == _INT32 else 8
        numbers = np.frombuffer(self.take(there * size), _FLOATS.get(kind, f">i{size}"))
        numbers = numbers.astype(numbers.dtype.newbyteorder("="))
        if missing is None:
            return numbers
        column: Column = np.full(rows, np.nan if kind in _FLOATS else 0, numbers.dtype)
        column[~missing] = numbers
        return column

    def _bits(self, rows: int) -> NDArray[np.bool_]:
        packed = np.frombuffer(self.take((rows + 7) // 8), np.uint8)
        return np.unpackbits(packed)[:rows].astype(np.bool_)

    def _texts(self, rows: int, missing: NDArray[np.bool_] | None) -> Texts:
        if missing is not None:
            one_by_one = ["" if gone else self._text() for gone in missing.tolist()]
            return Texts(list(range(rows)), one_by_one)
        starts: list[int] = []
        texts: list[str] = []
        row = 0
        while row < rows:
            begin = self._at
            starts.append(row)
            texts.append(self._text())
            entry = self._content[begin : self._at]
            row += 1 + self._repeats(entry, rows - row - 1)
        return Texts(starts, texts)

    def _text(self) -> str:
        return self.take(self.number()).decode()

    def _repeats(self, entry: bytes, most: int) -> int:
        """How often the same entry follows, passing over it: by doubling, so a thousand equal ones take ten looks."""
        count, step = 0, 1
        while step:
            step = min(step, most - count)
            if step and self._content.startswith(entry * step, self._at):
                self._at += len(entry) * step
                count += step
                step *= 2
            else:
                step //= 2
        return count

"""Files of readings as they come from loggers, spreadsheets and measuring networks, made into messages.

    bytes ─► text (UTF-8, UTF-16 or Latin-1) ─► heading and lines ─► messages of a bounded size, each with its heading

Campbell Scientific's TOA5 has four lines of heading: the logger, the names of the columns, their units, and how each
value was processed. The names and the units are kept. What the values mean is left to the format csv, which reads the
messages.
"""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

MOST_VALUES = 5_000
"""Cells in one message: half of what a decoder accepts."""

MOST_BYTES = 200_000

LARGEST = 4_000_000
"""Bytes of a file that is uploaded: what any request may have. `techport replay` takes larger ones."""

_NO_UNIT = frozenset(("ts", "rn", "smp", ""))
"""What TOA5 writes instead of a unit: for the time, the record's number, and nothing."""

_TOA5_HEADING = 4

_DEVICES = ("device", "device_id", "deviceid", "station", "enhet", "stasjon")


class NotCsv(ValueError):
    """A file that cannot be read as a table: the line where it stops, from 1, and a code of what is wrong.

    `code` is "encoding", "heading", "columns" or "quotes".
    """

    def __init__(self, code: str, line: int, **params: object) -> None:
        super().__init__(f"line {line}: {code}")
        self.code = code
        self.line = line
        self.params = params


class CsvPart(msgspec.Struct, frozen=True):
    """Some lines of a file as one message."""

    device: str  # that the lines name; "" where the file has no such column
    payload: bytes
    lines: int
    first: int  # line in the file


def text_of(raw: bytes) -> str:
    """The text of a file: UTF-8 or UTF-16 with a byte order mark, UTF-8 without, otherwise Latin-1 as spreadsheets
    write it on Windows.
    """
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return raw.decode("utf-16")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("cp1252", errors="replace")


def separator_of(heading: str) -> str:
    """The one of ; tab , that a heading has most of."""
    return max(";\t,", key=heading.count)


def parts(text: str) -> Iterator[CsvPart]:
    """The messages of a file, in its order; lines of several devices are told apart.

    Parameters
    ----------
    text : str
        The whole file.

    Yields
    ------
    CsvPart
        At most MOST_VALUES cells and MOST_BYTES bytes.

    Raises
    ------
    NotCsv
        With the line that is wrong.
    """
    table = _Lines(text)
    waiting: dict[str, _Part] = {}
    for line, row in table:
        device = "" if table.device is None else row[table.device].strip()
        part = waiting.setdefault(device, _Part(device, line))
        part.add(table.written(row), len(row))
        if part.cells >= MOST_VALUES or part.size >= MOST_BYTES:
            yield waiting.pop(device).message(table.heading)
    for part in waiting.values():
        yield part.message(table.heading)


class PlainTable(NamedTuple):
    """A table with one line of heading, and how many lines before its values were dropped from the file."""

    text: str
    dropped: int


def table_of(text: str) -> PlainTable:
    """The table in a file's text: of TOA5 with the names of columns as heading, units behind them in brackets.

    Parameters
    ----------
    text : str
        As the file has it.

    Returns
    -------
    PlainTable
        Other files than TOA5 are given back as they are, but for a byte order mark and empty lines at their start.
    """
    text = text.lstrip("\ufeff\r\n ")
    if not text[:6].replace('"', "").lower().startswith("toa5"):
        return PlainTable(text, 0)
    lines = text.split("\n", _TOA5_HEADING)
    if len(lines) < _TOA5_HEADING:
        return PlainTable(text, 0)
    names, units = (next(csv.reader([line.strip()]), []) for line in lines[1:3])
    pairs = itertools.zip_longest(names, units[: len(names)], fillvalue="")
    heading = [name if unit.strip().lower() in _NO_UNIT else f"{name} [{unit.strip()}]" for name, unit in pairs]
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(heading)
    return PlainTable(line.getvalue() + "".join(lines[_TOA5_HEADING:]), _TOA5_HEADING - 1)


class _Part:
    def __init__(self, device: str, first: int) -> None:
        self.device = device
        self.first = first
        self.cells = self.size = 0
        self._lines: list[str] = []

    def add(self, line: str, cells: int) -> None:
        self._lines.append(line)
        self.cells += cells
        self.size += len(line.encode())

    def message(self, heading: str) -> CsvPart:
        payload = (heading + "".join(self._lines)).encode()
        return CsvPart(self.device, payload, len(self._lines), self.first)


class _Lines:
    """The lines of values of a file, and the heading that each message gets."""

    def __init__(self, text: str) -> None:
        table = table_of(text)
        self._dropped = table.dropped
        self._separator = separator_of(table.text.partition("\n")[0])
        self._reader = csv.reader(io.StringIO(table.text, newline=""), delimiter=self._separator, strict=True)
        names = self._next()
        if names is None or len([name for name in names if name.strip()]) < _FEWEST:
            raise NotCsv("heading", self.line or 1)
        self._columns = names
        self.heading = self.written(self._columns)
        lower = [name.strip().lower() for name in self._columns]
        self.device = next((lower.index(name) for name in _DEVICES if name in lower), None)

    def written(self, row: Sequence[str]) -> str:
        """A row as a line of a message."""
        line = io.StringIO()
        csv.writer(line, delimiter=self._separator, lineterminator="\n").writerow(row)
        return line.getvalue()

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        """Number of the line, and its cells. Raises NotCsv."""
        while (row := self._next()) is not None:
            if any(cell.strip() for cell in row):
                if len(row) != len(self._columns):
                    raise NotCsv("columns", self.line, columns=len(row), heading=len(self._columns))
                yield self.line, row

    @property
    def line(self) -> int:
        """Of the file, from 1."""
        return self._reader.line_num + self._dropped

    def _next(self) -> list[str] | None:
        try:
            return next(self._reader, None)
        except csv.Error:
            raise NotCsv("quotes", self.line) from None


_FEWEST = 2

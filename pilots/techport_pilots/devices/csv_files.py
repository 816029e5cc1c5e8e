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
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

MOST_VALUES = 5_000
"""Cells in one message: half of what a decoder accepts."""

MOST_BYTES = 200_000

LARGEST = 4_000_000
"""Bytes of a file that is uploaded: what any request may have. `techport replay` takes larger ones."""

LONGEST_HEADING = 32_000
"""Bytes. Each message repeats it, so that a long one would make a small file very large."""

MOST_DEVICES = 1_000
"""That the lines of a file that is uploaded may name: the lines of each device are a message of their own."""

_TOA5_HEADING = 4

_DEVICES = ("device", "device_id", "deviceid", "station", "enhet", "stasjon")
_VALUES = frozenset(("value", "verdi", "måleverdi"))
"""Columns beside which "enhet" is a unit and no device, as the Norwegian word may be either."""


class NotCsv(ValueError):
    """A file that cannot be read as a table: the line where it stops, from 1, and a code of what is wrong.

    `code` is "encoding", "heading", "long-heading", "columns", "quotes" or "devices".
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
    write it on Windows. Raises NotCsv.
    """
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        try:
            return raw.decode("utf-16")
        except UnicodeDecodeError as error:
            lines = raw[: error.start].decode("utf-16", "replace").count("\n")
            raise NotCsv("encoding", lines + 1) from None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("cp1252", errors="replace")


def separator_of(heading: str) -> str:
    """The one of ; tab , that a heading has most of."""
    return max(";\t,", key=heading.count)


def parts(text: str, most_devices: int | None = None) -> Iterator[CsvPart]:
    """The messages of a file, in its order; lines of several devices are told apart.

    Parameters
    ----------
    text : str
        The whole file.
    most_devices : int or None
        How many devices its lines may name. None: any number.

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
    devices: set[str] = set()
    for line, row in table:
        device = "" if table.device is None else row[table.device].strip()
        devices.add(device)
        if most_devices is not None and len(devices) > most_devices:
            raise NotCsv("devices", line, most=most_devices)
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
    """The table in a file's text, with one line of heading.

    Parameters
    ----------
    text : str
        As the file has it.

    Returns
    -------
    PlainTable
        Without a byte order mark, empty lines, spreadsheets' "sep=;" and comments at its start. Of TOA5, and where a
        line of units follows the heading, the names of columns have their units behind them in brackets.
    """
    text, dropped = _from_heading(text.lstrip("\ufeff\r\n "))
    if text[:6].replace('"', "").lower().startswith("toa5"):
        lines = text.split("\n", _TOA5_HEADING)
        if len(lines) < _TOA5_HEADING:
            return PlainTable(text, dropped)
        names, units = (next(csv.reader([line.strip()]), []) for line in lines[1:3])
        heading = _with_units(names, units, ",")
        return PlainTable(heading + "".join(lines[_TOA5_HEADING:]), dropped + _TOA5_HEADING - 1)
    lines = text.split("\n", 2)
    if len(lines) > _UNITS_LINE and not _VALUE.search(lines[1]):
        separator = separator_of(lines[0])
        names, units = (next(csv.reader([line.strip("\r")], delimiter=separator), []) for line in lines[:2])
        if len(names) == len(units) and _are_units(units):
            return PlainTable(_with_units(names, units, separator) + lines[2], dropped + 1)
    return PlainTable(text, dropped)


_UNITS_LINE = 1
_UNIT_CELLS = frozenset(
    (
        *(
            "°c",
            "degc",
            "deg c",
            "celsius",
            "c",
            "°f",
            "f",
            "k",
            "%",
            "% rh",
            "%rh",
            "mm",
            "cm",
            "m",
            "km",
            "m/s",
            "km/h",
            "km/t",
        ),
        *(
            "hpa",
            "kpa",
            "pa",
            "mbar",
            "bar",
            "v",
            "volts",
            "mv",
            "a",
            "ma",
            "w",
            "kw",
            "kwh",
            "wh",
            "hz",
            "lx",
            "lux",
            "w/m2",
        ),
        *(
            "w/m²",
            "w/m^2",
            "ppm",
            "ppb",
            "µg/m³",
            "μg/m³",
            "µg/m3",
            "ug/m3",
            "mg/m³",
            "mg/m3",
            "mg/l",
            "l/s",
            "l/min",
            "m³/h",
        ),
        *(
            "m3/h",
            "m³/s",
            "m3/s",
            "mm/h",
            "mm/t",
            "grader",
            "deg",
            "degrees",
            "°",
            "db",
            "db(a)",
            "dba",
            "us/cm",
            "µs/cm",
        ),
        *("ntu", "fnu", "ph", "kg", "s", "min", "m³", "m3"),
    )
)
_NO_VALUE_CELLS = frozenset(("", "-", "ts", "rn", "smp", "utc", "cet", "local", "lokal", "1", "stk", "antall"))
"""What stands in a line of units instead of one: TOA5 has TS for the time and RN for the record's number."""
_VALUE = re.compile(r"\d\d|\d[.,]\d")


def _are_units(cells: Sequence[str]) -> bool:
    """Whether a line below the heading is the units of its columns."""
    words = [cell.strip().strip("[]()").lower() for cell in cells]
    return any(word in _UNIT_CELLS for word in words) and all(
        word in _UNIT_CELLS or word in _NO_VALUE_CELLS for word in words
    )


def _with_units(names: Sequence[str], units: Sequence[str], separator: str) -> str:
    pairs = itertools.zip_longest(names, (unit.strip().strip("[]()") for unit in units[: len(names)]), fillvalue="")
    heading = [
        f"{name.strip()} [{unit}]" if name.strip() and unit.lower() not in _NO_VALUE_CELLS else name
        for name, unit in pairs
    ]
    line = io.StringIO()
    csv.writer(line, delimiter=separator, lineterminator="\n").writerow(heading)
    return line.getvalue()


def _from_heading(text: str) -> tuple[str, int]:
    """The text from the heading on, and how many lines stood before it. The last comment is the heading where values
    follow it at once.
    """
    dropped = 0
    if text[:4].lower() == "sep=":
        text, dropped = text.partition("\n")[2], 1
    comment = ""
    while text.startswith("#") and "\n" in text:
        comment, _, text = text.partition("\n")
        dropped += 1
    if comment and re.match(r"\s*\"?\d", text) and len(comment.split(separator_of(comment))) >= _FEWEST:
        return f"{comment.lstrip('# ')}\n{text}", dropped - 1
    return text, dropped


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
        try:
            table = table_of(text)
        except csv.Error:
            raise NotCsv("quotes", 1) from None
        self._dropped = table.dropped
        self._separator = separator_of(table.text.partition("\n")[0])
        self._reader = csv.reader(io.StringIO(table.text, newline=""), delimiter=self._separator, strict=True)
        names = self._next()
        if names is None or len([name for name in names if name.strip()]) < _FEWEST:
            raise NotCsv("heading", self.line or 1)
        self._columns = names
        self.heading = self.written(self._columns)
        if len(self.heading.encode()) > LONGEST_HEADING:
            raise NotCsv("long-heading", self.line, most=LONGEST_HEADING)
        lower = [name.strip().lower() for name in self._columns]
        named = _DEVICES if not _VALUES.intersection(lower) else tuple(name for name in _DEVICES if name != "enhet")
        self.device = next((lower.index(name) for name in named if name in lower), None)

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

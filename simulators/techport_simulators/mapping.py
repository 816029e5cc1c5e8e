"""How a CSV becomes readings: the mapping file of a replay, and the reader that goes by it.

A mapping is TOML. It names the pilot, how the file is written, how its clock runs, and which column is which quantity
of which device. simulators/README.md shows one; the types below are its schema.
"""

from __future__ import annotations

import codecs
import csv
import datetime as dt
import math
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec


class MappingError(ValueError):
    """A mapping or a CSV that cannot be used; says which file, where in it, and what would be accepted."""


class TimeColumn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file's clock. Stamps that carry their own offset need neither `offset` nor `zone`.

    `offset` ("+01:00") is a clock without summer time; `zone` ("Europe/Oslo") is the wall clock, on which an hour is
    missing in spring and comes twice in autumn: the next two fields say what to do with rows that claim those.
    """

    column: str | None = None
    columns: list[str] = []  # instead, where date and time of day have a column each: ["date", "time"]
    format: str | None = None  # as in strptime, with a space between columns; ISO 8601 without it
    offset: str | None = None
    zone: str | None = None
    nonexistent: Literal["error", "skip"] = "error"
    ambiguous: Literal["error", "earlier", "later"] = "error"

    @property
    def names(self) -> list[str]:
        """The columns that a stamp is read from, in order."""
        return self.columns if self.column is None else [self.column]


class Column(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One column's meaning. Without `device`, the row names it (see Mapping.device_column)."""

    column: str
    quantity: str
    device: str | None = None


class Mapping(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A CSV as readings of a pilot's devices."""

    pilot: str
    time: TimeColumn
    columns: list[Column]
    file: str | None = None  # the file's usual name, for people
    encoding: str = "utf-8"
    delimiter: str = ","
    decimal: str = "."
    missing: list[str] = msgspec.field(default_factory=lambda: [""])  # cells that say "no value"
    only: dict[str, str] = {}  # rows to keep: column -> its value; others are counted as left out
    device_column: str | None = None  # names the row's device
    devices: dict[str, str] = {}  # what device_column says -> the pilot's device; other names in lower case
    ignore: list[str] = []  # columns that are known and not wanted


class Record(msgspec.Struct, frozen=True, gc=False):
    """What one device said in one row."""

    device: str
    time: dt.datetime  # aware
    values: dict[str, float | int]


class Row(msgspec.Struct, frozen=True):
    """A line of the CSV as records; `left_out` says why there are none."""

    records: list[Record]
    missing: int = 0
    left_out: Literal["", "filtered", "nonexistent"] = ""


def load_mapping(path: Path) -> Mapping:
    """Read a mapping file. Raises MappingError."""
    try:
        mapping = msgspec.convert(tomllib.loads(path.read_text("utf-8")), Mapping)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise MappingError(f"{path}: {error}") from error
    if mapping.device_column is None and (lost := [c.column for c in mapping.columns if c.device is None]):
        raise MappingError(f"{path}: columns {lost} have no device: give each one, or a device_column")
    if mapping.time.offset and mapping.time.zone:
        raise MappingError(f"{path}: time has both offset and zone: a clock either has summer time or not")
    if (mapping.time.column is None) == (not mapping.time.columns):
        raise MappingError(f"{path}: time needs one of column and columns")
    _check_settings(path, mapping)
    return mapping


def _check_settings(path: Path, mapping: Mapping) -> None:
    """Raises MappingError for settings that no file can be read with."""
    try:
        codecs.lookup(mapping.encoding)
    except LookupError as error:
        raise MappingError(f"{path}: there is no encoding {mapping.encoding!r}: write utf-8 or latin-1") from error
    if len(mapping.delimiter) != 1 or mapping.delimiter in '"\r\n':
        raise MappingError(f"{path}: the delimiter {mapping.delimiter!r} is not one character, such as ; or ,")
    if mapping.decimal not in (".", ","):
        raise MappingError(f"{path}: decimal is {mapping.decimal!r}: write . or ,")
    try:
        Clock(mapping.time)
    except (ValueError, ZoneInfoNotFoundError, OSError) as error:
        given = mapping.time.zone or mapping.time.offset
        raise MappingError(
            f"{path}: there is no clock {given!r}: write a zone such as Europe/Oslo, or +01:00"
        ) from error


def rows(path: Path, mapping: Mapping) -> Iterator[Row]:
    """The CSV's lines in order, one Row a line. Raises MappingError at the first cell that cannot be read."""
    with path.open(encoding=mapping.encoding, newline="") as file:
        reader = csv.reader(file, delimiter=mapping.delimiter)
        try:
            header = next(reader, [])
            logger = bool(header) and header[0].removeprefix("\ufeff") == "TOA5"
            if logger:  # Campbell's loggers: names, units and processing follow
                header = next(reader, [])
                _, _ = next(reader, []), next(reader, [])
            if not header:
                raise MappingError(f"{path}, line 1: there is no line with the names of columns")
            header[0] = header[0].removeprefix("\ufeff")
            parse = RowParser(path, mapping, header)
            for cells in reader:
                if cells:
                    yield parse(reader.line_num, cells)
        except csv.Error as error:
            raise MappingError(f"{path}, line {reader.line_num}: {error}") from error
        except UnicodeDecodeError as error:
            line = reader.line_num + 1
            raise MappingError(
                f"{path}, after line {line}: byte 0x{error.object[error.start]:02x} is not {mapping.encoding}: set"
                ' encoding, for files of spreadsheets often to "latin-1"'
            ) from error


class RowParser:
    """Turns a line's cells into a Row by the header's positions."""

    def __init__(self, path: Path, mapping: Mapping, header: list[str]) -> None:
        self._path = path
        self._mapping = mapping
        self._place = {name: at for at, name in enumerate(header)}
        self._missing = frozenset(mapping.missing)
        self._clock = Clock(mapping.time)
        mapped = {*mapping.time.names, *mapping.only, *(c.column for c in mapping.columns)}
        mapped |= {mapping.device_column} if mapping.device_column else set()
        if absent := sorted(mapped - set(header)):
            raise MappingError(f"{path}, line 1: has no column {absent}; its columns are {header}")
        if unknown := sorted(set(header) - mapped - set(mapping.ignore)):
            raise MappingError(f"{path}, line 1: columns {unknown} are neither mapped nor under ignore")
        if twice := sorted({name for name in header if header.count(name) > 1}):
            raise MappingError(f"{path}, line 1: two columns are called {twice}")

    def __call__(self, line: int, cells: list[str]) -> Row:
        place, mapping = self._place, self._mapping
        if len(cells) != len(place):
            raise MappingError(f"{self._path}, line {line}: {len(cells)} cells where the header has {len(place)}")
        if any(cells[place[column]] != expected for column, expected in mapping.only.items()):
            return Row([], left_out="filtered")
        try:
            time = self._clock(" ".join(cells[place[name]].strip() for name in mapping.time.names))
        except (ValueError, OverflowError) as error:
            named = " and ".join(repr(name) for name in mapping.time.names)
            raise MappingError(f"{self._path}, line {line}, column {named}: {error}") from error
        if time is None:
            return Row([], left_out="nonexistent")
        devices: dict[str, dict[str, float | int]] = {}
        missing = 0
        for column in mapping.columns:
            cell = cells[place[column.column]].strip()
            if cell in self._missing:
                missing += 1
                continue
            device = column.device or self._device(cells)
            devices.setdefault(device, {})[column.quantity] = self._number(cell, line, column.column)
        return Row([Record(device, time, values) for device, values in devices.items()], missing)

    def _device(self, cells: list[str]) -> str:
        name = cells[self._place[self._mapping.device_column or ""]].strip()
        return self._mapping.devices.get(name, name.lower())

    def _number(self, cell: str, line: int, column: str) -> float | int:
        """The cell's number to the bit: whole numbers as int, others as the nearest double."""
        text = cell if self._mapping.decimal == "." else cell.replace(self._mapping.decimal, ".")
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise MappingError(
                f"{self._path}, line {line}, column {column!r}: {cell!r} is no number and not in missing"
            )
        return int(text) if text.lstrip("+-").isdigit() and abs(value) < 2**53 else value


class Clock:
    """Stamps of a file as aware instants."""

    def __init__(self, column: TimeColumn) -> None:
        self._column = column
        self._zone: dt.tzinfo | None = None
        if column.zone:
            self._zone = ZoneInfo(column.zone)
        elif column.offset:
            self._zone = dt.datetime.fromisoformat(f"2000-01-01T00:00{column.offset}").tzinfo

    def __call__(self, text: str) -> dt.datetime | None:
        """The instant, or None for a time that never was and is to be skipped. Raises ValueError."""
        column = self._column
        stamp = dt.datetime.strptime(text, column.format) if column.format else dt.datetime.fromisoformat(text)
        if stamp.tzinfo is not None:
            return stamp
        if self._zone is None:
            raise ValueError(f"{text!r} has no offset: give the clock's offset or zone in the mapping")
        first, second = stamp.replace(tzinfo=self._zone), stamp.replace(tzinfo=self._zone, fold=1)
        if first.utcoffset() == second.utcoffset():
            return first
        if first.astimezone(dt.UTC).astimezone(self._zone).replace(tzinfo=None) != stamp:
            if column.nonexistent == "skip":
                return None
            raise ValueError(
                f"{text!r} never was in {column.zone} (the clock went forward): set nonexistent or an offset"
            )
        if column.ambiguous == "error":
            raise ValueError(f"{text!r} was twice in {column.zone} (the clock went back): set ambiguous or an offset")
        return first if column.ambiguous == "earlier" else second

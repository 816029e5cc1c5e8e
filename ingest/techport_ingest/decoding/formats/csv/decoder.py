"""CSV: a heading line and lines of values.

    time;device;pm10;temperature          wide: a column for each quantity
    2026-05-04T12:00:00Z;roof-3;17,5;9,1

    time,device,quantity,value,unit       long: a line for each value

The separator is the one of ; tab , that the heading has most of; with ; and tab a decimal comma is understood. A
heading may state a unit: "Lufttemperatur [°C]", "PM10 (µg/m³)"; Campbell's TOA5 and other loggers do so in a line of
its own (csv_files.py). Empty, "-", "NA" and "nan" are missing. A source says what a file does not: `CsvColumns` names
the columns of time, device and channel where they are called otherwise. Rows that differ only in what is no reading
(lanes, directions, totals) need a `channel` column: without one they would be one stream, with the last row of each
time in it.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from techport_ingest.checking.absence import RULE as MISSING
from techport_ingest.checking.absence import is_absent_text
from techport_ingest.checking.time_names import is_clock, is_epoch, time_key
from techport_ingest.checking.unit_names import divided
from techport_ingest.decoding.bare_numbers import unit_in_name
from techport_ingest.decoding.common import MOST_VALUES, device_id, number, text_value, too_many, unless_unreadable
from techport_ingest.decoding.quantity_names import quantity
from techport_ingest.decoding.time_fields import TimeReader, is_day_number
from techport_ingest.decoding.times import instant_of
from techport_ingest.message import Found, Ignored, Message, Observed, RejectedMessage, Unreadable
from techport_pilots.devices.csv_files import table_of
from techport_pilots.model import CsvColumns
from techport_storage.model import Micros

_TIME = (
    *("time", "timestamp", "datetime", "date_time", "tid", "tidspunkt", "dato_tid", "dato og tid", "dato/tid"),
    *("klokkeslett", "klokke", "kl", "kl.", "fra tid", "fra-tid", "fra", "starttid", "start", "dato", "date"),
)
"""Usual names; time_names.py has more."""
_SHORT_TIME = ("t", "dt", "ts", "rtc", "uts")
"""Columns that are the time where epochs stand in them."""
_DEVICE = ("device", "device_id", "deviceid", "sensor", "sensor_id", "station", "enhet", "stasjon")
_QUANTITY = ("quantity", "parameter", "variable", "key", "komponent", "størrelse", "måling")
_VALUE = ("value", "verdi", "måleverdi")
_UNIT = ("unit", "enhet", "måleenhet")
_PART = ("sensor", "sensor_id", "probe", "address", "port", "location", "lane")
"""Columns that tell parts of a device apart, where they do not name the device."""


class CsvLines:
    """Decoder of CSV. Each message has its heading; what those of the last ones mean is remembered."""

    def __init__(self, columns: CsvColumns | None = None, times: TimeReader | None = None) -> None:
        self._columns = columns or CsvColumns()
        self._times = times or TimeReader()
        self._headings: dict[tuple[str, ...], _Heading] = {}

    def __call__(self, message: Message, device: str) -> list[Found]:
        """Raises RejectedMessage."""
        try:
            utf16 = message.payload.startswith((b"\xff\xfe", b"\xfe\xff"))  # spreadsheets' "Unicode text"
            text = message.payload.decode("utf-16" if utf16 else self._columns.encoding).removeprefix("\ufeff")
        except UnicodeDecodeError as wrong:
            wrong_byte = f"0x{message.payload[wrong.start]:02x}"
            raise RejectedMessage(
                "not-utf8.csv", byte=wrong.start, hex=wrong_byte, encoding=self._columns.encoding
            ) from None
        try:
            text, dropped = table_of(text)
        except csv.Error as error:  # in the heading, or the line of units below it
            raise _not_csv(str(error)) from None
        heading = text.partition("\n")[0]
        separator = self._columns.separator or max(";\t,", key=heading.count)
        decimal = self._columns.decimal or ("," if separator in ";\t" else ".")
        table = _Table(self._heading, self._times, decimal, message, device)
        try:
            rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
            for row in rows:
                table.add(row, rows.line_num + dropped)
        except csv.Error as error:
            if not table.found:
                raise _not_csv(str(error)) from None
            table.found.append(Unreadable.of(_not_csv(str(error)), device, line=rows.line_num + dropped))
        if not table.found:
            raise RejectedMessage("no-values.csv")
        return unless_unreadable(table.found)

    def _heading(self, row: Sequence[str]) -> _Heading:
        """What the columns of a heading are. Raises RejectedMessage."""
        names = tuple(row)
        heading = self._headings.get(names)
        if heading is None:
            heading = _Heading(self._columns, self._times, names)
            if len(self._headings) >= _MOST_HEADINGS:
                self._headings.clear()
            if len(names) <= _MOST_COLUMNS and sum(map(len, names)) <= _LONGEST_HEADING:
                self._headings[names] = heading
        return heading


_MOST_HEADINGS, _MOST_COLUMNS, _LONGEST_HEADING = 100, 200, 4_000
"""Headings of one source that are remembered, and how large one may be."""


def _stated_unit(heading: str) -> tuple[str, str] | None:
    """Key and unit of a column whose heading has both, "Lufttemperatur [°C]" or "PM10 (µg/m³)"; None for others, and
    for what stands in brackets and is no unit of that quantity.
    """
    return unit_in_name(heading) if heading[-1:] in (")", "]") else None


_NUMBERING = frozenset(("record", "nr", "no", "#"))
"""Columns that number the lines."""


def _more_times(names: list[str]) -> tuple[str, ...]:
    key = time_key(dict.fromkeys(names, ""))
    return () if key is None else (key,)


def _not_csv(problem: str) -> RejectedMessage:
    """What Python's reader says, as a code where it is a usual thing."""
    if "field larger than field limit" in problem:
        return RejectedMessage("not-csv.long-field", limit=csv.field_size_limit())
    if problem == "unexpected end of data" or " expected after " in problem:
        return RejectedMessage("not-csv.quotes")
    return RejectedMessage("not-csv.malformed", problem=problem[:200])


class _Column(NamedTuple):
    """A column of values."""

    at: int
    key: str  # "": each line says what it is, and in which unit
    maker: str
    unit: str | None  # that its heading says


class _Heading:
    """What each column of a table is."""

    def __init__(self, columns: CsvColumns, times: TimeReader, row: Sequence[str]) -> None:
        """Raises RejectedMessage for a heading that says nothing."""
        self.names = names = [name.strip().lower() for name in row]
        self._bare = [divided(name)[0].name if name[-1:] in (")", "]") and divided(name) else name for name in names]
        number_of = Counter(names)
        if len(number_of) != len(names):
            raise RejectedMessage("duplicate-key.csv", name=next(name for name in names if number_of[name] > 1)[:100])
        time = None if times.keys else self._find(columns.time, (*_TIME, *_more_times(names)))
        value = self._find(None, _VALUE)
        devices = _DEVICE if value is None else tuple(name for name in _DEVICE if name not in _UNIT)
        self.device = self._find(columns.device, devices)
        self.channel = self._find(columns.channel, ())
        self.quantity = self._find(None, _QUANTITY)
        self.unit: int | None = None
        self.times = self._columns_of_time(columns, times, time)
        named = (self.names.index(name) for name in _SHORT_TIME if name in names)
        self.may_be_time = next(named, None) if time is None and not self.times else None
        taken = {time, self.device, self.channel, self.quantity, *self.times}
        self.parts = [names.index(name) for name in _PART if name in names and names.index(name) not in taken]
        if self.quantity is not None and value is not None:
            self.unit = self._find(None, _UNIT)
            self.values = [_Column(value, "", "", None)]
            return
        self.quantity = None
        taken = {time, self.device, self.channel, *self.times, *self.parts}
        value_names = None if columns.values is None else {name.lower() for name in columns.values}
        self.values = []
        for at, name in enumerate(names):
            if (
                at not in taken
                and name
                and name not in _NUMBERING
                and (value_names is None or self._is_wanted(at, value_names))
            ):
                maker = row[at].strip()
                key, unit = _stated_unit(maker) or (quantity(maker), None)
                self.values.append(_Column(at, key, maker, unit))
        if not self.values or (time is None and not self.times and all(_is_value(name) for name in names)):
            raise RejectedMessage("no-heading")

    def _is_wanted(self, at: int, value_names: set[str]) -> bool:
        return self.names[at] in value_names or self._bare[at] in value_names

    def _columns_of_time(self, columns: CsvColumns, times: TimeReader, column: int | None) -> list[int]:
        """Those that the source names, or the usual one and that of the date beside it. Raises RejectedMessage."""
        if times.keys:
            return [at for key in times.keys if (at := self._find(key, ())) is not None]
        if column is None:
            return []
        dates = [self.names.index(name) for name in ("date", "dato") if name in self.names]
        return [column] if columns.time is not None else [column, *(at for at in dates if at != column)]

    def _find(self, named: str | None, usual: tuple[str, ...]) -> int | None:
        names = self.names
        if named is not None:
            for called in (names, self._bare):
                if named.lower() in called:
                    return called.index(named.lower())
            raise RejectedMessage("no-column", name=named)
        return next((names.index(name) for name in usual if name in names), None)


class _Table:
    """The rows of one message, read one by one: the first is the heading."""

    def __init__(
        self,
        read_heading: Callable[[Sequence[str]], _Heading],
        times: TimeReader,
        decimal: str,
        message: Message,
        device: str,
    ) -> None:
        self._read_heading = read_heading
        self._times = times
        self._received = message.received
        self._last: dict[str, Micros] = {}  # of each device: the time of the line before
        self._comma = decimal == ","
        self._default = device
        self._heading: _Heading | None = None
        self.found: list[Found] = []

    def add(self, row: list[str], line: int) -> None:
        """Raises RejectedMessage for a heading that says nothing; another line that cannot be read costs itself."""
        if not any(row):
            return
        heading = self._heading
        if heading is None:
            self._heading = self._read_heading(row)
            return
        try:
            if len(row) != len(heading.names):
                raise RejectedMessage("not-csv.columns", line=line, columns=len(row), heading=len(heading.names))
            self._values_of(row, heading)
        except RejectedMessage as error:
            located = None if "line" in error.rejection.params else line
            device = self._device_of(row, heading) if len(row) == len(heading.names) else self._default
            self.found.append(Unreadable.of(error, device, values=len(heading.values), line=located))
        if len(self.found) > MOST_VALUES:
            raise too_many()

    def _values_of(self, row: list[str], heading: _Heading) -> None:
        device = self._device_of(row, heading)
        time = self._time(row, heading, device)
        column_of_epochs = heading.may_be_time
        if column_of_epochs is not None:
            if is_epoch(number(row[column_of_epochs])):
                time = self._read_time(row[column_of_epochs].strip(), device)
            else:
                column_of_epochs = None
        channel = _cell(row, heading.channel)
        part = "-".join([row[at].strip() for at in heading.parts]) if heading.parts else ""
        for at, key, maker, unit in heading.values:
            if at == column_of_epochs:
                continue
            if not key:
                maker = _cell(row, heading.quantity)
                key, unit = quantity(maker), _cell(row, heading.unit) or None
            if channel:
                key = f"{key}.{channel}"
            text = row[at].strip()
            value = self._number(text)
            if value is not None:
                self.found.append(Observed(device, time, key, value, unit, maker, part))
            elif is_absent_text(text):
                self.found.append(Ignored(device, MISSING, key, text, time, unit, maker))
            else:
                self.found.append(text_value(device, time, key, text, unit, maker, part))

    def _device_of(self, row: list[str], heading: _Heading) -> str:
        named = _cell(row, heading.device)
        return (device_id(named) if named else "") or self._default

    def _time(self, row: list[str], heading: _Heading, device: str) -> Micros | None:
        if len(heading.times) == 1:
            text = row[heading.times[0]].strip()
            return self._read_time(text, device) if text else None
        texts = [text for at in heading.times if (text := row[at].strip())]
        if not self._times.keys and len(texts) > 1:  # the time is first, and a date counts beside a time of day
            texts = [*texts[1:], texts[0]] if is_clock(texts[0]) or self._is_part_of_a_day(texts[0]) else texts[:1]
        return self._read_time(" ".join(texts), device) if texts else None

    def _read_time(self, text: str, device: str) -> Micros:
        before, days = self._last.get(device), None
        if text[:_DAY_DIGITS].isdecimal() and not text[_DAY_DIGITS : _DAY_DIGITS + 1].isdecimal():
            rule = self._times.rule
            days = None if rule is not None and (rule.unit or rule.format) else self._days(text)
        if days is None:
            time = self._times.read(text, self._received, before)
        else:
            time = self._times.of_days(days, self._received, before)
        self._last[device] = time
        return time

    def _days(self, text: str) -> float | None:
        """The spreadsheet's number of a day and a time of day, which may be two numbers or a number and a clock."""
        first, _, rest = text.partition(" ")
        days = self._number(first)
        if days is None or not is_day_number(days):
            return None
        if not rest:
            return days
        part = self._number(rest)
        if part is None and is_clock(rest):
            part = sum(int(digits) / 60**place for place, digits in enumerate(_DIGITS.findall(rest)[:3])) / 24
        return None if part is None or not 0 <= part < 1 else days + part

    def _is_part_of_a_day(self, text: str) -> bool:
        part = self._number(text)
        return part is not None and 0 <= part < 1

    def _number(self, text: str) -> float | None:
        return number(_with_point(text) if self._comma else text)


_DAY_DIGITS = 5  # of a spreadsheet's day number
_DIGITS = re.compile(r"\d+")


def _cell(row: list[str], at: int | None) -> str:
    return "" if at is None else row[at].strip()


def _with_point(text: str) -> str:
    """A number with a decimal comma as one with a point, without what stands between its thousands: "1.234,5"."""
    text = text.replace(" ", "").replace("\u00a0", "").replace("\u202f", "")
    if 0 <= text.find(".") < text.find(","):
        text = text.replace(".", "")
    return text.replace(",", ".")


def _is_value(name: str) -> bool:
    """Whether what stands in place of a heading is a number or a time: the file has none."""
    return not name or number(name) is not None or (name[:1].isdigit() and instant_of(name.upper()) is not None)

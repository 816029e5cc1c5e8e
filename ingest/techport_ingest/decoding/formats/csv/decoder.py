"""CSV: a heading line and lines of values.

    time;device;pm10;temperature          wide: a column for each quantity
    2026-05-04T12:00:00Z;roof-3;17,5;9,1

    time,device,quantity,value,unit       long: a line for each value

The separator is the one of ; tab , that the heading has most of; with ; and tab a decimal comma is understood. A
heading may state a unit: "Lufttemperatur [°C]", "PM10 (µg/m³)"; Campbell's TOA5 does so in a line of its own
(csv_files.py). Empty, "-", "NA" and "nan" are missing. A source says what a file does not: `CsvColumns` names the
columns of time, device and channel where they are called otherwise. Rows that differ only in what is no reading
(lanes, directions, totals) need a `channel` column: without one they would be one stream, with the last row of each
time in it.
"""

from __future__ import annotations

import csv
import io
import re

import msgspec

from techport_ingest.checking.absence import RULE as MISSING
from techport_ingest.checking.absence import is_absent_text
from techport_ingest.checking.time_names import time_key
from techport_ingest.checking.units import NotConvertible, Units, UnknownUnit
from techport_ingest.decoding.common import MOST_VALUES, device_id, number, text_value, too_many, unless_unreadable
from techport_ingest.decoding.quantity_names import quantity
from techport_ingest.decoding.time_fields import TimeReader
from techport_ingest.message import Found, Ignored, Message, Observed, RejectedMessage, Unreadable
from techport_pilots.devices.csv_files import table_of
from techport_pilots.model import CsvColumns
from techport_pilots.quantities import builtin
from techport_storage.model import Micros

_TIME = (
    *("time", "timestamp", "datetime", "date_time", "tid", "tidspunkt", "dato_tid", "dato og tid", "dato/tid"),
    *("klokkeslett", "klokke", "kl", "kl.", "fra tid", "fra-tid", "fra", "starttid", "start", "dato", "date"),
)
"""Usual names; time_names.py has more."""
_DEVICE = ("device", "device_id", "deviceid", "sensor", "sensor_id", "station", "enhet", "stasjon")
_QUANTITY = ("quantity", "parameter", "variable", "key")
_PART = ("sensor", "sensor_id", "probe", "address", "port", "location", "lane")
"""Columns that tell parts of a device apart, where they do not name the device."""


class CsvLines:
    """Decoder of CSV; stateless, each message has its heading."""

    def __init__(self, columns: CsvColumns | None = None, times: TimeReader | None = None) -> None:
        self._columns = columns or CsvColumns()
        self._times = times or TimeReader()

    def __call__(self, message: Message, device: str) -> list[Found]:
        """Raises RejectedMessage."""
        try:
            text = message.payload.decode(self._columns.encoding).removeprefix("\ufeff")
        except UnicodeDecodeError as wrong:
            wrong_byte = f"0x{message.payload[wrong.start]:02x}"
            raise RejectedMessage(
                "not-utf8.csv", byte=wrong.start, hex=wrong_byte, encoding=self._columns.encoding
            ) from None
        text = table_of(text).text
        heading = text.partition("\n")[0]
        separator = self._columns.separator or max(";\t,", key=heading.count)
        decimal = self._columns.decimal or ("," if separator in ";\t" else ".")
        table = _Table(self._columns, self._times, decimal, message, device)
        try:
            rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
            for row in rows:
                table.add(row, rows.line_num)
        except csv.Error as error:
            if not table.found:
                raise _not_csv(str(error)) from None
            table.found.append(Unreadable.of(_not_csv(str(error)), device, line=rows.line_num))
        if not table.found:
            raise RejectedMessage("no-values.csv")
        return unless_unreadable(table.found)


def _stated_unit(heading: str) -> tuple[str, str] | None:
    """Name and unit of a column whose heading has both, "Lufttemperatur [°C]" or "PM10 (µg/m³)"; None for others, and
    for what stands in brackets and is no unit of that quantity.
    """
    match = _WITH_UNIT.fullmatch(heading)
    known = None if match is None else builtin().lookup(quantity(match["name"]))
    if match is None or known is None:
        return None
    try:
        Units().convert(1.0, match["unit"].strip(), known.unit)
    except (UnknownUnit, NotConvertible):
        return None
    return match["name"], match["unit"].strip()


_WITH_UNIT = re.compile(r"(?P<name>[^\[(]+?)\s*[\[(](?P<unit>[^\])]{1,20})[\])]")
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


class _Table:
    """The rows of one message, read one by one: the first is the heading."""

    def __init__(self, columns: CsvColumns, times: TimeReader, decimal: str, message: Message, device: str) -> None:
        self._columns = columns
        self._times = times
        self._received = message.received
        self._last: dict[str, Micros] = {}  # of each device: the time of the line before
        self._decimal = decimal
        self._default = device
        self._names: list[str] | None = None
        self._special: dict[str, int | None] = {}
        self._time_columns: list[int] = []
        self._parts: list[int] = []
        self._values: list[tuple[int, str]] = []
        self._units: dict[int, tuple[str, str]] = {}  # of columns whose heading says one
        self._line = 0
        self.found: list[Found] = []

    def add(self, row: list[str], line: int) -> None:
        """Raises RejectedMessage for a heading that says nothing; another line that cannot be read costs itself."""
        if not any(row):
            return
        if self._names is None:
            self._open(row)
            return
        self._line = line
        try:
            self._values_of(row, self._names)
        except RejectedMessage as error:
            located = None if "line" in error.rejection.params else line
            self.found.append(Unreadable.of(error, self._default, values=len(self._values), line=located))
        if len(self.found) > MOST_VALUES:
            raise too_many()

    def _values_of(self, row: list[str], names: list[str]) -> None:
        if len(row) != len(names):
            raise RejectedMessage("not-csv.columns", line=self._line, columns=len(row), heading=len(names))
        device = self._device(row)
        time = self._time(row, device)
        channel = self._cell(row, "channel")
        part = "-".join([row[at].strip() for at in self._parts]) if self._parts else ""
        for at, key in self._values:
            maker, unit = self._units.get(at) or (key or self._cell(row, "quantity"), self._cell(row, "unit") or None)
            name = f"{quantity(maker)}.{channel}" if channel else quantity(maker)
            found = self._one(device, time, name, row[at], unit, maker)
            self.found.append(msgspec.structs.replace(found, part=part) if part and type(found) is Observed else found)

    def _open(self, row: list[str]) -> None:
        """Find out what each column is. Raises RejectedMessage."""
        self._names = names = [name.strip().lower() for name in row]
        if len(set(names)) != len(names):
            raise RejectedMessage("duplicate-key.csv", name=next(name for name in names if names.count(name) > 1)[:100])
        c = self._columns
        self._special = {
            "time": None if self._times.keys else self._find(c.time, (*_TIME, *_more_times(names))),
            "device": self._find(c.device, _DEVICE),
            "channel": self._find(c.channel, ()),
            "quantity": self._find(None, _QUANTITY),
            "unit": None,
        }
        self._time_columns = self._columns_of_time(names)
        taken = {*self._special.values(), *self._time_columns}
        self._parts = [names.index(name) for name in _PART if name in names and names.index(name) not in taken]
        if self._special["quantity"] is not None and "value" in names:
            self._special["unit"] = self._find(None, ("unit",))
            self._values = [(names.index("value"), "")]
            return
        self._special["quantity"] = None
        taken = {*self._special.values(), *self._time_columns, *self._parts}
        wanted = None if c.values is None else {name.lower() for name in c.values}
        self._values = [
            (at, row[at].strip())
            for at, name in enumerate(names)
            if at not in taken and name and name not in _NUMBERING and (wanted is None or name in wanted)
        ]
        self._units = {at: stated for at, name in self._values if (stated := _stated_unit(name)) is not None}
        if not self._values or (self._special["time"] is None and all(number(name) is not None for name in names)):
            raise RejectedMessage("no-heading")

    def _columns_of_time(self, names: list[str]) -> list[int]:
        """Those that the source names, or the usual one and that of the date beside it. Raises RejectedMessage."""
        if self._times.keys:
            return [at for key in self._times.keys if (at := self._find(key, ())) is not None]
        column = self._special["time"]
        if column is None:
            return []
        dates = [names.index(name) for name in ("date", "dato") if name in names]
        return [column] if self._columns.time is not None else [column, *(at for at in dates if at != column)]

    def _find(self, named: str | None, usual: tuple[str, ...]) -> int | None:
        names = self._names or []
        if named is not None:
            if named.lower() not in names:
                raise RejectedMessage("no-column", name=named)
            return names.index(named.lower())
        return next((names.index(name) for name in usual if name in names), None)

    def _cell(self, row: list[str], column: str) -> str:
        at = self._special[column]
        return "" if at is None else row[at].strip()

    def _device(self, row: list[str]) -> str:
        return device_id(self._cell(row, "device")) or self._default

    def _time(self, row: list[str], device: str) -> Micros | None:
        if len(self._time_columns) == 1:
            text = row[self._time_columns[0]].strip()
            return self._read_time(text, device) if text else None
        names = self._names or []
        record = {names[at]: text for at in self._time_columns if (text := row[at].strip())}
        keys = tuple(record)
        if not self._times.keys and len(keys) > 1:
            keys = self._times.keys_of(record)
        text = " ".join(record[key] for key in keys if key in record)
        return self._read_time(text, device) if text else None

    def _read_time(self, text: str, device: str) -> Micros:
        time = self._last[device] = self._times.read(text, self._received, self._last.get(device))
        return time

    def _one(self, device: str, time: Micros | None, key: str, raw: str, unit: str | None, maker: str) -> Found:
        text = raw.strip()
        value = number(text.replace(" ", "").replace("\u00a0", "").replace(",", ".") if self._decimal == "," else text)
        if value is None:
            if is_absent_text(text):
                return Ignored(device, MISSING, key, text, time, unit, maker)
            return text_value(device, time, key, text, unit, maker)
        return Observed(device, time, key, value, unit, maker=maker)

"""Recorded data as live devices: publish a CSV over MQTT, at its own pace, N times faster, or as fast as possible."""

from __future__ import annotations

import datetime as dt
import itertools
import math
import threading
import time
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from techport_pilots.device_names import as_id
from techport_pilots.devices.csv_files import NotCsv, parts, text_of
from techport_simulators.gateway import LOCAL_BROKER, Broker, Gateway
from techport_simulators.mapping import Mapping, MappingError, Record, Row, load_mapping, rows

Stream = tuple[str, str]
"""(device, quantity)"""


class ReplayError(Exception):
    """The broker did not take everything; says how much is missing."""


@dataclass(slots=True)
class Replayed:
    """What went out. Rows are lines of the CSV; a value is one quantity of one device at one instant."""

    pilot: str
    rows: int = 0
    filtered: int = 0  # rows that the mapping does not want
    nonexistent: int = 0  # rows at an hour that the clock skipped
    missing: int = 0  # cells that say "no value"
    values: int = 0
    messages: int = 0
    complete: bool = False  # False: stopped before the end
    first: dt.datetime | None = None
    last: dt.datetime | None = None
    columns: dict[Stream, array[float]] = field(default_factory=dict, repr=False)  # every value, by stream

    def counts(self) -> dict[Stream, int]:
        """Values of each stream."""
        return {stream: len(values) for stream, values in self.columns.items()}

    def sums(self) -> dict[Stream, float]:
        """The exact sum of each stream, rounded once (math.fsum)."""
        return {stream: math.fsum(values) for stream, values in self.columns.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast rows are published."""

    speed: float | None = None
    """1 is the recorded pace, 60 a minute a second, None as fast as the broker takes it."""
    records_per_message: int | None = None
    """Rows of a device that go out as one JSON array. None: 100 without a speed; 1 with one, so that each reading comes
    when it is due."""
    window: int = 200
    """Messages that may be unacknowledged at any time."""
    timeout: float = 60.0
    """Seconds that the broker has to acknowledge what is outstanding after the last message."""


AS_FAST_AS_POSSIBLE = Pace()


def replay(
    csv_path: Path,
    mapping: Mapping | Path,
    broker: Broker = LOCAL_BROKER,
    pace: Pace = AS_FAST_AS_POSSIBLE,
    *,
    stop: threading.Event | None = None,
    progress: Callable[[int, int], None] | None = None,
    memory: Memory | None = None,
) -> Replayed:
    """Publish every row of the CSV at QoS 1 and return when the broker has acknowledged all of it.

    `progress` gets (lines done, lines). With `memory`, lines that an earlier run has had acknowledged are left out, and
    those of this run are noted. Raises MappingError for a file that does not fit its mapping, OSError when it
    cannot be read, and ReplayError when the broker has not acknowledged everything in time.
    """
    plan = load_mapping(mapping) if isinstance(mapping, Path) else mapping
    halt = stop or threading.Event()
    total = _count_lines(csv_path)
    size = pace.records_per_message or (100 if pace.speed is None else 1)
    gateway = Gateway(broker, f"techport-replay-{plan.pilot}-{csv_path.stem}", pace.window)
    try:
        result = Replayed(plan.pilot)
        sender = _Sender(gateway, plan.pilot, size, halt, result)
        begun = 0 if memory is None else memory.lines(csv_path)
        done = begun
        lines = itertools.islice(rows(csv_path, plan), begun, None)
        for done, row in enumerate(_paced(lines, pace.speed, halt), start=begun + 1):
            _tally(result, row)
            if not all(sender.add(record) for record in row.records):
                break
            if (
                memory is not None
                and (done - begun) % _NOTED == 0
                and sender.flush()
                and gateway.drain(pace.timeout, halt)
            ):
                memory.note(csv_path, done)
            if progress is not None and (done % 200 == 0 or done == total):
                progress(done, total)
        result.complete = sender.flush() and not halt.is_set()
        if not gateway.drain(pace.timeout, halt) and not halt.is_set():
            raise ReplayError(
                f"{gateway.outstanding} of {result.messages} messages were not acknowledged in {pace.timeout} s"
            )
        if memory is not None and result.complete and not gateway.outstanding:
            memory.note(csv_path, done)
        return result
    finally:
        gateway.close()


_NOTED = 2_000
"""Lines after which a replay waits for the broker and notes how far it is."""


_NOTED_MESSAGES = 20


class Memory:
    """How far replays have come, in a file: the lines of each CSV that a broker has acknowledged."""

    def __init__(self, file: Path) -> None:
        """Raises ReplayError for a file that is something else."""
        self._file = file
        try:
            self._lines = msgspec.json.decode(file.read_bytes(), type=dict[str, int]) if file.exists() else {}
        except msgspec.DecodeError as error:
            raise ReplayError(f"{file}: not a file in which a replay noted how far it came: {error}") from error

    def lines(self, csv_path: Path) -> int:
        """Lines of data that need not be published again."""
        return self._lines.get(str(csv_path.resolve()), 0)

    def note(self, csv_path: Path, lines: int) -> None:
        """So many lines have been acknowledged."""
        self._lines[str(csv_path.resolve())] = lines
        fresh = self._file.with_suffix(self._file.suffix + ".new")
        fresh.write_bytes(msgspec.json.encode(self._lines))
        fresh.replace(self._file)


def publish_file(
    csv_path: Path,
    pilot: str,
    device: str,
    broker: Broker = LOCAL_BROKER,
    *,
    stop: threading.Event | None = None,
    timeout: float = 60.0,
    memory: Memory | None = None,
) -> Replayed:
    """Publish a CSV as it is, in messages of a bounded size, for the platform's format csv to read.

    Parameters
    ----------
    csv_path : pathlib.Path
        Any table that the format reads: semicolons, decimal commas, Latin-1, Campbell's TOA5.
    pilot, device : str
        Whose readings they are; a column such as "station" names other devices line by line.
    broker : Broker
        Where to publish: pilots/<pilot>/<device>/push/csv.
    stop : threading.Event, optional
        Ends it early.
    timeout : float
        Seconds that the broker has to acknowledge what is outstanding.
    memory : Memory, optional
        Lines that an earlier run has had acknowledged are left out.

    Returns
    -------
    Replayed
        Rows are lines; values are not counted, since the platform reads them.

    Raises
    ------
    MappingError
        For a file that is not a table, with the line. ReplayError where the broker has not acknowledged everything.
    """
    halt = stop or threading.Event()
    begun = 0 if memory is None else memory.lines(csv_path)
    result = Replayed(pilot)
    gateway = Gateway(broker, f"techport-replay-{pilot}-{csv_path.stem}", 20)
    try:
        for part in parts(text_of(csv_path.read_bytes())):
            result.rows += part.lines
            if result.rows <= begun:
                continue
            topic = f"pilots/{pilot}/{as_id(part.device) if part.device else device}/push/csv"
            if not gateway.publish(topic, part.payload, halt):
                break
            result.messages += 1
            if memory is not None and result.messages % _NOTED_MESSAGES == 0 and gateway.drain(timeout, halt):
                memory.note(csv_path, result.rows)
        else:
            result.complete = True
        if not gateway.drain(timeout, halt) and not halt.is_set():
            raise ReplayError(
                f"{gateway.outstanding} of {result.messages} messages were not acknowledged in {timeout} s"
            )
        if memory is not None and result.complete:
            memory.note(csv_path, result.rows)
        return result
    except NotCsv as error:
        raise MappingError(f"{csv_path}, line {error.line}: {_WRONG[error.code].format(**error.params)}") from error
    finally:
        gateway.close()


_WRONG = {
    "encoding": "this is no text in UTF-8, UTF-16 or Latin-1",
    "long-heading": "a heading can have at most {most} bytes",
    "heading": "there is no line with the names of columns",
    "columns": "{columns} cells where the heading has {heading}",
    "quotes": "a quotation mark is not closed, or something follows a closed one",
}


def _count_lines(path: Path) -> int:
    """Lines of data, for progress."""
    with path.open("rb") as file:
        return max(0, sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b"")) - 1)


def _tally(result: Replayed, row: Row) -> None:
    result.rows += 1
    result.missing += row.missing
    result.filtered += row.left_out == "filtered"
    result.nonexistent += row.left_out == "nonexistent"


def _paced(lines: Iterator[Row], speed: float | None, stop: threading.Event) -> Iterator[Row]:
    """The same rows, each held back until it is due at `speed`; rows that jump back in time go at once."""
    began, start = time.monotonic(), None
    for row in lines:
        if stop.is_set():
            return
        if speed is not None and row.records:
            at = row.records[0].time
            start = start or at
            due = began + (at - start).total_seconds() / speed
            if stop.wait(max(0.0, due - time.monotonic())):
                return
        yield row


class _Sender:
    """Gathers records of a device into messages."""

    def __init__(self, gateway: Gateway, pilot: str, size: int, stop: threading.Event, result: Replayed) -> None:
        self._gateway = gateway
        self._pilot = pilot
        self._size = size
        self._stop = stop
        self._result = result
        self._waiting: dict[str, list[Record]] = {}

    def add(self, record: Record) -> bool:
        """False: stopped while waiting for room."""
        waiting = self._waiting.setdefault(record.device, [])
        waiting.append(record)
        return len(waiting) < self._size or self._publish(record.device)

    def flush(self) -> bool:
        """Publish what is waiting; False when stopped before its end."""
        return all(self._publish(device) for device in list(self._waiting))

    def _publish(self, device: str) -> bool:
        records = self._waiting.pop(device)
        objects = [{"time": _utc(record.time), **record.values} for record in records]
        payload = msgspec.json.encode(objects if len(objects) > 1 else objects[0])
        if not self._gateway.publish(f"pilots/{self._pilot}/{device}/readings", payload, self._stop):
            return False
        self._count(device, records)
        return True

    def _count(self, device: str, records: list[Record]) -> None:
        result = self._result
        result.messages += 1
        for record in records:
            result.values += len(record.values)
            result.first = min(result.first or record.time, record.time)
            result.last = max(result.last or record.time, record.time)
            for quantity, value in record.values.items():
                result.columns.setdefault((device, quantity), array("d")).append(value)


def _utc(time: dt.datetime) -> str:
    return time.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")

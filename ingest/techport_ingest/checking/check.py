"""From what devices said to what a store takes: the columns of one batch, and what is rejected.

Rules, for each value:

    unknown pilot, unknown device     rejected, with the values that came
    not a number                      rejected; of a state, true and false are 1 and 0, and a word is the number that
                                      the definition or everybody gives it
    text that says what a device is   kept as a property of the device, counted as ignored (properties.py)
    a mark that there is no value     ignored (absence.py)
    a name of a time                  ignored: no time is a reading (time_names.py), nor an epoch under a name like t
    time in the future or before 2000 rejected; up to 5 minutes ahead of the arrival are accepted
    no time                           time of arrival: good from a live message; flagged CLOCK from one that may have
                                      waited (`Message.arrival_is_doubtful`)
    outside the valid range           stored, flagged RANGE
    a name that nobody described      stored as a stream with the unit that its messages state, if they do, and noted
    a name that cannot be one         rejected
    one name too many of this kind    rejected: a device has a limited number of streams that nobody described
    two values for one place          rejected, both, where one message holds them; equal ones are duplicates
    a unit other than the stream's    converted; rejected where that is impossible

A message may be good in part: its good values are stored, and its bad ones make one entry for each reason. Values of
different parts of a device (sensors, probes, addresses) go to streams of their own: channels.py.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from math import isfinite
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from techport_ingest.checking import written_values
from techport_ingest.checking.absence import RULE as MISSING
from techport_ingest.checking.absence import SENTINELS, is_absent_number
from techport_ingest.checking.budget import RULE, DeviceLimits, Exceeded, Owner
from techport_ingest.checking.channels import Claims
from techport_ingest.checking.properties import RULE as PROPERTY
from techport_ingest.checking.properties import is_property
from techport_ingest.checking.time_names import EPOCH, is_epoch, is_time, may_be_time
from techport_ingest.checking.time_names import RULE as TIME
from techport_ingest.checking.unit_names import stated_unit
from techport_ingest.checking.units import NotConvertible, Units, UnknownUnit
from techport_ingest.checking.values import AHEAD, EARLIEST, as_number, check_clock
from techport_ingest.message import DeviceEvent, Found, Ignored, Message, Observed, RejectedMessage, Unreadable
from techport_pilots import state_words
from techport_pilots.accounting.rejection import Rejection
from techport_pilots.formats import DEFAULT
from techport_pilots.quantities import Quantity
from techport_pilots.registry.lifecycle import NOT_COLLECTED
from techport_pilots.registry.view import DeviceView, IngestView, StreamView
from techport_storage.model import Batch, Micros, Quality, Stream

Ints = NDArray[np.int64]

LONGEST_KEY = 80

_SHOWN = 5
"""Values of a conflict that are shown."""

_RANGE, _CLOCK = int(Quality.RANGE), int(Quality.CLOCK)

TEXT = "text"
"""The rule of formats under which texts are ignored."""

_NESTED = ("not-a-number.object", "not-a-number.array")

_INFORMS = (TEXT, "identity")
"""Rules of formats under which texts are ignored that may say what a device is."""

_EXACT = 2**63  # integers beyond may be beyond all floats as well


class RejectedPart(msgspec.Struct, frozen=True):
    """A part of a message that can never be stored, or the whole of it."""

    message: Message
    pilot: str  # "" where the topic names none
    device: str
    format: str
    rejection: Rejection
    field: str | None  # the first value concerned
    values: int  # how many values it concerns; 1 for a message that could not be read

    @property
    def reason(self) -> str:
        return self.rejection.reason


class Passed(NamedTuple):
    """A part of a message that is no reading by rule, or an event."""

    message: Message
    pilot: str
    device: str
    rule: str
    values: int = 1
    key: str = ""  # "": the whole message
    value: object = None
    unread: bool = False  # the whole message, which another definition may read


_LONGEST_VALUE = 200


def shown_payload(payload: bytes) -> str:
    """The beginning of a message as text."""
    text = payload[: 4 * _LONGEST_VALUE].decode("utf-8", "backslashreplace")
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"


def shown(value: object) -> str | None:
    """A value of a message as text, in JSON; None where there is none."""
    if value is None:
        return None
    try:
        text = msgspec.json.encode(value).decode()
    except (TypeError, ValueError, OverflowError, UnicodeError, RecursionError):
        text = repr(value)
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"


class Property(NamedTuple):
    """A text that says what a device is: its firmware, its serial number."""

    message: Message
    pilot: str
    device: str
    key: str
    value: str


class Happened(NamedTuple):
    """An event, with the device as the registry knows it."""

    message: Message
    pilot: str
    device: str
    event: DeviceEvent


class _Target(NamedTuple):
    """Where the values of one key of one device go."""

    row: int  # index of the stream in the batch
    lo: float  # from lo to hi, both finite, a number in the stream's unit needs no closer look
    hi: float
    ranged: bool  # whether that is the range of the quantity; if not, no range is known
    state: Quantity | None  # where it is one
    unit: str | None  # UCUM; None: nobody knows


_UNOPENED = _Target(-1, math.inf, -math.inf, False, None, None)
"""In place of a stream that the batch has not seen: every number needs a closer look."""

_LARGEST = sys.float_info.max
_ABOVE_SENTINELS = math.nextafter(max(SENTINELS), math.inf)


class MessageRows(NamedTuple):
    """Rows of several messages that need no closer look, as columns; those of one message lie together."""

    messages: Sequence[Message]
    numbers: Ints  # of the messages in the batch
    counts: Ints  # rows of each message
    streams: Sequence[Stream]
    stream: Ints  # of each row: index in `streams`
    time: Ints  # µs
    value: NDArray[np.float64]
    untimed: bool  # the times are those of arrival


class _NotReading(Exception):
    """A value that is ignored by the rule."""

    def __init__(self, rule: str) -> None:
        super().__init__(rule)
        self.rule = rule


_Name = str | tuple[str, str]
"""What the values of a device are found by: the key, or key and part."""


class Columns:
    """One batch in the making. Not thread-safe; used once."""

    def __init__(
        self,
        snapshot: IngestView,
        units: Units | None = None,
        limits: DeviceLimits | None = None,
        opened: dict[Owner, set[str]] | None = None,
    ) -> None:
        """`opened` are names that earlier batches made streams of and that `snapshot` does not hold yet, by device; it
        is added to.
        """
        self._snapshot = snapshot
        self._units = units or Units()
        self._most_undescribed = (limits or DeviceLimits()).undescribed_streams
        self._opened = {} if opened is None else opened
        self._parts: dict[tuple[str, str], int] = {}  # (device, reason) of the message at hand: index in `rejected`
        self._targets: dict[tuple[str, str], dict[_Name, _Target]] = {}
        self._same: set[tuple[str, str | None]] = set()  # a message's unit and its stream's: nothing to convert
        self._index: dict[Stream, int] = {}
        self._stream: list[int] = []
        self._time: list[int] = []
        self._value: list[float] = []
        self._added: list[MessageRows] = []
        self._arranged: tuple[Ints, Ints, NDArray[np.float64]] | None = None  # stream, time and value of all rows
        self.number = 0  # of the message that is added next, in the batch
        self._numbers: list[int] = []  # of `messages`
        self._flags: list[tuple[int, int]] = []  # (row, flag): most rows have none
        self.messages: list[Message] = []  # those that were read
        self.row_ends: list[int] = []  # rows[row_ends[i - 1]:row_ends[i]] came with messages[i]
        self.untimed: list[int] = []  # rows that have the time of arrival, because their device gave none
        self.rejected: list[RejectedPart] = []
        self.ignored: list[Passed] = []
        self.events: list[Happened] = []
        self.properties: list[Property] = []
        self.stated_units: dict[Stream, str] = {}  # of streams that nobody described, where messages say it
        self.undescribed: list[Stream] = []
        self.names_unknown = False  # a pilot or device was unknown: a newer snapshot may know it
        self.claims = Claims()  # streams that a part of a device wants for itself

    def add(self, message: Message, pilot: str, format_name: str, items: Sequence[Found]) -> None:
        """Sort what a decoder found in one message into the columns, the rejected parts and the ignored ones."""
        received = message.received
        latest = received + AHEAD
        device = None
        targets: dict[_Name, _Target] = {}
        self._parts.clear()
        first = len(self._time)
        streams, times, values, untimed = self._stream, self._time, self._value, self.untimed
        same = self._same
        doubtful: bool | None = None  # asked when it matters
        last_row, last_time = -1, EARLIEST  # no row has an earlier one
        ordered = True  # by time, and within each time by row: then no two values have one place
        for item in items:
            if not isinstance(item, Observed):
                word = self._word_of_own_state(pilot, item) if isinstance(item, Ignored) else None
                if word is None:
                    self._pass(message, pilot, format_name, item)
                    continue
                item = word
            if item.device != device:
                device = item.device
                targets = self._targets.get((pilot, device)) or self._open_device(pilot, device)
            value, part = item.value, item.part
            if type(value) is int and -_EXACT < value < _EXACT:
                value = float(value)
            time = item.time
            if time is None:
                time = received
            row, lo, hi, _, _, unit = targets.get((item.key, part) if part else item.key, _UNOPENED)
            if (
                type(value) is not float
                or not lo <= value <= hi
                or (item.unit is not None and (item.unit, unit) not in same)
                or (time is not last_time and not EARLIEST <= time <= latest)
            ):
                try:
                    row, value, in_range = self._look_closer(pilot, item, value, time, received, targets)
                except RejectedMessage as error:
                    self._reject_value(message, pilot, item, format_name, error.rejection)
                    continue
                except _NotReading as error:
                    self._pass(message, pilot, format_name, _ignored(item, error.rule))
                    continue
                if not in_range:
                    self._flags.append((len(times), _RANGE))
            if item.time is None:
                untimed.append(len(times))
                if doubtful is None:
                    doubtful = message.arrival_is_doubtful
                if doubtful:
                    self._flags.append((len(times), _CLOCK))
            if time is not last_time or row <= last_row:
                if time < last_time or (time == last_time and row <= last_row):
                    ordered = False
                last_time = time
            last_row = row
            streams.append(row)
            times.append(time)
            values.append(value)
        if not ordered and len(set(zip(streams[first:], times[first:], strict=True))) < len(times) - first:
            self._reject_conflicts(message, pilot, format_name, items, first)
        self.row_ends.append(len(times))
        self.messages.append(message)
        self._numbers.append(self.number)

    def add_rows(self, rows: MessageRows) -> None:
        """Add rows that were checked as columns; `arrange` puts them where they belong."""
        used = np.flatnonzero(np.bincount(rows.stream))
        places = np.zeros(int(used[-1]) + 1, np.int64)
        index = self._index
        places[used] = [index.setdefault(rows.streams[number], len(index)) for number in used.tolist()]
        self._added.append(rows._replace(stream=places[rows.stream]))

    def arrange(self) -> None:
        """Bring all rows into the order in which their messages arrived."""
        if not self._added or self._arranged is not None:
            return
        parts = [self._rows_added_singly(), *self._added]
        counts = np.concatenate([part.counts for part in parts])
        order = np.argsort(np.concatenate([part.numbers for part in parts]), kind="stable")  # of the messages
        starts, ends = np.cumsum(counts) - counts, np.cumsum(counts[order])
        rows = np.arange(counts.sum()) + np.repeat(starts[order] - (ends - counts[order]), counts[order])
        moved = np.empty_like(rows)
        moved[rows] = np.arange(len(rows))
        untimed = np.concatenate([np.full(len(part.time), part.untimed) for part in parts])
        untimed[self.untimed] = True
        messages = [message for part in parts for message in part.messages]
        self._arranged = (
            np.concatenate([part.stream for part in parts])[rows],
            np.concatenate([part.time for part in parts])[rows],
            np.concatenate([part.value for part in parts])[rows],
        )
        self._flags = [(int(moved[row]), flag) for row, flag in self._flags]
        self.untimed = np.flatnonzero(untimed[rows]).tolist()
        self.messages, self.row_ends = [messages[position] for position in order.tolist()], ends.tolist()

    def _rows_added_singly(self) -> MessageRows:
        """What came by `add`; its rows without a time are in `untimed`."""
        return MessageRows(
            messages=self.messages,
            numbers=np.array(self._numbers, np.int64),
            counts=np.diff(self.row_ends, prepend=0).astype(np.int64),
            streams=(),
            stream=np.array(self._stream, np.int64),
            time=np.array(self._time, np.int64),
            value=np.array(self._value, np.float64),
            untimed=False,
        )

    def place_of(self, pilot: str, device: str, key: str) -> tuple[Stream, float, float] | None:
        """The stream of a key of which a value has been added, and from where to where a number needs no closer look;
        None where the registry has still to hear of it.
        """
        view = self._find(pilot, device)
        stream = None if view is None else view.stream(key)
        target = self._targets.get((pilot, device), {}).get(key)
        if stream is None or target is None or stream.stream in self.stated_units:
            return None
        return stream.stream, target.lo, target.hi

    def rows_of_last(self) -> int:
        """How many values of the message that was added last have become rows."""
        return self.row_ends[-1] - (self.row_ends[-2] if len(self.row_ends) > 1 else 0)

    def ignore(self, message: Message, pilot: str, device: str, rule: str, unread: bool = False) -> None:
        """Count a message that holds no reading by rule; see Passed for `unread`."""
        self.ignored.append(Passed(message, pilot, self._id(pilot, device), rule, unread=unread))

    def collects(self, pilot: str) -> bool:
        """Whether messages of the pilot are kept; those of one that nobody knows go to quarantine."""
        view = self._snapshot.pilot(pilot)
        return view is None or view.collects

    def count_only(self, message: Message, owner: Owner, values: int) -> None:
        """Keep nothing of a message, not even the name of a device that the definition does not describe."""
        self.ignored.append(Passed(message, owner.pilot, owner.device, NOT_COLLECTED, max(values, 1)))

    def exceed(self, message: Message, owner: Owner, format_name: str, exceeded: Exceeded, values: int) -> None:
        """Keep nothing of a message that is beyond its device's budget, but count it; the first one is told."""
        if exceeded.first:
            rejection = exceeded.rejection()
            part = RejectedPart(message, owner.pilot, owner.device, format_name, rejection, None, max(values, 1))
            self.rejected.append(part)
        else:
            self.ignored.append(Passed(message, owner.pilot, owner.device, RULE, max(values, 1)))

    def owner(self, pilot: str, device: str) -> Owner:
        """Whose budget a device's messages are taken from."""
        view = self._snapshot.pilot(pilot)
        if view is None:
            return Owner("", "")
        described = view.device(device)
        return Owner(pilot, "" if described is None else described.id)

    def drop_unfinished(self) -> None:
        """Forget the rows of a message in the middle of which `add` failed."""
        end = self.row_ends[-1] if self.row_ends else 0
        for column in (self._stream, self._time, self._value):
            del column[end:]
        self._flags = [flag for flag in self._flags if flag[0] < end]
        self.untimed = [row for row in self.untimed if row < end]

    def _reject_conflicts(
        self, message: Message, pilot: str, format_name: str, items: Sequence[Found], first: int
    ) -> None:
        """Take values out of the rows from `first` on, those of one message, that name one stream and time but differ:
        nothing says which of them is right. Equal ones stay, for the store to count as duplicates.
        """
        places: dict[tuple[int, int], list[int]] = {}
        for row, place in enumerate(zip(self._stream[first:], self._time[first:], strict=True), first):
            places.setdefault(place, []).append(row)
        groups = [rows for rows in places.values() if len({self._value[row] for row in rows}) > 1]
        if not groups:
            return
        streams = list(self._index)
        by_stream: dict[int, list[int]] = {}
        for rows in groups:
            by_stream.setdefault(self._stream[rows[0]], []).extend(rows)
        for number, rows in by_stream.items():
            stream = streams[number]
            names = self._names_of(pilot, items, number)
            values = list(dict.fromkeys(f"{self._value[row]:.10g}" for row in rows))[:_SHOWN]
            rejection = (
                Rejection("conflict.names", {"key": stream.quantity, "values": values, "names": names[:_SHOWN]})
                if len(names) > 1
                else Rejection("conflict.records", {"key": stream.quantity, "values": values})
            )
            # Under the last name, which a mapping can give another meaning; the others are then all right.
            field = names[-1] if len(names) > 1 else stream.quantity
            self.rejected.append(RejectedPart(message, pilot, stream.device, format_name, rejection, field, len(rows)))
        rejected = {row for rows in groups for row in rows}
        remaining = [row for row in range(first, len(self._time)) if row not in rejected]
        moved = {row: first + position for position, row in enumerate(remaining)}
        for whole in (self._stream, self._time):
            whole[first:] = [whole[row] for row in remaining]
        self._value[first:] = [self._value[row] for row in remaining]
        self._flags = [
            (row if row < first else moved[row], flag) for row, flag in self._flags if row < first or row in moved
        ]
        self.untimed = [row if row < first else moved[row] for row in self.untimed if row < first or row in moved]

    def _names_of(self, pilot: str, items: Sequence[Found], stream: int) -> list[str]:
        """What the message calls the values of a stream."""
        names = []
        for item in items:
            if isinstance(item, Observed):
                targets = self._targets.get((pilot, item.device), {})
                target = targets.get((item.key, item.part) if item.part else item.key)
                if target is not None and target.row == stream:
                    names.append(item.maker or item.key)
        return list(dict.fromkeys(names))

    def reject(self, message: Message, pilot: str, device: str, format_name: str, rejection: Rejection) -> None:
        """Reject a message that cannot be read at all."""
        device = self._id(pilot, device)
        self.rejected.append(RejectedPart(message, pilot, device, format_name, rejection, None, 1))

    def batch(self) -> Batch:
        """What is to be written, in order of arrival."""
        self.arrange()
        stream, time, value = self._arranged or (self._stream, self._time, self._value)
        arrivals = np.array([message.received for message in self.messages], np.int64)
        rows_of_each = np.diff(self.row_ends, prepend=0).astype(np.int64)
        quality = np.zeros(len(time), np.uint8)
        for row, flag in self._flags:
            quality[row] |= flag
        return Batch(
            streams=tuple(self._index),
            stream=np.array(stream, np.int32),
            time=np.array(time, np.int64),
            value=np.array(value, np.float64),
            received=np.repeat(arrivals, rows_of_each),
            quality=quality,
        )

    def _open_device(self, pilot: str, device: str) -> dict[_Name, _Target]:
        targets: dict[_Name, _Target] = {}
        if self._find(pilot, device) is not None:
            self._targets[pilot, device] = (
                targets  # unknown devices are not remembered: each value of theirs has to ask again
            )
        return targets

    def _find(self, pilot: str, device: str) -> DeviceView | None:
        view = self._snapshot.pilot(pilot)
        return view.device(device) if view is not None else None

    def _id(self, pilot: str, device: str) -> str:
        """The id of the device that is called so; the name itself where no device is."""
        view = self._find(pilot, device)
        return device if view is None else view.id

    def _pass(self, message: Message, pilot: str, format_name: str, passed: DeviceEvent | Ignored | Unreadable) -> None:
        device = self._id(pilot, passed.device)
        if isinstance(passed, Ignored):
            rule, value = passed.rule, passed.value
            if rule in _INFORMS and isinstance(value, str) and is_property(passed.maker or passed.key):
                rule = PROPERTY
            if rule == PROPERTY:
                self.properties.append(Property(message, pilot, device, passed.maker or passed.key, str(value)))
            key = passed.maker or passed.key
            self.ignored.append(Passed(message, pilot, device, rule, 1, key, value, unread=not key))
        elif isinstance(passed, Unreadable):
            part = RejectedPart(message, pilot, device, format_name, passed.rejection, passed.key, passed.values)
            self._reject_part(part)
        else:
            self.ignored.append(Passed(message, pilot, device, "event"))
            self.events.append(Happened(message, pilot, device, passed))

    def _word_of_own_state(self, pilot: str, ignored: Ignored) -> Observed | None:
        """A text that no format takes for a value, where its key is a state that the pilot has defined itself."""
        if ignored.rule != TEXT or not ignored.key or not isinstance(ignored.value, str):
            return None
        view = self._find(pilot, ignored.device)
        quantity = None if view is None else view.vocabulary.lookup(ignored.key)
        if quantity is None or quantity.kind != "state":
            return None
        return Observed(ignored.device, ignored.time, ignored.key, ignored.value, ignored.unit, ignored.maker)

    def _look_closer(
        self, pilot: str, item: Observed, value: object, time: Micros, received: Micros, targets: dict[_Name, _Target]
    ) -> tuple[int, float, bool]:
        """The stream's index, the number in its unit, and whether that is no number outside the stream's range.

        Raises RejectedMessage, and _NotReading for what is none by rule.
        """
        target = targets.get((item.key, item.part) if item.part else item.key) or self._open_stream(
            pilot, item, targets
        )
        number = value if type(value) is float and isfinite(value) else self._number(item, value, target)
        if item.unit is not None:
            if target.unit is None:
                target = self._adopt_unit(item, target, targets)
            number = self._convert(item.key, number, item.unit, target.unit)
        if not EARLIEST <= time <= received + AHEAD:
            check_clock(time, received)
        within = target.lo <= number <= target.hi
        if not within and not target.ranged and is_epoch(number) and _may_be_time(item):
            raise _NotReading(TIME)
        if not (within and (target.ranged or item.unit is None)) and is_absent_number(item.value, target.ranged):
            raise _NotReading(MISSING)
        return target.row, number, within or not target.ranged

    def _number(self, item: Observed, value: object, target: _Target) -> float:
        """The value as a float. Raises RejectedMessage, and _NotReading for text that is none by rule."""
        if type(value) is str:
            if target.state is not None:
                number = state_words.number_of(value, target.state.words, target.state.states)
                if number is None:
                    raise RejectedMessage("not-a-number.word", key=item.maker or item.key, given=value[:40])
                return number
            if is_property(item.maker or item.key):
                raise _NotReading(PROPERTY)
            written = written_values.read(value)
            if (
                written is not None
                and not target.lo <= written.value <= target.hi
                and is_absent_number(written.value, target.ranged)
            ):
                raise _NotReading(MISSING)
        return as_number(item.key, value, target.state is not None)

    def _adopt_unit(self, item: Observed, target: _Target, targets: dict[_Name, _Target]) -> _Target:
        """The stream of a key that nobody described, with the unit that its first message to state one states."""
        assert item.unit is not None
        unit = self._units.normalise(item.unit) or item.unit.strip()[:40]
        self.stated_units[list(self._index)[target.row]] = unit
        target = targets[(item.key, item.part) if item.part else item.key] = target._replace(unit=unit)
        return target

    def _convert(self, key: str, value: float, unit: str, to: str | None) -> float:
        """The value in the stream's unit. Raises RejectedMessage."""
        if to is None:
            return value
        if unit.strip() == to:
            self._same.add((unit, to))
            return value
        try:
            converted = self._units.convert(value, unit, to)
        except UnknownUnit:
            raise RejectedMessage("unknown-unit", key=key, unit=unit[:40], to=to) from None
        except NotConvertible:
            raise RejectedMessage("wrong-unit", key=key, unit=unit[:40], to=to) from None
        if self._units.is_same(unit, to):
            self._same.add((unit, to))
        if isfinite(converted):
            return converted
        raise RejectedMessage("number-too-large.converted", key=key, to=to)

    def _open_stream(self, pilot: str, item: Observed, targets: dict[_Name, _Target]) -> _Target:
        """The place of a key that this batch has not seen. Raises RejectedMessage."""
        device, key, part = item.device, item.key, item.part
        owner = self._snapshot.pilot(pilot)
        if owner is not None and owner.closed:
            raise RejectedMessage("pilot-closed", pilot=pilot)
        view = None if owner is None else owner.device(device)
        if view is None:
            self.names_unknown = True
            raise self._unknown(pilot, device)
        if part and key:
            key = self.claims.stream_key(view, key, part)
        if not key or len(key) > LONGEST_KEY or not key.isprintable() or key != key.strip():
            raise RejectedMessage("bad-name", key=key[:LONGEST_KEY], longest=LONGEST_KEY)
        stream = view.stream(key)
        if (
            (stream is None or not stream.described)
            and (is_time(key) or is_time(item.maker))
            and key not in view.vocabulary
        ):
            raise _NotReading(TIME)
        if stream is None:
            if is_epoch(item.value) and _may_be_time(item):
                raise _NotReading(TIME)
            if type(item.value) is str and key not in view.vocabulary:
                self._number(item, item.value, _UNOPENED)  # no stream is opened for a text
            opened = self._opened.setdefault(Owner(pilot, view.id), set())
            if key not in opened and view.undescribed_count + len(opened) >= self._most_undescribed:
                raise RejectedMessage("too-many-streams", key=key, limit=self._most_undescribed)
            opened.add(key)
            stream = view.undescribed(key)
            self.undescribed.append(stream.stream)
        if part and key == item.key:
            self.claims.add(view, key, part)
        quantity = view.vocabulary.lookup(key)
        state = quantity if quantity is not None and quantity.kind == "state" else None
        row = self._index.setdefault(stream.stream, len(self._index))
        unit = quantity.unit if quantity is not None else self._unit_of(stream, item)
        lo, hi = stream.lo, stream.hi
        ranged = lo >= -_LARGEST or hi <= _LARGEST
        if not ranged:
            lo = _ABOVE_SENTINELS
        elif lo < -_LARGEST:
            lo = -_LARGEST
        if hi > _LARGEST:
            hi = float(EPOCH) if not ranged and _may_be_time(item) else _LARGEST
        target = targets[(item.key, part) if part else key] = _Target(row, lo, hi, ranged, state, unit)
        return target

    def _unit_of(self, stream: StreamView, item: Observed) -> str | None:
        """The unit of a stream that nobody described: what messages have stated, or what their key states."""
        unit = stream.unit or self.stated_units.get(stream.stream)
        if unit is None and item.unit is None:
            stated = stated_unit(item.maker or item.key)
            if stated is not None:
                unit = self.stated_units[stream.stream] = self._units.normalise(stated) or stated
        return unit

    def _unknown(self, pilot: str, device: str) -> RejectedMessage:
        if self._snapshot.pilot(pilot) is None:
            return RejectedMessage("unknown-pilot", pilot=pilot[:80])
        if not device:
            return RejectedMessage("no-device.source")
        return RejectedMessage("unknown-device", pilot=pilot, device=device[:80])

    def _reject_value(
        self, message: Message, pilot: str, observed: Observed, format_name: str, rejection: Rejection
    ) -> None:
        device = self._id(pilot, observed.device)
        if rejection.code == "not-a-number.quoted" and format_name != DEFAULT:  # a maker's device sends what it sends
            number, given = rejection.params["number"], rejection.params["given"]
            key = observed.maker or observed.key
            rejection = Rejection("not-a-number.as-text", {"key": key, "given": given, "number": number})
        elif rejection.code in _NESTED and not message.topic.startswith("pilots/"):  # who sends it is no device of ours
            rejection = Rejection("not-a-number.nested", {"key": observed.maker or observed.key})
        self._reject_part(RejectedPart(message, pilot, device, format_name, rejection, observed.key, 1))

    def _reject_part(self, part: RejectedPart) -> None:
        """One entry for each message and reason, however many values it concerns."""
        rejected = self.rejected
        number = self._parts.setdefault((part.device, part.reason), len(rejected))
        if number < len(rejected):
            rejected[number] = msgspec.structs.replace(rejected[number], values=rejected[number].values + part.values)
        else:
            rejected.append(part)


def _may_be_time(item: Observed) -> bool:
    """Whether an epoch under the name of a value is a time and no reading."""
    return may_be_time(item.maker or item.key)


def _ignored(item: Observed, rule: str) -> Ignored:
    """A value that the check ignores."""
    return Ignored(item.device, rule, item.key, item.value, item.time, item.unit, item.maker)

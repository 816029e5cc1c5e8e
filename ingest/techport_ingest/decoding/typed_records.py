"""Devices that send the same keys all day: many of their messages as columns, without an object for each value.

    a message that the general way has read without remark ─► its topic, keys and streams are remembered
    the next of that topic ─► parsed into a typed record ─► columns of all such messages ─► checked with NumPy
    whatever is unlike that in any way                   ─► the general way (decoder and `Columns.add`)

Only techport's own format on topics of the platform's rule is read so, and nothing is rejected, ignored or flagged
here: what is not a plain number in its range, at a time that is plainly written and possible, goes the general way,
which says why. So both ways give the same rows (tests/ingest/test_typed_records.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import chain
from operator import attrgetter, methodcaller
from typing import Any, NamedTuple, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from techport_ingest.checking.budget import HourlyBudgets, Owner
from techport_ingest.checking.check import Columns, MessageRows
from techport_ingest.checking.values import AHEAD, EARLIEST
from techport_ingest.decoding.time_fields import LONGEST_CLOCK
from techport_ingest.decoding.times import instant_of, instants_of_integers, micros
from techport_ingest.message import Found, Message, Observed, RejectedMessage
from techport_storage.microseconds import HOUR
from techport_storage.model import Micros, Stream

LARGEST = 4_096
"""Bytes of a message that is read this way."""

_MOST_KEYS = 64  # of a device
_MOST_TOPICS = 20_000
_TIME = "time"
_NEVER: Micros = EARLIEST - 1  # in place of a time that needs a closer look

Ints = NDArray[np.int64]


class _Place(NamedTuple):
    """Where the values of a device's key go, and from where to where they need no closer look."""

    stream: int  # index in TypedRecords._streams
    low: float
    high: float


class _Device(msgspec.Struct, frozen=True):
    """A device that a topic is of."""

    keys: _Keys
    places: dict[str, _Place]
    number: int  # among those with the same keys


class _Keys:
    """The devices that send values under the same keys, and what they have sent in the batch at hand."""

    def __init__(self, keys: tuple[str, ...], timed: bool) -> None:
        self.timed = timed
        self.parse, self.values_of = _parser(keys, timed)
        self.owners: list[Owner] = []
        self.places: list[tuple[_Place, ...]] = []  # for each device, of each key
        self.records: list[Any] = []
        self.numbers: list[int] = []  # of the records' messages in the batch
        self.devices: list[int] = []
        self._limits: tuple[Ints, NDArray[np.float64], NDArray[np.float64]] | None = None

    def add_device(self, owner: Owner, places: Iterable[_Place]) -> int:
        """Remember where the values of each key go; the number of the device."""
        self.owners.append(owner)
        self.places.append(tuple(places))
        self._limits = None
        return len(self.owners) - 1

    @property
    def limits(self) -> tuple[Ints, NDArray[np.float64], NDArray[np.float64]]:
        """Streams, lows and highs: a row for each device, a column for each key."""
        if self._limits is None:
            streams, lows, highs = np.moveaxis(np.array(self.places), -1, 0)
            self._limits = streams.astype(np.int64), lows, highs
        return self._limits


class TypedRecords:
    """Remembers how devices write their messages, for one version of the registry. Not thread-safe."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """The definitions have changed: learn anew."""
        self._devices: dict[str, _Device] = {}  # by topic
        self._keys: dict[tuple[tuple[str, ...], bool], _Keys] = {}
        self._streams: list[Stream] = []
        self._stream_numbers: dict[Stream, int] = {}

    def read(
        self, messages: Sequence[Message], chunk: range, columns: Columns, budgets: HourlyBudgets | None
    ) -> Sequence[int]:
        """Add to the columns what can be read this way; the numbers of the chunk's other messages, ascending.

        Parameters
        ----------
        messages : sequence of Message
            The batch, in order of arrival.
        chunk : range
            Numbers of the messages that are to be read.
        columns : Columns
            Of this batch.
        budgets : HourlyBudgets, optional
            What is read is taken from them. A device whose messages do not all fit is left to the general way.
        """
        if not self._devices:
            return chunk
        left = self._parse(messages, chunk)
        for keys in self._keys.values():
            if keys.records:
                left += self._check(keys, messages, columns, budgets)
                keys.records, keys.numbers, keys.devices = [], [], []
        return sorted(left)

    def learn(self, message: Message, owner: Owner, items: Sequence[Found], columns: Columns) -> None:
        """Remember the topic of a message of which every value has become a row."""
        if not owner.device or message.retained or not 0 < len(items) <= _MOST_KEYS:
            return
        if not all(type(item) is Observed and not item.part for item in items):
            return
        observed = cast("Sequence[Observed]", items)
        timed = observed[0].time is not None
        before = self._devices.get(message.topic)
        places = before.places if before is not None and before.keys.timed == timed else {}
        more = {item.key for item in observed} - places.keys()
        if not more or len(places) + len(more) > _MOST_KEYS or _TIME in more:
            return
        seen = {key: columns.place_of(owner.pilot, observed[0].device, key) for key in more}
        places = places | {key: _Place(self._number(at[0]), *at[1:]) for key, at in seen.items() if at is not None}
        if None in seen.values() or len({place.stream for place in places.values()}) < len(places):
            return  # one is not in the registry yet, or two keys are of one stream
        order = tuple(sorted(places))
        if not _can_parse(order, timed, message.payload):
            return
        if len(self._devices) >= _MOST_TOPICS:
            self.forget()
            return
        keys = self._keys.get((order, timed))
        if keys is None:
            keys = self._keys[order, timed] = _Keys(order, timed)
        number = keys.add_device(owner, [places[key] for key in order])
        self._devices[message.topic] = _Device(keys, places, number)

    def _number(self, stream: Stream) -> int:
        number = self._stream_numbers.setdefault(stream, len(self._streams))
        if number == len(self._streams):
            self._streams.append(stream)
        return number

    def _parse(self, messages: Sequence[Message], chunk: range) -> list[int]:
        """Parse the messages of devices that are remembered, as they are; the numbers of the others."""
        left: list[int] = []
        of_topic = self._devices.get
        for number in chunk:
            message = messages[number]
            device = of_topic(message.topic)
            if device is None or message.retained or message.rejected is not None or len(message.payload) > LARGEST:
                left.append(number)
                continue
            keys = device.keys
            if not keys.timed and message.arrival_is_doubtful:
                left.append(number)
                continue
            try:
                keys.records.append(keys.parse(message.payload))
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                left.append(number)
            else:
                keys.numbers.append(number)
                keys.devices.append(device.number)
        return left

    def _check(
        self, keys: _Keys, messages: Sequence[Message], columns: Columns, budgets: HourlyBudgets | None
    ) -> list[int]:
        """Add the records that need no closer look to the columns; the numbers of the messages that do."""
        numbers, device = np.array(keys.numbers), np.array(keys.devices)
        sent = [messages[number] for number in keys.numbers]
        values = keys.values_of(keys.records)
        received = np.fromiter(map(_received, sent), np.int64, len(sent))
        payloads = [message.payload for message in sent]
        quotes = np.fromiter(map(_quotes, payloads), np.int64, len(sent))
        streams, lows, highs = keys.limits
        present = ~np.isnan(values)
        count = present.sum(axis=1)
        # A parser keeps the last of two equal keys and says nothing: then there are more strings than these.
        strings = count + keys.timed
        time = received
        if keys.timed:
            time, texts = _instants(list(map(_time, keys.records)))
            strings += texts
        plain = ((values >= lows[device]) & (values <= highs[device]) | ~present).all(axis=1)
        plain &= ~(np.signbit(values) & (values == 0)).any(axis=1)  # "-0" is an integer, and has no sign
        plain &= (count > 0) & (quotes == 2 * strings) & (time >= EARLIEST) & (time <= received + AHEAD)
        if budgets is not None:
            sizes = np.fromiter(map(len, payloads), np.int64, len(sent))
            plain &= _within_budget(keys.owners, device, plain, received, count, sizes, budgets)
        chosen = np.flatnonzero(plain)
        if len(chosen):
            of_value = present[chosen]
            rows = MessageRows(
                messages=[sent[record] for record in chosen.tolist()],
                numbers=numbers[chosen],
                counts=count[chosen],
                streams=self._streams,
                stream=streams[device[chosen]][of_value],
                time=np.repeat(time[chosen], count[chosen]),
                value=values[chosen][of_value],
                untimed=not keys.timed,
            )
            columns.add_rows(rows)
        return [number for number, is_plain in zip(keys.numbers, plain.tolist(), strict=True) if not is_plain]


_received = attrgetter("received")
_time = attrgetter(_TIME)
_quotes = methodcaller("count", b'"')


@lru_cache(maxsize=512)
def _record_type(keys: tuple[str, ...], timed: bool) -> type[msgspec.Struct]:
    """A record with these keys, in which values may be missing, but the time may not."""
    fields: list[Any] = [(f"value_{number}", float, float("nan")) for number in range(len(keys))]
    names = {f"value_{number}": key for number, key in enumerate(keys)}
    time: list[Any] = [(_TIME, int | float | str)] if timed else []
    return msgspec.defstruct("Record", [*time, *fields], rename=names, forbid_unknown_fields=True, gc=False)


def _parser(
    keys: tuple[str, ...], timed: bool
) -> tuple[Callable[[bytes], Any], Callable[[Sequence[Any]], NDArray[np.float64]]]:
    """What parses a payload into a record, and what makes a table of records' values: a row each, NaN for missing."""
    decoder = msgspec.json.Decoder(_record_type(keys, timed))
    width = len(keys)
    get = attrgetter(*(f"value_{number}" for number in range(width)))

    def values_of(records: Sequence[Any]) -> NDArray[np.float64]:
        taken = map(get, records)
        flat = taken if width == 1 else chain.from_iterable(taken)
        return np.fromiter(flat, np.float64, width * len(records)).reshape(-1, width)

    return decoder.decode, values_of


def _can_parse(keys: tuple[str, ...], timed: bool, payload: bytes) -> bool:
    """Whether a payload is such a record; not where its time has another name, or is nested, or it is an array."""
    try:
        msgspec.json.decode(payload, type=_record_type(keys, timed))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


def _instants(given: list[Any]) -> tuple[Ints, NDArray[np.bool_] | int]:
    """Times as they were written, in µs, _NEVER for what needs a closer look; and which of them are texts."""
    if type(given[0]) is int:
        integers = np.array(given)
        if integers.dtype == np.int64:
            return instants_of_integers(integers), 0
    times = np.fromiter(map(_instant, given), np.int64, len(given))
    return times, np.fromiter((type(time) is str for time in given), np.bool_, len(given))


def _instant(given: float | str) -> Micros:
    if type(given) is str:
        time = instant_of(given) if len(given) > LONGEST_CLOCK else None
        return _NEVER if time is None else time
    try:
        return micros(given)
    except RejectedMessage:
        return _NEVER


def _within_budget(
    owners: Sequence[Owner],
    device: Ints,
    plain: NDArray[np.bool_],
    received: Ints,
    values: Ints,
    sizes: Ints,
    budgets: HourlyBudgets,
) -> NDArray[np.bool_]:
    """Which records are of devices whose budget has room for all of them; what they take is taken."""
    hours = received // HOUR
    if (hours != hours[0]).any():  # budgets begin anew in between: message by message
        return np.zeros(len(device), np.bool_)
    values = np.bincount(device, values * plain, len(owners)).astype(np.int64)
    sizes = np.bincount(device, sizes * plain, len(owners)).astype(np.int64)
    fits = np.ones(len(owners), np.bool_)
    arrived = int(received[0])
    for number in np.flatnonzero(values).tolist():
        fits[number] = budgets.take_all(owners[number], arrived, int(values[number]), int(sizes[number]))
    return fits[device]

"""The terms of the ledger: device-day, tally, and what goes into quarantine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from techport_pilots.accounting.rejection import Rejection
from techport_storage.microseconds import DAY
from techport_storage.model import Micros


class DeviceDay(NamedTuple):
    """A device and a day (whole days since 1970-01-01, UTC) of its observed times; of arrival where it gave no time.

    Pilot and device are "" for a message that does not say.
    """

    pilot: str
    device: str
    day: int


class Tally(msgspec.Struct):
    """What became of the values of a device-day. An unreadable message counts as one value."""

    messages: int = 0
    received: int = 0
    stored: int = 0
    duplicates: int = 0
    corrections: int = 0
    quarantined: int = 0
    ignored: int = 0
    erased: int = 0

    @property
    def balanced(self) -> bool:
        """Whether every value that was received became something."""
        return self.received == self.stored + self.duplicates + self.corrections + self.quarantined + self.ignored

    def add(self, other: Tally) -> None:
        for count in COUNTS:
            setattr(self, count, getattr(self, count) + getattr(other, count))


COUNTS: tuple[str, ...] = Tally.__struct_fields__


class QuarantineEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A message, or some values of one, that can never be stored; on its way into quarantine."""

    pilot: str
    device: str
    topic: str
    payload: bytes
    received: Micros
    rejection: Rejection  # what was wrong with it
    field: str | None = None  # the key within the payload, where it is about one
    values: int = 1  # how many values went with it
    redelivered: bool = False  # the broker has given us this message before
    format: str = "native"
    day: int | None = None  # the day it is booked on; the day of arrival when None

    @property
    def reason(self) -> str:
        """Short code that entries are grouped by: "not-json"."""
        return self.rejection.reason

    @property
    def device_day(self) -> DeviceDay:
        return DeviceDay(self.pilot, self.device, day_of(self.received) if self.day is None else self.day)


class BookedEvent(NamedTuple):
    """Something that happened at a device and is no reading."""

    pilot: str
    device: str
    time: Micros
    kind: str
    text: str


class Correction(NamedTuple):
    """A value that another one, of a later message, has replaced."""

    pilot: str
    device: str
    quantity: str
    time: Micros
    before: float
    value: float
    received: Micros  # when the value that is there now arrived


class IgnoredValue(NamedTuple):
    """A part of a message that was ignored, or a text that says what a device is."""

    pilot: str
    device: str
    rule: str
    key: str
    value: str | None  # in JSON; of a property, the text itself
    received: Micros
    parts: int = 1


class IgnoredMessage(NamedTuple):
    """A message of which a part was ignored that a mapping could make a reading of."""

    pilot: str
    device: str
    topic: str
    payload: bytes
    received: Micros
    parts: Sequence[tuple[str, str, int]]  # rule, key, how many


class BatchAnnotations(msgspec.Struct, frozen=True, kw_only=True):
    """What a batch leaves in the ledger beside its sums."""

    ignored: Mapping[tuple[DeviceDay, str], int] = {}  # by device-day and rule
    events: Sequence[BookedEvent] = ()
    corrections: Sequence[Correction] = ()
    replayed: Sequence[int] = ()  # entries of the quarantine that this batch reprocessed, as new arrivals
    ignored_values: Sequence[IgnoredValue] = ()
    ignored_messages: Sequence[IgnoredMessage] = ()
    properties: Sequence[IgnoredValue] = ()
    reread: Sequence[int] = ()  # of the kept messages with ignored parts, those that this batch reprocessed


def day_of(time: Micros) -> int:
    """The day that an instant falls on, in whole days since the epoch, UTC."""
    return time // DAY

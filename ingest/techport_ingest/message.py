"""What comes in, and what a decoder makes of it."""

from __future__ import annotations

from typing import Any

import msgspec

from techport_pilots.accounting.rejection import Rejection
from techport_storage.model import Micros


class Message(msgspec.Struct, frozen=True, gc=False):
    """An MQTT message as the broker gave it."""

    topic: str
    payload: bytes
    received: Micros  # when it arrived here, UTC
    id: int  # the source's handle to acknowledge it with
    redelivered: bool = False  # the broker says that it has given us this message before (DUP)
    retained: bool = False  # an old value that the broker repeats to a new subscriber
    delayed: bool = False  # it may have waited in a queue before it arrived: its source says by which rule
    rejected: Rejection | None = None  # before it was read: it may not be

    @property
    def arrival_is_doubtful(self) -> bool:
        """Whether its arrival says little about when its values were measured, where they have no time of their own."""
        return self.delayed or self.redelivered or self.retained


class Observed(msgspec.Struct, frozen=True, gc=False):
    """One value as the device said it, before anybody checked it.

    `value` is whatever the payload held: the check step turns it into a float or rejects it.
    """

    device: str
    time: Micros | None  # None: the device gave no time
    key: str  # the device's own name for it; a quantity of the vocabulary when it is well-behaved
    value: object
    unit: str | None = None  # as the payload said it, if it did
    maker: str = ""  # what the message calls it, where the decoder knows the vocabulary's name for that; "": as `key`
    part: str = ""  # sensor, address, probe or tag that it comes from, where the message names one: channels.py


class DeviceEvent(msgspec.Struct, frozen=True, gc=False):
    """Something that happened at a device and is no reading: it joined, a button was pressed, it went offline.

    `kind` is a short code that events are grouped by ("join", "button", "offline"); `text` says more, if there is more.
    """

    device: str
    time: Micros | None
    kind: str
    text: str = ""


class Ignored(msgspec.Struct, frozen=True, gc=False):
    """A part of a message that is no reading by a rule of its format. Counted, not stored, not in quarantine.

    `rule` is a short code ("text", "null", "downlink"); `key` names the value, or is "" where it is the whole message.
    With its `value` it is kept for a while, and is a reading where a source's `fields` say what its key means.
    """

    device: str
    rule: str
    key: str = ""
    value: object = None  # as the payload had it
    time: Micros | None = None  # None: the device gave none
    unit: str | None = None  # as the payload said it, if it did
    maker: str = ""  # as in Observed


class Unreadable(msgspec.Struct, frozen=True, gc=False):
    """A part of a message that can never be stored: a record of an array, a line, a value. The other parts go on."""

    device: str
    rejection: Rejection
    key: str | None = None  # the first value concerned, where it has a name
    values: int = 1  # how many values it concerns

    @classmethod
    def of(
        cls,
        error: RejectedMessage,
        device: str,
        key: str | None = None,
        values: int = 1,
        line: int | None = None,
        record: int | None = None,
    ) -> Unreadable:
        """What was raised about one part, as a finding; `line` or `record` (from 1) say where it stands."""
        rejection = error.rejection
        if line is not None:
            rejection = rejection.located("line", line)
        elif record is not None:
            rejection = rejection.located("record", record)
        return cls(device, rejection, key, max(values, 1))


Found = Observed | DeviceEvent | Ignored | Unreadable
"""What a decoder may find. Each one has exactly one outcome, so that a message's sums agree by counting its list."""


class RejectedMessage(Exception):
    """A message, or a value of one, that can never be stored. It goes into quarantine, and the others go on.

    `code` and `params` select the sentences of the catalogues of codes (techport_pilots.accounting.rejection); they are
    made when somebody reads them. A parameter is a JSON value, and text of a device is cut to a length that can be
    shown.
    """

    def __init__(self, code: str, **params: Any) -> None:
        super().__init__(code)
        self.rejection = Rejection(code, params)

    @classmethod
    def of(cls, rejection: Rejection) -> RejectedMessage:
        """The exception of a rejection that was made before."""
        return cls(rejection.code, **rejection.params)

    @property
    def reason(self) -> str:
        return self.rejection.reason

    @property
    def detail(self) -> str:
        """In English."""
        return self.rejection.detail()

    @property
    def hint(self) -> str:
        """In English."""
        return self.rejection.hint()

    def __str__(self) -> str:
        return f"{self.rejection.code}: {self.detail} {self.hint}"

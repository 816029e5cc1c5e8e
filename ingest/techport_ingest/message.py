"""What comes in, and what a decoder makes of it."""

from __future__ import annotations

import msgspec

from techport_storage.model import Micros


class Message(msgspec.Struct, frozen=True, gc=False):
    """An MQTT message as the broker gave it."""

    topic: str
    payload: bytes
    received: Micros  # when it arrived here, UTC
    id: int  # the source's handle to settle it with
    redelivered: bool = False  # the broker says that it has given us this message before (DUP)
    retained: bool = False  # an old value that the broker repeats to a new subscriber


class Observed(msgspec.Struct, frozen=True, gc=False):
    """One value as the device said it, before anybody checked it.

    `value` is whatever the payload held: the check step turns it into a float or sets it aside with a reason.
    """

    device: str
    time: Micros | None  # None: the device gave no time
    key: str  # the device's own name for it; a quantity of the vocabulary when it is well-behaved
    value: object
    unit: str | None = None  # as the payload said it, if it did


class DeviceEvent(msgspec.Struct, frozen=True, gc=False):
    """Something that happened at a device and is no reading: it joined, a button was pressed, it went offline.

    `kind` is a short code that events are grouped by ("join", "button", "offline"); `text` says more, if there is more.
    """

    device: str
    time: Micros | None
    kind: str
    text: str = ""


class Ignored(msgspec.Struct, frozen=True, gc=False):
    """A part of a message that is no reading by a rule of its format. Counted, not stored, not set aside.

    `rule` is a short code ("text", "null", "downlink"); `key` names the value, or is "" where it is the whole message.
    """

    device: str
    rule: str
    key: str = ""


Found = Observed | DeviceEvent | Ignored
"""What a decoder may find. Each one has exactly one fate, so that the sums of a message agree by counting its list."""


class BadMessage(Exception):
    """A message that can never be read. It is set aside with this reason, and the others go on.

    `reason` is a short code that entries are grouped by ("not-json"), `detail` says what was wrong and where, `hint`
    says in plain words how to fix it.
    """

    def __init__(self, reason: str, detail: str, hint: str) -> None:
        super().__init__(f"{reason}: {detail}. {hint}")
        self.reason = reason
        self.detail = detail
        self.hint = hint

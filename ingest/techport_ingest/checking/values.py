"""Is it a number, and is its time possible? What is said to the maker of a device when it is not."""

from __future__ import annotations

from math import isfinite

from techport_ingest.checking import written_values
from techport_ingest.checking.absence import is_absent_text
from techport_ingest.message import RejectedMessage
from techport_storage.microseconds import MINUTE
from techport_storage.model import Micros

AHEAD: Micros = 5 * MINUTE
"""How far a device's clock may be ahead of ours."""

EARLIEST: Micros = 946_684_800_000_000
"""2000-01-01T00:00:00Z. Clocks that were never set start in 1970, or at their firmware's birth."""


def as_number(key: str, value: object, state: bool) -> float:
    """The value as a float. Raises RejectedMessage for everything that is not a number, text with digits included."""
    kind = type(value)
    if kind is float:
        number: float = value  # type: ignore[assignment]
        if isfinite(number):
            return number
        raise RejectedMessage("nan.value", key=key, given=str(number))
    if kind is int:
        try:
            return float(value)  # type: ignore[arg-type]
        except OverflowError:
            raise RejectedMessage("number-too-large.value", key=key) from None
    if kind is bool:
        if state:
            return float(value)  # type: ignore[arg-type]
        raise RejectedMessage("not-a-number.boolean", key=key, given=value)
    if kind is str:
        raise _text(key, value)  # type: ignore[arg-type]
    if value is None:
        raise RejectedMessage("not-a-number.null", key=key)
    if kind is dict:
        raise RejectedMessage("not-a-number.object", key=key)
    if kind is list:
        raise RejectedMessage("not-a-number.array", key=key)
    raise RejectedMessage("not-a-number.type", key=key, type=kind.__name__)


def _text(key: str, text: str) -> RejectedMessage:
    given = text[:40]
    if is_absent_text(text):
        return RejectedMessage("not-a-number.nothing", key=key, given=given)
    written = written_values.read(text)
    if written is None:
        return RejectedMessage("not-a-number.text", key=key, given=given)
    return RejectedMessage("not-a-number.quoted", key=key, given=given, number=f"{written.value:.15g}")


def check_clock(time: Micros, received: Micros) -> None:
    """Raises RejectedMessage for an instant that a clock which is set cannot show."""
    if time > received + AHEAD:
        raise RejectedMessage("clock-future", ahead=time - received)
    if time < EARLIEST:
        raise RejectedMessage("clock-past", behind=received - time)

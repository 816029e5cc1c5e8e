"""Is it a number, and is its time possible? What is said to the maker of a device when it is not."""

from __future__ import annotations

from math import isfinite

from techport_ingest.message import BadMessage
from techport_storage.microseconds import MINUTE
from techport_storage.model import Micros

AHEAD: Micros = 5 * MINUTE
"""How far a device's clock may be ahead of ours."""

EARLIEST: Micros = 946_684_800_000_000
"""2000-01-01T00:00:00Z. Clocks that were never set start in 1970, or at their firmware's birth."""


def as_number(key: str, value: object, state: bool) -> float:
    """The value as a float. Raises BadMessage for all that is none, text with digits in it included."""
    kind = type(value)
    if kind is float:
        number: float = value  # type: ignore[assignment]
        if isfinite(number):
            return number
        raise BadMessage("nan", f"{key} is {number}", "Leave the key out when there is no value")
    if kind is int:
        try:
            return float(value)  # type: ignore[arg-type]
        except OverflowError:
            raise BadMessage(
                "number-too-large", f"{key} is beyond all numbers", "Numbers end at about 1.8e308"
            ) from None
    if kind is bool:
        if state:
            return float(value)  # type: ignore[arg-type]
        raise BadMessage(
            "not-a-number", f"{key} is {str(value).lower()}", "Send 1 or 0, or describe the quantity as a state"
        )
    if kind is str:
        raise BadMessage("not-a-number", f"{key} is text", _text_hint(value))  # type: ignore[arg-type]
    if value is None:
        raise BadMessage("not-a-number", f"{key} is null", "Leave the key out when there is no value")
    name = "an object" if kind is dict else "an array" if kind is list else f"of type {kind.__name__}"
    raise BadMessage(
        "not-a-number", f"{key} is {name}", 'Send one number for each quantity: {"pm10": 21.5, "pm25": 7.2}'
    )


def _text_hint(text: str) -> str:
    shown = text[:40]
    digits = text.strip().replace(",", ".")
    try:
        number = float(digits)
    except ValueError:
        return f'"{shown}" is text: only numbers are readings; send states as numbers and events as events'
    return (
        f'"{shown}" is text: send {digits[:40]} without quotes'
        if isfinite(number)
        else f'"{shown}" is no value: leave it out'
    )


def check_clock(time: Micros, received: Micros) -> None:
    if time > received + AHEAD:
        raise BadMessage(
            "clock-future",
            f"the time is {_span(time - received)} ahead of the arrival",
            f"Set the device's clock (NTP), it is {_span(time - received)} fast, or check the unit of the time",
        )
    if time < EARLIEST:
        raise BadMessage(
            "clock-past",
            f"the time is {_span(received - time)} before the arrival, before the year 2000",
            "The device's clock was not set: wait for NTP before the first reading, or leave the time out until then",
        )


def _span(micros: Micros) -> str:
    seconds = micros / 1e6
    for size, name in ((365.25 * 86_400, "years"), (86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {name}"
    return f"{seconds:.0f} seconds"

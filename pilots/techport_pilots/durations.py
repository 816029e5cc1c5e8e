"""ISO 8601 durations ("PT10M", "P2Y6M") as a definition file writes them."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from techport_storage.model import Micros

_DURATION = re.compile(
    r"P(?=.)(?:(?P<y>\d+)Y)?(?:(?P<mo>\d+)M)?(?:(?P<w>\d+)W)?(?:(?P<d>\d+)D)?"
    r"(?:T(?=.)(?:(?P<h>\d+)H)?(?:(?P<m>\d+)M)?(?:(?P<s>\d+(?:[.,]\d{1,6})?)S)?)?",
    re.ASCII,
)
_FIXED: tuple[tuple[str, int], ...] = (("w", 604_800), ("d", 86_400), ("h", 3_600), ("m", 60))


class Duration(NamedTuple):
    """A length of time: calendar months (their length depends on when) and a fixed rest in microseconds."""

    months: int
    micros: Micros


def parse_duration(text: str, *, calendar: Literal["allowed", "refused"] = "refused") -> Duration:
    """The duration that `text` says; days count 24 hours.

    `calendar="allowed"` takes years and months too. Raises ValueError with the reason for anything else, for zero, and
    for lengths beyond 1,000 years.
    """
    match = _DURATION.fullmatch(text) if len(text) <= 64 else None
    if match is None:
        raise ValueError(f"{text[:64]!r} is no ISO 8601 duration")
    part = match.groupdict(default="0")
    months = int(part["y"]) * 12 + int(part["mo"])
    if months and calendar == "refused":
        raise ValueError(f"{text!r} has years or months, whose length depends on the calendar")
    whole, _, fraction = part["s"].replace(",", ".").partition(".")
    seconds = sum(int(part[unit]) * length for unit, length in _FIXED) + int(whole)
    micros = seconds * 1_000_000 + int(fraction.ljust(6, "0"))
    if not months and not micros:
        raise ValueError(f"{text!r} is no time at all")
    if months > 12_000 or micros > 31_557_600_000_000_000:
        raise ValueError(f"{text!r} is longer than a thousand years")
    return Duration(months, micros)


def interval_micros(text: str) -> Micros:
    """The fixed length of an interval such as "PT10M", in microseconds. Raises ValueError as parse_duration does."""
    return parse_duration(text).micros

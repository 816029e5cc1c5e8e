"""What is to know about how well a stream's readings fill a time, without handing them all over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol, runtime_checkable

from techport_storage.model import Micros, Stream


class Coverage(NamedTuple):
    """A stream's readings in a time, given the interval at which they were promised.

    Between two neighbouring readings that are d apart, round(d / interval) - 1 are missing: less than half an
    interval late is late, more is missing. `longest` is the greatest d in which one is missing, 0 where none is.
    """

    readings: int
    flagged: int  # with any quality flag
    first: Micros
    last: Micros
    missing: int
    longest: Micros


def missing_between(distance: Micros, interval: Micros) -> int:
    """Readings missing between two neighbours that are so far apart."""
    return max((distance + interval // 2) // interval - 1, 0)


def joined(before: Coverage, after: Coverage, interval: Micros) -> Coverage:
    """Coverage of a time from that of its two halves, both of which hold readings."""
    distance = after.first - before.last
    missing = missing_between(distance, interval)
    return Coverage(
        readings=before.readings + after.readings,
        flagged=before.flagged + after.flagged,
        first=before.first,
        last=after.last,
        missing=before.missing + missing + after.missing,
        longest=max(before.longest, after.longest, distance if missing else 0),
    )


@runtime_checkable
class KnowsCoverage(Protocol):
    """A store that works coverage out where the readings are. For those that do not, reading them all is the way."""

    def coverage(self, intervals: Mapping[Stream, Micros], start: Micros, end: Micros) -> dict[Stream, Coverage]:
        """Coverage of those streams that hold readings in [start, end). Raises BadQuery, StoreUnavailable."""


@runtime_checkable
class CountsReadings(Protocol):
    """A store that knows by heart how many readings each stream has, so that a look costs next to nothing."""

    def counts(self) -> dict[Stream, int]:
        """By stream; about: a reading that was replaced may count twice. Raises StoreUnavailable."""

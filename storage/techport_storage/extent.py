"""What a store knows of its readings without looking at them."""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

from techport_storage.model import Micros, Selection


class Extent(NamedTuple):
    """About the readings of a selection within a time.

    `edition` is another one whenever they may have changed: when any came, was replaced or erased. Readings behind the
    end of the time change nothing. Two stores, and one store before and after it was opened anew, never share one.
    """

    readings: int  # about: as if those of a stream were spread evenly
    edition: bytes


@runtime_checkable
class KnowsExtent(Protocol):
    def extent(self, select: Selection, start: Micros | None = None, end: Micros | None = None) -> Extent:
        """The extent of the readings in [start, end). Raises StoreUnavailable."""

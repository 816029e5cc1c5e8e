"""The registry as the pipeline sees it: a snapshot in memory that is never more than about a second old."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Protocol

from techport_pilots.model import Position
from techport_pilots.registry.database import Database
from techport_pilots.registry.intervals import LearnedInterval
from techport_pilots.registry.view import IngestView, Origin
from techport_storage.model import Micros, Stream


class IngestRegistry(Protocol):
    """What ingest needs of techport_pilots.registry.Registry. Each call may raise RegistryUnavailable."""

    def version(self) -> int: ...

    def snapshot(self) -> IngestView: ...

    @property
    def database(self) -> Database: ...

    def note_streams(self, streams: Iterable[Stream]) -> None: ...

    def note_units(self, units: Mapping[Stream, str]) -> None: ...

    def note_origins(self, origins: Iterable[Origin]) -> None: ...

    def note_intervals(self, learned: Iterable[LearnedInterval]) -> None: ...

    def note_move(self, pilot: str, device: str, time: Micros, position: Position) -> bool: ...


class IngestViewCache:
    """Asks for the registry's version once a `period` (seconds), and at once when something unknown turns up."""

    def __init__(self, registry: IngestRegistry, period: float = 1.0) -> None:
        self._registry = registry
        self._period = period
        self._asked = -period
        self._snapshot: IngestView | None = None

    def current(self) -> IngestView:
        """The snapshot to check the next batch with. Raises RegistryUnavailable."""
        if self._snapshot is None or time.monotonic() - self._asked >= self._period:
            self._refresh()
        assert self._snapshot is not None
        return self._snapshot

    def newer(self) -> IngestView | None:
        """A newer snapshot, if there is one. Asked at most once a batch, many unknown devices cost little."""
        before = self._snapshot
        self._refresh()
        return self._snapshot if self._snapshot is not before else None

    def _refresh(self) -> None:
        version = self._registry.version()
        if self._snapshot is None or self._snapshot.version != version:
            self._snapshot = self._registry.snapshot()
        self._asked = time.monotonic()

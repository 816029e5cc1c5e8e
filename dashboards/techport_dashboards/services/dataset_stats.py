"""What the store holds of each pilot, for the catalogue: from when to when, how much, how complete.

Counting a pilot reads all it has, so the answer is kept for some minutes.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

from techport_pilots.model import PilotDefinition
from techport_pilots.quality.completeness import pilot_intervals, since_start, stream_completeness, together
from techport_pilots.registry.lifecycle import changes, measured_until
from techport_pilots.registry.registry import Registry
from techport_storage import clock
from techport_storage.microseconds import MINUTE
from techport_storage.model import Micros
from techport_storage.store import ReadingStore

FRESH: Micros = 10 * MINUTE


@dataclass(frozen=True, slots=True)
class DatasetStats:
    """Readings of a pilot's described streams. Times are those measured at."""

    first: Micros
    last: Micros
    readings: int
    completeness: float | None  # 0..1 since the pilot's start; None where nothing was promised
    since: Micros  # from when completeness counts
    ended: bool
    modified: Micros  # newest reading or newest version of the definition


class DatasetStatsCache:
    """Gives a pilot's holding, at most FRESH old. Safe to use from several threads; works one out at a time."""

    def __init__(self, registry: Registry, store: ReadingStore) -> None:
        self._registry = registry
        self._store = store
        self._lock = threading.Lock()
        self._kept: dict[str, tuple[Micros, PilotDefinition, DatasetStats | None]] = {}

    def of(self, pilot: PilotDefinition) -> DatasetStats | None:
        """None while there is not one reading. Raises what the store and the registry raise."""
        with self._lock:
            now = clock.now()
            cached = self._kept.get(pilot.id)
            if cached is None or cached[1] is not pilot or now - cached[0] > FRESH:
                cached = self._kept[pilot.id] = (now, pilot, self._count(pilot, now))
            return cached[2]

    def _count(self, pilot: PilotDefinition, now: Micros) -> DatasetStats | None:
        total = together(stream_completeness(self._store, pilot_intervals(pilot), 0, now).values())
        if total.first is None or total.last is None:
            return None
        until = measured_until(changes(self._registry.database, pilot.id), now)
        complete = since_start(self._store, pilot, until)
        defined = self._registry.history(pilot.id)[0].at
        return DatasetStats(
            first=total.first,
            last=total.last,
            readings=total.readings,
            completeness=complete.whole.share,
            since=complete.since,
            ended=self._registry.state(pilot.id) in ("ended", "closed"),
            modified=max(total.last, defined),
        )


class SharedDatasetStats(DatasetStatsCache):
    """Of a share, by its readings alone: what it promises is not known, and when its pilot was changed is not shown."""

    def __init__(self, store: ReadingStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._kept = {}

    def _count(self, pilot: PilotDefinition, now: Micros) -> DatasetStats | None:
        total = together(stream_completeness(self._store, pilot_intervals(pilot), 0, now).values())
        if total.first is None or total.last is None:
            return None
        return DatasetStats(
            first=total.first,
            last=total.last,
            readings=total.readings,
            completeness=None,
            since=total.first,
            ended=False,
            modified=total.last,
        )

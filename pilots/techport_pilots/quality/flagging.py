"""Flags what has come lately: a round every minute over the streams that have new readings, whoever stored them.

    store.latest ─► streams with news ─► rows since the last round ─► judged ─► store.flag

A round reads about what has come since the one before; after a start, and for a stream that is new to it, two days. A
reading that comes later than others of its stream is checked at ingest for its range, and for the rest when somebody
asks (flag_requests.py): a round does not look back. Of several processes one does the rounds (leases.py).
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pyarrow as pa
import structlog

from techport_pilots.definition.flag_rules import Rules, excluded_windows, moves_of
from techport_pilots.errors import RegistryUnavailable
from techport_pilots.model import PilotDefinition
from techport_pilots.quality.flags import WARM_UP, Flagger, judged, reflag, with_flags
from techport_pilots.registry.flag_requests import FlagRequests
from techport_pilots.registry.leases import Leases
from techport_pilots.registry.registry import Registry
from techport_storage.errors import StoreUnavailable
from techport_storage.microseconds import MINUTE
from techport_storage.model import Micros, Query, Selection, Stream
from techport_storage.store import ReadingStore

log = structlog.get_logger(__name__)

PERIOD = 60.0
"""Seconds between two rounds."""


class FlagPass:
    """`run` in a thread of its own until `stop`."""

    def __init__(self, registry: Registry, store: ReadingStore, worker: str, period: float = PERIOD) -> None:
        self._registry = registry
        self._store = store
        self._worker = worker
        self._period = period
        self._leases = Leases(registry.database)
        self._requests = FlagRequests(registry.database)
        self._pilots: dict[str, _Pilot] = {}
        self._stopping = threading.Event()

    def run(self) -> None:
        """A round every period, and at once when flags are asked for anew. "Not now" is tried again the next time."""
        waited, away = 0.0, False
        while not self._stopping.wait(min(1.0, self._period)):
            waited += min(1.0, self._period)
            try:
                if waited >= self._period:
                    waited = 0.0
                    self.round()
                elif self._requests.waiting():
                    self.answer()
                away = False
            except (StoreUnavailable, RegistryUnavailable) as error:
                if not away:  # said once: a store that is away is away for many rounds
                    log.warning("flags wait until store and registry are back", problem=str(error))
                away = True
            except Exception:  # the supervising loop: readings come and are kept without it
                log.exception("a round of flags failed; the next one tries again")
                self._pilots.clear()

    def stop(self) -> None:
        self._stopping.set()

    def round(self) -> int:
        """Judge what is new; returns how many rows got other flags. Nothing where another process does it."""
        if not self._leases.acquire("flags", self._worker, 3 * self._period):
            return 0
        changed = self._answer()
        latest = _ends(self._store.latest(Selection()))
        for definition in self._registry.pilots():
            if self._registry.state(definition.id) == "closed":
                continue  # its data is frozen
            pilot = self._pilots.get(definition.id)
            if pilot is None or pilot.definition != definition:
                pilot = self._pilots[definition.id] = _Pilot(definition)
            changed += pilot.catch_up(self._store, latest.get(definition.id, {}))
        return changed

    def answer(self) -> int:
        """Do what was asked for, as `round` does."""
        return self._answer() if self._leases.acquire("flags", self._worker, 3 * self._period) else 0

    def _answer(self) -> int:
        changed = 0
        for request in self._requests.waiting():
            if request.pilot in {pilot.id for pilot in self._registry.pilots()}:
                rows = reflag(self._store, self._registry.pilot(request.pilot), request.start, request.end)
                log.info("worked flags out anew", pilot=request.pilot, rows=rows)
                changed += rows
            else:
                rows = 0
            self._requests.done(request.id, rows)
        return changed


class _Pilot:
    """What a round remembers of a pilot, while its definition stays as it is."""

    def __init__(self, definition: PilotDefinition) -> None:
        self.definition = definition
        self._flagger = Flagger(Rules(definition), moves_of(definition))
        self._windows: dict[Stream, Sequence[tuple[Micros, Micros]]] = {}
        self._until: dict[Stream, Micros] = {}  # time of the last reading that was judged, for now

    def catch_up(self, store: ReadingStore, latest: dict[Stream, Micros]) -> int:
        changed = 0
        news = {stream: end for stream, end in latest.items() if end > self._until.get(stream, end - 1)}
        for start, streams in _together({stream: self._start(stream, end) for stream, end in news.items()}, news):
            query = Query(select=Selection(streams=tuple(streams)), start=start)
            for batch, quality in judged(store, query, self._flagger, self._excluded):
                if (differs := quality != batch.quality).any():
                    changed += store.flag(with_flags(batch, quality, differs))
        self._until |= news  # in the end: a round that was cut short is done again
        return changed

    def _start(self, stream: Stream, end: Micros) -> Micros:
        return self._until.get(stream, end - WARM_UP)

    def _excluded(self, stream: Stream) -> Sequence[tuple[Micros, Micros]]:
        if stream not in self._windows:
            self._windows[stream] = excluded_windows(self.definition, stream)
        return self._windows[stream]


def _together(starts: dict[Stream, Micros], ends: dict[Stream, Micros]) -> list[tuple[Micros, list[Stream]]]:
    """Streams that are read in one query from one time: those whose news are about equally long and old."""
    groups: dict[tuple[int, int], list[Stream]] = {}
    for stream, start in starts.items():
        length = max(MINUTE, ends[stream] - start).bit_length()
        groups.setdefault((length, ends[stream] >> length), []).append(stream)
    return [(min(starts[stream] for stream in streams), streams) for streams in groups.values()]


def _ends(latest: pa.Table) -> dict[str, dict[Stream, Micros]]:
    """The time of each stream's last reading, by pilot."""
    names = zip(*(latest[name].to_pylist() for name in Stream._fields), strict=True)
    ends: dict[str, dict[Stream, Micros]] = {}
    for name, time in zip(names, latest["time"].cast(pa.int64()).to_pylist(), strict=True):
        ends.setdefault(name[0], {})[Stream(*name)] = time
    return ends

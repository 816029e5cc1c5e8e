"""Pilots' reports, worked out once and kept: the second reader need not wait.

A report stays good while the definition and the state stay, for some minutes while readings may still come; that of a
closed pilot for ever, since its data is frozen, unless something of it is erased.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path

from techport_dashboards.services.basemap import load_basemap
from techport_pilots.model import PilotDefinition
from techport_pilots.registry.erasures import erasures_done
from techport_pilots.registry.lifecycle import State
from techport_pilots.registry.registry import Registry
from techport_pilots.reports.build import Report, current_report
from techport_pilots.reports.html import page
from techport_storage import clock
from techport_storage.microseconds import MINUTE
from techport_storage.model import Micros
from techport_storage.store import ReadingStore

FRESH: Micros = 10 * MINUTE
MOST = 32  # pilots whose reports are kept: some hundred kB each


@dataclass(frozen=True, slots=True)
class Written:
    """A report as it is sent."""

    content: bytes
    etag: str


@dataclass(frozen=True, slots=True)
class Kept:
    definition: PilotDefinition
    report: Report
    erased: int  # how often something of the pilot had been erased
    pages: dict[tuple[str, str | None], Written] = field(default_factory=dict)  # by language and way back

    def good(self, definition: PilotDefinition, state: State, erased: int, now: Micros) -> bool:
        same = self.definition == definition and self.report.state == state and self.erased == erased
        return same and (state == "closed" or now - self.report.made <= FRESH)


class Reports:
    """Gives a pilot's report. Safe to use from several threads; works one out at a time."""

    def __init__(self, registry: Registry, store: ReadingStore, basemap: Path | None) -> None:
        self._registry = registry
        self._store = store
        self._basemap = basemap
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Kept] = OrderedDict()

    def page(self, pilot: PilotDefinition, language: str, fresh: bool = False, back: str | None = None) -> Written:
        """In nb or en; `fresh`: not begun before it was asked for; `back`: the page that the reader goes back to.
        Raises what store and registry raise.
        """
        asked = clock.now()
        with self._lock:  # those who wait for it together get the same one
            state, now = self._registry.state(pilot.id), clock.now()
            erased = erasures_done(self._registry.database, pilot.id)
            cached = self._kept.get(pilot.id)
            if cached is None or not cached.good(pilot, state, erased, now) or (fresh and cached.report.made < asked):
                report = current_report(self._registry, self._store, pilot, now)
                cached = self._kept[pilot.id] = Kept(pilot, report, erased)
            self._kept.move_to_end(pilot.id)
            while len(self._kept) > MOST:
                self._kept.popitem(last=False)
            if (language, back) not in cached.pages:
                content = page(cached.report, language, load_basemap(self._basemap), back).encode()
                cached.pages[language, back] = Written(content, f'"{hashlib.sha256(content).hexdigest()[:32]}"')
            return cached.pages[language, back]

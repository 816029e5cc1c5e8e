"""Works out what the pilots' KPIs say before anybody asks: for portfolio, alerts and the first reader of a page."""

from __future__ import annotations

import logging
import secrets
import threading

from techport_dashboards.query.registry_cache import RegistryCache
from techport_dashboards.services.evaluations import FRESH, Evaluations
from techport_pilots.errors import RegistryUnavailable
from techport_pilots.registry.leases import Leases
from techport_storage.errors import StoreError

log = logging.getLogger(__name__)

FIRST = 10.0
"""Seconds after the start: the first pages are served before."""

BETWEEN = 1.0
"""Seconds between two pilots, in which requests have the processor."""

_WORK = "evaluations"


class BackgroundEvaluation:
    """A thread that goes through all pilots that run or have ended, again and again. Of several processes one does."""

    def __init__(
        self, registry_cache: RegistryCache, evaluations: Evaluations, first: float = FIRST, between: float = BETWEEN
    ) -> None:
        self._registry_cache = registry_cache
        self._evaluations = evaluations
        self._first = first
        self._between = between
        self._leases = Leases(registry_cache.registry.database)
        self._worker = f"web-{secrets.token_hex(8)}"
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="background evaluation", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Return when the evaluation that is being worked out is done: its store is closed after this."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def round(self) -> list[str]:
        """Bring all pilots up to date that are not over; of which it was done. Nothing where another process does."""
        if not self._leases.acquire(_WORK, self._worker, 2 * FRESH / 1e6):
            return []
        done = []
        catalogue = self._registry_cache.current()
        for pilot in catalogue.pilots.values():
            if self._stopping.is_set():
                break
            state = self._registry_cache.registry.state(pilot.id)
            if not pilot.kpis or state in ("draft", "closed"):
                continue
            try:
                self._evaluations.standing(pilot)
                done.append(pilot.id)
            except (StoreError, RegistryUnavailable) as error:
                log.warning("could not evaluate a pilot", extra={"pilot": pilot.id, "problem": str(error)})
            except Exception:  # supervises: one pilot that cannot be evaluated must not end all others
                log.exception("evaluating a pilot failed", extra={"pilot": pilot.id})
            self._stopping.wait(self._between)
        return done

    def _run(self) -> None:
        wait = self._first
        while not self._stopping.wait(wait):
            wait = FRESH / 1e6
            try:
                self.round()
            except RegistryUnavailable as error:
                log.warning("evaluations wait until the registry is back", extra={"problem": str(error)})
        try:
            self._leases.release(_WORK, self._worker)
        except RegistryUnavailable:
            log.info("the lease for evaluations runs out by itself")

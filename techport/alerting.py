"""Looks at the start and once a minute at what needs somebody, in a thread of its own: one process of all that share
the registry."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import structlog

from techport.background import in_background
from techport.platform import Stores
from techport.settings import Settings
from techport_dashboards.query.registry_cache import RegistryCache
from techport_dashboards.services.alerts import Watch
from techport_pilots.errors import RegistryUnavailable
from techport_pilots.registry.leases import Leases
from techport_storage.errors import StoreError

log = structlog.get_logger(__name__)

_WORK = "alerts"


@contextmanager
def alerting(settings: Settings, parts: Stores) -> Iterator[None]:
    """Look for alerts until the block ends."""
    stopping = threading.Event()
    with in_background("alerts", partial(_run, settings, parts, stopping), stopping.set):
        yield


def _run(settings: Settings, parts: Stores, stopping: threading.Event) -> None:
    scheme = "https" if settings.http_cert else "http"
    address = settings.public_url or f"{scheme}://{settings.http_address.reachable}"
    watch = Watch(RegistryCache(parts.registry), parts.readings, address)
    leases, worker = Leases(parts.registry.database), f"web-{secrets.token_hex(8)}"
    first = True
    while first or not stopping.wait(settings.alert_seconds):
        try:
            # Of several that look at once each alert is written by one. So the first look needs no lease, which a
            # process that was killed may still hold.
            if leases.acquire(_WORK, worker, 3 * settings.alert_seconds) or first:
                watch.look()
        except (StoreError, RegistryUnavailable) as error:
            log.warning("could not look for alerts", problem=str(error))
        except Exception:  # supervises: alerts about one pilot must not end those about all others
            log.exception("looking for alerts failed")
        first = False
    try:
        leases.release(_WORK, worker)
    except RegistryUnavailable:
        log.info("the lease for alerts runs out by itself")

"""The archive of closed days beside the store: opened with it, and kept up to date in a thread of its own."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import structlog

from techport.background import in_background
from techport.settings import Settings
from techport_pilots.accounting.announced_writes import AnnouncedWrites
from techport_pilots.errors import RegistryUnavailable
from techport_pilots.registry.database import Database
from techport_pilots.registry.leases import Leases, Turn
from techport_storage.errors import StoreError, StoreUnavailable
from techport_storage.store import ReadingStore, open_store

if TYPE_CHECKING:
    from techport_storage.archive.rounds import Archiver

log = structlog.get_logger(__name__)

_TURN, _ROUNDS = "archive", "archive-rounds"
PERIOD = 3600.0
"""Seconds between two rounds."""
FIRST_ROUND = 120.0  # seconds after the start


def open_readings(settings: Settings, database: Database) -> ReadingStore:
    """The store, with the archive behind it where there is one. Raises StoreUnavailable, StoreIncompatible."""
    readings = open_store(settings.store_url, AnnouncedWrites(database))
    if settings.archive is None or settings.store_url.startswith("shared:"):  # what is shared has it already
        return readings
    try:
        from techport_storage.archive.store import ArchivedStore
        from techport_storage.archive.table import ArchiveTable

        turn = Turn(database, _TURN)

        @contextmanager
        def exclusive() -> Iterator[None]:
            try:
                with turn():
                    yield
            except RegistryUnavailable as error:
                raise StoreUnavailable(f"a closed day cannot be written to without the registry: {error}") from error

        return ArchivedStore(readings, ArchiveTable.open(settings.archive), exclusive, settings.archive_after_days)
    except BaseException:
        readings.close()
        raise


def archiver(settings: Settings, readings: ReadingStore) -> Archiver | None:
    """What does rounds; None where there is no archive."""
    if settings.archive is None:
        return None
    from techport_storage.archive.rounds import Archiver
    from techport_storage.archive.store import ArchivedStore

    assert isinstance(readings, ArchivedStore)
    return Archiver(readings, settings.archive_keep_months)


@contextmanager
def archiving(settings: Settings, database: Database, readings: ReadingStore) -> Iterator[None]:
    """Do a round every hour until the block ends: one process of all that share the registry."""
    rounds = archiver(settings, readings)
    if rounds is None:
        yield
        return
    stopping = threading.Event()
    with in_background("archive", partial(_run, rounds, database, stopping), stopping.set):
        yield


def _run(rounds: Archiver, database: Database, stopping: threading.Event) -> None:
    leases, worker = Leases(database), secrets.token_hex(8)
    wait = FIRST_ROUND
    while not stopping.wait(wait):
        wait = PERIOD
        try:
            if not leases.acquire(_ROUNDS, worker, 2 * PERIOD):
                continue
            done = rounds.round()
            if done:
                log.info("archived", rows=done.archived, late_days=done.late_days, moved=done.moved, months=done.joined)
        except (StoreError, RegistryUnavailable) as error:
            log.warning("the archive is not up to date; the next round goes on", problem=str(error))
        except Exception:  # supervises: readings stay where they are
            log.exception("a round of the archive failed; the next one tries again")
    try:
        leases.release(_ROUNDS, worker)
    except RegistryUnavailable:
        log.info("the lease for the archive runs out by itself")

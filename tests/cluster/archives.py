"""A store whose readings are taken into the archive as soon as they are written, for the tests of the contract."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager
from pathlib import Path

from techport_storage.archive.rounds import Archiver
from techport_storage.archive.store import ArchivedStore
from techport_storage.archive.table import ArchiveTable
from techport_storage.model import Batch, Receipt, Replacing
from techport_storage.reading_store import ReadingStore
from techport_storage.store import open_store


def in_this_process() -> AbstractContextManager[object]:
    """`exclusive` where one process alone uses the archive. Not shared between stores: each test has one."""
    return _LOCK


_LOCK = threading.RLock()


def archived_store(folder: Path | str, recent: str = "duckdb://") -> ArchivedStore:
    """Over a DuckDB store in memory, with an archive in a folder."""
    return ArchivedStore(open_store(recent), ArchiveTable.open(str(Path(folder) / "archive")), in_this_process)


class AtOnce(ArchivedStore):
    """Does a round after every write, so that what is older than two months lies in the archive alone."""

    def write(self, batch: Batch, replacing: Replacing | None = None) -> Receipt:
        receipt = super().write(batch, replacing)
        Archiver(self, keep_months=1, grace_s=0).round()
        return receipt


def store_that_archives_at_once(folder: Path) -> ReadingStore:
    return AtOnce(open_store("duckdb://"), ArchiveTable.open(str(folder / "archive")), in_this_process)

"""Bringing the file of an older techport up to date when it is opened.

    open ─► layout of the file ─► older ─► a copy beside it ─► all steps in one transaction ─► the current layout
                               └► newer, or not techport's: StoreIncompatible

A step is frozen: it holds the SQL of its time and never uses the tables of sql.py, which go on changing. A new layout
is a new module here, a line in STEPS and the next sql.VERSION. Killed at any moment, the file has the old layout or the
new one; the copy stays until the store is closed for the first time (DuckFile.drop_copies).
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from typing import NamedTuple

import duckdb

from techport_storage.duckdb.file import DuckFile
from techport_storage.duckdb.migrations import layout_2, layout_3, layout_4
from techport_storage.errors import StoreIncompatible, StoreUnavailable

log = logging.getLogger(__name__)


class Step(NamedTuple):
    """Makes a file of the layout before into one of layout `version`, within the caller's transaction."""

    version: int
    upgrade: Callable[[duckdb.DuckDBPyConnection], None]


STEPS = (Step(2, layout_2.upgrade), Step(3, layout_3.upgrade), Step(4, layout_4.upgrade))


def migrate(file: DuckFile, version: int) -> None:
    """Take the steps that a file of an older layout still needs. Raises StoreIncompatible, StoreUnavailable."""
    newest = STEPS[-1].version
    if not 1 <= version <= newest:
        raise StoreIncompatible(
            f"{file.path}: a newer techport made this file (layout {version}, this one reads up to {newest}). "
            "Run that version, or export the readings with it (`techport store export`) and import them here"
        )
    steps = [step for step in STEPS if step.version > version]
    size = file.bytes()
    if file.path is not None:
        free = shutil.disk_usage(file.path.parent).free
        needed = (1 + len(steps)) * size  # the copy, and each step may write all rows anew: blocks are freed at the end
        if free < needed:
            raise StoreUnavailable(
                f"{file.path}: the upgrade of this file needs {needed / 1e9:.1f} GB of free disk, and there are "
                f"{free / 1e9:.1f}: a copy of the old file is kept until the upgraded one was closed once"
            )
        log.info("upgrading %s from layout %d to %d, %.1f GB", file.path, version, newest, size / 1e9)
        file.keep_copy(f"layout-{version}")
    with file.transaction() as cursor:
        for step in steps:
            step.upgrade(cursor)
            cursor.execute("UPDATE layout SET version = $version", {"version": step.version})
    with file.cursor() as cursor:
        cursor.execute("CHECKPOINT")
    log.info("%s has layout %d now; the copy goes when the store is closed", file.path, newest)

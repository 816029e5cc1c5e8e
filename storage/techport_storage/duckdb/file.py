"""A DuckDB file: opening it, cursors and transactions, and what its errors mean in plain words."""

from __future__ import annotations

import glob
import itertools
import os
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qsl

import duckdb
from numpy.typing import NDArray

from techport_storage.errors import StoreBusy, StoreError, StoreIncompatible, StoreUnavailable


def parse_url(url: str) -> tuple[Path | None, dict[str, int]]:
    """The file a URL names, written as SQLAlchemy does (None: in memory), and the numbers behind its question mark.

    `duckdb:///readings.duckdb` is relative to the working folder, `duckdb:////var/lib/x.duckdb` absolute, `duckdb://`
    in memory. Raises ValueError.
    """
    rest, _, settings = url.removeprefix("duckdb://").partition("?")
    if rest and (not rest.startswith("/") or rest.endswith("/")):
        raise ValueError(f"{url!r} names no file: use duckdb:///relative.duckdb or duckdb:////absolute/path.duckdb")
    numbers = {name: int(text) for name, text in parse_qsl(settings, strict_parsing=bool(settings))}
    return Path(rest[1:]) if rest else None, numbers


def columns_of(
    cursor: duckdb.DuckDBPyConnection, sql: str, parameters: Mapping[str, object] | None = None
) -> list[NDArray[Any]]:
    """What a SELECT finds; nulls are masked.

    A relation (con.sql) is planned twice, and planning is most of what a short answer takes; columns of Arrow would
    load pandas (60 MB) on their way to numpy.
    """
    columns = cast(dict[str, NDArray[Any]], cursor.execute(sql, parameters).fetchnumpy())
    return list(columns.values())


ROW_GROUP = 491_520
"""Rows of a row group. Columns fill whole blocks of 256 kB: with DuckDB's 122,880 a fifth of the file is padding."""


def quoted(path: Path | None) -> str:
    """The path within single quotes of SQL."""
    return ":memory:" if path is None else str(path).replace("'", "''")


class DuckFile:
    """The connection to a file. Its cursors may be used from several threads, each from one at a time."""

    def __init__(self, path: Path | None, memory_mb: int) -> None:
        """Open or create (None: in memory). Of memory DuckDB takes at most so much. Raises StoreUnavailable."""
        self.path = path
        self._memory_mb = memory_mb
        self.broken = False  # DuckDB gave up after a failure: reopen() before anything else
        self._cursors: set[int] = set()
        self._numbers = itertools.count()
        self._gate = threading.Lock()  # who holds it lets no new cursors in
        self._con = self._connect()

    def _connect(self) -> duckdb.DuckDBPyConnection:
        """A connection in which the file is attached as `store`."""
        with self._translate_errors():
            if self.path is not None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            con = duckdb.connect(":memory:", config=self._settings())
            try:
                self._confine(con)
                con.execute(f"ATTACH '{quoted(self.path)}' AS store (ROW_GROUP_SIZE {ROW_GROUP})")
            except duckdb.Error:
                con.close()
                raise
            return con

    def _confine(self, con: duckdb.DuckDBPyConnection) -> None:
        """No SQL of this connection reaches files but those beside the store's, the network or these settings."""
        if self.path is not None:
            con.execute(f"SET allowed_directories = ['{quoted(self.path.resolve().parent)}/']")
        con.execute("SET enable_external_access = false")
        con.execute("SET lock_configuration = true")

    def _settings(self) -> dict[str, str | bool | int | float | list[str]]:
        # A checkpoint that fails within a commit would make an error of rows that were stored. Upkeep does them.
        settings: dict[str, str | bool | int | float | list[str]] = {"wal_autocheckpoint": "1TB"}
        if self.path is not None:  # in memory all rows are memory
            settings["memory_limit"] = f"{self._memory_mb}MB"
            settings["temp_directory"] = f"{self.path}.tmp"  # DuckDB's own is in the working folder
        return settings

    def reopen(self) -> None:
        """Open again after a failure; everything that was committed is there. Raises StoreUnavailable."""
        with self._gate:
            self._con.close()
            self._con = self._connect()
            self.broken = False

    @contextmanager
    def cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A cursor of its own state; an unfinished transaction is rolled back at the end. Raises StoreUnavailable."""
        with self._translate_errors():
            with self._gate:
                cursor = self._con.cursor()
                cursor.execute("USE store")
                number = next(self._numbers)
                self._cursors.add(number)
            try:
                yield cursor
            finally:
                cursor.close()
                self._cursors.discard(number)

    @contextmanager
    def transaction(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A cursor in a transaction, which is committed (durably) at the end unless something was raised."""
        with self.cursor() as cursor:
            cursor.begin()
            yield cursor
            cursor.commit()

    def replace_with(self, new: Path) -> bool:
        """Put another file in the place of this one and go on with it. False if a cursor stays open. Raises
        StoreUnavailable; then the old file is still in its place.
        """
        assert self.path is not None
        limit = time.monotonic() + PATIENCE
        with self._gate:  # no new cursors
            while self._cursors:
                if time.monotonic() > limit:
                    return False
                time.sleep(0.01)
            with self._translate_errors():
                self._con.execute("CHECKPOINT store")  # a log of the old file must not meet the new one
                self.broken = True  # unless it opens again below
                self._con.close()
                try:
                    if self.log_bytes() == 0:
                        new.replace(self.path)
                        _sync_folder(self.path.parent)
                        return True
                    return False
                finally:
                    self._con = self._connect()
                    self.broken = False

    def keep_copy(self, suffix: str) -> None:
        """Copy the file, with all that was committed, to one of its name and the suffix. Nobody may use it meanwhile.

        The copy has its name only when it is complete. Raises StoreUnavailable.
        """
        assert self.path is not None
        unfinished = self.path.with_name(f"{self.path.name}.{suffix}{_UNFINISHED}")
        with self._gate, self._translate_errors():
            self._con.execute("CHECKPOINT store")
            self.broken = True  # unless it opens again below
            self._con.close()
            try:
                shutil.copyfile(self.path, unfinished)
                with unfinished.open("rb+") as copy:
                    os.fsync(copy.fileno())
                unfinished.replace(unfinished.with_suffix(""))
                _sync_folder(self.path.parent)
            except OSError:
                unfinished.unlink(missing_ok=True)
                raise
            finally:
                self._con = self._connect()
                self.broken = False

    def drop_copies(self) -> None:
        """Remove what keep_copy made of the file: it was closed well, or readings were erased from it."""
        if self.path is not None:
            for copy in self.path.parent.glob(f"{glob.escape(self.path.name)}.layout-*"):
                copy.unlink(missing_ok=True)

    def bytes(self) -> int:
        """Size of the file and its write-ahead log."""
        return 0 if self.path is None else self.path.stat().st_size + self.log_bytes()

    def log_bytes(self) -> int:
        """Size of the write-ahead log."""
        if self.path is None:
            return 0
        try:
            return self.path.with_name(f"{self.path.name}.wal").stat().st_size
        except FileNotFoundError:
            return 0

    def close(self) -> None:
        self._con.close()

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        """The one place where errors of DuckDB and the disk become a StoreError with a remedy.

        Errors of our own SQL are not among them: those are mistakes in this package and stay what they are.
        """
        try:
            yield
        except (duckdb.FatalException, duckdb.InternalException) as error:
            self.broken = True
            raise self._store_error(error) from error
        except (duckdb.OperationalError, OSError) as error:
            self.broken = self.broken or "invalidated" in str(error)
            raise self._store_error(error) from error
        except duckdb.Error as error:
            if any(sign in str(error) for sign in _DAMAGED):
                raise self._store_error(error) from error
            raise

    def _store_error(self, error: Exception) -> StoreError:
        message = str(error)
        where = self.path or "in memory"
        if any(sign in message for sign in _MET):
            return StoreBusy(f"{where}: others are at work in it at this moment; nothing is wrong")
        for sign, remedy in _INCOMPATIBLE.items():
            if sign in message:
                return StoreIncompatible(f"{where}: {remedy} ({message.splitlines()[0]})")
        for sign, remedy in _REMEDIES.items():
            if sign in message:
                return StoreUnavailable(f"{where}: {remedy} ({message.splitlines()[0]})")
        return StoreUnavailable(f"{where}: the store cannot work now; look at its disk ({message.splitlines()[0]})")


def _sync_folder(folder: Path) -> None:
    """Make a change of names in the folder survive a power loss."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


_UNFINISHED = ".part"
PATIENCE = 5.0  # s that readers get to end when the file is to be replaced

_MET = ("Cannot CHECKPOINT", "Conflict on", "write-write conflict")
"""In what DuckDB says when two transactions met."""

_DAMAGED = ("Corrupt database file", "Could not read enough bytes")
_RESTORE = (
    "the file is damaged, and was left as it is. Move the data folder away and bring the last backup back into an "
    "empty one (`techport store restore BACKUP --data FOLDER`)"
)

_INCOMPATIBLE = {
    **dict.fromkeys(_DAMAGED, _RESTORE),
    "version number": "another version of DuckDB wrote this file. Export the readings with the techport that wrote it "
    "(`techport store export`) and import them here",
    "not a valid DuckDB": "this is not a DuckDB file, or a damaged one, and was left as it is. Name another, or "
    "move the data folder away and bring the last backup back (`techport store restore BACKUP --data FOLDER`)",
}

_REMEDIES = {
    "Could not set lock": "another process has the store open, and only one can. Stop it, or name another file",
    "already attached": "this process has it open already. Share that store, or close it first",
    "No space left": "the disk is full. Free some space; nothing that was acknowledged is lost",
    "File too large": "the file may not grow further. Raise the limit; nothing that was acknowledged is lost",
    "Out of Memory": "it needs more memory than it may take. Raise memory_mb behind the store's URL",
    "Permission denied": "the file may not be written. Give this user the right to",
    "Connection already closed": "the store is closed. Open it again",
}

"""Opening a DuckDB file and saying in plain words why it did not work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from techport_storage.errors import StoreUnavailable


def file_of(url: str) -> Path | None:
    """The file a URL names, written as SQLAlchemy does; None for a store in memory.

    `duckdb:///readings.duckdb` is relative to the working folder, `duckdb:////var/lib/x.duckdb` absolute, `duckdb://`
    in memory. Raises ValueError.
    """
    rest = url.removeprefix("duckdb://")
    if rest == "":
        return None
    if not rest.startswith("/") or rest == "/":
        raise ValueError(f"{url!r} names no file: use duckdb:///relative.duckdb or duckdb:////absolute/path.duckdb")
    return Path(rest[1:])


def connect(file: Path | None) -> duckdb.DuckDBPyConnection:
    """A connection to the file, which is made (with its folder) if it is not there yet. Raises StoreUnavailable."""
    try:
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreUnavailable(
            f"the folder of {file} cannot be made: {error.strerror}. Make it, or name another"
        ) from error
    with saying_why(file):
        return duckdb.connect(":memory:" if file is None else str(file))


@contextmanager
def saying_why(file: Path | None) -> Iterator[None]:
    """Turn DuckDB's errors into StoreUnavailable with the remedy. Programming errors stay what they are."""
    try:
        yield
    except (duckdb.IOException, duckdb.FatalException, duckdb.OutOfMemoryException, duckdb.InternalException) as error:
        raise StoreUnavailable(
            f"{_remedy(str(error))} ({file or 'in memory'}: {str(error).splitlines()[0]})"
        ) from error
    except (duckdb.ConnectionException, duckdb.TransactionException) as error:
        raise StoreUnavailable(f"the store is closed or busy: try again ({error})") from error


def _remedy(message: str) -> str:
    remedies = {
        "lock": "another process has the store open, and only one can: stop it, or give this one a file of its own",
        "No space": "the disk is full: free some space, nothing that was acknowledged is lost",
        "Permission": "the file may not be written: give this user the right to",
        "version": "the file was written by another version of DuckDB: open it with that one, or export and import it",
        "not a valid DuckDB": "this is not a DuckDB file: name another, or move it away",
    }
    for sign, remedy in remedies.items():
        if sign in message:
            return remedy
    return "the store cannot work now: look at the disk, then try again"

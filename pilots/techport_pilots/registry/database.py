"""Opening the database of registry and books, SQLite or PostgreSQL, and the two ways to use it: reading and writing.

Everything in this package that runs SQL does it inside `reading()` or `writing()`, which turn "cannot now" into
RegistryUnavailable.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event, exc, make_url, text

from techport_pilots.errors import RegistryUnavailable

LOCK_WAIT_S = 30
_NAME_LENGTH = 200
_MIGRATION_LOCK = 0x7EC4_9047  # any number that no other user of the same PostgreSQL takes for an advisory lock

# Alembic hands its operations to the migration scripts through globals of its own: one migration at a time.
_migrating = threading.Lock()


def open_database(url: str) -> Engine:
    """An engine for `sqlite:///path` or `postgresql://...`, its tables brought up to date.

    Safe when several threads and processes do it at once. Raises ValueError for another kind of URL, a file that is no
    database and one that a newer techport has changed; RegistryUnavailable when it cannot be opened now.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() == "postgresql":
        engine = create_engine(parsed.set(drivername="postgresql+psycopg"), pool_pre_ping=True)
    elif parsed.get_backend_name() == "sqlite" and parsed.database not in (None, "", ":memory:"):
        Path(str(parsed.database)).parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(parsed, connect_args={"timeout": LOCK_WAIT_S})
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        try:
            _with_patience(engine, _use_wal)
        except sqlite3.DatabaseError as error:
            raise ValueError(f"{parsed.database} is no SQLite database: {error}") from error
    else:
        raise ValueError(
            f"no registry for {url!r}: use sqlite:///path/to/registry.sqlite or postgresql://user@host/name"
        )
    migrate(engine)
    return engine


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A connection in a transaction that sees one state of the database."""
    with _unavailable_means_later(engine), engine.connect() as connection, connection.begin():
        yield connection


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A connection in a transaction that is durable once this block is left without an exception."""
    with _unavailable_means_later(engine), engine.execution_options(techport_writes=True).begin() as connection:
        yield connection


def name(text: str) -> str:
    """A name from the wire, fit for a key: no NUL and no lone surrogate (PostgreSQL takes neither), not endless."""
    clean = clean_text(text)
    return clean if len(clean) <= _NAME_LENGTH else clean[: _NAME_LENGTH - 1] + "…"


def clean_text(text: str) -> str:
    """Text from the wire that every database takes: NUL is shown as ␀, half a surrogate pair as its escape."""
    return text.replace("\0", "␀").encode("utf-8", "backslashreplace").decode("utf-8")


def migrate(engine: Engine) -> None:
    """Bring the tables to the newest revision. Of several that start at once, one does it and the others wait."""
    config = Config()
    config.set_main_option("script_location", "techport_pilots.registry:migrations")
    scripts = ScriptDirectory.from_config(config)
    newest = scripts.get_current_head()
    with reading(engine) as connection:
        current = _revision(connection)
    if current == newest:
        return
    if current not in (None, *(script.revision for script in scripts.walk_revisions())):
        where = engine.url.render_as_string(hide_password=True)
        raise ValueError(f"{where} is at revision {current}, this techport knows {newest}: use the newer techport")
    with _migrating, writing(engine) as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _MIGRATION_LOCK})
        if _revision(connection) != newest:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _set_up_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves: Python's driver would leave DDL outside the transaction
    for pragma in (f"busy_timeout={LOCK_WAIT_S * 1000}", "foreign_keys=ON", "synchronous=FULL"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads first and writes later can fail at once when another has written meanwhile, however
    # long the timeout; so writers take their place in the queue with the first word.
    writes = connection.get_execution_options().get("techport_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _use_wal(engine: Engine) -> None:
    raw = engine.raw_connection()
    try:
        cursor = raw.cursor()
        if cursor.execute("PRAGMA journal_mode").fetchone() != ("wal",):
            cursor.execute("PRAGMA journal_mode=WAL")
    finally:
        raw.close()


def _with_patience(engine: Engine, step: Callable[[Engine], None]) -> None:
    """Switching to WAL needs the file alone, and SQLite does not wait for it: try again while others open it too."""
    deadline = time.monotonic() + LOCK_WAIT_S
    while True:
        try:
            with _unavailable_means_later(engine):
                step(engine)
            return
        except RegistryUnavailable as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.05)


@contextmanager
def _unavailable_means_later(engine: Engine) -> Iterator[None]:
    try:
        yield
    except (exc.OperationalError, exc.InterfaceError, exc.InternalError, exc.TimeoutError) as error:
        raise _unavailable(engine, error) from error
    except exc.DBAPIError as error:
        if error.connection_invalidated:
            raise _unavailable(engine, error) from error
        raise
    except engine.dialect.loaded_dbapi.OperationalError as error:
        raise _unavailable(engine, error) from error


def _unavailable(engine: Engine, error: Exception) -> RegistryUnavailable:
    reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
    return RegistryUnavailable(f"{engine.url.render_as_string(hide_password=True)}: {reason}")

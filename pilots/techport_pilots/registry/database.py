"""The database of registry and ledger, SQLite or PostgreSQL: opening it, and transactions that read or write.

SQLAlchemy is known to this folder alone. Everything else that keeps rows is given a `Database`, and speaks SQL inside
`reading()` or `writing()`, which turn "cannot now" into RegistryUnavailable.

No call waits for ever. A server that does not answer, stopped or unreachable, is given `timeout_s` for each statement:
PostgreSQL ends the statement itself (statement_timeout), and the client closes the connection a second later for a
server that cannot even do that. A connection is waited for at most `timeout_s` in the pool and five seconds on the way.
"""

from __future__ import annotations

import math
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Protocol

import psycopg
from psycopg.abc import PQGen
from sqlalchemy import (
    URL,
    Connection,
    CursorResult,
    Engine,
    NullPool,
    TextClause,
    bindparam,
    create_engine,
    event,
    exc,
    inspect,
    make_url,
    text,
)

from techport_pilots.errors import RegistryDamaged, RegistryUnavailable

LOCK_WAIT_S = 30
"""How long a writer of SQLite waits for the one before it."""

TIMEOUT_S = 10.0
"""How long PostgreSQL may take for one statement, unless told otherwise."""

_CHECKED_BYTES = 32 << 20  # a file of so much is gone through at every start, in a fifth of a second
_DAMAGED = ("database disk image is malformed", "file is not a database")
_GRACE_S = 1.0  # for PostgreSQL to end a statement itself
_CONNECT_S = 5.0  # two seconds are the least that libpq knows
_NAME_LENGTH = 200
_MIGRATION_LOCK = 0x7EC4_9047  # any number that no other user of the same PostgreSQL takes for an advisory lock

_TAKE_TURNS = "SELECT pg_advisory_xact_lock(:lock), set_config('idle_in_transaction_session_timeout', '5000', true)"

# Alembic hands its operations to the migration scripts through globals of its own: one migration at a time.
_migrating = threading.Lock()

Parameters = Mapping[str, object] | Sequence[Mapping[str, object]]


class Transaction:
    """What can be done between the beginning and the end of a transaction: statements in SQL."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @property
    def on_postgresql(self) -> bool:
        return self._connection.dialect.name == "postgresql"

    def take_turns(self, lock: int) -> None:
        """Wait until no other transaction that names this lock is under way, and let later ones wait for this one.

        PostgreSQL lets two transactions read the same rows and both write what follows from them. SQLite has one that
        writes at a time anyway. A process that is stopped while it holds the lock loses it, with its connection.
        """
        if self.on_postgresql:
            self.execute(_TAKE_TURNS, {"lock": lock})

    def execute(self, statement: str, parameters: Parameters = ()) -> CursorResult[*tuple[Any, ...]]:
        """Run a statement; its parameters stand in it as `:name`. Several rows of parameters run it for each of them.

        A parameter that is a tuple is a list of values, for `IN :name`.
        """
        if isinstance(parameters, Mapping):
            lists = tuple(key for key, value in parameters.items() if isinstance(value, tuple))
            return self._connection.execute(_clause(statement, lists), dict(parameters))
        return self._connection.execute(_clause(statement, ()), [dict(row) for row in parameters] or None)


class Companion(Protocol):
    """What belongs to everything that a request or a command does, and is written in the transaction of its first
    change: its entry of the audit log."""

    def met(self, database: Database) -> None:
        """The database is used."""

    def write(self, transaction: Transaction) -> bool:
        """Write it as the last statements of a transaction; False when there is nothing to write."""

    def committed(self) -> None:
        """What `write` wrote is durable."""


COMPANION: ContextVar[Companion | None] = ContextVar("companion", default=None)
"""Of the request or command that runs; set by who begins it. Threads of a pool get a copy, background threads none."""


class Database:
    """A database whose tables are up to date. Safe to use from several threads, and by several processes at once."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @classmethod
    def open(cls, url: str, timeout_s: float = TIMEOUT_S) -> Database:
        """Open `sqlite:///path` or `postgresql://...` and bring its tables up to date.

        Safe when several threads and processes do it at once. Raises ValueError for another kind of URL and a file
        that a newer techport has changed; RegistryDamaged for a file that is not a database, or not whole any more;
        RegistryUnavailable when it cannot be opened now.
        """
        parsed = make_url(url)
        if parsed.get_backend_name() == "postgresql":
            parsed = parsed.set(drivername="postgresql+psycopg")
            engine = _postgresql(parsed, timeout_s)
        elif parsed.get_backend_name() == "sqlite" and parsed.database not in (None, "", ":memory:"):
            engine = _sqlite(parsed)
        else:
            raise ValueError(
                f"no registry for {url!r}: use sqlite:///path/to/registry.sqlite or postgresql://user@host/name"
            )
        migrate(engine)
        return cls(engine)

    @contextmanager
    def reading(self) -> Iterator[Transaction]:
        """A transaction that sees one state of the database."""
        companion = COMPANION.get()
        if companion is not None:
            companion.met(self)
        with _translate_errors(self._engine), self._engine.connect() as connection, connection.begin():
            yield Transaction(connection)

    @contextmanager
    def writing(self) -> Iterator[Transaction]:
        """A transaction that is durable once this block is left without an exception."""
        with (
            _translate_errors(self._engine),
            self._engine.execution_options(techport_writes=True).begin() as connection,
        ):
            transaction = Transaction(connection)
            yield transaction
            companion = COMPANION.get()
            written = companion is not None and companion.write(transaction)
        if companion is not None and written:
            companion.committed()

    def rewrite(self, tables: Collection[str]) -> None:
        """Leave nothing in the database's files of rows that were deleted, also while others use it.

        SQLite overwrites deleted rows, writes its file anew and empties its write-ahead log. PostgreSQL writes these
        tables anew; its own write-ahead log and backups hold what they held until the server recycles them. Raises
        RegistryUnavailable: what was deleted stays deleted; in SQLite deleted rows are overwritten even so, and its log
        is emptied by the next call or when the last process closes it.
        """
        postgresql = self._engine.dialect.name == "postgresql"
        engine = _postgresql(self._engine.url, None) if postgresql else self._engine
        with _translate_errors(self._engine), engine.connect() as connection:
            raw = connection.connection.dbapi_connection
            assert raw is not None
            if postgresql:
                raw.autocommit = True
                cursor = raw.cursor()
                for table in tables:
                    cursor.execute(f"VACUUM (FULL, ANALYZE) {table}")
                return
            cursor = raw.cursor()
            cursor.execute("VACUUM")
            deadline = time.monotonic() + LOCK_WAIT_S
            while cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] and time.monotonic() < deadline:
                time.sleep(0.05)  # somebody still reads what stood there before

    def close(self) -> None:
        self._engine.dispose()


def conditions(limits: Mapping[str, object]) -> tuple[str, dict[str, object]]:
    """ " WHERE ..." of the conditions that have a value, and their parameters; "" where none has one.

    Each condition ends in the name of its parameter: {"pilot = :pilot": "elgeseter", "device = :device": None}.
    """
    used = {condition: value for condition, value in limits.items() if value is not None}
    parameters = {condition.rpartition(":")[2]: value for condition, value in used.items()}
    return (" WHERE " + " AND ".join(used) if used else ""), parameters


def name(text: str) -> str:
    """A name from the wire, fit for a key: no NUL and no lone surrogate (PostgreSQL takes neither), not endless."""
    clean = clean_text(text)
    return clean if len(clean) <= _NAME_LENGTH else clean[: _NAME_LENGTH - 1] + "…"


def clean_text(text: str) -> str:
    """Text from the wire that every database takes: NUL is shown as ␀, half a surrogate pair as its escape."""
    return text.replace("\0", "␀").encode("utf-8", "backslashreplace").decode("utf-8")


def migrate(engine: Engine) -> None:
    """Bring the tables to the newest revision. Of several that start at once, one does it and the others wait."""
    revision_ids = revisions()
    newest = revision_ids[-1]
    with _translate_errors(engine), engine.connect() as connection:
        current = _revision(connection)
    if current == newest:
        return
    if current not in (None, *revision_ids):
        where = engine.url.render_as_string(hide_password=True)
        raise ValueError(f"{where} is at revision {current}, this techport knows {newest}: use the newer techport")
    patient = _postgresql(engine.url, None) if engine.dialect.name == "postgresql" else engine
    with _migrating, _translate_errors(engine), patient.execution_options(techport_writes=True).begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _MIGRATION_LOCK})
        if _revision(connection) != newest:
            _upgrade(connection)


def revisions() -> list[str]:
    """The revisions of the tables, oldest first: each is the number that the name of its script begins with."""
    scripts = files("techport_pilots.registry.migrations").joinpath("versions").iterdir()
    return sorted(script.name[:4] for script in scripts if re.fullmatch(r"\d{4}_\w+\.py", script.name))


def _upgrade(connection: Connection) -> None:
    # Imported here: it takes as long as a third of the start of a command, and most commands have nothing to migrate.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "techport_pilots.registry:migrations")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


@lru_cache(maxsize=1000)
def _clause(statement: str, lists: tuple[str, ...]) -> TextClause:
    return text(statement).bindparams(*(bindparam(key, expanding=True) for key in lists))


class _BoundedConnection(psycopg.Connection[Any]):
    """A connection that is closed when a statement is not answered in time."""

    timeout_s = math.inf

    def wait(self, gen: PQGen[Any], *args: Any, **options: Any) -> Any:
        return super().wait(self._until(gen), *args, **options)

    def _until(self, gen: PQGen[Any]) -> PQGen[Any]:
        deadline = time.monotonic() + self.timeout_s
        try:
            wait_for = next(gen)
            while True:
                ready = yield wait_for
                if not ready and time.monotonic() > deadline:  # asked ten times a second while nothing comes
                    self.pgconn.finish()
                    raise psycopg.OperationalError(f"PostgreSQL did not answer within {self.timeout_s:g} seconds")
                wait_for = gen.send(ready)
        except StopIteration as done:
            return done.value


def _postgresql(url: URL, timeout_s: float | None) -> Engine:
    """An engine with timeouts; with None one for a single connection that may take its time, such as a migration."""
    connect: dict[str, Any] = {"connect_timeout": math.ceil(_CONNECT_S)}
    if timeout_s is None:
        return create_engine(url, poolclass=NullPool, connect_args=connect)
    milliseconds = math.ceil(timeout_s * 1000)
    connect["options"] = f"{url.query.get('options', '')} -c statement_timeout={milliseconds}".strip()
    connect["tcp_user_timeout"] = milliseconds
    engine = create_engine(url, pool_pre_ping=True, pool_timeout=timeout_s, connect_args=connect)

    @event.listens_for(engine, "do_connect")
    def _connect(_dialect: object, _record: object, args: Any, options: Any) -> _BoundedConnection:
        connection = _BoundedConnection.connect(*args, **options)
        connection.timeout_s = timeout_s + _GRACE_S
        return connection

    return engine


def _sqlite(url: URL) -> Engine:
    Path(str(url.database)).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, connect_args={"timeout": LOCK_WAIT_S})
    event.listen(engine, "connect", _set_up_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    try:
        _retry_while_locked(engine, _use_wal)
        _check_whole(engine, Path(str(url.database)))
    except sqlite3.DatabaseError as error:
        raise _damaged(engine, f"is not an SQLite database: {error}") from error
    return engine


def _check_whole(engine: Engine, file: Path) -> None:
    """Raise RegistryDamaged for a file whose pages do not fit together. A large one is found out by who reads it."""
    if file.stat().st_size > _CHECKED_BYTES:
        return
    with _translate_errors(engine):
        raw = engine.raw_connection()
        try:
            found = raw.cursor().execute("PRAGMA quick_check(1)").fetchone()[0]
        finally:
            raw.close()
    if found != "ok":
        raise _damaged(engine, f"is damaged: {found.splitlines()[0]}")


def _damaged(engine: Engine, what: str) -> RegistryDamaged:
    return RegistryDamaged(
        f"{engine.url.database} {what}. It was left as it is. Move the data folder away and bring the last backup back "
        "into an empty one (`techport store restore BACKUP --data FOLDER`)"
    )


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return revision


def _set_up_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves: Python's driver would leave DDL outside the transaction
    for pragma in (f"busy_timeout={LOCK_WAIT_S * 1000}", "foreign_keys=ON", "synchronous=FULL", "secure_delete=ON"):
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


def _retry_while_locked(engine: Engine, step: Callable[[Engine], None]) -> None:
    """Switching to WAL needs the file alone, and SQLite does not wait for it: try again while others open it too."""
    deadline = time.monotonic() + LOCK_WAIT_S
    while True:
        try:
            with _translate_errors(engine):
                step(engine)
            return
        except RegistryUnavailable as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.05)


@contextmanager
def _translate_errors(engine: Engine) -> Iterator[None]:
    try:
        yield
    except (exc.OperationalError, exc.InterfaceError, exc.InternalError, exc.TimeoutError) as error:
        raise _unavailable(engine, error) from error
    except exc.DBAPIError as error:
        if isinstance(error, exc.DatabaseError) and any(sign in str(error.orig) for sign in _DAMAGED):
            raise _damaged(engine, f"is damaged: {error.orig}") from error
        if error.connection_invalidated:
            raise _unavailable(engine, error) from error
        raise
    except engine.dialect.loaded_dbapi.OperationalError as error:
        raise _unavailable(engine, error) from error


def _unavailable(engine: Engine, error: Exception) -> RegistryUnavailable:
    reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
    return RegistryUnavailable(f"{engine.url.render_as_string(hide_password=True)}: {reason}")

"""What every change of the registry does: wait for its turn, and step the version that others look at."""

from __future__ import annotations

from sqlalchemy import Connection, text

_STEP = text("UPDATE registry_version SET version = version + 1")


def lock(connection: Connection) -> None:
    """Writers of the registry go one after the other (SQLite's do so anyway)."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT version FROM registry_version FOR UPDATE"))


def bump(connection: Connection) -> None:
    """Say that something changed."""
    connection.execute(_STEP)

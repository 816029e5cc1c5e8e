"""What every change of the registry does: wait for its turn, and step the version that others look at."""

from __future__ import annotations

from techport_pilots.registry.database import Transaction

_STEP = "UPDATE registry_version SET version = version + 1"


def lock(transaction: Transaction) -> None:
    """Writers of the registry go one after the other (SQLite's do so anyway)."""
    if transaction.on_postgresql:
        transaction.execute("SELECT version FROM registry_version FOR UPDATE")


def bump(transaction: Transaction) -> None:
    """Say that something changed."""
    transaction.execute(_STEP)

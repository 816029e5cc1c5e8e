"""The beginning: registry, books and quarantine.

Revision: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    _registry()
    _books()
    _quarantine()


def _registry() -> None:
    version = op.create_table(
        "registry_version",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("version", sa.BigInteger, nullable=False),
    )
    op.bulk_insert(version, [{"id": 1, "version": 0}])
    op.create_table(
        "pilot_versions",
        sa.Column("pilot", sa.String, primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("definition", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("who", sa.String, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "seen_streams",
        sa.Column("pilot", sa.String, primary_key=True),
        sa.Column("device", sa.String, primary_key=True),
        sa.Column("quantity", sa.String, primary_key=True),
        sa.Column("first_seen", sa.BigInteger, nullable=False),
    )


def _books() -> None:
    counts = ("messages", "received", "stored", "duplicates", "quarantined", "ignored", "erased")
    op.create_table(
        "ledger",
        sa.Column("pilot", sa.String, primary_key=True),
        sa.Column("device", sa.String, primary_key=True),
        sa.Column("day", sa.Integer, primary_key=True, autoincrement=False),
        *[sa.Column(count, sa.BigInteger, nullable=False) for count in counts],
    )
    op.create_table(
        "intents",
        sa.Column("worker", sa.String, primary_key=True),
        sa.Column("pilot", sa.String, primary_key=True),
        sa.Column("device", sa.String, primary_key=True),
        sa.Column("day", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("state", sa.String, primary_key=True),
        sa.Column("ledger_then", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "workers",
        sa.Column("worker", sa.String, primary_key=True),
        sa.Column("last_closed", sa.String, nullable=False),
    )


def _quarantine() -> None:
    op.create_table(
        "quarantine",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("pilot", sa.String, nullable=False),
        sa.Column("device", sa.String, nullable=False),
        sa.Column("day", sa.Integer, nullable=False),
        sa.Column("topic", sa.String, nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
        sa.Column("received", sa.BigInteger, nullable=False),
        sa.Column("format", sa.String, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("field", sa.String),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("hint", sa.Text, nullable=False),
        sa.Column("value_count", sa.Integer, nullable=False),
        sa.Column("digest", sa.LargeBinary(16), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("quarantine_by_device", "quarantine", ["pilot", "device", "id"])
    op.create_index("quarantine_by_digest", "quarantine", ["digest"])
    op.create_index("quarantine_by_day", "quarantine", ["day"])

"""Devices of any kind: replay of what was set aside, ignored parts by rule, device events, credentials, watching.

Revision: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("quarantine", sa.Column("replay_requested", sa.BigInteger))
    op.add_column("quarantine", sa.Column("replay_worker", sa.String))
    op.add_column("quarantine", sa.Column("replay_taken", sa.BigInteger))
    op.create_index("quarantine_by_arrival", "quarantine", ["received"])
    op.create_index("quarantine_by_replay", "quarantine", ["replay_requested"])
    op.create_table(
        "ignored_parts",
        sa.Column("pilot", sa.String, primary_key=True),
        sa.Column("device", sa.String, primary_key=True),
        sa.Column("day", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("rule", sa.String, primary_key=True),
        sa.Column("parts", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "device_events",
        sa.Column("pilot", sa.String, primary_key=True),
        sa.Column("device", sa.String, primary_key=True),
        sa.Column("time", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("kind", sa.String, primary_key=True),
        sa.Column("text", sa.Text, nullable=False),
    )
    op.create_table(
        "credentials",
        sa.Column("username", sa.String, primary_key=True),
        sa.Column("pilot", sa.String, nullable=False),
        sa.Column("device", sa.String, nullable=False),
        sa.Column("password", sa.String, nullable=False),
        sa.Column("who", sa.String, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
    )
    _watching()


def _watching() -> None:
    op.create_table(
        "watches",
        sa.Column("pilot", sa.String, primary_key=True),
        sa.Column("device", sa.String, primary_key=True),
        sa.Column("until", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "watched_messages",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("pilot", sa.String, nullable=False),
        sa.Column("device", sa.String, nullable=False),
        sa.Column("topic", sa.String, nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
        sa.Column("received", sa.BigInteger, nullable=False),
        sa.Column("worker", sa.String, nullable=False),
        sa.Column("committed", sa.BigInteger, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("watched_by_device", "watched_messages", ["pilot", "device", "id"])

"""Alerts: what needs or needed somebody, who is told, and when nobody is.

Revision: 0021
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    serial = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        "alerts",
        sa.Column("id", serial, primary_key=True, autoincrement=True),
        sa.Column("pilot", sa.String, nullable=False),
        sa.Column("rule", sa.String, nullable=False),
        sa.Column("subject", sa.String, nullable=False),
        sa.Column("params", sa.Text, nullable=False),
        sa.Column("began", sa.BigInteger, nullable=False),
        sa.Column("seen", sa.BigInteger, nullable=False),
        sa.Column("recovered", sa.BigInteger),
        sa.Column("acknowledged", sa.BigInteger),
        sa.Column("acknowledged_by", sa.String, nullable=False, server_default=""),
        sa.Column("note", sa.Text, nullable=False, server_default=""),
        sqlite_autoincrement=True,
    )
    op.create_index("alerts_by_pilot", "alerts", ["pilot", "began"])
    op.create_index("alerts_open", "alerts", ["recovered"])
    op.create_table(
        "alert_recipients",
        sa.Column("id", serial, primary_key=True, autoincrement=True),
        sa.Column("pilot", sa.String, nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("language", sa.String, nullable=False),
        sa.Column("weekly", sa.Integer, nullable=False),
        sa.Column("who", sa.String, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "alert_silences",
        sa.Column("id", serial, primary_key=True, autoincrement=True),
        sa.Column("pilot", sa.String, nullable=False),
        sa.Column("rule", sa.String, nullable=False),
        sa.Column("subject", sa.String, nullable=False),
        sa.Column("start", sa.BigInteger, nullable=False),
        sa.Column("until", sa.BigInteger),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("who", sa.String, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "alert_weeks",
        sa.Column("pilot", sa.String, primary_key=True),
        sa.Column("week", sa.String, primary_key=True),
    )

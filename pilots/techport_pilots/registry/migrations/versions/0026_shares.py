"""Shares: derived feeds of a pilot's data for others.

Revision: 0026
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"


def upgrade() -> None:
    op.create_table(
        "shares",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("key", sa.String, nullable=False),
        sa.Column("pilot", sa.String, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("who", sa.String, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("expires", sa.BigInteger, nullable=False),
        sa.Column("published", sa.BigInteger),
        sa.Column("revoked", sa.BigInteger),
        sa.Column("reads", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("last_read", sa.BigInteger),
    )
    op.create_index("shares_by_key", "shares", ["key"], unique=True)
    op.create_index("shares_by_pilot", "shares", ["pilot", "created"])

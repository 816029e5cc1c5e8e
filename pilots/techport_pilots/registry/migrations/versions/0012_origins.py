"""Which part of a device its streams without a channel belong to, so that two sensors never share a stream.

Revision: 0012
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.create_table(
        "origins",
        sa.Column("pilot", sa.String, primary_key=True),
        sa.Column("device", sa.String, primary_key=True),
        sa.Column("key", sa.String, primary_key=True),
        sa.Column("origin", sa.String, nullable=False),
        sa.Column("first_seen", sa.BigInteger, nullable=False),
    )

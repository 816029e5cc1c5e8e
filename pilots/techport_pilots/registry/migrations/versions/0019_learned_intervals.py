"""How often streams come of which nobody said it.

Revision: 0019
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    op.create_table(
        "learned_intervals",
        sa.Column("pilot", sa.String, primary_key=True),
        sa.Column("device", sa.String, primary_key=True),
        sa.Column("quantity", sa.String, primary_key=True),
        sa.Column("interval_us", sa.BigInteger, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
    )

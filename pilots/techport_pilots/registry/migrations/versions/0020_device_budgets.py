"""What devices that send very much have sent in an hour, for all workers and after a restart.

Revision: 0020
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    op.create_table(
        "device_budgets",
        sa.Column("pilot", sa.String, primary_key=True),
        sa.Column("device", sa.String, primary_key=True),
        sa.Column("hour", sa.BigInteger, primary_key=True, autoincrement=False),
        *(sa.Column(count, sa.BigInteger, nullable=False) for count in ("values", "bytes", "entries", "entry_bytes")),
    )

"""Values that a later message has replaced: counted, and kept for a while.

Until now they were counted as duplicates; which of those were corrections, nobody knows any more.

Revision: 0014
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    for table in ("ledger", "replays"):
        op.add_column(table, sa.Column("corrections", sa.BigInteger, nullable=False, server_default="0"))
    op.create_table(
        "corrections",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("pilot", sa.String, nullable=False),
        sa.Column("device", sa.String, nullable=False),
        sa.Column("quantity", sa.String, nullable=False),
        sa.Column("time", sa.BigInteger, nullable=False),
        sa.Column("replaced", sa.Float(53), nullable=False),
        sa.Column("value", sa.Float(53), nullable=False),
        sa.Column("received", sa.BigInteger, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("corrections_by_time", "corrections", ["pilot", "device", "time"])
    op.create_index("corrections_by_arrival", "corrections", ["received"])

"""Passages: through which worker messages came, and since when they are visible.

Revision: 0007
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "passages",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("worker", sa.String, nullable=False),
        sa.Column("first", sa.BigInteger, nullable=False),
        sa.Column("last", sa.BigInteger, nullable=False),
        sa.Column("visible", sa.BigInteger, nullable=False),
        sa.Column("marks", sa.LargeBinary),
        sqlite_autoincrement=True,
    )
    op.create_index("passages_by_arrival", "passages", ["last"])
    op.create_index("passages_by_age", "passages", ["visible"])
